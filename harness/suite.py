"""Suite: scenarios in parallel, each in its own environment; exclusive ones play alone, after the others."""

from __future__ import annotations

import asyncio
import math
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from .checking import BOUND, COMPARED_WITH, STOOD_STILL, CheckResult
from .errors import HarnessError
from .results import RunResult
from .runner import Judge, RunObserver, RunPlan, not_begun, not_run, run_scenario
from .scenario import Scenario
from .stacks.base import Stack
from .targets.model import Target
from .turns import Alone, Turn, turn
from .values import Phase, Verdict

MEASURED_AGAIN = "measured-again"


class SuiteObserver(Protocol):
    """Hears of whole runs; reporters and progress displays implement it."""

    def scenario_started(self, run: str, scenario: Scenario) -> None:
        """A run begins."""

    def scenario_judged(self, result: RunResult) -> None:
        """A run has been judged: write its reports; called in a thread, since that takes a while."""

    def scenario_finished(self, result: RunResult) -> None:
        """The reports of a run are written."""


@dataclass(frozen=True)
class SuiteOptions:
    """How to run a suite.  ``jobs`` is how many environments may live at once.

    With ``fail_fast`` nothing begins after the first FAIL, and with ``time_budget_seconds`` nothing after that time;
    what runs then ends as usual, and what did not begin is UNKNOWN, so that a suite cut short never passes.
    """

    reports: Path
    seed: int
    jobs: int
    lock_file: Path
    repeat_options: str = ""
    pg_bindir: str = ""
    fail_fast: bool = False
    time_budget_seconds: float | None = None


class Places:
    """What runs take turns by: how many environments may live at once, which exclusive one is next, and since when.

    Runs against several targets share one, which makes one suite of them.
    """

    def __init__(self, jobs: int) -> None:
        """Begin now, with ``jobs`` places."""
        self.jobs = max(1, jobs)
        self.free = asyncio.Semaphore(self.jobs)
        self.next_exclusive = asyncio.Lock()
        self.restart()

    def restart(self) -> None:
        """Begin now: a time budget counts from here."""
        self.began = time.monotonic()


def default_jobs() -> int:
    """Three a core, since scenarios mostly wait; measured on 2 cores in docs/decisions/parallelism.md."""
    return 3 * (os.cpu_count() or 2)


def paced_seconds(scenario: Scenario, edge_seconds: float) -> float:
    """How long the load of a scenario takes by its pace, its edges and its fault; what begins first is chosen by it."""
    pace = scenario.load.rate_per_writer * scenario.load.writers_per_month or math.inf
    steps = scenario.schedule.steps
    events = len(Phase) * scenario.min_strict_events + sum(step.after_events for step in steps)
    recovery = any(not step.fault.momentary for step in steps)
    waited = (step.fault.momentary or (step.after_healing > 0 and not step.after_recovery) for step in steps)
    edges = recovery + sum(waited)
    return events / pace + edges * edge_seconds + scenario.fault_seconds


def new_run_id(name: str) -> str:
    """A sortable, readable and unique name for one run."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{name}-{secrets.token_hex(2)}"


class SuiteRunner:
    """Runs scenarios as they are handed in, and keeps the promise of exclusiveness."""

    def __init__(
        self,
        stack: Stack,
        target: Target,
        options: SuiteOptions,
        observer: SuiteObserver,
        run_observer: RunObserver,
        judge: Judge,
        places: Places | None = None,
    ) -> None:
        """Take what all runs share, and the places if other suites share them as well."""
        self._judge = judge
        self._stack = stack
        self._target = target
        self._options = options
        self._observer = observer
        self._run_observer = run_observer
        self._places = places or Places(options.jobs)
        # What would begin early could not be left out any more, and with one place nothing can.
        self._early = options.jobs > 1 and not options.fail_fast and options.time_budget_seconds is None
        self._failed = ""

    def through(self, wrap: Callable[[Stack], Stack]) -> None:
        """Have environments come from what ``wrap`` makes of the stack, which may let them outlive their runs."""
        self._stack = wrap(self._stack)

    async def run_all(self, scenarios: Sequence[Scenario]) -> list[RunResult]:
        """Run all: the shared ones side by side, longest first, then each exclusive one alone.

        An exclusive one starts its environment while the last ones before it end, unless the suite may be cut short or
        has one place only.  Results come in the given order.
        """
        self._places.restart()
        edge = self._target.limits.recovery_seconds
        shared = [scenario for scenario in scenarios if not scenario.exclusive]
        shared.sort(key=lambda scenario: paced_seconds(scenario, edge), reverse=True)
        async with asyncio.TaskGroup() as group:
            tasks = {scenario.name: group.create_task(self.run(scenario)) for scenario in shared}
            if not self._early and tasks:
                await asyncio.wait(tasks.values())
            for scenario in scenarios:
                if scenario.exclusive:
                    tasks[scenario.name] = group.create_task(self.run(scenario))
        return [tasks[scenario.name].result() for scenario in scenarios]

    async def run(self, scenario: Scenario) -> RunResult:
        """Run one scenario when its turn comes."""
        async with AsyncExitStack() as before:
            if scenario.exclusive:
                await before.enter_async_context(self._places.next_exclusive)
            async with self._places.free:
                return await self._run(scenario, before)

    async def _run(self, scenario: Scenario, before: AsyncExitStack) -> RunResult:
        run = new_run_id(scenario.name)
        repeat = f"harness run {scenario.name} --seed {self._options.seed}{self._options.repeat_options}"
        plan = RunPlan(
            run=run,
            folder=self._options.reports / run,
            scenario=scenario,
            target=self._target,
            seed=self._options.seed,
            repeat_command=repeat,
            pg_bindir=self._options.pg_bindir,
        )
        why_not = self._over()
        if why_not:
            result = not_begun(plan, why_not)
            self._observer.scenario_finished(result)
            return result
        self._observer.scenario_started(run, scenario)
        async with AsyncExitStack() as held:
            try:
                result = await self._in_turn(plan, held, before)
            except HarnessError as error:
                result = not_run(plan, str(error), 0.0)
            if result.verdict is Verdict.FAIL:
                self._failed = self._failed or scenario.name
            # Still within the turn: what a judge has not written the runner writes, and not beside a measurement.
            await asyncio.to_thread(self._observer.scenario_judged, result)
        result = result.slim()
        self._observer.scenario_finished(result)
        return result

    async def _in_turn(self, plan: RunPlan, held: AsyncExitStack, before: AsyncExitStack) -> RunResult:
        """Run with a share of the lock, or the whole of it, which ``held`` gives back."""
        mine = await held.enter_async_context(turn(self._options.lock_file))
        if not plan.scenario.exclusive:
            return await self._measured(plan, nullcontext)
        if self._early:
            return await self._measured(plan, self._alone(plan, mine, before))
        await held.enter_async_context(mine.alone())
        return await self._measured(plan, nullcontext)

    def _alone(self, plan: RunPlan, mine: Turn, before: AsyncExitStack) -> Alone:
        """Return what an exclusive run enters once it has started, and leaves when its environment has ended."""

        async def waiting() -> None:
            await self._run_observer.step(plan.run, 3, "waits until it is alone", None)

        @asynccontextmanager
        async def alone() -> AsyncIterator[None]:
            async with mine.alone(waiting):
                yield
            # The next one may start while this one is judged.
            await before.aclose()

        return alone

    def _over(self) -> str:
        """Say why no scenario may begin any more; empty while they may."""
        budget = self._options.time_budget_seconds
        if self._options.fail_fast and self._failed:
            return f"Not begun: {self._failed} failed before, and --fail-fast was given."
        if budget is not None and time.monotonic() - self._places.began >= budget:
            return f"Not begun: the time budget of {budget:g} s was used up."
        return ""

    async def _measured(self, plan: RunPlan, alone: Alone) -> RunResult:
        """Run; a latency over its bound is measured again at once, and over again it is a finding.

        Where what was usual the second time is itself over the first bound, a disturbed machine was the measure, which
        refutes nothing: the third time decides.

        Before that, whatever did not pass while the machine stood still is played again: time-outs ran out that nobody
        caused.  What no delay brings about, such as a loss, counts nevertheless.  What a guard has ended is not played
        again: another run would be refused, or know nothing of what ended this one, and pass.
        """
        result = await run_scenario(plan, self._stack, self._run_observer, self._judge, alone)
        if result.aborted:
            return result
        facts: dict[str, float] = {}
        doubts: tuple[str, ...] = ()
        excusable = result.verdict is not Verdict.PASS and not any(finding.timeless for finding in result.findings)
        if excusable and _stood_still_seconds(result) > 0.0:
            facts = {"stood_still_seconds_in_the_first_run": _stood_still_seconds(result)}
            plan, result = await self._again(plan, result, alone)
        if result.findings and all(finding.comparative for finding in result.findings):
            first = result
            plan, result = await self._again(plan, first, alone)
            if _refutes_nothing(result, first):
                plan, result = await self._again(plan, result, alone)
            if not result.findings and not result.setup_error:
                said = " ".join(finding.summary for finding in first.findings)
                doubts = (f"Over the bound in {first.run}, but not when measured again: {said}",)
        if not facts and not doubts:
            return result
        return replace(result, checks=(*result.checks, CheckResult(MEASURED_AGAIN, unknowns=doubts, facts=facts)))

    async def _again(self, plan: RunPlan, before: RunResult, alone: Alone) -> tuple[RunPlan, RunResult]:
        """Run the same once more, and report the run before."""
        again = replace(plan, run=f"{plan.run}-again", folder=plan.folder.with_name(f"{plan.run}-again"))
        result = await run_scenario(again, self._stack, self._run_observer, self._judge, alone)
        await asyncio.to_thread(self._observer.scenario_judged, before)
        return again, result


def _refutes_nothing(again: RunResult, first: RunResult) -> bool:
    """Tell whether what a latency was compared with would itself have been over the bound of the first time."""
    bounds = {check.checker: check.facts[BOUND] for check in first.checks if BOUND in check.facts}
    return not again.findings and any(
        check.facts.get(COMPARED_WITH, 0.0) > bounds.get(check.checker, math.inf) for check in again.checks
    )


def _stood_still_seconds(result: RunResult) -> float:
    return sum(check.facts.get(STOOD_STILL, 0.0) for check in result.checks)
