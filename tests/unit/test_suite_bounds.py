"""What a suite begins: shards, the first failure, the time budget."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.checking import CheckResult
from harness.discovery import shard_of
from harness.errors import UsageError
from harness.gate import Exit, decide
from harness.results import RunResult
from harness.runner import RunObserver, RunPlan
from harness.scenario import Load, Scenario
from harness.session import REFERENCE_TARGET, SilentDisplay
from harness.stacks.embedded import EmbeddedOptions, EmbeddedStack
from harness.suite import SuiteOptions, SuiteRunner
from harness.targets.model import load_target
from harness.turns import Alone
from harness.values import Month, Verdict
from tests.unit.report_samples import lost


def scenarios(shared: int, alone: int) -> list[Scenario]:
    load = Load(months=(Month(2025, 12),))
    return [
        Scenario(name=f"s{number}", claim="C.", requirements=(), load=load, exclusive=number >= shared)
        for number in range(shared + alone)
    ]


@given(shared=st.integers(0, 40), alone=st.integers(0, 9), count=st.integers(1, 12))
def test_the_shards_of_a_suite_are_all_of_it_once_and_alike_in_size(shared: int, alone: int, count: int) -> None:
    everything = scenarios(shared, alone)
    parts: list[list[Scenario]] = []
    for number in range(1, count + 1):
        try:
            parts.append(shard_of(everything, f"{number}/{count}"))
        except UsageError:
            parts.append([])
    names = [scenario.name for part in parts for scenario in part]
    assert sorted(names) == sorted(scenario.name for scenario in everything)
    for exclusive in (True, False):
        sizes = [sum(scenario.exclusive is exclusive for scenario in part) for part in parts]
        assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("shard", ["0/4", "5/4", "1", "1/0", "a/b", "1/4 ", "-1/4", ""])
def test_what_is_no_part_of_a_whole_is_a_usage_error_with_an_example(shard: str) -> None:
    with pytest.raises(UsageError, match="--shard 1/4"):
        shard_of(scenarios(8, 2), shard)


def test_an_empty_shard_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="use fewer"):
        shard_of(scenarios(1, 0), "2/2")


class Judged(SuiteRunner):
    """Runs that are judged as told, without parts."""

    verdicts: dict[str, CheckResult]

    async def _measured(self, plan: RunPlan, alone: Alone) -> RunResult:
        check = self.verdicts.get(plan.scenario.name, CheckResult("conservation"))
        return RunResult(plan.run, plan.folder, plan.scenario, plan.seed, 1.0, checks=(check,))


async def judged_by_nobody(*_: object) -> RunResult:
    raise AssertionError("what no part played is judged by the class above")


class Seen(SilentDisplay):
    def __init__(self) -> None:
        self.started: list[str] = []
        self.finished: list[str] = []

    def scenario_started(self, run: str, scenario: Scenario) -> None:
        self.started.append(scenario.name)

    def scenario_judged(self, result: RunResult) -> None:
        assert result.scenario.name in self.started, "reports of a run that never began"

    def scenario_finished(self, result: RunResult) -> None:
        self.finished.append(result.scenario.name)


def run(
    tmp_path: Path,
    verdicts: dict[str, CheckResult],
    *,
    fail_fast: bool = False,
    time_budget_seconds: float | None = None,
) -> tuple[list[RunResult], Seen]:
    seen = Seen()
    options = SuiteOptions(
        reports=tmp_path,
        seed=1,
        jobs=1,
        lock_file=tmp_path / "lock",
        fail_fast=fail_fast,
        time_budget_seconds=time_budget_seconds,
    )
    stack = EmbeddedStack(EmbeddedOptions())
    runner = Judged(stack, load_target(REFERENCE_TARGET), options, seen, RunObserver(), judged_by_nobody)
    runner.verdicts = verdicts
    return asyncio.run(runner.run_all(scenarios(4, 1))), seen


def test_after_the_first_failure_nothing_begins_and_what_did_not_is_unknown(tmp_path: Path) -> None:
    results, seen = run(tmp_path, {"s1": lost()}, fail_fast=True)
    assert seen.started == ["s0", "s1"]
    assert seen.finished == ["s0", "s1", "s2", "s3", "s4"]
    assert [result.verdict for result in results] == [Verdict.PASS, Verdict.FAIL, *3 * [Verdict.UNKNOWN]]
    assert results[4].checks[0].unknowns == ("Not begun: s1 failed before, and --fail-fast was given.",)
    assert decide(results) is Exit.FAILED


def test_an_unknown_does_not_end_a_suite_that_fails_fast(tmp_path: Path) -> None:
    results, seen = run(tmp_path, {"s1": CheckResult("conservation", unknowns=("?",))}, fail_fast=True)
    assert len(seen.started) == len(results) == 5


def test_a_failure_ends_nothing_unless_asked_to(tmp_path: Path) -> None:
    assert len(run(tmp_path, {"s1": lost()})[1].started) == 5


def test_a_budget_that_is_used_up_is_inconclusive_and_never_green(tmp_path: Path) -> None:
    results, seen = run(tmp_path, {}, time_budget_seconds=1e-9)
    assert seen.started == []
    assert results[0].checks[0].unknowns == ("Not begun: the time budget of 1e-09 s was used up.",)
    assert decide(results) is Exit.INCONCLUSIVE
    assert decide(run(tmp_path, {}, time_budget_seconds=3600.0)[0]) is Exit.PASSED


def test_a_target_lacks_what_it_neither_lists_nor_makes_by_itself() -> None:
    target = load_target(REFERENCE_TARGET)
    today = Month.of(datetime.now(UTC).date())
    assert target.lacks([*target.months, today, today.plus(1)]) == frozenset()
    assert target.lacks([Month(1999, 1), today]) == {Month(1999, 1)}
