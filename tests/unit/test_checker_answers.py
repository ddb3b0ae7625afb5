"""Checkers about the form of answers, events without an id of their own, and the items of batches."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness import events as ev
from harness.blast import BlastRadius, Dlq, ServiceState, Write
from harness.checkers import DEFAULT_CHECKERS
from harness.checkers.judge import judge
from harness.history import Clock, History
from harness.jsonlines import decode, encode
from harness.oracle import Oracle
from harness.values import Promise, Verdict
from tests.unit.histories import CONFIRMED, DECEMBER, HEALING, JANUARY, RADIUS, check, event_id, good
from tests.unit.histories import History as Made

DOWN = BlastRadius(months=None, service=ServiceState.DOWN, write=Write.NO)


def found(name: str, history: Made) -> dict[Promise, set[str]]:
    blamed: dict[Promise, set[str]] = {}
    for finding in check(name, history).findings:
        blamed.setdefault(finding.promise, set()).update(finding.event_ids)
    return blamed


def test_a_flaw_of_an_answer_is_a_finding_that_names_it_and_its_events() -> None:
    history = good()
    flawed = history.ops(JANUARY, 5.0, 5.5)
    for number in flawed:
        history.answer(number, 201, flaw="partition is missing")
    assert found("answers", history) == {Promise.HONEST_STATUS: {event_id(number) for number in flawed}}
    assert "answer 201 of the wrong form: partition is missing" in check("answers", history).findings[0].summary


def test_an_answer_of_a_process_that_was_being_ended_may_be_half_an_answer() -> None:
    history = good(faulty=False)
    history.fault(DOWN, name="kill-service")
    number = history.ops(JANUARY, CONFIRMED, HEALING)[0]
    history.answer(number, 201, flaw="the body is no JSON object")
    assert check("answers", history).verdict is Verdict.PASS
    history.answer(history.ops(JANUARY, 30.0, 31.0)[0], 201, flaw="the body is no JSON object")
    assert check("answers", history).verdict is Verdict.FAIL


def test_a_flaw_of_a_batch_is_a_finding_that_names_its_events() -> None:
    history = good()
    items = [history.op(5.0, month, 201, batch=900) for month in (DECEMBER, JANUARY)]
    history.add(ev.BatchEnd(5.01, 900, 207, "code 207 for items of 201, where 201 is due"))
    assert found("answers", history) == {Promise.HONEST_STATUS: {event_id(number) for number in items}}
    history.edit(ev.BatchEnd, lambda record: True, status=201, flaw="")
    assert check("answers", history).findings == ()


def test_two_events_without_an_id_never_share_one() -> None:
    history = good()
    one, other = (history.op(5.0, JANUARY, 201, anonymous=True) for _ in range(2))
    history.answer(other, 201, answered_id=event_id(one))
    assert found("answers", history) == {Promise.HONEST_STATUS: {event_id(one)}}


def test_an_event_without_an_id_never_gets_that_of_a_named_one() -> None:
    history = good()
    named = history.ops(JANUARY, 4.0, 5.0)[0]
    history.answer(history.op(5.0, JANUARY, 201, anonymous=True), 201, answered_id=event_id(named))
    assert found("answers", history) == {Promise.HONEST_STATUS: {event_id(named)}}


def test_a_resend_and_another_date_of_a_sent_id_share_it_honestly() -> None:
    history = good()
    original = history.ops(JANUARY, 4.0, 5.0)[0]
    history.op(5.0, JANUARY, 201, kind=ev.OpKind.RESEND, of=original)
    history.op(5.1, DECEMBER, 201)
    history.edit(ev.Invoke, lambda record: record.op == history.next_op - 1, event_id=event_id(original))
    assert check("answers", history).verdict is Verdict.PASS


@pytest.mark.parametrize("status", [201, 202])
def test_an_anonymous_event_is_conserved_under_the_id_that_was_answered(status: int) -> None:
    history = good()
    number = history.op(5.0, JANUARY, status, anonymous=True)
    history.row(number)
    assert found("conservation", history) == {}
    assert found("duplicates", history) == {}
    history.edit(ev.TableRow, lambda row: row.event_id == event_id(number), event_id=event_id(77_777))
    assert found("conservation", history) == {Promise.CONSERVATION: {event_id(number), event_id(77_777)}}


def test_an_anonymous_event_that_is_nowhere_is_lost_under_the_id_that_was_answered() -> None:
    history = good()
    number = history.op(5.0, JANUARY, 201, anonymous=True)
    assert found("conservation", history) == {Promise.CONSERVATION: {event_id(number)}}


def test_an_unanswered_anonymous_event_is_recovered_by_its_correlation_id() -> None:
    history = good()
    number = history.op(5.0, JANUARY, 0, anonymous=True)
    history.row(number)
    result = check("conservation", history)
    assert (result.verdict, result.facts["recovered"]) == (Verdict.PASS, 1)


def test_an_anonymous_event_tried_again_under_a_second_id_is_a_duplicate() -> None:
    history = good()
    number = history.op(5.0, JANUARY, 201, anonymous=True)
    history.row(number)
    history.row(number, event_id=event_id(77_777))
    assert found("duplicates", history) == {Promise.NO_DUPLICATES: {event_id(77_777)}}


def test_final_reads_look_for_an_anonymous_event_by_the_answered_id(tmp_path: Path) -> None:
    history = History(tmp_path, Clock())
    day = JANUARY.first_day
    for op, answered in ((1, event_id(1)), (2, "")):
        history.add(ev.Invoke(0.1, op, 0, ev.OpKind.WRITE, "", day, "{}"))
        history.add(ev.Complete(0.2, op, ev.Completion.OK, 201, answered_id=answered))
    history.close()
    assert history.acknowledged == {(event_id(1), day)}


def batch(history: Made, t: float, number: int, statuses: dict[str, int], took: float = 0.01) -> dict[str, int]:
    """A batch of one event a month, answered by item; the operations by month."""
    months = {"december": DECEMBER, "january": JANUARY}
    sent = {
        name: history.op(t, months[name], status, batch=number, took=took, writer=7)
        for name, status in statuses.items()
    }
    for name, op in sent.items():
        if statuses[name] in (201, 202):
            history.row(op)
    return sent


def test_a_mixed_batch_under_a_fault_is_honest_item_by_item() -> None:
    history = good()
    batch(history, 15.0, 900, {"december": 202, "january": 201})
    history.add(ev.BatchEnd(15.01, 900, 202))
    results = judge(history.run(), DEFAULT_CHECKERS)
    # The scrapes of the hand-made run count what it sent before, and no batch.
    wrong = {each.checker for each in results if each.verdict is not Verdict.PASS}
    assert wrong <= {"metrics"}


@pytest.mark.parametrize("status", [202, 503])
def test_a_damaged_month_that_fails_another_months_item_breaks_isolation(status: int) -> None:
    history = good()
    sent = batch(history, 15.0, 900, {"december": 202, "january": status})
    assert found("isolation", history) == {Promise.ISOLATION: {event_id(sent["january"])}}


def test_one_deadline_holds_for_the_whole_batch() -> None:
    history = good()
    sent = batch(history, 15.0, 900, {"december": 202, "january": 201}, took=5.5)
    assert found("fallback", history) == {Promise.FALLBACK: {event_id(op) for op in sent.values()}}


@pytest.mark.parametrize(("status", "honest"), [(201, True), (202, False), (409, False)])
def test_an_identity_twice_in_a_batch_is_a_resend(status: int, honest: bool) -> None:
    history = good()
    first = history.op(5.0, JANUARY, 201, batch=900)
    history.row(first)
    history.op(5.0, JANUARY, status, batch=900, of=first, kind=ev.OpKind.RESEND)
    assert (found("honest-status", history) == {}) == honest


def test_the_items_of_a_batch_press_on_a_delayed_month_together() -> None:
    history = good(faulty=False)
    history.fault(BlastRadius(months=frozenset({DECEMBER}), write=Write.DELAYED, delay_ms=500))
    for _ in range(10):
        history.op(15.0, DECEMBER, 202, batch=900, writer=7)
    run = history.run()
    assert Oracle(run).expect(run.operations[-1]).allowed == {201, 202}, "ten at once do not fit the share of four"


def test_five_events_of_one_batch_open_no_breaker() -> None:
    history = Made()
    history.records = list(good().records)
    history.next_op = good().next_op
    alone = history.ops(DECEMBER, CONFIRMED - 0.2, HEALING)
    for number in alone[1:]:
        history.edit(ev.Invoke, lambda r, number=number: r.op == number, batch=900)  # type: ignore[misc]
        history.edit(ev.Complete, lambda r, number=number: r.op == number, t=CONFIRMED + 0.05)  # type: ignore[misc]
    shown = 'datastorage_partition_status{partition="2025_12",status="healthy"}'
    for index, record in enumerate(history.records):
        if isinstance(record, ev.MetricsSample) and CONFIRMED < record.t < CONFIRMED + 1.5:
            wanted = {**record.series, shown: 1.0, shown.replace("healthy", "unavailable"): 0.0}
            history.records[index] = ev.MetricsSample(record.t, wanted)
    assert not [each for each in check("metrics", history).findings if "is shown healthy" in each.summary]


@pytest.mark.parametrize(
    ("radius", "status", "honest"),
    [
        (None, 400, True),
        (None, 201, False),
        (None, 202, False),
        (RADIUS, 202, True),
        (RADIUS, 400, True),
        (RADIUS, 201, False),
        (RADIUS, 503, False),
        (BlastRadius(months=frozenset({DECEMBER}), write=Write.NO, dlq=Dlq.NO), 503, True),
        (BlastRadius(months=frozenset({DECEMBER}), write=Write.NO, dlq=Dlq.NO), 202, False),
        (BlastRadius(months=frozenset({DECEMBER}), write=Write.PARTIAL), 202, True),
        (BlastRadius(months=frozenset({DECEMBER}), write=Write.PARTIAL), 201, False),
    ],
)
def test_poison_is_refused_where_the_month_can_be_asked_and_else_queued(
    radius: BlastRadius | None, status: int, honest: bool
) -> None:
    history = good(faulty=False)
    if radius is not None:
        history.fault(radius)
    history.op(15.0, DECEMBER, status, kind=ev.OpKind.POISON)
    run = history.run()
    assert (status in Oracle(run).expect(run.operations[-1]).allowed) == honest


def test_a_stored_history_from_before_is_read_and_judged_alike() -> None:
    record = decode(
        '{"record":"Invoke","t":1.0,"op":1,"writer":0,"kind":"write","event_id":"x","event_date":"2026-01-01",'
        '"content":"{}","of":null}'
    )
    assert isinstance(record, ev.Invoke)
    assert record.batch == 0
    ended = decode('{"record":"Complete","t":1.0,"op":1,"type":"ok","status":201}')
    assert isinstance(ended, ev.Complete)
    assert (ended.flaw, ended.answered_id) == ("", "")
    assert json.loads(encode(ended))["flaw"] == ""
