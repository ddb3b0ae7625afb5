"""Whose turn it is: what an exclusive run may overlap with, and what keeps away from it."""

from __future__ import annotations

import asyncio
import fcntl
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from harness._wait import pause, wait_until
from harness.checking import CheckResult
from harness.faults.database import KillDatabase, StopDatabase
from harness.faults.server import KillBackend
from harness.results import RunResult
from harness.runner import RunObserver, RunPlan
from harness.scenario import Load, Scenario
from harness.schedule import Schedule, Step
from harness.session import REFERENCE_TARGET, SilentDisplay
from harness.stacks.embedded import EmbeddedOptions, EmbeddedStack
from harness.suite import SuiteOptions, SuiteRunner, paced_seconds
from harness.targets.model import load_target
from harness.turns import Alone
from harness.values import Month
from tests.unit.report_samples import lost
from tests.unit.test_suite_bounds import judged_by_nobody

DEADLINE_SECONDS = 30.0
PART_SECONDS = 0.03
"""Each part takes several turns of the loop, or nothing could be seen beside it."""


def scenario(name: str, *, exclusive: bool = False) -> Scenario:
    return Scenario(name=name, claim="C.", requirements=(), load=Load(months=(Month(2025, 12),)), exclusive=exclusive)


class Stage:
    """What runs do at the moment, of one suite or of several, and what must be under way before a part ends.

    A run plays until another has begun, and is judged until another waits, if one is named.
    """

    def __init__(self, *, play_until: dict[str, str] | None = None, judged_until: dict[str, str] | None = None) -> None:
        self.play_until = play_until or {}
        self.judged_until = judged_until or {}
        self.began: list[str] = []
        self.began_by_end_of_play: dict[str, list[str]] = {}
        self.waited: list[str] = []
        self.reported: list[str] = []
        self.under_way: set[str] = set()
        self.most_under_way = 0
        self.busy: set[str] = set()
        self.neighbours: dict[str, set[str]] = {}

    async def part(self, name: str, until: str | None = None, come_to: Sequence[str] = ()) -> None:
        """Be busy, long enough for whatever may begin beside it, and until that run has come to something."""

        async def come() -> bool:
            return until is None or until in come_to

        self.busy.add(name)
        seen = set(self.busy)
        await pause(PART_SECONDS)
        await wait_until(come, what=f"{until}", deadline_seconds=DEADLINE_SECONDS)
        self.neighbours[name] = (seen | self.busy) - {name}
        self.busy.discard(name)


class Staged(SuiteRunner):
    """Runs without parts that keep to a stage, and go through a turn as real ones do."""

    stage: Stage
    failing: str = ""

    async def _measured(self, plan: RunPlan, alone: Alone) -> RunResult:
        stage, name = self.stage, plan.scenario.name
        stage.began.append(name)
        stage.under_way.add(name)
        stage.most_under_way = max(stage.most_under_way, len(stage.under_way))
        await stage.part(f"{name} starts")
        async with alone():
            await stage.part(f"{name} plays", stage.play_until.get(name), stage.began)
            stage.began_by_end_of_play[name] = list(stage.began)
        await stage.part(f"{name} is judged", stage.judged_until.get(name), stage.waited)
        stage.under_way.discard(name)
        check = lost() if name == self.failing else CheckResult("conservation")
        return RunResult(plan.run, plan.folder, plan.scenario, plan.seed, 1.0, checks=(check,))


class Guarded(SilentDisplay):
    """Writes no reports, and looks whether a measurement could begin beside them."""

    def __init__(self, stage: Stage, lock_file: Path) -> None:
        self._stage = stage
        self._lock_file = lock_file

    def scenario_judged(self, result: RunResult) -> None:
        with self._lock_file.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._stage.reported.append(result.scenario.name)


class Steps(RunObserver):
    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    async def step(self, run: str, number: int, text: str, environment: object) -> None:
        assert (number, text) == (3, "waits until it is alone")
        self._stage.waited.append(run.split("-")[2])


def suite(
    tmp_path: Path,
    stage: Stage,
    *,
    jobs: int = 8,
    fail_fast: bool = False,
    time_budget_seconds: float | None = None,
    failing: str = "",
) -> Staged:
    options = SuiteOptions(
        reports=tmp_path,
        seed=1,
        jobs=jobs,
        lock_file=tmp_path / "lock",
        fail_fast=fail_fast,
        time_budget_seconds=time_budget_seconds,
    )
    stack = EmbeddedStack(EmbeddedOptions())
    made = Staged(
        stack, load_target(REFERENCE_TARGET), options, Guarded(stage, options.lock_file), Steps(stage), judged_by_nobody
    )
    made.stage, made.failing = stage, failing
    return made


def run(made: Staged, scenarios: Sequence[Scenario]) -> list[str]:
    return [result.scenario.name for result in asyncio.run(made.run_all(scenarios))]


def test_an_exclusive_run_starts_while_the_last_shared_one_plays_and_plays_when_that_was_judged(tmp_path: Path) -> None:
    stage = Stage(play_until={"shared": "alone"})
    assert run(suite(tmp_path, stage), [scenario("alone", exclusive=True), scenario("shared")]) == ["alone", "shared"]
    assert stage.neighbours["alone plays"] == set()
    assert stage.waited == ["alone"]
    assert stage.reported == ["shared", "alone"], "reports are written within the turn"


def test_the_next_exclusive_run_starts_while_the_last_one_is_judged_and_no_sooner(tmp_path: Path) -> None:
    stage = Stage(judged_until={"first": "second", "second": "third"})
    names = ["first", "second", "third"]
    assert run(suite(tmp_path, stage), [scenario(name, exclusive=True) for name in names]) == names
    assert [stage.neighbours[f"{name} plays"] for name in names] == [set(), set(), set()]
    assert stage.began_by_end_of_play == {"first": names[:1], "second": names[:2], "third": names}
    assert stage.waited == ["second", "third"]


def test_with_one_job_runs_go_one_after_the_other(tmp_path: Path) -> None:
    stage = Stage()
    names = ["a", "b", "c", "d"]
    assert run(suite(tmp_path, stage, jobs=1), [scenario(name, exclusive=name > "b") for name in names]) == names
    assert stage.most_under_way == 1
    assert stage.waited == []


@pytest.mark.parametrize(("jobs", "begun"), [(1, []), (2, ["alone"])])
def test_with_one_place_an_exclusive_run_takes_no_port_before_its_turn(
    tmp_path: Path, jobs: int, begun: list[str]
) -> None:
    stage = Stage()
    made = suite(tmp_path, stage, jobs=jobs)

    async def play() -> None:
        with (tmp_path / "lock").open("w") as neighbour:
            fcntl.flock(neighbour, fcntl.LOCK_SH)
            running = asyncio.create_task(made.run_all([scenario("alone", exclusive=True)]))
            await pause(3 * PART_SECONDS)
            assert stage.began == begun
            assert stage.began_by_end_of_play == {}
        await running

    asyncio.run(play())
    assert stage.began_by_end_of_play == {"alone": ["alone"]}


def test_exclusive_runs_of_two_suites_never_meet_anything(tmp_path: Path) -> None:
    stage = Stage(play_until={"shared1": "alone2"})
    first, second = suite(tmp_path, stage), suite(tmp_path, stage)

    async def both() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(first.run_all([scenario("shared1"), scenario("alone1", exclusive=True)]))
            group.create_task(second.run_all([scenario("alone2", exclusive=True), scenario("more2", exclusive=True)]))

    asyncio.run(both())
    assert [stage.neighbours[f"{name} plays"] for name in ("alone1", "alone2", "more2")] == [set(), set(), set()]


@pytest.mark.parametrize("failing", ["shared", "alone"])
def test_with_fail_fast_no_exclusive_run_starts_before_all_before_it_were_judged(tmp_path: Path, failing: str) -> None:
    stage = Stage()
    chosen = [scenario("shared"), scenario("alone", exclusive=True), scenario("last", exclusive=True)]
    run(suite(tmp_path, stage, fail_fast=True, failing=failing), chosen)
    assert stage.began == ["shared", "alone"][: 1 + (failing == "alone")]


def test_with_a_time_budget_no_exclusive_run_begins_while_others_play(tmp_path: Path) -> None:
    stage = Stage()
    chosen = [scenario("shared"), scenario("alone", exclusive=True)]
    run(suite(tmp_path, stage, time_budget_seconds=3600.0), chosen)
    assert stage.began_by_end_of_play == {"shared": ["shared"], "alone": ["shared", "alone"]}
    assert stage.most_under_way == 1


def test_what_takes_longest_begins_first_and_results_keep_their_order(tmp_path: Path) -> None:
    stage = Stage()
    paced = replace(scenario("slow"), load=replace(scenario("slow").load, rate_per_writer=5.0))
    assert run(suite(tmp_path, stage, jobs=1), [scenario("a"), paced, scenario("b")]) == ["a", "slow", "b"]
    assert stage.began == ["slow", "a", "b"]


def test_a_load_takes_its_pace_and_each_edge_and_what_its_fault_waits_for() -> None:
    plain = scenario("plain")
    assert paced_seconds(plain, 5.0) == pytest.approx(600 / 100)
    assert paced_seconds(replace(plain, load=replace(plain.load, rate_per_writer=0.0)), 5.0) == 0.0
    assert paced_seconds(replace(plain, fault_seconds=20.0), 5.0) == pytest.approx(600 / 100 + 20.0)
    healed = replace(plain, schedule=Schedule.of(StopDatabase()))
    assert paced_seconds(healed, 5.0) == pytest.approx(600 / 100 + 5.0)
    moment = replace(plain, schedule=Schedule.of(KillBackend()))
    assert paced_seconds(moment, 5.0) == pytest.approx(600 / 100 + 5.0)
    struck = replace(
        plain, schedule=Schedule((Step(StopDatabase()), Step(KillDatabase(), after_events=50, after_healing=1)))
    )
    assert paced_seconds(struck, 5.0) == pytest.approx(650 / 100 + 10.0)
    cycles = replace(plain, schedule=Schedule.cycles(StopDatabase(), times=3, after_events=50))
    assert paced_seconds(cycles, 5.0) == pytest.approx(700 / 100 + 5.0), "no edge is waited for between cycles"
