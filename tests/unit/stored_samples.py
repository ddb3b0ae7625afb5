"""Stored runs and suites made by hand: folders as a runner leaves them, for what is made of several runs."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness import events as ev
from harness.checking import CheckResult
from harness.history import FILE_NAME
from harness.jsonlines import encode
from harness.report.jsonfile import result_to_json
from harness.results import Clocks
from harness.rundata import build_run
from harness.scenario import Scenario
from tests.unit import report_samples as samples
from tests.unit.histories import History, good

VERSIONS = {"postgresql": "180006", "platform": "Linux-6.1", "cpus": "2", "python": "3.11.2", "harness": "0.1.0"}
CLOCKS = Clocks("lock-partition", 0.1, 0.2, 0.3, 0.8)
PASSED = CheckResult("conservation")


def _lines(history: History) -> tuple[list[ev.Record], list[str]]:
    return history.records, [encode(record) for record in history.records]


@functools.cache
def _usual() -> tuple[list[ev.Record], list[str]]:
    """Made once: thousands of records, and most tests want them."""
    return _lines(good())


def store(
    reports: Path,
    name: str,
    *checks: CheckResult,
    history: History | None = None,
    scenario: str = "december-detached",
    requirements: Sequence[str] = ("S3", "S5"),
    clocks: Iterable[Clocks] = (CLOCKS,),
    started_at: str = "2026-02-01T00:00:00+00:00",
    target: str = "reference",
    versions: Mapping[str, str] = VERSIONS,
    setup_error: str = "",
    judged: bool = True,
) -> Path:
    """Store a run of these records (default: the good one) with the verdict that the checks make."""
    folder = reports / name
    folder.mkdir(parents=True)
    claim = Scenario(name=scenario, claim="It holds.", requirements=tuple(requirements), load=samples.SCENARIO.load)
    records, lines = _usual() if history is None else _lines(history)
    first = next(record for record in records if isinstance(record, ev.RunStarted))
    wishes = json.loads(first.scenario_json)
    # What the hand-made history asks of the checkers stays, beside what a real scenario has.
    wishes = {**claim.to_json(), **wishes, "schedule": claim.to_json()["schedule"]}
    begun = dataclasses.replace(
        first,
        run=name,
        scenario=scenario,
        scenario_json=json.dumps(wishes),
        started_at=started_at,
        target=target,
        versions=dict(versions),
    )
    place = records.index(first)
    records = [*records[:place], begun, *records[place + 1 :]]
    lines = [*lines[:place], encode(begun), *lines[place + 1 :]]
    (folder / FILE_NAME).write_text("".join(f"{line}\n" for line in lines))
    if judged:
        result = dataclasses.replace(
            samples.result_of(*(checks or (PASSED,)), folder=folder, setup_error=setup_error),
            run=name,
            scenario=claim,
            clocks=tuple(clocks),
        )
        data = result_to_json(result, build_run(records))
        (folder / "result.json").write_text(json.dumps(data))
    return folder


def store_suite(reports: Path, name: str, folders: Sequence[Path], *, skipped: Mapping[str, str] | None = None) -> Path:
    """Store a suite of runs that are stored; one without a folder is one that did not begin."""
    suite = reports / name
    suite.mkdir(parents=True)
    runs = []
    for folder in folders:
        path = folder / "result.json"
        told: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {"verdict": "UNKNOWN"}
        named = told["scenario"]["name"] if "scenario" in told else folder.name
        runs.append({"scenario": named, "folder": folder.name, "verdict": told["verdict"], "run": folder.name})
    left_out = [{"scenario": scenario, "reason": reason} for scenario, reason in (skipped or {}).items()]
    (suite / "suite.json").write_text(json.dumps({"suite": name, "runs": runs, "skipped": left_out}))
    return suite


def slowed(seconds: float, *, canary_seconds: float = 0.0, since: float = 0.0) -> History:
    """The good run with every answer, and every insert of the canary, so much later from ``since`` on."""
    history = good()
    for index, record in enumerate(history.records):
        if isinstance(record, ev.Complete) and record.t >= since:
            history.records[index] = dataclasses.replace(record, t=record.t + seconds)
        elif isinstance(record, ev.CanarySample):
            history.records[index] = dataclasses.replace(record, seconds=record.seconds + canary_seconds)
    return history
