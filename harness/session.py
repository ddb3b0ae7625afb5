"""Session: what the command line and the pytest plugin share to get from options to judged, reported runs."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from .errors import HistoryError, UsageError
from .history import FILE_NAME
from .judging import judge_again, load_run
from .report.base import write_all, write_suite
from .results import RunResult, SuiteResult
from .runner import RunObserver
from .scenario import Scenario
from .stacks.base import Environment
from .stacks.cache import user_cache
from .stacks.embedded import EmbeddedOptions, EmbeddedStack
from .suite import SuiteOptions, SuiteRunner, default_jobs, new_run_id
from .targets.model import Target, load_target

REFERENCE_TARGET = Path(__file__).with_name("targets") / "reference.toml"


class Display(Protocol):
    """What shows progress and results; ``harness.report.console.Console`` is one."""

    def scenario_started(self, run: str, scenario: Scenario) -> None:
        """A run begins."""

    def step(self, run: str, number: int, text: str, events: int) -> None:
        """A run enters a step of the lifecycle, or has answered more events."""

    def scenario_finished(self, result: RunResult) -> None:
        """A run has been judged."""


class SilentDisplay:
    """Shows nothing."""

    def scenario_started(self, run: str, scenario: Scenario) -> None:
        """Ignore."""

    def step(self, run: str, number: int, text: str, events: int) -> None:
        """Ignore."""

    def scenario_finished(self, result: RunResult) -> None:
        """Ignore."""


def _silent(line: str) -> None:
    """No progress wanted."""


@dataclass(frozen=True)
class SessionOptions:
    """What a user chose; every None means the default."""

    target: Path = REFERENCE_TARGET
    reports: Path = Path("reports")
    seed: int | None = None
    jobs: int | None = None
    pg_bindir: Path | None = None
    pg_port: int | None = None
    toxiproxy_url: str | None = None
    proxy_port: int | None = None
    progress: Callable[[str], None] = field(default=_silent, repr=False)

    def repeat_options(self) -> str:
        """Return the options that a command needs to repeat a run of this session."""
        parts = []
        if self.target != REFERENCE_TARGET:
            parts.append(f" --target {self.target}")
        if self.pg_bindir is not None:
            parts.append(f" --pg-bindir {self.pg_bindir}")
        return "".join(parts)


class _Observer(RunObserver):
    """Passes a run's steps to the display, and counts its events for it."""

    def __init__(self, display: Display, gate: RunObserver | None) -> None:
        self._display = display
        self._gate = gate
        self._steps: dict[str, tuple[int, str]] = {}

    async def step(self, run: str, number: int, text: str, environment: Environment | None) -> None:
        self._steps[run] = (number, text)
        self._display.step(run, number, text, 0)
        if self._gate is not None:
            await self._gate.step(run, number, text, environment)

    def events(self, run: str, count: int) -> None:
        number, text = self._steps.get(run, (0, ""))
        self._display.step(run, number, text, count)


class _Reporting:
    """Writes a run's reports as soon as it is judged, then tells the display."""

    def __init__(self, display: Display) -> None:
        self._display = display

    def scenario_started(self, run: str, scenario: Scenario) -> None:
        self._display.scenario_started(run, scenario)

    def scenario_judged(self, result: RunResult) -> None:
        report(result)

    def scenario_finished(self, result: RunResult) -> None:
        self._display.scenario_finished(result)


class Session:
    """One command's worth of runs on one stack and one target."""

    def __init__(self, options: SessionOptions, display: Display, gate: RunObserver | None = None) -> None:
        """Read the target and make the folder of reports; raises :class:`UsageError`."""
        self.options = options
        self.target: Target = load_target(options.target)
        self.seed = options.seed if options.seed is not None else random.SystemRandom().randrange(2**31)
        self.jobs = 1 if gate is not None else options.jobs or default_jobs()
        try:
            options.reports.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"Reports cannot be written to {options.reports} ({error.strerror}); "
                "name another folder with --reports."
            ) from error
        self._stack = EmbeddedStack(
            EmbeddedOptions(
                pg_bindir=options.pg_bindir,
                pg_port=options.pg_port,
                toxiproxy_url=options.toxiproxy_url,
                proxy_port=options.proxy_port,
                progress=options.progress,
            )
        )
        self.suite_runner = SuiteRunner(
            self._stack,
            self.target,
            SuiteOptions(
                reports=options.reports.resolve(),
                seed=self.seed,
                jobs=self.jobs,
                lock_file=user_cache() / "exclusive.lock",
                repeat_options=options.repeat_options(),
                pg_bindir=str(options.pg_bindir or ""),
            ),
            _Reporting(display),
            _Observer(display, gate),
        )

    async def prepare(self) -> None:
        """Find or build what all runs share; raises :class:`harness.errors.SetupError`."""
        await asyncio.to_thread(self._stack.prepare)

    async def run(self, scenarios: Sequence[Scenario]) -> SuiteResult:
        """Run, judge and report; the suite's own files land in a folder of their own."""
        if self.target.launch is None and len(scenarios) > 1:
            raise UsageError(
                f"The target {self.target.name} is reached by its url, so it must be started anew for each scenario; "
                f"name one of these {len(scenarios)}."
            )
        started = time.monotonic()
        await self.prepare()
        runs = await self.suite_runner.run_all(scenarios)
        return self.summarize(runs, time.monotonic() - started)

    def summarize(self, runs: Sequence[RunResult], seconds: float) -> SuiteResult:
        """Write the suite's reports."""
        suite = new_run_id("suite")
        folder = self.options.reports.resolve() / suite
        folder.mkdir(parents=True)
        result = SuiteResult(suite=suite, folder=folder, runs=tuple(runs), seconds=seconds, jobs=self.jobs)
        write_suite(result, folder)
        return result


def report(result: RunResult) -> None:
    """Write all reports of one run; a run that never began has no history to show."""
    try:
        run = load_run(result.folder)
    except HistoryError:
        run = None
    write_all(result, run, result.folder)


def find_run(reports: Path, name: str) -> Path:
    """Find a stored run by path or by (the beginning of) its name; raise :class:`UsageError`."""
    for exact in (Path(name), reports / name):
        if (exact / FILE_NAME).exists():
            return exact
    matches = sorted(path.parent for path in reports.glob(f"{name}*/{FILE_NAME}"))
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise UsageError(f"{name!r} could be {', '.join(path.name for path in matches[:5])}; give more of the name.")
    raise UsageError(f"There is no run {name!r} below {reports}; `ls {reports}` shows those that are stored.")


def check_again(folder: Path) -> RunResult:
    """Judge a stored run once more and write its reports anew."""
    result = judge_again(folder, f"harness replay {folder.name}")
    report(result)
    return result


@dataclass(frozen=True)
class Replay:
    """What repeats a stored run: its scenario, its seed, its target and its PostgreSQL."""

    scenario: Scenario
    seed: int
    target: Path
    pg_bindir: Path | None


def replay_of(folder: Path) -> Replay:
    """Read from a stored run what repeats it; raise :class:`UsageError` when its target is no longer there."""
    started = load_run(folder).started
    target = Path(started.target_path) if started.target_path else REFERENCE_TARGET
    if not target.exists():
        raise UsageError(
            f"The run {folder.name} judged the target {started.target!r} of {target}, which is no longer there; "
            "name its present place with --target."
        )
    return Replay(
        scenario=Scenario.from_json(started.scenario_json),
        seed=started.seed,
        target=target,
        pg_bindir=Path(started.pg_bindir) if started.pg_bindir else None,
    )
