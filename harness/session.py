"""Session: what the command line and the pytest plugin share to get from options to judged, reported runs."""

from __future__ import annotations

import asyncio
import random
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from .concealing import conceal, scenarios_of_run
from .discovery import DEFAULT_SCENARIOS as DEFAULT_SCENARIOS
from .discovery import with_own_secrets
from .display import Display, Observer
from .display import SilentDisplay as SilentDisplay
from .errors import HistoryError, UsageError
from .events import PhaseMark
from .guard import refuse_when_halted
from .history import FILE_NAME
from .judges import Judges, Order, report
from .judging import judge_again, load_run
from .redaction import masked
from .report import latest
from .report.base import write_suite
from .report.keeping import lock_of
from .results import RunResult, Skipped, SuiteBegun, SuiteResult, Waits
from .runner import RunObserver, RunPlan
from .scenario import Scenario
from .stacks import host
from .stacks.base import Stack
from .stacks.cache import user_cache
from .stacks.embedded import EmbeddedOptions, EmbeddedStack
from .suite import Places, SuiteOptions, SuiteRunner, default_jobs, new_run_id
from .targets.model import Target, load_target
from .turns import LOCK_NAME

REFERENCE_TARGET = Path(__file__).with_name("targets") / "reference.toml"
DEFAULT_REPORTS = Path("reports")
SWITCH_SECONDS = 0.0005
"""How long a thread that judges may keep the interpreter from the loop that plays the other runs; Python's own 5 ms
would be added to each answer that the loop waits for."""


def _silent(line: str) -> None:
    """No progress wanted."""


@dataclass(frozen=True)
class SessionOptions:
    """What a user chose; every None means the default."""

    target: Path = REFERENCE_TARGET
    scenarios: Path = DEFAULT_SCENARIOS
    reports: Path = DEFAULT_REPORTS
    seed: int | None = None
    jobs: int | None = None
    pg_bindir: Path | None = None
    pg_port: int | None = None
    toxiproxy_url: str | None = None
    proxy_port: int | None = None
    force: bool = False
    fail_fast: bool = False
    time_budget_seconds: float | None = None
    progress: Callable[[str], None] = field(default=_silent, repr=False)

    def repeat_options(self) -> str:
        """Return the options that a command needs to repeat a run of this session, ready for a shell."""
        chosen: tuple[tuple[str, object, object], ...] = (
            ("--scenarios", self.scenarios, DEFAULT_SCENARIOS),
            ("--target", self.target, REFERENCE_TARGET),
            ("--pg-bindir", self.pg_bindir, None),
            ("--pg-port", self.pg_port, None),
            ("--proxy-port", self.proxy_port, None),
            ("--toxiproxy-url", self.toxiproxy_url, None),
            ("--reports", self.reports, DEFAULT_REPORTS),
        )
        given = "".join(f" {name} {shlex.quote(str(value))}" for name, value, usual in chosen if value != usual)
        return masked(f"{given} --force" if self.force else given)


class _Reporting:
    """Writes a run's reports as soon as it is judged, then tells the display."""

    def __init__(self, display: Display) -> None:
        self._display = display
        self.started: list[str] = []
        self.judged: set[str] = set()
        self.reported: dict[str, RunResult] = {}

    def scenario_started(self, run: str, scenario: Scenario) -> None:
        self.started.append(run)
        self._display.scenario_started(run, scenario)

    def scenario_judged(self, result: RunResult) -> None:
        # A judge has written the reports of what it judged; not of a run without a history, or of a later doubt.
        if self.reported.get(result.run) is not result:
            report(result)
        self.judged.add(result.run)

    def scenario_finished(self, result: RunResult) -> None:
        self._display.scenario_finished(result)


@dataclass(frozen=True)
class Left:
    """What an interrupted session leaves: names of runs with a verdict, and of those that have only a history."""

    judged: tuple[str, ...]
    recorded: tuple[str, ...]

    def text(self, reports: Path) -> str:
        """Return it as lines, with the command that judges each run."""
        lines = []
        if self.judged:
            lines.append(f"Ended before and judged: {', '.join(self.judged)}.")
        if self.recorded:
            lines.append("Stored in part; to judge what was recorded:")
            where = _reports_option(reports)
            lines += [f"  harness check {shlex.quote(name)}{where}" for name in self.recorded]
        return "\n".join(lines) or "Nothing was recorded yet."


class Session:
    """One command's worth of runs on one stack and one target.

    A command with several targets gives ``places`` and ``judges`` that its sessions share.
    """

    def __init__(
        self,
        options: SessionOptions,
        display: Display,
        gate: RunObserver | None = None,
        places: Places | None = None,
        judges: Judges | None = None,
    ) -> None:
        """Read the target and make the folder of reports; raises :class:`UsageError`."""
        self.options = options
        self.target: Target = load_target(options.target)
        self.seed = options.seed if options.seed is not None else random.SystemRandom().randrange(2**31)
        alone = gate is not None or _has_fixed_port(options) or self.target.external is not None
        places = places or Places(1 if alone else options.jobs or default_jobs())
        self.jobs = places.jobs
        try:
            options.reports.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"Reports cannot be written to {options.reports} ({error.strerror}); "
                "name another folder with --reports."
            ) from error
        self._stack = _stack_of(self.target, options)
        self._display = display
        self._reporting = _Reporting(display)
        self._judges = judges or Judges()
        self.suite_runner = SuiteRunner(
            self._stack,
            self.target,
            SuiteOptions(
                reports=options.reports.resolve(),
                seed=self.seed,
                jobs=self.jobs,
                lock_file=user_cache() / LOCK_NAME,
                repeat_options=options.repeat_options(),
                pg_bindir=str(options.pg_bindir or ""),
                fail_fast=options.fail_fast,
                time_budget_seconds=options.time_budget_seconds,
            ),
            self._reporting,
            Observer(display, gate),
            self._judge,
            places,
        )

    async def _judge(self, plan: RunPlan, waits: Waits, timings: Mapping[str, float], started: float) -> RunResult:
        order = Order(plan.folder, self.options.scenarios, waits, dict(timings), started, plan.repeat_command)
        result = await self._judges.judged(order)
        self._reporting.reported[result.run] = result
        return result

    def begin(self) -> None:
        """Make the interpreter ready to play; raises :class:`UsageError` while a halt file exists."""
        refuse_when_halted(self.options.reports)
        sys.setswitchinterval(SWITCH_SECONDS)

    async def prepare(self) -> None:
        """Find or build what all runs share; raises :class:`harness.errors.SetupError`."""
        if isinstance(self._stack, EmbeddedStack):
            await asyncio.to_thread(self._stack.prepare, self.target)

    def left(self) -> Left:
        """Say what is stored of the runs so far; meant for a session that was interrupted."""
        judged, recorded = [], []
        for run in self._reporting.started:
            for path in sorted(self.options.reports.glob(f"{run}*/{FILE_NAME}")):
                name = path.parent.name
                if name in self._reporting.judged:
                    judged.append(name)
                elif load_began(path):
                    recorded.append(name)
        return Left(tuple(judged), tuple(recorded))

    async def run(self, scenarios: Sequence[Scenario], *, full: bool = False) -> SuiteResult:
        """Run, judge and report; the suite's own files land in a folder of their own.

        ``full``: these are all scenarios of the default suite, which then owes the states that matter.
        """
        latest.clear(self.options.reports)
        self.begin()
        suite = new_run_id("suite")
        if self.target.launch is None and self.target.external is None and len(scenarios) > 1:
            raise UsageError(
                f"The target {self.target.name} is reached by its url, so it must be started anew for each scenario; "
                f"name one of these {len(scenarios)}."
            )
        started = time.monotonic()
        skipped = [Skipped(one, reason) for one in scenarios if (reason := self.why_skipped(one))]
        left_out = {skip.scenario.name for skip in skipped}
        chosen = [one for one in scenarios if one.name not in left_out]
        self._display.suite_started(
            SuiteBegun(
                suite=suite,
                target=self.target.name,
                seed=self.seed,
                jobs=self.jobs,
                scenarios=tuple(chosen),
                skipped=tuple(skipped),
            )
        )
        runs: Sequence[RunResult] = ()
        if chosen:
            await self.prepare()
            runs = await self.suite_runner.run_all(chosen)
        return self.summarize(suite, runs, time.monotonic() - started, skipped, full=full)

    def why_skipped(self, scenario: Scenario) -> str:
        """Say what this machine lacks for a scenario and how to get it; empty when it can be played.

        Parts that run elsewhere are asked for what they give when they are first looked at.
        """
        return "" if self.target.external is not None else host.lacking(scenario.needs)

    def summarize(
        self, suite: str, runs: Sequence[RunResult], seconds: float, skipped: Sequence[Skipped] = (), *, full: bool
    ) -> SuiteResult:
        """Write the suite's reports, and copies of them where they always are."""
        folder = self.options.reports.resolve() / suite
        folder.mkdir(parents=True)
        result = SuiteResult(
            suite, folder, tuple(runs), seconds=seconds, jobs=self.jobs, skipped=tuple(skipped), full=full
        )
        write_suite(result, folder)
        problem = latest.publish(folder, self.options.reports)
        if problem:
            self.options.progress(problem)
        return result


def _stack_of(target: Target, options: SessionOptions) -> Stack:
    """The stack that a target asks for; raises :class:`UsageError` for options of the other one."""
    if target.external is not None:
        from .stacks.external import ExternalStack

        given = {
            "--pg-bindir": options.pg_bindir,
            "--pg-port": options.pg_port,
            "--proxy-port": options.proxy_port,
            "--toxiproxy-url": options.toxiproxy_url,
        }
        for name, value in given.items():
            if value is not None:
                raise UsageError(
                    f"{name} is for environments that the harness starts; {target.path} has an [external] table, which "
                    "says where its parts are. Leave the option out."
                )
        return ExternalStack(force=options.force)
    return EmbeddedStack(
        EmbeddedOptions(
            pg_bindir=options.pg_bindir,
            pg_port=options.pg_port,
            toxiproxy_url=options.toxiproxy_url,
            proxy_port=options.proxy_port,
            progress=options.progress,
        )
    )


def _has_fixed_port(options: SessionOptions) -> bool:
    """Tell whether runs must go one after the other; raise :class:`UsageError` when more were asked for at once."""
    for name, port in (("--pg-port", options.pg_port), ("--proxy-port", options.proxy_port)):
        if port is not None and (options.jobs or 1) > 1:
            raise UsageError(
                f"{name} {port} is one port, but --jobs {options.jobs} asks for {options.jobs} environments at once; "
                "leave one of the two out."
            )
    return options.pg_port is not None or options.proxy_port is not None


def load_began(history: Path) -> bool:
    """Tell whether the load of a run had begun when its history ended; before that there is nothing to judge."""
    begun = f'"{PhaseMark.__name__}"'.encode()
    with history.open("rb") as lines:
        return any(begun in line for line in lines)


def check_again(folder: Path, progress: Callable[[str], None] = _silent) -> RunResult:
    """Judge a stored run once more and write its reports anew; raise :class:`HistoryError` for one it cannot read."""
    with _explained(folder):
        repeat = f"harness replay {shlex.quote(folder.name)}{_reports_option(folder.parent)}"
        result = judge_again(folder, repeat, progress)
    with lock_of(folder) as free:
        if free:  # A runner that was killed has left its logs as the parts wrote them.
            conceal(folder)
    report(result)
    return result.slim()


def _reports_option(reports: Path) -> str:
    usual = reports.resolve() == DEFAULT_REPORTS.resolve()
    return "" if usual else f" --reports {shlex.quote(str(reports))}"


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """Add to what is wrong with a history where it is and what to do next."""
    try:
        yield
    except HistoryError as error:
        path = folder / FILE_NAME
        where = "" if str(folder) in str(error) else f"{path}: "
        raise HistoryError(
            f"{where}{error} Put back a copy of the file, or run the scenario again; `harness list runs` shows what "
            "else is stored."
        ) from error


@dataclass(frozen=True)
class Replay:
    """What repeats a stored run: its scenario (and the folder of that), its seed, its target and its PostgreSQL."""

    scenario: Scenario
    scenarios: Path
    seed: int
    target: Path
    pg_bindir: Path | None


def replay_of(folder: Path) -> Replay:
    """Read from a stored run what repeats it; raise :class:`UsageError` when its target is no longer there."""
    with _explained(folder):
        started = load_run(folder).started
    target = Path(started.target_path) if started.target_path else REFERENCE_TARGET
    if not target.exists():
        raise UsageError(
            f"The run {folder.name} judged the target {started.target!r} of {target}, which is no longer there; "
            "name its present place with --target."
        )
    scenarios = scenarios_of_run(folder)
    return Replay(
        scenario=with_own_secrets(Scenario.from_json(started.scenario_json), scenarios),
        scenarios=scenarios,
        seed=started.seed,
        target=target,
        pg_bindir=Path(started.pg_bindir) if started.pg_bindir else None,
    )
