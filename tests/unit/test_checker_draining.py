"""The drain after a repair: its begin, its end, who waits beside it, and a service that never comes back."""

from __future__ import annotations

import dataclasses
from datetime import timedelta

import pytest

from harness import events as ev
from harness.blast import BlastRadius, Edge, ServiceState, Write
from harness.checking import CheckResult
from harness.values import Month, Promise, Verdict, utc_timestamp
from tests.unit.histories import (
    DECEMBER,
    END,
    HEALING,
    INJECTING,
    JANUARY,
    PROBED,
    STARTED_AT,
    History,
    check,
    event_id,
    good,
)

SAMPLES = ev.CanarySample | ev.ConnectionSample | ev.MetricsSample | ev.DlqSample | ev.ReadySample
DOWN = BlastRadius(months=None, write=Write.NO, service=ServiceState.DOWN, edge=Edge.RESTART, outlives_clients=True)


def drained(*, begins: float = 21.0, ends: float = 21.5, base: History | None = None) -> History:
    """The good run, whose queued rows were all stored from one moment on, and whose queue was empty from another."""
    history = base or good()
    history.edit(ev.DlqSample, lambda sample: sample.t < INJECTING + 0.5 or sample.t > ends, depth=0)
    history.edit(ev.DlqSample, lambda sample: INJECTING + 0.5 <= sample.t <= ends, depth=90)
    queued = [r.op for r in history.records if isinstance(r, ev.Complete) and r.status == 202]
    for number, op in enumerate(queued):
        moment, identity = utc_timestamp(STARTED_AT + timedelta(seconds=begins + number / 1000)), event_id(op)
        history.edit(ev.TableRow, lambda row, wanted=identity: row.event_id == wanted, recorded_at=moment)  # type: ignore[misc]
    return history


def about(result: CheckResult, words: str) -> list[str]:
    """What the findings say that have these words."""
    return [finding.summary for finding in result.findings if words in finding.summary]


def test_an_honest_drain_passes_with_its_figures() -> None:
    result = check("recovery", drained())
    assert result.verdict is Verdict.PASS
    assert result.facts["backlog_0_lock-partition_events"] == 90
    assert result.facts["drained_0_lock-partition_events_per_second"] == pytest.approx(90 / (22 - PROBED))


@pytest.mark.parametrize(("begins", "late"), [(25.6, False), (25.8, True)])
def test_a_drain_that_begins_after_the_recovery_time_is_a_finding(begins: float, late: bool) -> None:
    result = check("recovery", drained(begins=begins, ends=26))
    assert bool(about(result, "began")) == late
    assert all(finding.event_ids for finding in result.findings)


@pytest.mark.parametrize(("seconds", "late"), [(0.6, True), (1.2, False)])
def test_that_the_fault_itself_stopped_the_canary_excuses_no_late_drain(seconds: float, late: bool) -> None:
    """The insert was begun under the fault; one that ends after the repair shows that the database still stalls."""
    history = drained(begins=28, ends=29)
    history.add(*(ev.CanarySample(11 + step / 10, DECEMBER.label, 0.01, "23514") for step in range(90)))
    history.add(ev.CanarySample(19.5, DECEMBER.label, seconds))
    assert bool(about(check("recovery", history), "began")) == late


def test_a_drain_is_not_timed_beside_another_fault_a_stall_or_without_the_times_of_its_rows() -> None:
    beside = drained(begins=28, ends=29)
    beside.fault(
        number=1, name="detach-partition", injecting=22, injected=22, confirmed=22, healing=23, healed=23, probed=23
    )
    stalled = drained(begins=28, ends=29)
    stalled.edit(ev.CanarySample, lambda sample: 22 < sample.t < 24 and sample.month == JANUARY.label, seconds=1.9)
    untold = drained(begins=28, ends=29)
    untold.edit(ev.TableRow, lambda row: True, recorded_at="")
    for history in (beside, stalled, untold):
        assert not about(check("recovery", history), "began")


@pytest.mark.parametrize(("deadline", "late"), [(8.0, False), (5.0, True)])
def test_a_drain_takes_no_longer_than_its_backlog_allows(deadline: float, late: bool) -> None:
    history = drained(ends=26)
    wishes = f'{{"min_strict_events": 20, "recovery_deadline_seconds": {deadline}}}'
    history.edit(ev.RunStarted, lambda record: True, scenario_json=wishes)
    found = about(check("recovery", history), "are allowed")
    assert bool(found) == late
    if late:
        assert "The drain of 90 events was over 6.3 s after the repair of lock-partition; 5.5 s" in found[0]


def then_paused(history: History, injecting: float) -> History:
    """The history with a second fault, which silences the service while the drain of the first may still go on."""
    paused = BlastRadius(months=None, write=Write.NO, service=ServiceState.PAUSED, edge=Edge.RESTART)
    marks = dict.fromkeys(("injecting", "injected", "confirmed"), injecting)
    history.fault(paused, number=1, name="pause-service", **marks, healing=33.0, healed=33.0, probed=33.0)
    return history


@pytest.mark.parametrize(("injecting", "late"), [(25.5, False), (25.9, True)])
def test_a_drain_that_another_fault_stops_in_its_time_is_not_late(injecting: float, late: bool) -> None:
    history = then_paused(drained(ends=34), injecting)
    wishes = '{"min_strict_events": 20, "recovery_deadline_seconds": 5}'
    history.edit(ev.RunStarted, lambda record: True, scenario_json=wishes)
    assert bool(about(check("recovery", history), "are allowed")) == late


def slow_beside(seconds: float, *, others: bool = False) -> History:
    """A drain of ten seconds in which one January writer waits, with or without others that are served meanwhile."""
    history = drained(ends=31)
    if not others:
        for number in history.ops(JANUARY, 21, 21 + seconds):
            history.drop(ev.Complete, lambda record, wanted=number: record.op == wanted)  # type: ignore[misc]
            history.drop(ev.Invoke, lambda record, wanted=number: record.op == wanted)  # type: ignore[misc]
    history.op(21.0, JANUARY, 201, took=seconds)
    return history


def test_live_writes_that_wait_while_nothing_of_their_month_is_created_starve() -> None:
    (said,) = about(check("recovery", slow_beside(4.0)), "although its writers waited")
    assert "While 90 events drained no event of 2026_01 was created for 4.0 s" in said
    assert not about(check("recovery", slow_beside(2.9)), "although")
    assert not about(check("recovery", slow_beside(4.0, others=True)), "although"), "one slow write is no starvation"


@pytest.mark.parametrize(("month", "starved"), [(JANUARY, True), (DECEMBER, False)])
def test_a_month_that_was_hurt_has_the_recovery_time_to_take_writes_again(month: Month, starved: bool) -> None:
    history = drained(ends=31)
    for number in history.ops(month, 19.9, 24.5):
        history.drop(ev.Complete, lambda record, wanted=number: record.op == wanted)  # type: ignore[misc]
        history.drop(ev.Invoke, lambda record, wanted=number: record.op == wanted)  # type: ignore[misc]
    history.op(PROBED, month, 201, took=4.2)
    assert bool(about(check("recovery", history), "although its writers waited")) == starved


def test_writes_that_wait_under_a_later_fault_do_not_starve_beside_the_drain_of_the_first() -> None:
    history = drained(ends=34)
    for number in history.ops(JANUARY, 26, 31):
        history.drop(ev.Complete, lambda record, wanted=number: record.op == wanted)  # type: ignore[misc]
        history.drop(ev.Invoke, lambda record, wanted=number: record.op == wanted)  # type: ignore[misc]
    history.op(26.0, JANUARY, 201, took=5.0)
    assert about(check("recovery", history), "although its writers waited")
    assert not about(check("recovery", then_paused(history, 26.0)), "although its writers waited")


def test_a_month_that_nobody_writes_into_does_not_starve() -> None:
    history = slow_beside(4.0)
    waiting = history.next_op - 1
    history.drop(ev.Invoke, lambda record: record.op == waiting)
    history.drop(ev.Complete, lambda record: record.op == waiting)
    assert not about(check("recovery", history), "although")


def slowly_beside(seconds: float) -> History:
    """The drained run with latencies judged, of which one in ten beside the drain takes so long."""
    history = drained(ends=31)
    history.edit(ev.RunStarted, lambda record: True, scenario_json='{"judge_latency": true, "min_strict_events": 20}')
    answers = {r.op: r for r in history.records if isinstance(r, ev.Complete)}
    beside = [op for op in history.ops(JANUARY, 21, 30) if answers[op].status == 201]
    for op in beside[::10]:
        history.edit(ev.Complete, lambda record, wanted=op: record.op == wanted, t=history.invoke(op).t + seconds)  # type: ignore[misc]
    for step in range(400):
        history.row(history.op(2 + step / 100, JANUARY, 201))
        history.row(history.op(22 + step / 100, DECEMBER, 201))
    return history


@pytest.mark.parametrize(("seconds", "slow"), [(0.6, True), (0.4, False)])
def test_where_latency_is_judged_live_writes_keep_their_p99_beside_the_drain(seconds: float, slow: bool) -> None:
    assert bool(about(check("recovery", slowly_beside(seconds)), "p99")) == slow


@pytest.mark.parametrize(("begin", "seconds", "slow"), [(7.0, 0.6, True), (28.0, 0.4, False)], ids=["before", "beside"])
def test_a_moment_in_which_the_machine_hung_is_neither_what_is_usual_nor_what_the_drain_does(
    begin: float, seconds: float, slow: bool
) -> None:
    history, end = slowly_beside(seconds), begin + 0.7
    within = {r.op for r in history.records if isinstance(r, ev.Invoke) and begin - 0.6 < r.t < end}
    history.records = [
        record
        for record in history.records
        if not (isinstance(record, ev.Invoke | ev.Complete) and record.op in within)
        and not (isinstance(record, SAMPLES) and begin < record.t < end)
    ]
    for step in range(60):
        sent = begin - 0.02 + step / 10_000
        history.row(history.op(sent, JANUARY, 201, took=end - sent))
    assert bool(about(check("recovery", history), "p99")) == slow
    history.add(*(ev.ConnectionSample(begin + step / 10, 20, 20) for step in range(1, 7)))
    assert bool(about(check("recovery", history), "p99")) != slow, "who moves did not hang"


def gone(*, since: float = 20.0, name: str = "crash-service", final: bool = True) -> History:
    """A run in which the service ends at a heal and answers nothing from then on, whatever is asked."""
    history = good(faulty=False)
    failed = ev.FaultMark(since + 0.3, 0, name, ev.FaultStep.HEAL_FAILED, "the service ended with 1 while it started")
    history.fault(
        DOWN, name=name, injecting=since - 0.2, injected=None, confirmed=None, healing=since, healed=None, probed=None
    )
    history.add(failed)
    history.edit(ev.Complete, lambda record: record.t > since, status=0, type=ev.Completion.INFO)
    history.edit(ev.ReadySample, lambda sample: sample.t > since, status=0)
    if not final:
        history.drop(ev.FinalRead)
    return history


def test_a_service_that_does_not_come_back_from_a_restart_is_a_finding_with_its_last_words() -> None:
    (finding,) = check("recovery", gone()).findings
    assert finding.promise is Promise.RECOVERY
    assert "did not come back after crash-service" in finding.summary
    assert "ended with 1" in finding.summary
    assert finding.event_ids


def test_a_service_that_ended_at_its_start_is_a_finding_although_another_try_brought_it_up() -> None:
    history = good(faulty=False)
    history.fault(DOWN, name="crash-service", injected=None, confirmed=None)
    history.add(ev.FaultMark(INJECTING + 0.4, 0, "crash-service", ev.FaultStep.NOT_CONFIRMED, "it ended with 1"))
    assert not about(check("recovery", history), "ended by itself")
    history.add(ev.ServiceMark(INJECTING + 0.4, "ended"))
    (said,) = about(check("recovery", history), "ended by itself")
    assert said == "The service ended by itself when it was started again after crash-service. it ended with 1"


def test_a_service_that_answered_again_or_that_nobody_waited_for_is_no_finding() -> None:
    back = gone()
    back.edit(ev.ReadySample, lambda sample: sample.t == END - 1, status=503)
    unwaited = gone(since=END - 3)
    for history in (back, unwaited, gone(final=False)):
        result = check("recovery", history)
        assert not about(result, "did not come back")
        assert result.verdict is Verdict.UNKNOWN


def test_a_fault_that_is_not_of_the_process_never_says_that_the_service_is_gone() -> None:
    history = gone()
    history.drop(ev.FaultMark)
    other = dataclasses.replace(DOWN, service=ServiceState.UP)
    history.fault(other, healed=None, probed=None)
    assert not about(check("recovery", history), "did not come back")
    assert HEALING < END
