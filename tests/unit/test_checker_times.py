"""Checkers about time: fallback, recovery, and the four clocks."""

from __future__ import annotations

import dataclasses

import pytest

from harness import events as ev
from harness.checkers.clocks import clocks
from harness.values import Promise, Verdict
from tests.unit.histories import (
    DECEMBER,
    END,
    HEALING,
    JANUARY,
    PROBED,
    RADIUS,
    History,
    check,
    event_id,
    good,
    promises,
)


def test_an_answer_after_the_deadline_is_a_finding() -> None:
    history = good()
    history.edit(ev.Complete, lambda r: r.op == 3, t=5.6)
    result = check("fallback", history)
    assert [(f.promise, f.event_ids) for f in result.findings] == [(Promise.FALLBACK, (event_id(3),))]


def test_an_answer_just_inside_the_deadline_is_none() -> None:
    history = good()
    number = history.op(5.0, JANUARY, 201, took=5.2)
    history.row(number)
    assert check("fallback", history).verdict is Verdict.PASS


def test_a_month_never_queued_within_the_deadline_of_the_bite_is_a_finding() -> None:
    history = good()
    for number in history.ops(DECEMBER, 10.0, 15.5):
        history.answer(number, 503)
    (finding,) = check("fallback", history).findings
    assert finding.promise is Promise.FALLBACK
    assert event_id(history.ops(DECEMBER, 12, 13)[0]) in finding.event_ids


def test_a_first_202_late_but_in_time_for_the_first_write_is_none() -> None:
    history = good()
    for number in history.ops(DECEMBER, 10.0, 14.0):
        history.answer(number, 503)
    assert check("fallback", history).verdict is Verdict.PASS


def _queueing(took: float, queued: int = 2100) -> History:
    history = History(judge_latency=True)
    history.fault()
    for i in range(2100):
        history.op(1 + i * 0.004, JANUARY, 201, took=0.02)
    for i in range(queued):
        history.op(11 + i * 0.004, DECEMBER, 202, took=took)
    return history


def test_a_slow_median_202_is_a_finding_when_latency_is_judged() -> None:
    assert check("fallback", _queueing(0.05)).verdict is Verdict.PASS
    assert check("fallback", _queueing(0.065)).verdict is Verdict.PASS, "over 3 times, but not by more than 50 ms"
    assert promises("fallback", _queueing(0.2)) == {Promise.FALLBACK}
    stalled = _queueing(0.2)
    stalled.add(ev.CanarySample(12.0, JANUARY.label, 2.0))
    assert check("fallback", stalled).verdict is Verdict.UNKNOWN
    assert check("fallback", _queueing(0.05, queued=1990)).verdict is Verdict.UNKNOWN
    few = good()
    few.edit(ev.RunStarted, lambda r: True, scenario_json='{"judge_latency": true}')
    assert check("fallback", few).verdict is Verdict.UNKNOWN


@pytest.mark.parametrize(("stalled_at", "verdict"), [(17.0, Verdict.UNKNOWN), (27.0, Verdict.FAIL)])
def test_a_stall_beside_any_of_the_queueing_months_excuses_a_slow_202(stalled_at: float, verdict: Verdict) -> None:
    history = History(judge_latency=True)
    history.fault(dataclasses.replace(RADIUS, months=frozenset({DECEMBER, JANUARY})))
    february = JANUARY.plus(1)
    for i in range(2100):
        history.op(1 + i * 0.004, february, 201, took=0.02)
        history.op(11 + i * 0.004, DECEMBER, 202, took=0.2)
    for i in range(20):
        history.op(11 + i * 0.1, JANUARY, 202, took=0.2)
    history.add(*(ev.CanarySample(step / 10, february.label, 0.01) for step in range(300)))
    history.add(ev.CanarySample(stalled_at, february.label, 1.0))
    assert check("fallback", history).verdict is verdict


def test_a_month_that_does_not_resume_is_a_finding() -> None:
    history = good()
    tried = history.ops(DECEMBER, HEALING, PROBED + 5.5)
    for number in tried:
        history.answer(number, 202)
    (finding,) = [f for f in check("recovery", history).findings if "No direct write" in f.summary]
    assert finding.promise is Promise.RECOVERY
    assert event_id(tried[-5]) in finding.event_ids
    history.edit(ev.CanarySample, lambda r: r.month == DECEMBER.label and 21 < r.t < 22, seconds=4.0)
    stalled = check("recovery", history)
    assert "No direct write" not in " ".join(finding.summary for finding in stalled.findings)
    assert any("No direct write" in said and "canary" in said for said in stalled.unknowns)


def test_a_month_resumed_within_the_recovery_time_is_none() -> None:
    history = good()
    for number in history.ops(DECEMBER, HEALING, PROBED + 4.5):
        history.answer(number, 202)
    assert check("recovery", history).verdict is Verdict.PASS


def test_a_202_later_than_the_recovery_edge_breaks_recovery_only() -> None:
    history = good()
    said = history.answer(history.ops(DECEMBER, PROBED + 6, END)[0], 202)
    assert [(f.promise, f.event_ids) for f in check("recovery", history).findings] == [(Promise.RECOVERY, (said,))]
    assert check("honest-status", history).verdict is Verdict.PASS


def test_recovery_that_nobody_saw_is_unknown() -> None:
    unprobed = good()
    unprobed.drop(ev.FaultMark, lambda r: r.step is ev.FaultStep.PROBED)
    assert check("recovery", unprobed).verdict is Verdict.UNKNOWN
    unwritten = good()
    late = set(unwritten.ops(DECEMBER, HEALING, END))
    unwritten.drop(ev.Invoke, lambda r: r.op in late)
    assert check("recovery", unwritten).verdict is Verdict.UNKNOWN


def test_a_depth_above_zero_after_an_empty_final_read_is_a_finding() -> None:
    history = good()
    history.add(ev.DlqSample(END + 1, 3))
    assert promises("recovery", history) == {Promise.RECOVERY}


def test_a_steady_state_that_does_not_return_is_a_finding() -> None:
    history = good()
    history.add(ev.Note(END, "recovery", "partition 2025_12 is unavailable"))
    assert promises("recovery", history) == {Promise.RECOVERY}
    history.drop(ev.FaultMark, lambda r: r.step is ev.FaultStep.PROBED)
    assert check("recovery", history).verdict is Verdict.UNKNOWN


def test_a_month_that_another_fault_still_hurts_recovers_on_that_faults_clock() -> None:
    history = good()
    history.fault(number=1, injecting=12, injected=12.1, confirmed=12.2, healing=13, healed=13.1, probed=13.2)
    first, second = clocks(history.run())
    assert first.recover_seconds == pytest.approx(0.06)
    assert (second.recover_seconds, second.drain_seconds) == (None, None)
    assert check("recovery", history).verdict is Verdict.PASS


def test_clocks_measure_each_window() -> None:
    (clock,) = clocks(good().run())
    assert clock.detect_seconds == pytest.approx(0.1)
    assert clock.fallback_seconds == 0.0
    assert clock.recover_seconds == pytest.approx(0.06)
    assert clock.drain_seconds == pytest.approx(1.3)


def test_clocks_are_none_where_nothing_happened() -> None:
    history = History()
    history.fault(injected=None, confirmed=None, healing=None, healed=None, probed=None)
    (clock,) = clocks(history.run())
    assert (clock.detect_seconds, clock.fallback_seconds, clock.recover_seconds, clock.drain_seconds) == (None,) * 4


def test_a_queue_not_read_at_the_end_leaves_recovery_unknown() -> None:
    history = good()
    history.edit(ev.FinalRead, lambda r: True, dlq=False)
    assert check("recovery", history).verdict is Verdict.UNKNOWN


def test_a_status_series_alone_shows_that_the_service_noticed() -> None:
    history = good()
    history.drop(ev.LogLine)
    (clock,) = clocks(history.run())
    assert clock.detect_seconds == pytest.approx(0.4)


def test_a_late_answer_beside_a_canary_that_stalled_without_a_fault_is_unknown() -> None:
    history = good()
    number = history.ops(JANUARY, 28, 29)[0]
    history.edit(ev.Complete, lambda r: r.op == number, t=35.0)
    assert check("fallback", history).verdict is Verdict.FAIL
    history.edit(ev.CanarySample, lambda r: r.t == 30.0 and r.month == JANUARY.label, seconds=1.5)
    assert check("fallback", history).verdict is Verdict.UNKNOWN
    covered = good()
    late = covered.ops(DECEMBER, 12, 13)[0]
    covered.edit(ev.Complete, lambda r: r.op == late, t=18.0)
    covered.add(ev.CanarySample(13.0, DECEMBER.label, 2.0))
    assert check("fallback", covered).verdict is Verdict.FAIL, "the fault stopped that canary by design"


@pytest.mark.parametrize(("seconds", "slow"), [(0.55, True), (0.45, False)])
def test_202s_that_each_wait_for_a_timeout_are_found_where_latency_is_not_judged(seconds: float, slow: bool) -> None:
    history = good()
    answers = {r.op: r.status for r in history.records if isinstance(r, ev.Complete)}
    for number in history.ops(DECEMBER, 10, 20):
        if answers[number] == 202:
            begun = history.invoke(number).t
            history.edit(ev.Complete, lambda record, wanted=number: record.op == wanted, t=begun + seconds)  # type: ignore[misc]
    found = [finding.summary for finding in check("fallback", history).findings]
    assert bool(found) == slow
    assert not slow or "the median 202 takes 0.55 s" in found[0]
    history.edit(ev.CanarySample, lambda sample: sample.month == JANUARY.label and 14 < sample.t < 15, seconds=1.5)
    assert promises("fallback", history) == set(), "the machine itself may have stalled"
