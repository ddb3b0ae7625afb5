"""A machine that stood still: what ran out meanwhile is nobody's fault, and the run is played again."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

import harness.suite
from harness import events as ev
from harness.checkers._standstill import standstills
from harness.checking import BOUND, COMPARED_WITH, STOOD_STILL, CheckResult, Finding
from harness.results import RunResult
from harness.runner import RunObserver, RunPlan
from harness.scenario import Load, Scenario
from harness.session import REFERENCE_TARGET, SilentDisplay
from harness.stacks.embedded import EmbeddedOptions, EmbeddedStack
from harness.suite import Places, SuiteOptions, SuiteRunner
from harness.targets.model import load_target
from harness.values import Month, Promise, Verdict
from tests.unit.histories import JANUARY, History, check, event_id, good

SAMPLES = ev.CanarySample | ev.ConnectionSample | ev.MetricsSample | ev.DlqSample | ev.ReadySample
STILL, AGAIN = 0.6, 3.3
"""In the control phase of a good run, and longer than half its smallest time-out."""


def stood_still(history: History) -> History:
    """Take away whatever the harness did meanwhile; what was sent just before waited until it went on."""
    within = {r.op for r in history.records if isinstance(r, ev.Invoke) and STILL < r.t < AGAIN}
    history.records = [
        record
        for record in history.records
        if not (
            (isinstance(record, ev.Invoke | ev.Complete) and record.op in within)
            or (isinstance(record, SAMPLES) and STILL < record.t < AGAIN)
        )
    ]
    return history


def test_a_run_whose_samplers_never_stop_did_not_stand_still() -> None:
    assert standstills(good().run()) == ()


def test_a_gap_in_everything_is_a_standstill_and_a_short_one_is_none() -> None:
    ((start, end),) = standstills(stood_still(good()).run())
    assert start <= STILL + 0.1
    assert end >= AGAIN - 0.1
    assert check("evidence", stood_still(good())).facts[STOOD_STILL] == pytest.approx(end - start)


def hung(begin: float, under: float) -> History:
    """A load of one month; of its two halves that one's p99 is a moment in which the machine hung.

    Before the fault a write takes 0.02 s, ``under`` it one in twenty takes so long.
    """
    history, end = History(judge_latency=True), begin + 0.45
    history.fault()

    def send(t: float, took: float) -> None:
        if not begin < t < end:
            history.row(history.op(t, JANUARY, 201, took=end - t if begin - 0.12 < t < begin else took))

    for number in range(2300):
        send(1 + number * 0.0035, 0.02)
        send(11.8 + number * 0.0035, under if number % 20 == 0 else 0.02)
    for step in range(300):
        if not begin < step / 10 < end:
            history.add(ev.CanarySample(step / 10, JANUARY.label, 0.002))
    return history


BEFORE, UNDER = 5.0, 15.0


def test_what_was_under_way_while_the_machine_hung_is_no_measure_for_what_a_fault_does() -> None:
    assert check("isolation", hung(BEFORE, 0.02)).verdict is Verdict.PASS
    slow = check("isolation", hung(BEFORE, 0.3))
    assert slow.facts[COMPARED_WITH] == pytest.approx(0.02)
    assert slow.verdict is Verdict.FAIL


def test_what_was_under_way_while_the_machine_hung_under_the_fault_is_not_the_faults_doing() -> None:
    assert check("isolation", hung(UNDER, 0.02)).verdict is Verdict.PASS
    history = hung(UNDER, 0.3)
    (finding,) = check("isolation", history).findings
    waited = {event_id(op) for op in history.ops(JANUARY, UNDER - 0.11, UNDER)}
    assert waited
    assert not waited & set(finding.event_ids)


@pytest.mark.parametrize(("canary_seconds", "verdict"), [(0.4, Verdict.FAIL), (0.2, Verdict.PASS)])
def test_while_the_disk_hangs_samplers_go_on_and_the_canary_waits(canary_seconds: float, verdict: Verdict) -> None:
    history = hung(BEFORE, 0.3)
    for step in range(4):
        history.add(ev.ConnectionSample(5.1 + step / 10, 20, 20))
    history.add(ev.CanarySample(5.02, JANUARY.label, canary_seconds))
    assert check("isolation", history).verdict is verdict


def test_what_takes_long_while_others_go_on_is_a_measure() -> None:
    history = hung(BEFORE, 0.3)
    for step in range(4):
        history.add(ev.ConnectionSample(5.1 + step / 10, 20, 20))
    told = check("isolation", history)
    assert told.facts[COMPARED_WITH] > 0.4
    assert told.verdict is Verdict.PASS


def test_an_event_queued_in_health_is_a_finding_unless_the_machine_stood_still() -> None:
    alone = good()
    alone.op(STILL - 0.01, JANUARY, 202, took=0.5)
    assert check("honest-status", alone).verdict is Verdict.FAIL
    beside = stood_still(good())
    beside.op(STILL - 0.01, JANUARY, 202, took=AGAIN - STILL)
    assert check("honest-status", beside).verdict is Verdict.UNKNOWN


def test_what_is_lost_or_doubled_counts_though_the_machine_stood_still_and_a_queue_that_is_not_empty_does_not() -> None:
    lost, queued, doubled = good(), good(), good()
    lost.op(5.0, JANUARY, 201)
    queued.queued_row(queued.op(5.0, JANUARY, 202))
    doubled.row(0)
    for name, history, timeless in (
        ("conservation", lost, True),
        ("conservation", queued, False),
        ("duplicates", doubled, True),
    ):
        assert [finding.timeless for finding in check(name, history).findings] == [timeless]


class Silent(SilentDisplay):
    def scenario_judged(self, result: RunResult) -> None:
        """Write no reports."""


FAILED = CheckResult("c", findings=(Finding(Promise.HONEST_STATUS, "queued", ("e",)),))
LOST = CheckResult("c", findings=(Finding(Promise.CONSERVATION, "lost", ("e",), timeless=True),))
SLOW = CheckResult(
    "c",
    findings=(Finding(Promise.ISOLATION, "slow", ("e",), comparative=True),),
    facts={COMPARED_WITH: 0.1, BOUND: 0.2},
)
DISTURBED = CheckResult("c", facts={COMPARED_WITH: 0.5, BOUND: 1.0})
CALM = CheckResult("c", facts={COMPARED_WITH: 0.2, BOUND: 0.4})
STOOD = CheckResult("evidence", facts={STOOD_STILL: 2.5})
PASSED = CheckResult("c")


def played_of(
    outcomes: list[tuple[CheckResult, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, aborted: bool = False
) -> tuple[Verdict, int]:
    """Play one scenario whose runs come to these outcomes one after the other: its verdict, and how many there were."""
    played: list[str] = []
    blank = RunResult("", tmp_path, Scenario(name="s", claim="C.", requirements=(), load=Load(months=())), 1, 1.0)

    async def play(plan: RunPlan, *_: object) -> RunResult:
        played.append(plan.run)
        checks = outcomes[len(played) - 1]
        return replace(blank, run=plan.run, folder=plan.folder, checks=checks, aborted=aborted)

    async def unasked(*_: object) -> RunResult:
        raise AssertionError("what no part played is judged as told")

    monkeypatch.setattr(harness.suite, "run_scenario", play)
    options = SuiteOptions(reports=tmp_path, seed=1, jobs=1, lock_file=tmp_path / "lock")
    runner = SuiteRunner(
        EmbeddedStack(EmbeddedOptions()),
        load_target(REFERENCE_TARGET),
        options,
        Silent(),
        RunObserver(),
        unasked,
        Places(1),
    )
    scenario = replace(blank.scenario, load=Load(months=(Month(2025, 12),)))
    return asyncio.run(runner.run(scenario)).verdict, len(set(played))


@pytest.mark.parametrize(
    ("outcomes", "verdict", "runs"),
    [
        ([(FAILED, STOOD), (PASSED,)], Verdict.PASS, 2),
        ([(FAILED, STOOD), (FAILED,)], Verdict.FAIL, 2),
        ([(CheckResult("c", unknowns=("?",)), STOOD), (PASSED,)], Verdict.PASS, 2),
        ([(PASSED, STOOD)], Verdict.PASS, 1),
        ([(FAILED,)], Verdict.FAIL, 1),
        ([(FAILED, STOOD), (SLOW,), (PASSED,)], Verdict.UNKNOWN, 3),
        ([(SLOW, STOOD), (SLOW,), (SLOW,)], Verdict.FAIL, 3),
        ([(SLOW, STOOD), (FAILED,)], Verdict.FAIL, 2),
        ([(SLOW,), (PASSED,)], Verdict.UNKNOWN, 2),
        ([(SLOW,), (CALM,)], Verdict.UNKNOWN, 2),
        ([(SLOW,), (DISTURBED,), (SLOW,)], Verdict.FAIL, 3),
        ([(SLOW,), (DISTURBED,), (CALM,)], Verdict.UNKNOWN, 3),
        ([(SLOW,), (DISTURBED,), (DISTURBED,)], Verdict.UNKNOWN, 3),
        ([(LOST, STOOD)], Verdict.FAIL, 1),
        ([(FAILED, LOST, STOOD)], Verdict.FAIL, 1),
    ],
)
def test_what_did_not_pass_on_a_machine_that_stood_still_is_played_again_once(
    outcomes: list[tuple[CheckResult, ...]],
    verdict: Verdict,
    runs: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert played_of(outcomes, tmp_path, monkeypatch) == (verdict, runs)


@pytest.mark.parametrize("checks", [(CheckResult("c", unknowns=("?",)), STOOD), (SLOW,)])
def test_what_a_guard_has_ended_is_not_played_again_lest_it_pass(
    checks: tuple[CheckResult, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said, runs = played_of([checks, (PASSED,)], tmp_path, monkeypatch, aborted=True)
    assert (said is Verdict.PASS, runs) == (False, 1)
