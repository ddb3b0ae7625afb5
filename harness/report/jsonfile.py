"""``result.json`` and ``suite.json``: everything a program may want to know of a judged run.

Their shapes are those of ``harness.report.shapes``, of which the published JSON Schema is made.  Figures that JSON
cannot hold (infinite, not a number) are null.  All event ids are there.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ..checking import CheckResult, Finding
from ..gate import decide_suite
from ..redaction import masked
from ..results import Clocks, Reached, RunResult, SuiteResult
from ..rundata import FaultWindow, Run
from ..scenario import retold
from ..values import Promise
from . import shapes
from .base import REPORTERS, SUITE_REPORTERS, write_text
from .summary import (
    STORIES_SHOWN,
    Stories,
    headline,
    irreducible_seconds,
    not_checked,
    unknown_reasons,
    verdict_headline,
)


@dataclass(frozen=True)
class NamedFinding:
    """A finding of a stored verdict, and the checker that made it."""

    checker: str
    finding: Finding


class JsonReporter:
    """Writes ``result.json``."""

    name = "json"

    def write(self, result: RunResult, run: Run | None, folder: Path) -> Path:
        """Write it; raises OSError."""
        return write_text(folder / "result.json", _dump(result_to_json(result, run)))


class JsonSuiteReporter:
    """Writes ``suite.json``."""

    name = "json"

    def write(self, suite: SuiteResult, folder: Path) -> Path:
        """Write it; raises OSError."""
        return write_text(folder / "suite.json", _dump(suite_to_json(suite)))


REPORTERS.register(JsonReporter.name)(JsonReporter())
SUITE_REPORTERS.register(JsonSuiteReporter.name)(JsonSuiteReporter())


def result_to_json(result: RunResult, run: Run | None) -> shapes.Result:
    """Return one run as JSON; what only the history knows is missing when ``run`` is None."""
    stories = Stories(run) if run is not None and result.findings else None
    waits = result.waits
    return {
        "schema_version": shapes.SCHEMA_VERSION,
        **_brief(result),
        "scenario": _scenario(result, run),
        "checks": [_check(check, stories) for check in result.checks],
        "clocks": [clocks_to_json(clocks) for clocks in result.clocks],
        "waits": {
            "edge_seconds": waits.edge_seconds,
            "timeout_seconds": waits.timeout_seconds,
            "sampling_seconds": waits.sampling_seconds,
            "total_seconds": waits.total_seconds,
        },
        "timings": dict(result.timings),
        **_of_history(run),
    }


def _of_history(run: Run | None) -> shapes.OfHistory:
    if run is None:
        return {}
    return {
        "started_at": run.started.started_at,
        "target": run.started.target,
        "versions": dict(run.started.versions),
        "limits": dict(run.limits.__dict__),
        "faults": [_window(window) for window in run.windows],
        "operations": run.sent,
    }


def suite_to_json(suite: SuiteResult) -> shapes.Suite:
    """Return a suite as JSON: its decision and one short entry a run, with the folder name of its details."""
    return {
        "schema_version": shapes.SCHEMA_VERSION,
        "suite": suite.suite,
        "verdict": cast("shapes.Verdict", verdict_headline(suite.verdict).word),
        "exit_code": exit_code_of(suite),
        "seconds": suite.seconds,
        "jobs": suite.jobs,
        "skipped": [{"scenario": one.scenario.name, "reason": one.reason} for one in suite.skipped],
        "full": suite.full,
        "reached": [_reached(one, suite) for one in suite.reached],
        "irreducible_seconds": irreducible_seconds(suite.runs, os.cpu_count() or 1),
        "runs": [_suite_run(result) for result in suite.runs],
    }


def exit_code_of(suite: SuiteResult) -> shapes.ExitCode:
    """Return the exit code of the command that played it."""
    return cast("shapes.ExitCode", int(decide_suite(suite)))


def verdict_of(result: RunResult) -> shapes.Verdict:
    """Return the word for a run's verdict."""
    return cast("shapes.Verdict", headline(result).word)


def _brief(result: RunResult) -> shapes.Brief:
    return {
        "run": result.run,
        "verdict": verdict_of(result),
        "seed": result.seed,
        "seconds": result.seconds,
        "setup_error": masked(result.setup_error),
        "repeat_command": masked(result.repeat_command),
        "unknowns": list(unknown_reasons(result)),
        "not_checked": [{"checker": checker, "needs": needs} for checker, needs in not_checked(result)],
    }


def _suite_run(result: RunResult) -> shapes.SuiteRun:
    return {
        **_brief(result),
        "scenario": result.scenario.name,
        "claim": result.scenario.claim,
        "requirements": list(result.scenario.requirements),
        "folder": result.folder.name,
        "findings": [finding_to_json(finding) for finding in result.findings],
    }


def _reached(one: Reached, suite: SuiteResult) -> shapes.Reached:
    owed = one in suite.owed
    return {"name": one.name, "sentence": one.sentence, "runs": one.runs, "of": one.of, "owed": owed}


def _scenario(result: RunResult, run: Run | None) -> shapes.Scenario:
    """Prefer the history's copy, which has been redacted of values too that only stand somewhere in it."""
    if run is not None:
        try:
            return cast("shapes.Scenario", retold(run.started.scenario_json))
        except ValueError:
            pass  # A history of a killed runner may hold anything; the scenario itself is still known.
    return cast("shapes.Scenario", result.scenario.told_json())


def clocks_to_json(clocks: Clocks) -> shapes.Clocks:
    """Return the four clocks of one fault as JSON."""
    return {
        "fault": clocks.fault,
        "number": clocks.number,
        "detect_seconds": clocks.detect_seconds,
        "fallback_seconds": clocks.fallback_seconds,
        "recover_seconds": clocks.recover_seconds,
        "drain_seconds": clocks.drain_seconds,
    }


def _check(check: CheckResult, stories: Stories | None) -> shapes.Check:
    word = "NOT CHECKED" if check.not_checked else verdict_headline(check.verdict).word
    return {
        "checker": check.checker,
        "verdict": cast("shapes.CheckVerdict", word),
        "not_checked": check.not_checked,
        "findings": [{**finding_to_json(finding), "changes": _changes(finding, stories)} for finding in check.findings],
        "unknowns": list(check.unknowns),
        "facts": {**check.facts},
    }


def finding_to_json(finding: Finding) -> shapes.Finding:
    """Return a finding as JSON, with all its event ids."""
    return {
        "promise": finding.promise.value,
        "promise_name": finding.promise.name.lower(),
        "summary": finding.summary,
        "event_ids": list(finding.event_ids),
        "t": finding.t,
        "timeless": finding.timeless,
    }


def _changes(finding: Finding, stories: Stories | None) -> dict[str, list[str]]:
    """By event id, the keys whose stored value is not the sent one; of the events whose stories are told."""
    if stories is None:
        return {}
    told = ((event_id, stories.of(event_id).changes) for event_id in finding.event_ids[:STORIES_SHOWN])
    return {event_id: [str(change) for change in changes] for event_id, changes in told if changes}


def changes_in(folder: Path) -> dict[str, list[str]]:
    """Read from a run's ``result.json`` what :func:`_changes` wrote; nothing when there is no such file."""
    try:
        data = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        findings = [finding for check in data["checks"] for finding in check["findings"]]
        return {event_id: list(lines) for finding in findings for event_id, lines in finding["changes"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def findings_in(folder: Path) -> tuple[NamedFinding, ...] | None:
    """Read the findings of a run's ``result.json``; None when there is no such file, or none that can be read."""
    try:
        data = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        return tuple(
            NamedFinding(str(check["checker"]), _stored_finding(finding))
            for check in data["checks"]
            for finding in check["findings"]
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _stored_finding(data: dict[str, Any]) -> Finding:
    t = data["t"]
    ids = tuple(str(event_id) for event_id in data["event_ids"])
    return Finding(Promise(data["promise"]), str(data["summary"]), ids, None if t is None else float(t))


def _window(window: FaultWindow) -> shapes.Fault:
    months = window.radius.months
    return {
        "fault": window.fault,
        "name": window.name,
        "months": None if months is None else sorted(month.label for month in months),
        "write": window.radius.write.value,
        "injecting": window.injecting,
        "injected": window.injected,
        "confirmed": window.confirmed,
        "healing": window.healing,
        "healed": window.healed,
        "probed": window.probed,
        "problem": window.problem,
        "failed_heals": list(window.failed_heals),
        "evidence": window.evidence,
    }


def _dump(data: shapes.Result | shapes.Suite) -> str:
    return json.dumps(finite(data), indent=2, allow_nan=False) + "\n"


def finite(value: Any) -> Any:
    """Return JSON without the figures that JSON cannot hold: they are null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value
