"""Hand-made stored runs and suites that a gate is given: a history, and the verdict that goes with it."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

from click.testing import CliRunner, Result

from harness import events as ev
from harness.blast import BlastRadius, Write
from harness.checking import CheckResult, Finding
from harness.cli import cli
from harness.fault import radius_to_json
from harness.history import FILE_NAME
from harness.jsonlines import encode
from harness.report.jsonfile import result_to_json, suite_to_json
from harness.results import RunResult, SuiteResult
from harness.values import Promise
from tests.unit import report_samples as samples

MONTHS = (samples.DECEMBER, samples.JANUARY)
SPACED_SECONDS = 0.01
BEGIN, INJECTING, HEALING, PROBED = 1.0, 10.0, 20.0, 20.2
ERRORS = "datastorage_db_connection_errors_total"
FAILURES = 'datastorage_partition_write_failures_total{partition="2025_12"}'
EVENTS = 'datastorage_events_total{{outcome="{}"}}'
OPTIONAL = 'optional = ["connection_errors", "partition_write_failures"]\n'
"""What a run of some seconds can never show."""
KNOWN = """
[[known_defect]]
scenario = "december-detached"
checker = "conservation"
match = "are lost"
reason = "ticket 4711"
expires = 2026-03-31
"""

BOOKS = CheckResult("conservation", facts={"events_acknowledged": 3200.0, "lost": 0.0})
UNSURE = CheckResult("fallback", unknowns=("only 120 of 200 events were judged strictly in 2025_12",))


def lost(count: int = 1, month: str = "2025_12") -> CheckResult:
    """Books that do not balance."""
    ids = tuple(f"00000000-0000-4000-8000-{number:012d}" for number in range(count))
    said = f"{count} events of {month} answered 202 are lost: neither in the table nor in the queue."
    return replace(BOOKS, findings=(Finding(Promise.CONSERVATION, said, ids, t=5.0),))


def slow(seconds: float) -> CheckResult:
    """Another broken promise, in which figures differ from run to run."""
    said = f"The median 202 takes {seconds:.3f} s, the median healthy 201 0.020 s; bound 0.060 s."
    return CheckResult("fallback", findings=(Finding(Promise.FALLBACK, said),))


def nothing(_: float) -> float:
    """A counter that stays at 0."""
    return 0.0


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """First sends, each month's in turn, all answered 201 but for what ``answers`` says of some by number.

    With ``faulty`` December takes no write from INJECTING to HEALING.  Counters are functions of time; ``unseen``
    leaves the canary out, ``scraped`` the page.
    """

    operations: int = 3200
    answers: Mapping[int, int] = field(default_factory=dict)
    took_seconds: Mapping[int, float] = field(default_factory=dict)
    faulty: bool = False
    errors: Callable[[float], float] = nothing
    failures: Callable[[float], float] = nothing
    stalls_at: float | None = None
    unseen: bool = False
    scraped: bool = True
    lacks: frozenset[str] = frozenset()

    @property
    def end(self) -> float:
        """When the run ends."""
        return BEGIN + self.operations * SPACED_SECONDS + 2.0

    def records(self, run: str) -> list[ev.Record]:
        """The history."""
        (first,) = samples.started().records
        assert isinstance(first, ev.RunStarted)
        records: list[ev.Record] = [replace(first, run=run), ev.PhaseMark(0.0, "before")]
        records += self._faults() if self.faulty else []
        statuses = self._operations(records)
        self._canary(records)
        if self.scraped:
            self._page(records, statuses)
        return [*records, ev.FinalRead(self.end, table=True, dlq=True)]

    def _faults(self) -> list[ev.Record]:
        radius = radius_to_json(BlastRadius(months=frozenset({samples.DECEMBER}), write=Write.NO))
        times = (INJECTING, INJECTING + 0.1, INJECTING + 0.2, HEALING, HEALING + 0.1, PROBED)
        steps = (
            ev.FaultStep.INJECTING,
            ev.FaultStep.INJECTED,
            ev.FaultStep.CONFIRMED,
            ev.FaultStep.HEALING,
            ev.FaultStep.HEALED,
            ev.FaultStep.PROBED,
        )
        marks: list[ev.Record] = [
            ev.FaultMark(t, 0, "detach-partition", step, "", radius if step is ev.FaultStep.INJECTING else "")
            for t, step in zip(times, steps, strict=True)
        ]
        return [*marks, ev.PhaseMark(INJECTING, "during"), ev.PhaseMark(HEALING, "after")]

    def _operations(self, records: list[ev.Record]) -> list[tuple[float, int]]:
        kinds = {0: ev.Completion.INFO, 201: ev.Completion.OK, 202: ev.Completion.OK}
        statuses = []
        for number in range(self.operations):
            t, month = BEGIN + number * SPACED_SECONDS, MONTHS[number % 2]
            down = self.faulty and month is samples.DECEMBER and INJECTING < t < HEALING
            status = self.answers.get(number, 202 if down else 201)
            day = month.first_day + timedelta(days=number % 28)
            event_id = f"00000000-0000-4000-8000-{number:012d}"
            records.append(ev.Invoke(t, number, number % 2, ev.OpKind.WRITE, event_id, day, "{}"))
            if status >= 0:
                end = t + self.took_seconds.get(number, 0.004)
                kind = kinds.get(status, ev.Completion.FAIL)
                records.append(ev.Complete(end, number, kind, status, "", month.label))
            statuses.append((t, status))
        return statuses

    def _canary(self, records: list[ev.Record]) -> None:
        if self.unseen:
            return
        for tick in range(int(self.end * 10)):
            t = tick / 10
            for month in MONTHS:
                if not (self.faulty and month is samples.DECEMBER and INJECTING < t < PROBED):
                    stalled = self.stalls_at is not None and abs(t - self.stalls_at) < 0.05
                    records.append(ev.CanarySample(t, month.label, 1.5 if stalled else 0.002))

    def _page(self, records: list[ev.Record], statuses: list[tuple[float, int]]) -> None:
        for second in range(int(self.end)):
            answered = [status for t, status in statuses if t < second]
            series = {
                ERRORS: self.errors(second),
                FAILURES: self.failures(second),
                FAILURES.replace("2025_12", "2026_01"): 0.0,
                EVENTS.format("created"): float(answered.count(201)),
                EVENTS.format("queued"): float(answered.count(202)),
                EVENTS.format("unavailable"): float(answered.count(503)),
                EVENTS.format("rejected"): 0.0,
            }
            kept = {name: value for name, value in series.items() if name not in self.lacks}
            records.append(ev.MetricsSample(float(second), kept, seconds=0.01))


USUAL = Traffic()


def _text(traffic: Traffic, name: str) -> str:
    return "".join(f"{encode(record)}\n" for record in traffic.records(name))


@functools.cache
def _usual(name: str) -> str:
    """Written once a name: thousands of lines, and most tests want them."""
    return _text(USUAL, name)


def store(
    reports: Path,
    name: str,
    *checks: CheckResult,
    traffic: Traffic | None = USUAL,
    scenario: str = "december-detached",
    requirements: tuple[str, ...] = ("S3", "S5", "C3"),
    setup_error: str = "",
) -> RunResult:
    """Store one run with these checks (that of conservation, if none is given); return its result."""
    folder = reports / name
    folder.mkdir(parents=True)
    result = samples.result_of(*(checks or (BOOKS,)), folder=folder, setup_error=setup_error, name=scenario)
    result = replace(result, run=name, scenario=replace(result.scenario, requirements=requirements))
    if setup_error:
        result = replace(result, checks=())
    if traffic is not None:
        (folder / FILE_NAME).write_text(_usual(name) if traffic is USUAL else _text(traffic, name), encoding="utf-8")
    (folder / "result.json").write_text(json.dumps(result_to_json(result, None)), encoding="utf-8")
    return result


def store_suite(reports: Path, name: str, *runs: RunResult) -> Path:
    """Store the suite of these runs; return its folder."""
    folder = reports / name
    folder.mkdir(parents=True)
    suite = SuiteResult(name, folder, runs, seconds=40.0, jobs=2)
    (folder / "suite.json").write_text(json.dumps(suite_to_json(suite)), encoding="utf-8")
    return folder


def config(folder: Path, text: str = OPTIONAL) -> Path:
    """Write a gate.toml."""
    path = folder / "gate.toml"
    path.write_text(text, encoding="utf-8")
    return path


def gate(*arguments: object, summary: Path | None = None) -> Result:
    """Run the command."""
    environment = {"GITHUB_STEP_SUMMARY": "" if summary is None else str(summary), "PROMETHEUS_TOKEN": ""}
    done = CliRunner(env=environment).invoke(cli, ["gate", *map(str, arguments)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


def last_line(done: Result) -> str:
    """The decision, as it is printed."""
    return done.stdout.splitlines()[-1]


def row(done: Result, metric: str, source: str = "runs") -> str:
    """The line of the table about one metric."""
    lines = [line for line in done.stdout.splitlines() if line.split()[:2] == [metric, source]]
    assert len(lines) == 1, done.stdout
    return lines[0]
