"""Runner: the one lifecycle that every scenario goes through, however it was started.

1 validate the scenario against the target · 2 start the environment · 3 steady state, or SetupError · 4 the
workload starts · 5 the nemesis plays, each fault confirmed · 6 heal all · 7 recovery: steady state again and the
DLQ empty within the deadline (liveness) · 8 the workload stops, final reads · 9 logs and metrics collected · 10
the environment stops · 11 checkers (safety) · 12 gate · 13 reports.

The history is on disk before anything is judged, and steps 11 to 13 read it from there, so that ``harness check``
judges a stored run by the very same code.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import time
import traceback
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from . import __version__, guard
from ._wait import pause
from .checking import CheckResult
from .conductor import Conductor
from .errors import HarnessError, RunAborted, ScenarioError, TargetError
from .events import FaultMark, Note, PhaseMark, RulesRead, RunStarted, ServiceMark
from .finalread import read_everything
from .history import Clock, History
from .ledger import FOLDER, Holder, Ledger
from .load.closed import ClosedLoop
from .load.locust_driver import LocustLoad
from .load.phased import PhasedLoad
from .nemesis import Nemesis
from .probes.http import HttpProbe
from .probes.logs import read_log
from .redaction import given_back, is_kept_back, redact_logs, secrets_of
from .results import NOT_BEGUN, RunResult, Waits
from .samplers import Samplers
from .scenario import Scenario
from .stacks.base import Environment, Stack, remedy
from .steadystate import SteadyState
from .targets.model import Target
from .timed import TimedConductor
from .turns import Alone

STEADY_DEADLINE_SECONDS = 30.0
CRASH_FILE = "harness-error.txt"
_CLIENT_SLACK_SECONDS = 2.0
_NOTED_WAIT_SECONDS = 0.5
"""A longer wait for its turn leaves a gap in the timeline, which a note explains."""


class RunObserver:
    """Hears of a run's steps; the default is silent, and every method may be overridden alone."""

    async def step(self, run: str, number: int, text: str, environment: Environment | None) -> None:
        """A step of the lifecycle begins; awaiting here pauses the run (``--step``)."""

    def events(self, run: str, count: int) -> None:
        """So many events have been answered."""

    def marked(self, run: str, mark: FaultMark | PhaseMark) -> None:
        """A fault or the workload has come to a step, as the history has it: without secrets."""


@dataclass(frozen=True)
class RunPlan:
    """One run to be: what, against whom, with which seed, and where its artifacts go."""

    run: str
    folder: Path
    scenario: Scenario
    target: Target
    seed: int
    repeat_command: str
    pg_bindir: str = ""


Judge = Callable[["RunPlan", Waits, Mapping[str, float], float], Awaitable[RunResult]]
"""Judges a played run: its plan, its waits and timings, and when it started (monotonic seconds)."""


async def run_scenario(
    plan: RunPlan, stack: Stack, observer: RunObserver, judge: Judge, alone: Alone = nullcontext
) -> RunResult:
    """Play one scenario from start to verdict; a set-up that fails is a result, not an exception.

    ``alone`` is entered when the environment has started, and left when it has ended; the wait for it is no part of the
    run's own time.
    """
    started = time.monotonic()
    plan.folder.mkdir(parents=True, exist_ok=False)
    live = _LiveRun(plan, stack, observer, alone)
    problem, aborted = "", False
    try:
        await live.play()
    except HarnessError as error:
        problem, aborted = str(error), isinstance(error, RunAborted)
    except Exception as error:  # noqa: BLE001  (one run's surprise must not end the runs beside it)
        problem = (
            f"The harness itself failed: {type(error).__name__}: {error}. Please report it with this run's folder."
        )
        (plan.folder / CRASH_FILE).write_text(live.secrets.hidden(traceback.format_exc()), encoding="utf-8")
    finally:
        if problem and live.judgeable:
            live.history.add(Note(live.clock.now(), "abort", problem))
        live.history.close()
        await asyncio.to_thread(redact_logs, plan.folder, live.secrets)
    if problem and not live.judgeable:
        return not_run(plan, live.secrets.hidden(problem), time.monotonic() - started - live.waited_seconds)
    await observer.step(plan.run, 11, "judge", None)
    result = await judge(plan, live.waits, live.timings, started + live.waited_seconds)
    return replace(result, aborted=True) if aborted else result


def not_run(plan: RunPlan, setup_error: str, seconds: float) -> RunResult:
    """Return the result of a run that never got to be judged."""
    return RunResult(
        run=plan.run,
        folder=plan.folder,
        scenario=plan.scenario,
        seed=plan.seed,
        seconds=seconds,
        setup_error=setup_error,
        repeat_command=plan.repeat_command,
    )


def not_begun(plan: RunPlan, reason: str) -> RunResult:
    """Return the result of a run that the suite's own bounds kept from beginning: UNKNOWN, and nobody's error."""
    checks = (CheckResult(NOT_BEGUN, unknowns=(reason,)),)
    return replace(not_run(plan, "", 0.0), checks=checks)


class _LiveRun:
    """The mutable middle of one run."""

    def __init__(self, plan: RunPlan, stack: Stack, observer: RunObserver, alone: Alone) -> None:
        self.plan = plan
        self.alone = alone
        self.until_ended = AsyncExitStack()
        self.waited_seconds = 0.0
        self.stack = stack
        self.observer = observer
        self.clock = Clock()
        self.ledger = Ledger(plan.folder / FOLDER)
        self.history = History(plan.folder, self.clock, lambda mark: observer.marked(plan.run, mark))
        self.overrides = given_back(plan.scenario.service_environment, os.environ)
        # Before anything starts, so that a start that fails shows none of them either.
        self.secrets = secrets_of(plan.target, self.overrides, (plan.scenario.name,))
        self.judgeable = False
        self.waits = Waits()
        self.timings: dict[str, float] = {}

    async def play(self) -> None:
        reports = self.plan.folder.parent
        guard.refuse_when_halted(reports)
        with self.ledger.held(Holder.RUN):
            try:
                async with self.until_ended, guard.aborting(guard.halted(reports)):
                    await self._play()
            finally:
                if self.plan.target.external is None:
                    # Whatever was not healed is gone with its environment.
                    self.ledger.finish()

    async def _play(self) -> None:
        plan = self.plan
        await self._step(1, "validate")
        guard.refuse_forbidden_faults(plan.target, plan.scenario.schedule)
        unknown = plan.target.lacks(plan.scenario.load.months)
        if unknown:
            raise ScenarioError(
                f"The scenario {plan.scenario.name} writes into {min(unknown).label}, which the target "
                f"{plan.target.name} does not list in `months` ({plan.target.path}); add it or choose another scenario."
            )
        refuse_kept_back(plan.scenario, self.overrides)
        await self._step(2, "start")
        async with self.stack.environment(
            plan.target,
            name=plan.run,
            artifacts=plan.folder,
            environment_overrides=self.overrides,
        ) as environment:
            self.secrets = self.secrets.and_known(environment.secrets)
            self.history.hide(self.secrets.known, self.secrets.guessed)
            if plan.target.external is None:
                self.ledger.begin(plan.run, environment.reopen)
            async with AsyncExitStack() as guards:
                if environment.rows_since:
                    watch = guard.aborting(guard.disturbed(environment), interval_seconds=guard.ROWS_INTERVAL_SECONDS)
                    await guards.enter_async_context(watch)
                await self._in_environment(environment)
            await self._step(10, "stop", environment)

    async def _in_environment(self, environment: Environment) -> None:
        plan, history = self.plan, self.history
        missing = plan.scenario.needs - environment.capabilities
        if missing:
            raise ScenarioError(
                f"The scenario {plan.scenario.name} needs {', '.join(sorted(missing))}, which this environment lacks. "
                f"{remedy(missing)}".strip()
            )
        history.add(run_started(plan, self.clock, environment))
        for record in watched_by(plan.target, self.clock.now()):
            history.add(record)
        self.timings = dict(environment.timings.__dict__)
        probe = HttpProbe(environment)
        nemesis = Nemesis(environment, history, self.ledger, plan.scenario.schedule)
        samplers = Samplers(environment, history, probe)
        steady = SteadyState(environment, history, probe, plan.run)
        history.mark(lambda t: ServiceMark(t, "started", environment.service.pid or 0))
        try:
            await self._take_turn()
            await self._step(3, "steady state", environment)
            await steady.reach(plan.scenario.load.months, STEADY_DEADLINE_SECONDS)
            self.timings["ready_seconds"] = self.clock.now() - self.waited_seconds
            self.judgeable = True
            samplers.start(plan.scenario.load.months)
            await self._load_and_faults(environment, nemesis, steady, samplers)
            await self._step(8, "final reads", environment)
            await read_everything(environment, history, probe)
            if plan.target.reads.metrics:
                history.add(await probe.metrics(self.clock.now()))
            await self._step(9, "collect", environment)
        except BaseException:
            await asyncio.shield(nemesis.undo())
            raise
        finally:
            await samplers.stop()
            await probe.close()
            for line in read_log(environment.service.log_path, self.clock):
                history.add(line)

    async def _take_turn(self) -> None:
        """Wait until nothing else plays, if that was asked for; health is looked at after it, since it may be long."""
        started = self.clock.now()
        await self.until_ended.enter_async_context(self.alone())
        self.waited_seconds = self.clock.now() - started
        if self.waited_seconds > _NOTED_WAIT_SECONDS:
            text = f"started, and waited {self.waited_seconds:.1f} s until it was alone"
            self.history.mark(lambda t: Note(t, "turn", text))

    async def _load_and_faults(
        self, environment: Environment, nemesis: Nemesis, steady: SteadyState, samplers: Samplers
    ) -> None:
        plan = self.plan
        load = self._make_load(environment)

        async def step(number: int, text: str) -> None:
            await self._step(number, text, environment)

        conductor: Conductor
        if isinstance(load, PhasedLoad):
            conductor = TimedConductor(plan.scenario, plan.target, self.history, load, nemesis, steady, samplers, step)
        else:
            conductor = Conductor(plan.scenario, plan.target, self.history, load, nemesis, steady, samplers, step)
        await self._step(4, "load", environment)
        ticker = asyncio.create_task(self._tick(load))
        try:
            if isinstance(load, LocustLoad):
                await load.start(environment.service.base_url)
            else:
                await load.start()
            await conductor.before()
            await conductor.during()
            await conductor.after()
            await load.stop()
        except BaseException:
            await load.abort()
            raise
        finally:
            ticker.cancel()
            self.waits = conductor.waits

    def _make_load(self, environment: Environment) -> ClosedLoop | LocustLoad | PhasedLoad:
        plan = self.plan
        timeout = client_timeout_seconds(plan.target)
        if plan.scenario.load.locust_users:
            log = environment.artifacts / "locust.log"
            return LocustLoad(plan.scenario.load, plan.seed, plan.run, self.history, environment.workdir, log, timeout)
        parts = (plan.scenario.load, plan.seed, plan.run, self.history, lambda: environment.service.base_url, timeout)
        return PhasedLoad(*parts) if plan.scenario.timed else ClosedLoop(*parts)

    async def _tick(self, load: ClosedLoop | LocustLoad | PhasedLoad) -> None:
        while True:
            self.observer.events(self.plan.run, load.tally.events)
            await pause(0.2)

    async def _step(self, number: int, text: str, environment: Environment | None = None) -> None:
        await self.observer.step(self.plan.run, number, text, environment)


def refuse_kept_back(scenario: Scenario, overrides: Mapping[str, str]) -> None:
    """Raise :class:`ScenarioError` while nobody gives the variables their values that a recording keeps back."""
    unknown = [name for name, value in overrides.items() if is_kept_back(value)]
    if unknown:
        raise ScenarioError(
            f"The scenario {scenario.name} was written down without the value of {', '.join(unknown)} for its service; "
            "set a variable of that name for this command, or write the value into the scenario's file."
        )


def watched_by(target: Target, t: float) -> Iterator[RulesRead]:
    """Read the files by which the target is watched; raises :class:`TargetError` for one that is no text."""
    watched = target.observability
    for kind, paths in (("rules", watched.rules), ("dashboard", watched.dashboards)):
        for path in paths:
            try:
                text = path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise TargetError(f"{target.path}: {path} cannot be read ({error}); mend it or its path.") from error
            yield RulesRead(t, path.name, kind, text, watched.labels, watched.foreign)


def client_timeout_seconds(target: Target) -> float:
    """How long a client of the load waits for an answer: a little longer than the service may take."""
    return target.limits.request_deadline_seconds + _CLIENT_SLACK_SECONDS


def run_started(plan: RunPlan, clock: Clock, environment: Environment) -> RunStarted:
    """Return the first record of a run, with everything that a replay needs."""
    versions = {
        "harness": __version__,
        "python": platform.python_version(),
        "postgresql": str(environment.database.version_num),
        "platform": platform.platform(),
        "cpus": str(os.cpu_count() or ""),
    }
    return RunStarted(
        t=clock.now(),
        run=plan.run,
        scenario=plan.scenario.name,
        seed=plan.seed,
        started_at=clock.started_at.isoformat(),
        scenario_json=json.dumps(plan.scenario.told_json(), ensure_ascii=False),
        target=plan.target.name,
        versions=versions,
        limits_json=json.dumps(plan.target.limits.__dict__),
        reads_json=json.dumps(plan.target.reads.__dict__),
        target_path=str(plan.target.path),
        pg_bindir=plan.pg_bindir,
    )
