"""The readiness checker: 200 while queue or table take an event, and what is named is what is ill."""

from __future__ import annotations

import dataclasses
import json

import pytest

from harness import events as ev
from harness.blast import BlastRadius, Dlq, Edge, ServiceState, Write
from harness.values import Promise, Verdict
from tests.unit.histories import DECEMBER, JANUARY, PROBED, RADIUS, History, check, good, promises

ILL = (f"partition {DECEMBER}",)
OUTAGE = BlastRadius(months=None, write=Write.NO, edge=Edge.RESTART, outlives_clients=True)
NO_QUEUE = BlastRadius(months=None, dlq=Dlq.NO, edge=Edge.MONTHS)


def answer(history: History, start: float, end: float, **changes: object) -> None:
    history.edit(ev.ReadySample, lambda r: start <= r.t <= end, **changes)


def under(radius: BlastRadius, *others: BlastRadius, degraded: tuple[str, ...] = ("database",)) -> History:
    """The good run under other faults of the same time."""
    history = good()
    history.drop(ev.FaultMark)
    for number, each in enumerate((radius, *others)):
        history.fault(each, number=number, name=f"fault-{number}")
    answer(history, 10.5, PROBED, degraded=degraded)
    return history


def said(history: History) -> str:
    return " ".join(finding.summary for finding in check("readiness", history).findings)


def test_honest_readiness_passes_with_and_without_a_fault() -> None:
    assert check("readiness", good()).verdict is Verdict.PASS
    assert check("readiness", good(faulty=False)).verdict is Verdict.PASS


def test_readiness_that_nobody_saw_is_unknown() -> None:
    history = good()
    history.edit(ev.ReadySample, lambda r: True, status=0)
    (answerless,) = check("readiness", history).unknowns
    history.drop(ev.ReadySample)
    assert check("readiness", history).unknowns == (answerless,)
    assert "No answer of /health/ready" in answerless


@pytest.mark.parametrize("at", [5.0, 15.0, 30.0])
def test_a_service_whose_queue_takes_events_is_ready(at: float) -> None:
    history = good()
    answer(history, at, at, status=503)
    assert promises("readiness", history) == {Promise.TRUTH}
    assert "although the queue took events" in said(history)


def test_readiness_in_an_outage_of_the_database_alone_is_200() -> None:
    history = under(OUTAGE)
    assert check("readiness", history).verdict is Verdict.PASS
    answer(history, 15, 15, status=503)
    assert "answered 503 although the queue took events (fault-0" in said(history)


def test_a_service_that_has_nowhere_to_go_with_an_event_is_not_ready_once_it_must_have_noticed() -> None:
    history = under(OUTAGE, NO_QUEUE, degraded=("database", "dlq"))
    for number in range(6):
        history.op(11.0 + number / 10, DECEMBER, 503, outcome="not_stored")
    answer(history, 10.5, PROBED, status=503)
    assert check("readiness", history).verdict is Verdict.PASS
    answer(history, 10.5, 14.0, status=200)
    assert check("readiness", history).verdict is Verdict.PASS, "it may not have noticed yet"
    answer(history, 18.0, 18.0, status=200)
    assert "answered 200 while fault-0 and fault-1 let no event be stored or queued" in said(history)


def test_a_fault_of_one_month_and_the_queue_leaves_the_other_months_ready() -> None:
    history = under(RADIUS, NO_QUEUE, degraded=(*ILL, "dlq"))
    assert check("readiness", history).verdict is Verdict.PASS
    answer(history, 15.0, 15.0, status=503)
    assert "although the table took events of months that fault-0 does not reach" in said(history)
    whole = under(OUTAGE, NO_QUEUE, degraded=("database", "dlq"))
    answer(whole, 15.0, 15.0, status=503)
    assert check("readiness", whole).verdict is Verdict.PASS


def test_readiness_without_the_queue_alone_is_200() -> None:
    history = under(NO_QUEUE, degraded=("dlq",))
    assert check("readiness", history).verdict is Verdict.PASS
    answer(history, 15, 15, status=503)
    assert "although the table took events" in said(history)


def test_a_service_without_any_store_is_honestly_not_ready() -> None:
    history = under(OUTAGE, NO_QUEUE, degraded=("database", "dlq"))
    answer(history, 15, 17, status=503)
    assert check("readiness", history).verdict is Verdict.PASS


def test_a_process_that_ends_or_begins_need_not_be_ready() -> None:
    down = BlastRadius(months=None, write=Write.NO, service=ServiceState.DOWN, edge=Edge.RESTART)
    history = under(down, degraded=())
    answer(history, 15, 17, status=503)
    assert check("readiness", history).verdict is Verdict.PASS
    alone = good(faulty=False)
    alone.add(ev.ServiceMark(14.9, "down", 7), ev.ServiceMark(15.2, "started", 8))
    answer(alone, 15, 18, status=503)
    assert check("readiness", alone).verdict is Verdict.PASS
    answer(alone, 25, 25, status=503)
    assert promises("readiness", alone) == {Promise.TRUTH}


def test_another_status_than_200_and_503_is_a_finding() -> None:
    history = good()
    answer(history, 30, 30, status=500)
    assert "answered 500" in said(history)


@pytest.mark.parametrize("name", [f"partition {JANUARY}", "database", "dlq"])
def test_what_is_not_ill_is_not_named(name: str) -> None:
    for at in (5.0, 15.0):
        history = good()
        answer(history, at, at, degraded=(*ILL, name) if at > 10 else (name,))
        assert promises("readiness", history) == {Promise.TRUTH}


@pytest.mark.parametrize(("ended_before", "honest"), [(-0.3, True), (1.2, True), (4.9, True), (5.1, False)])
def test_a_month_may_be_named_while_a_write_stalls_and_for_the_recovery_time_after_it(
    ended_before: float, honest: bool
) -> None:
    history = good()
    answer(history, 9, 9, degraded=(f"partition {JANUARY}",))
    history.row(history.op(9 - ended_before - 0.4, JANUARY, 201, took=0.4))
    assert (check("readiness", history).verdict is Verdict.PASS) is honest


def test_a_database_beside_which_the_canary_stalls_may_be_named() -> None:
    history = good()
    answer(history, 5, 5, degraded=("database",))
    history.edit(ev.CanarySample, lambda r: r.month == JANUARY.label and 4 < r.t < 5, seconds=1.2)
    assert check("readiness", history).verdict is Verdict.PASS


def test_a_queue_that_the_scenario_makes_small_may_be_full() -> None:
    history = good()
    answer(history, 15, 16, degraded=(*ILL, "dlq"))
    scenario = json.dumps({"service_environment": {"DLQ_MAX_EVENTS": "60"}})
    history.edit(ev.RunStarted, lambda r: True, scenario_json=scenario)
    assert check("readiness", history).verdict is Verdict.PASS


def test_a_month_that_takes_nothing_is_named_once_its_breaker_must_be_open() -> None:
    history = good()
    answer(history, 10.5, 10.5, degraded=())
    assert check("readiness", history).verdict is Verdict.PASS, "its fifth event was just turned away"
    answer(history, 14, 14, degraded=())
    assert f"does not name {DECEMBER}" in said(history)
    database = good()
    answer(database, 14, 14, degraded=("database",))
    assert "does not name" not in said(database)


def test_an_outage_is_named_soon_after_a_breaker_s_worth_of_events() -> None:
    history = under(OUTAGE)
    answer(history, 10.5, 11.5, degraded=())
    assert check("readiness", history).verdict is Verdict.PASS
    answer(history, 13, 13, degraded=())
    assert "names nothing while fault-0 lets no event be stored" in said(history)
    months = under(OUTAGE, degraded=ILL)
    assert check("readiness", months).verdict is Verdict.PASS, "all its months may be what is named"


def test_a_queue_that_turned_events_away_is_named() -> None:
    history = under(RADIUS, dataclasses.replace(NO_QUEUE, months=RADIUS.months), degraded=ILL)
    assert check("readiness", history).verdict is Verdict.PASS, "no event has met it"
    for number in history.ops(DECEMBER, 11, 12):
        history.answer(number, 503, outcome="not_stored")
    assert "does not name the queue while fault-1 is on" in said(history)
    answer(history, 10.5, PROBED, degraded=(*ILL, "dlq"))
    assert check("readiness", history).verdict is Verdict.PASS


def test_a_question_that_nobody_answers_while_events_are_is_a_finding() -> None:
    history = under(OUTAGE)
    answer(history, 15, 15.5, status=0)
    assert check("readiness", history).verdict is Verdict.PASS
    answer(history, 15, 16, status=0)
    assert "gave no answer from 15.0 s" in said(history)
    paused = under(dataclasses.replace(OUTAGE, service=ServiceState.PAUSED))
    answer(paused, 15, 17, status=0)
    assert check("readiness", paused).verdict is Verdict.PASS
