"""Stored runs and suites that a gate is given, and the verdict that each run has.

A suite is its runs; one that did not begin, failed to start, or is no longer stored is why the gate cannot pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..checkers.conservation import NAME as CONSERVATION
from ..checking import CheckResult, Finding
from ..errors import HarnessError, HistoryError
from ..history import FILE_NAME
from ..redaction import masked
from ..report.jsonfile import NamedFinding
from ..report.judged import RESULT_FILE, find_stored, read_result, read_suite
from ..report.stored import SUITE_FILE
from ..values import Promise


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The runs to be judged, by folder; ``problems`` keep the gate from passing, ``notes`` do not."""

    folders: tuple[Path, ...] = ()
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class StoredVerdict:
    """What the checkers said of one run.  ``unknowns`` are the reasons why something about it could not be judged."""

    run: str
    folder: Path
    scenario: str
    requirements: frozenset[str] = frozenset()
    findings: tuple[NamedFinding, ...] = ()
    unknowns: tuple[str, ...] = ()
    acknowledged: int = 0
    """Events whose conservation was judged."""
    unlooked: int = 0
    """Events answered 202 that are not in the table, of a target whose queue cannot be read."""
    conservation_judged: bool = False


def choose(reports: Path, names: Sequence[str]) -> Chosen:
    """Find every run that is meant, all those of a suite.

    Raises :class:`harness.errors.HarnessError` for a name that means none, or several things.
    """
    folders: dict[Path, None] = {}
    problems: list[str] = []
    notes: list[str] = []
    for name in names:
        place = find_stored(reports, name)
        if (place / SUITE_FILE).is_file():
            suite = _runs_of_suite(place)
            folders |= dict.fromkeys(folder.resolve() for folder in suite.folders)
            problems += suite.problems
            notes += suite.notes
        else:
            folders[place.resolve()] = None
    return Chosen(folders=tuple(folders), problems=tuple(problems), notes=tuple(notes))


def _runs_of_suite(folder: Path) -> Chosen:
    suite = read_suite(folder)
    problems = [f"{folder.name}: no run reached the state {name}, which a whole suite owes" for name in suite.owed]
    problems += [
        f"{entry.run}: {masked(entry.why or 'its folder is not stored any more')}"
        for entry in suite.entries
        if not entry.is_stored
    ]
    if not suite.entries:
        problems.append(f"{folder.name} has no run in it")
    return Chosen(
        folders=tuple(entry.folder for entry in suite.entries if entry.is_stored),
        problems=tuple(problems),
        notes=tuple(f"skipped in {folder.name}: {scenario} {reason}" for scenario, reason in suite.skipped),
    )


def verdict_of(folder: Path) -> StoredVerdict:
    """The stored verdict of a run, or one made now from its history; no report is written.

    Raises :class:`harness.errors.HarnessError` where neither can be read.
    """
    data = read_result(folder)
    if data is not None:
        try:
            return _stored(folder, data)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            if not (folder / FILE_NAME).is_file():
                raise HistoryError(f"{folder / RESULT_FILE} cannot be read as a result ({error!r}).") from error
    return _judged_now(folder)


def _stored(folder: Path, data: Mapping[str, Any]) -> StoredVerdict:
    checks = data["checks"]
    findings = [(str(check["checker"]), finding) for check in checks for finding in check["findings"]]
    unknowns = [f"{check['checker']}: {reason}" for check in checks for reason in check["unknowns"]]
    if data["setup_error"]:
        unknowns = [f"it could not be set up: {masked(str(data['setup_error']))}"]
    elif data["verdict"] != "PASS" and not unknowns and not findings:
        unknowns = [f"its verdict is {data['verdict']}, without a finding or a reason"]
    books = next((check for check in checks if check["checker"] == CONSERVATION), None)
    facts: Mapping[str, Any] = {} if books is None else books["facts"]
    return StoredVerdict(
        run=str(data["run"]),
        folder=folder,
        scenario=str(data["scenario"]["name"]),
        requirements=frozenset(str(one) for one in data["scenario"]["requirements"]),
        findings=tuple(NamedFinding(checker, _finding(finding)) for checker, finding in findings),
        unknowns=tuple(unknowns),
        acknowledged=int(facts.get("events_acknowledged") or 0),
        unlooked=int(facts.get("queued_not_checked") or 0),
        conservation_judged=books is not None and not books["not_checked"] and not books["unknowns"],
    )


def _finding(data: Mapping[str, Any]) -> Finding:
    return Finding(Promise(data["promise"]), str(data["summary"]), tuple(str(one) for one in data["event_ids"]))


def _judged_now(folder: Path) -> StoredVerdict:
    import harness.faults  # noqa: F401  (a stored scenario names its faults)

    from ..checkers.judge import judge
    from ..judging import open_run
    from ..scenario import Scenario

    opened = open_run(folder)
    scenario = Scenario.from_json(opened.run.started.scenario_json)
    checks = judge(opened.run, opened.names, opened.whole)
    absent = CheckResult(CONSERVATION, not_checked="it did not judge")
    books = next((check for check in checks if check.checker == CONSERVATION), absent)
    return StoredVerdict(
        run=opened.run.started.run,
        folder=folder,
        scenario=scenario.name,
        requirements=frozenset(scenario.requirements),
        findings=tuple(NamedFinding(check.checker, finding) for check in checks for finding in check.findings),
        unknowns=tuple(f"{check.checker}: {reason}" for check in checks for reason in check.unknowns),
        acknowledged=int(books.facts.get("events_acknowledged", 0)),
        unlooked=int(books.facts.get("queued_not_checked", 0)),
        conservation_judged=not books.not_checked and not books.unknowns,
    )


def verdicts_of(folders: Sequence[Path]) -> tuple[list[StoredVerdict], list[str]]:
    """The verdicts of these runs, and why some have none."""
    verdicts: list[StoredVerdict] = []
    problems: list[str] = []
    for folder in folders:
        try:
            verdicts.append(verdict_of(folder))
        except HarnessError as error:
            problems.append(f"{folder.name}: {error}")
    return verdicts, problems
