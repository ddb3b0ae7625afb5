"""``result.json`` and ``suite.json``: everything a program may want to know of a judged run.

Figures that JSON cannot hold (infinite, not a number) are null.  All event ids are there.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..checking import CheckResult, Finding
from ..gate import decide_suite
from ..results import Clocks, RunResult, SuiteResult
from ..rundata import FaultWindow, Run
from ..values import Promise
from .base import REPORTERS, SUITE_REPORTERS, write_text
from .summary import (
    CLOCK_NAMES,
    STORIES_SHOWN,
    Stories,
    clock_values,
    headline,
    irreducible_seconds,
    masked,
    not_checked,
    unknown_reasons,
    verdict_headline,
)

FORMAT = 1
"""Version of both files; it grows when a field changes its meaning or goes."""

_SECRET_WORDS = ("url", "token", "password", "secret", "key")


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


def result_to_json(result: RunResult, run: Run | None) -> dict[str, Any]:
    """Return one run as JSON; what only the history knows is missing when ``run`` is None."""
    stories = Stories(run) if run is not None and result.findings else None
    data: dict[str, Any] = {
        "format": FORMAT,
        **_brief(result),
        "scenario": _scenario(result, run),
        "checks": [_check(check, stories) for check in result.checks],
        "clocks": [_clocks(clocks) for clocks in result.clocks],
        "waits": {**result.waits.__dict__, "total_seconds": result.waits.total_seconds},
        "timings": dict(result.timings),
    }
    if run is not None:
        data |= {
            "started_at": run.started.started_at,
            "target": run.started.target,
            "versions": dict(run.started.versions),
            "limits": dict(run.limits.__dict__),
            "faults": [_window(window) for window in run.windows],
            "operations": run.sent,
        }
    return data


def suite_to_json(suite: SuiteResult) -> dict[str, Any]:
    """Return a suite as JSON: its decision and one short entry a run, with the folder name of its details."""
    return {
        "format": FORMAT,
        "suite": suite.suite,
        "verdict": verdict_headline(suite.verdict).word,
        "exit_code": int(decide_suite(suite)),
        "seconds": suite.seconds,
        "jobs": suite.jobs,
        "skipped": [{"scenario": one.scenario.name, "reason": one.reason} for one in suite.skipped],
        "full": suite.full,
        "reached": [{**one.__dict__, "owed": one in suite.owed} for one in suite.reached],
        "irreducible_seconds": irreducible_seconds(suite.runs, os.cpu_count() or 1),
        "runs": [
            {
                **_brief(result),
                "scenario": result.scenario.name,
                "claim": result.scenario.claim,
                "requirements": list(result.scenario.requirements),
                "folder": result.folder.name,
                "findings": [_finding(finding) for finding in result.findings],
            }
            for result in suite.runs
        ],
    }


def _brief(result: RunResult) -> dict[str, Any]:
    return {
        "run": result.run,
        "verdict": headline(result).word,
        "seed": result.seed,
        "seconds": result.seconds,
        "setup_error": masked(result.setup_error),
        "repeat_command": result.repeat_command,
        "unknowns": list(unknown_reasons(result)),
        "not_checked": [{"checker": checker, "needs": needs} for checker, needs in not_checked(result)],
    }


def _scenario(result: RunResult, run: Run | None) -> Any:
    """Prefer the history's copy, which is redacted."""
    if run is not None:
        try:
            return json.loads(run.started.scenario_json)
        except ValueError:
            pass  # A history of a killed runner may hold anything; the scenario itself is still known.
    data = result.scenario.to_json()
    environment: dict[str, str] = data["service_environment"]
    data["service_environment"] = {
        key: "***" if any(word in key.lower() for word in _SECRET_WORDS) else value
        for key, value in environment.items()
    }
    return data


def _clocks(clocks: Clocks) -> dict[str, Any]:
    values = zip(CLOCK_NAMES, clock_values(clocks), strict=True)
    return {"fault": clocks.fault, **{f"{name}_seconds": value for name, value in values}}


def _check(check: CheckResult, stories: Stories | None) -> dict[str, Any]:
    return {
        "checker": check.checker,
        "verdict": "NOT CHECKED" if check.not_checked else verdict_headline(check.verdict).word,
        "not_checked": check.not_checked,
        "findings": [{**_finding(finding), "changes": _changes(finding, stories)} for finding in check.findings],
        "unknowns": list(check.unknowns),
        "facts": dict(check.facts),
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "promise": finding.promise.value,
        "promise_name": finding.promise.name.lower(),
        "summary": finding.summary,
        "event_ids": list(finding.event_ids),
        "t": finding.t,
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


def _window(window: FaultWindow) -> dict[str, Any]:
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


def _dump(data: dict[str, Any]) -> str:
    return json.dumps(_finite(data), indent=2, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
