"""Hand-made runs and results that the report tests write out."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from harness import events as ev
from harness.blast import BlastRadius, Write
from harness.checking import CheckResult, Finding
from harness.fault import radius_to_json
from harness.results import Clocks, RunResult, SuiteResult, Waits
from harness.rundata import Run, build_run
from harness.scenario import Load, Scenario
from harness.values import Month, Promise

DECEMBER = Month(2025, 12)
JANUARY = Month(2026, 1)
HOSTILE = "<script>alert('x')</script> & \"quotes\" \x00\x1b[31m \ud800"
CONFIRMED_AT, HEALED_AT, PROBED_AT, END = 4.3, 8.6, 8.9, 13.0

SCENARIO = Scenario(
    name="december-detached",
    claim="A detached month goes to the DLQ alone, and drains when it is attached again.",
    requirements=("R-ISO-1", "R-DLQ-2"),
    load=Load(months=(DECEMBER, JANUARY)),
)


@dataclass
class Sample:
    """A run that grows record by record."""

    records: list[ev.Record]
    ops: int = 0

    def write(self, t: float, month: Month, status: int, seconds: float, event_id: str = "") -> str:
        """Add one write and its answer (status -1: it never completes); return its event id."""
        self.ops += 1
        event_id = event_id or f"00000000-0000-4000-8000-{self.ops:012d}"
        day = date(month.year, month.month, 5)
        self.records.append(ev.Invoke(t, self.ops, self.ops % 4, ev.OpKind.WRITE, event_id, day, "{}"))
        if status >= 0:
            kinds = {201: ev.Completion.OK, 202: ev.Completion.OK, 0: ev.Completion.INFO}
            outcome = {201: "created", 202: "queued"}.get(status, "")
            kind = kinds.get(status, ev.Completion.FAIL)
            error = "" if status else "ReadTimeout"
            self.records.append(ev.Complete(t + seconds, self.ops, kind, status, outcome, month.label, error))
        return event_id


def started() -> Sample:
    """A run that has only begun."""
    first = ev.RunStarted(
        t=0.0,
        run="20251205T101500-december-detached",
        scenario=SCENARIO.name,
        seed=7,
        started_at="2025-12-05T10:15:00+00:00",
        scenario_json=json.dumps(SCENARIO.to_json()),
        target="reference",
        versions={"postgresql": "18.0", "toxiproxy": "2.12.0"},
    )
    return Sample([first])


def sample_run(operations_per_second: int = 60, hostile: str = "") -> Run:
    """A detached December with its fault window, samples, final reads and one event that is lost at the end."""
    sample = started()
    chance = random.Random(7)
    radius = radius_to_json(BlastRadius(months=frozenset({DECEMBER}), write=Write.NO))
    marks = [
        (4.0, ev.FaultStep.INJECTING, ""),
        (4.1, ev.FaultStep.INJECTED, ""),
        (CONFIRMED_AT, ev.FaultStep.CONFIRMED, f"23514 no partition found {hostile}"),
        (8.4, ev.FaultStep.HEALING, ""),
        (HEALED_AT, ev.FaultStep.HEALED, ""),
        (PROBED_AT, ev.FaultStep.PROBED, ""),
    ]
    for t, step, detail in marks:
        declared = radius if step is ev.FaultStep.INJECTING else ""
        sample.records.append(ev.FaultMark(t, 1, "detach-partition", step, detail, declared))
    sample.records += [ev.PhaseMark(0.2, "before"), ev.PhaseMark(4.0, "during"), ev.PhaseMark(8.4, "after")]
    for index in range(int(END * operations_per_second)):
        t = index / operations_per_second
        month = DECEMBER if index % 2 else JANUARY
        down = month == DECEMBER and CONFIRMED_AT < t < HEALED_AT
        status = 202 if down else chance.choices((201, 400, 409, 503, 0), (95, 2, 2, 0.5, 0.5))[0]
        seconds = 5.0 if status == 0 else chance.lognormvariate(-5.3, 0.4)
        event_id = sample.write(t, month, status, seconds)
        if status in (201, 202) and index != 301:
            sample.records.append(ev.TableRow(event_id, date(month.year, month.month, 5), month.label, "{}", ""))
    sample.write(END - 0.5, DECEMBER, -1, 0.0)
    for tick in range(int(END * 5)):
        t = tick / 5
        depth = int(max(0.0, min(t, 8.8) - 4.3) * 30 - max(0.0, t - 8.9) * 130)
        sample.records.append(ev.DlqSample(t, max(0, depth)))
        in_use = float(chance.randint(2, 9))
        names = ("open", "in_use", "idle")
        values = (12.0, in_use, 12.0 - in_use)
        series = {f"datastorage_db_connections_{name}": value for name, value in zip(names, values, strict=True)}
        sample.records.append(ev.MetricsSample(t, series))
        sample.records.append(ev.ConnectionSample(t, 12))
    sample.records.append(ev.LogLine(4.2, "ERROR", f"Failed to write to partition audit_events_2025_12 {hostile}", 3))
    sample.records.append(ev.Note(5.0, "probe", f"slow answer {hostile}"))
    sample.records.append(ev.FinalRead(END, table=True, dlq=True))
    return build_run(sample.records)


def result_of(
    *checks: CheckResult, folder: Path = Path("reports/run-1"), setup_error: str = "", name: str = ""
) -> RunResult:
    """A judged run of the sample scenario."""
    scenario = Scenario(
        name=name or SCENARIO.name,
        claim=SCENARIO.claim,
        requirements=SCENARIO.requirements,
        load=SCENARIO.load,
    )
    return RunResult(
        run="run-1",
        folder=folder,
        scenario=scenario,
        seed=7,
        seconds=13.25,
        checks=checks,
        clocks=() if setup_error else (Clocks("detach-partition", 0.12, 0.21, None, 3.4),),
        waits=Waits(edge_seconds=5.0, sampling_seconds=6.0),
        setup_error=setup_error,
        timings={"environment_seconds": 1.1},
        repeat_command="harness replay reports/run-1",
    )


def lost(count: int = 12, hostile: str = "") -> CheckResult:
    """A broken conservation promise over the first events of a run, from operation 302 on."""
    ids = tuple(f"00000000-0000-4000-8000-{number:012d}" for number in range(302, 302 + count))
    finding = Finding(Promise.CONSERVATION, f"{count} events were answered 202 and are nowhere {hostile}", ids, t=5.0)
    return CheckResult("conservation", findings=(finding,), facts={"events_judged": 780.0, "worst": float("inf")})


PASSED = CheckResult("isolation", facts={"p99_ratio": 1.25})
UNDECIDED = CheckResult("fallback", unknowns=("only 120 of 200 events were judged strictly in 2025_12",))
NOT_CHECKED = CheckResult("metrics", not_checked="needs metrics")


def suite_of(*runs: RunResult) -> SuiteResult:
    """A suite of these runs, two at a time."""
    return SuiteResult("suite-1", Path("reports/suite-1"), runs, seconds=40.0, jobs=2)
