"""The checker of what a reader is told, and the parsing of what a query answers."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable

import pytest

from harness import events as ev
from harness.blast import BlastRadius, Edge, ServiceState, Write
from harness.probes.readback import read_answer
from harness.values import Month, Promise, Verdict
from tests.unit.histories import (
    DECEMBER,
    HEALED,
    INJECTING,
    JANUARY,
    QUERY_LIMIT,
    RADIUS,
    History,
    check,
    content,
    event_id,
    good,
)

NAME = "reads-back"
UNREADABLE = dataclasses.replace(RADIUS, read=False)
WHOLE = BlastRadius(months=None, write=Write.NO, read=False, edge=Edge.RESTART)


def asked(history: History, t: float, month: Month, *, by_id: bool) -> ev.QuerySample:
    """The query that a good run asks of a month at a whole second."""
    numbers = {event_id(number) for number in history.ops(month, 0.0, t)}
    return next(
        record
        for record in history.records
        if isinstance(record, ev.QuerySample)
        and record.t == t
        and (record.event_id in numbers if by_id else record.month == month.label)
    )


def change(history: History, sample: ev.QuerySample, **changes: object) -> None:
    """Have one query answered otherwise."""
    history.edit(ev.QuerySample, lambda record: record == sample, **changes)


def blamed(history: History) -> dict[Promise, set[str]]:
    found: dict[Promise, set[str]] = {}
    for finding in check(NAME, history).findings:
        found.setdefault(finding.promise, set()).update(finding.event_ids)
    return found


def test_an_event_answered_201_that_a_query_does_not_find_is_a_finding() -> None:
    history = good()
    sample = asked(history, 5.0, JANUARY, by_id=True)
    change(history, sample, found=())
    assert blamed(history) == {Promise.HONEST_STATUS: {sample.event_id}}
    assert "does not find" in check(NAME, history).findings[0].summary


def test_a_query_that_began_before_the_201_may_miss_the_event() -> None:
    history = good()
    number = history.op(5.5, JANUARY, 201, took=0.2)
    history.row(number)
    history.add(ev.QuerySample(5.6, 0.01, 200, event_id(number)))
    assert check(NAME, history).verdict is Verdict.PASS
    history.add(ev.QuerySample(5.8, 0.01, 200, event_id(number)))
    assert blamed(history) == {Promise.HONEST_STATUS: {event_id(number)}}


def test_another_months_fault_hides_no_event() -> None:
    history = good()
    sample = asked(history, 15.0, JANUARY, by_id=True)
    change(history, sample, found=())
    assert blamed(history) == {Promise.HONEST_STATUS: {sample.event_id}}


@pytest.mark.parametrize("t", [INJECTING, 15.0, HEALED, 24.0])
def test_under_a_fault_and_at_its_edges_the_covered_month_need_not_be_found(t: float) -> None:
    history = good()
    number = history.ops(DECEMBER, 4.0, 5.0)[0]
    history.add(ev.QuerySample(t, 0.01, 200, event_id(number), unavailable=(DECEMBER.label,)))
    assert check(NAME, history).verdict is Verdict.PASS


def test_after_the_recovery_the_covered_month_is_found_again() -> None:
    history = good()
    number = history.ops(DECEMBER, 14.0, 15.0)[0]
    created = history.ops(DECEMBER, 4.0, 5.0)[0]
    history.add(ev.QuerySample(30.0, 0.01, 200, event_id(created)))
    history.add(ev.QuerySample(30.0, 0.01, 200, event_id(number)))
    assert blamed(history) == {Promise.HONEST_STATUS: {event_id(created)}}, "of a 202 nobody can say when it drains"


def test_an_event_that_a_fault_destroyed_is_not_looked_for() -> None:
    history = good()
    sample = asked(history, 30.0, DECEMBER, by_id=True)
    change(history, sample, found=())
    history.add(ev.Destroyed(INJECTING, 0, (sample.event_id,), restored=True))
    assert check(NAME, history).verdict is Verdict.PASS


def test_an_unreadable_month_must_be_listed() -> None:
    history = good(faulty=False)
    history.fault(UNREADABLE, name="detach-partition")
    assert asked(history, 15.0, DECEMBER, by_id=False).found
    assert check(NAME, history).verdict is Verdict.PASS, "rows that were read show that the month was readable"
    change(history, asked(history, 15.0, DECEMBER, by_id=False), found=(), truncated=False)
    assert set(blamed(history)) == {Promise.HONEST_STATUS}
    change(history, asked(history, 15.0, DECEMBER, by_id=False), unavailable=(DECEMBER.label,))
    assert check(NAME, history).verdict is Verdict.PASS


@pytest.mark.parametrize("t", [INJECTING, 21.0, 22.0])
def test_at_an_edge_nobody_knows_whether_a_month_is_readable(t: float) -> None:
    history = good(faulty=False)
    history.fault(UNREADABLE, name="detach-partition")
    change(history, asked(history, t, DECEMBER, by_id=False), found=(), truncated=False)
    assert check(NAME, history).verdict is Verdict.PASS


@pytest.mark.parametrize("status", [503, 0])
def test_an_unreadable_month_is_no_error(status: int) -> None:
    history = good(faulty=False)
    history.fault(UNREADABLE, name="detach-partition")
    change(history, asked(history, 15.0, DECEMBER, by_id=False), status=status, found=(), truncated=False)
    assert set(blamed(history)) == {Promise.HONEST_STATUS}


@pytest.mark.parametrize(
    ("radius", "t", "honest"),
    [
        (WHOLE, 15.0, True),
        (WHOLE, 22.0, True),
        (WHOLE, 5.0, False),
        (WHOLE, 30.0, False),
        (BlastRadius(months=None, service=ServiceState.DOWN, write=Write.NO, edge=Edge.RESTART), 15.0, True),
    ],
)
@pytest.mark.parametrize("status", [503, 0])
def test_only_a_database_or_service_that_is_gone_excuses_an_error(
    radius: BlastRadius, t: float, honest: bool, status: int
) -> None:
    history = good(faulty=False)
    history.fault(radius, name="outage")
    change(history, asked(history, t, JANUARY, by_id=True), status=status, found=())
    assert (blamed(history) == {}) == honest


def test_an_error_beside_a_stalled_canary_proves_nothing() -> None:
    history = good()
    change(history, asked(history, 5.0, JANUARY, by_id=True), status=503, found=())
    history.edit(ev.CanarySample, lambda record: record.t == 5.0, seconds=2.0)
    assert check(NAME, history).verdict is Verdict.PASS


@pytest.mark.parametrize("status", [500, 404, 400])
def test_any_other_status_is_a_finding_whatever_is_broken(status: int) -> None:
    history = good(faulty=False)
    history.fault(WHOLE, name="outage")
    change(history, asked(history, 15.0, JANUARY, by_id=True), status=status, found=())
    assert set(blamed(history)) == {Promise.HONEST_STATUS}


def test_a_month_that_no_fault_is_near_is_not_unavailable() -> None:
    history = good()
    change(history, asked(history, 15.0, JANUARY, by_id=False), found=(), truncated=False, unavailable=("2026_01",))
    assert set(blamed(history)) == {Promise.HONEST_STATUS}
    history.edit(ev.CanarySample, lambda r: r.month == JANUARY.label and 14.0 < r.t < 16.0, seconds=2.0)
    assert check(NAME, history).verdict is Verdict.PASS, "the canary stalled as well"


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"found": (), "truncated": False}, "fewer events"),
        ({"found": (event_id(1),) * (QUERY_LIMIT + 1)}, "more events than its limit"),
        ({"truncated": False}, "truncated false"),
        ({"flaw": "events is no array of objects"}, "wrong form"),
    ],
)
def test_a_month_shows_as_many_events_as_it_has_and_may(changes: dict[str, object], word: str) -> None:
    history = good()
    change(history, asked(history, 8.0, JANUARY, by_id=False), **changes)
    assert [word in finding.summary for finding in check(NAME, history).findings] == [True]


def test_an_event_that_was_shown_before_it_was_stored_came_from_the_queue() -> None:
    history = good()
    history.recorded(0.0)
    number = history.ops(DECEMBER, 14.0, 15.0)[0]
    history.recorded(6.5, number)
    history.add(ev.QuerySample(15.5, 0.01, 200, event_id(number), found=(event_id(number),)))
    assert blamed(history) == {Promise.HONEST_STATUS: {event_id(number)}}
    history.edit(ev.QuerySample, lambda record: record.event_id == event_id(number), t=22.0)
    assert check(NAME, history).verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("radius", "sent", "status", "kept_out"),
    [
        (UNREADABLE, 14.0, 202, True),
        (UNREADABLE, 14.0, 201, False),
        (dataclasses.replace(UNREADABLE, write=Write.PARTIAL), 14.0, 202, False),
        (RADIUS, 14.0, 202, False),
        (UNREADABLE, 9.9, 202, False),
    ],
    ids=["queued", "created", "some are stored", "readable", "sent before the bite"],
)
def test_what_a_fault_surely_keeps_out_of_a_month_came_from_the_queue_whatever_the_rows_say(
    radius: BlastRadius, sent: float, status: int, kept_out: bool
) -> None:
    history = good(faulty=False)
    history.fault(radius, name="detach-partition")
    number = history.op(sent, DECEMBER, status)
    history.row(number)
    history.add(ev.QuerySample(19.5, 0.01, 200, event_id(number), found=(event_id(number),)))
    assert (blamed(history) == {Promise.HONEST_STATUS: {event_id(number)}}) == kept_out
    history.edit(ev.QuerySample, lambda record: record.event_id == event_id(number), t=20.5)
    assert not blamed(history), "it may be there since the heal began"


def test_an_event_is_shown_as_it_was_sent() -> None:
    history = good()
    sample = asked(history, 5.0, JANUARY, by_id=True)
    number = next(n for n in history.ops(JANUARY, 0.0, 5.0) if event_id(n) == sample.event_id)
    sent = content(number, history.invoke(number).event_date)
    change(history, sample, content=sent)
    assert check(NAME, history).verdict is Verdict.PASS
    change(history, asked(history, 5.0, JANUARY, by_id=True), content=sent.replace("1.5", "1.50000001"))
    assert blamed(history) == {Promise.CONSERVATION: {sample.event_id}}


def test_an_answer_after_the_deadline_is_a_finding() -> None:
    history = good()
    change(history, asked(history, 15.0, JANUARY, by_id=True), seconds=5.5)
    assert set(blamed(history)) == {Promise.FALLBACK}


@pytest.mark.parametrize(
    ("spoil", "verdict"),
    [
        (lambda history: history.without("query"), Verdict.PASS),
        (lambda history: history.drop(ev.QuerySample), Verdict.UNKNOWN),
        (lambda history: history.edit(ev.QuerySample, lambda r: r.t < 9.0 or r.t > 26.0, status=0), Verdict.FAIL),
        (lambda history: history.edit(ev.RunStarted, lambda r: True, reads_json="{}"), Verdict.PASS),
    ],
)
def test_what_was_declared_must_have_been_seen(spoil: Callable[[History], object], verdict: Verdict) -> None:
    history = good()
    spoil(history)
    result = check(NAME, history)
    assert result.verdict is verdict
    assert bool(result.not_checked) == (verdict is Verdict.PASS)


EVENT = {"event_id": event_id(1).upper(), "event_timestamp": "2025-12-05T10:00:00Z", "event_data": {"n": 1}}
LATER = {"event_id": event_id(0), "event_timestamp": "2025-12-05T10:00:00.5Z"}
WHOLE_ANSWER = {"events": [EVENT, LATER], "truncated": True, "unavailable_partitions": ["2025_12"]}


def test_an_answer_is_read_into_ids_and_months() -> None:
    read = read_answer(json.dumps(WHOLE_ANSWER).encode(), by_id=False)
    assert read == {
        "found": (event_id(1), event_id(0)),
        "unavailable": ("2025_12",),
        "truncated": True,
        "content": "",
        "flaw": "",
    }


def test_the_event_asked_for_is_kept_with_its_numbers_as_they_were_spelt() -> None:
    body = b'{"events":[{"event_id":"A","event_timestamp":"2025-12-05T10:00:00Z","event_data":{"x":1e200000}}],'
    read = read_answer(body + b'"truncated":false,"unavailable_partitions":[]}', by_id=True)
    assert '"x":1e200000' in read["content"]
    assert read["flaw"] == ""


@pytest.mark.parametrize(
    ("changes", "flaw"),
    [
        ({"events": None}, "events"),
        ({"events": ["x"]}, "events"),
        ({"truncated": None}, "truncated"),
        ({"unavailable_partitions": "2025_12"}, "unavailable_partitions"),
        ({"events": [{"event_id": "a"}]}, "event_timestamp"),
        ({"events": [{"event_id": "a", "event_timestamp": "0001-01-01T00:00:00+01:00"}]}, "event_timestamp"),
        ({"events": [LATER, EVENT]}, "order"),
        ({"events": [{**EVENT, "event_timestamp": LATER["event_timestamp"]}, LATER]}, "order"),
    ],
)
def test_each_departure_from_the_form_is_named(changes: dict[str, object], flaw: str) -> None:
    assert flaw in read_answer(json.dumps({**WHOLE_ANSWER, **changes}).encode(), by_id=False)["flaw"]


def test_what_is_no_json_is_a_flaw_and_no_crash() -> None:
    assert read_answer(b"<html>", by_id=True)["flaw"]
