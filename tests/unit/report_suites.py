"""Suites whose runs lie in folders as a session leaves them, with runs before them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from harness.checking import CheckResult
from harness.report import base
from harness.results import Clocks, RunResult, SuiteResult
from tests.unit import report_samples as samples

NAME = samples.SCENARIO.name
NOW = "20251205-101500"


def ran(
    reports: Path,
    *checks: CheckResult,
    name: str = NAME,
    setup_error: str = "",
    clocks: tuple[Clocks, ...] | None = None,
) -> RunResult:
    """A run of now, in a folder that is named as real ones are."""
    folder = reports / f"{NOW}-{name}-aaaa"
    result = samples.result_of(*checks, folder=folder, name=name, setup_error=setup_error)
    return result if clocks is None else dataclasses.replace(result, clocks=clocks)


def store(
    reports: Path, folder: str, verdict: str = "PASS", detect: float = 0.1, target: str = "reference", **more: object
) -> None:
    """What an earlier run left."""
    place = reports / folder
    place.mkdir(parents=True)
    clocks = {"fault": "detach-partition", "detect_seconds": detect, "fallback_seconds": 0.2, "recover_seconds": 0.3}
    judged = {"run": folder, "scenario": samples.SCENARIO.to_json(), "checks": []}
    data = {**judged, "verdict": verdict, "target": target, "clocks": [{**clocks, "drain_seconds": 3.0}], **more}
    (place / "result.json").write_text(json.dumps(data))
    (place / "report.html").write_text("")


def earlier(reports: Path, *verdicts: str, name: str = NAME, target: str = "reference") -> None:
    """Leave one earlier run for each verdict, a minute apart, whose clock to detect grows."""
    for number, verdict in enumerate(verdicts):
        store(reports, f"20251201-10{number:02}00-{name}-bbbb", verdict, 0.10 + number / 100, target)


def page_of(reports: Path, suite: SuiteResult) -> str:
    """Write the reports of a suite and of its runs, and return the page."""
    folder = reports / "20251205-103000-suite-cccc"
    folder.mkdir(parents=True, exist_ok=True)
    for result in suite.runs:
        result.folder.mkdir(parents=True, exist_ok=True)
        base.write_all(result, samples.sample_run(), result.folder)
    written = base.write_suite(suite, folder)
    assert written.failures == ()
    return (folder / "index.html").read_text()
