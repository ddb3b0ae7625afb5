"""Stored runs and suites that a gate is given, and the verdict that each run has.

A suite is its runs; one that did not begin, failed to start, or is no longer stored is why the gate cannot pass.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..checkers.conservation import NAME as CONSERVATION
from ..checking import CheckResult, Finding
from ..errors import HarnessError, UsageError
from ..history import FILE_NAME
from ..report.jsonfile import NamedFinding
from ..report.judged import SUITE_FILE, find_stored, stored_suites
from ..report.stored import LAST, stored_runs
from ..report.summary import masked
from ..values import Promise

RESULT_FILE = "result.json"


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
    conservation_judged: bool = False


def choose(reports: Path, names: Sequence[str]) -> Chosen:
    """Find every run that is meant; raises :class:`UsageError` for a name that means none, or several things."""
    folders: dict[Path, None] = {}
    problems: list[str] = []
    notes: list[str] = []
    for name in names:
        place = _place(reports, name)
        if (place / SUITE_FILE).is_file():
            suite = _runs_of_suite(place)
            folders |= dict.fromkeys(folder.resolve() for folder in suite.folders)
            problems += suite.problems
            notes += suite.notes
        else:
            folders[place.resolve()] = None
    return Chosen(folders=tuple(folders), problems=tuple(problems), notes=tuple(notes))


def _place(reports: Path, name: str) -> Path:
    """The folder of a run or of a suite.

    ``last`` is the newest suite, or a run that is newer; any other name is a path, a name or a part of one.
    """
    for exact in (Path(name), reports / name):
        folder = exact.parent if exact.name in (FILE_NAME, RESULT_FILE, SUITE_FILE) else exact
        if any((folder / file).is_file() for file in (SUITE_FILE, FILE_NAME, RESULT_FILE)):
            return folder
    if name == LAST:
        return _last(reports)
    return find_stored(reports, name)


def _last(reports: Path) -> Path:
    """The newest suite, or a run that was started after it.

    A suite of which no run has a history is one all the same: the one before it must not pass in its place.
    """
    suites = sorted((folder / SUITE_FILE for folder in stored_suites(reports)), key=_stored_at)
    runs = stored_runs(reports)
    if suites and (not runs or _stored_at(suites[-1]) >= _moment(runs[0].started_at)):
        return suites[-1].parent
    if not runs:
        raise UsageError(f"There is no run below {reports} yet; `harness run` makes one.")
    return runs[0].folder


def _stored_at(suite_file: Path) -> datetime:
    """When a suite had ended: its name says it, or else its file."""
    try:
        return datetime.strptime(suite_file.parent.name[:15], "%Y%m%d-%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return datetime.fromtimestamp(suite_file.stat().st_mtime, UTC)


def _moment(started_at: str) -> datetime:
    try:
        moment = datetime.fromisoformat(started_at)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _runs_of_suite(folder: Path) -> Chosen:
    data = _json(folder / SUITE_FILE)
    try:
        entries = [(str(one["run"]), folder.parent / str(one["folder"]), one) for one in data["runs"]]
        owed = [str(one["name"]) for one in data.get("reached", ()) if one.get("owed")]
        skipped = [f"{one['scenario']} {one['reason']}" for one in data.get("skipped", ())]
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{folder / SUITE_FILE} is no suite of this version ({error!r}); name its runs.") from error
    problems = [f"{folder.name}: no run reached the state {name}, which a whole suite owes" for name in owed]
    found: list[Path] = []
    for run, place, entry in entries:
        if (place / RESULT_FILE).is_file() or (place / FILE_NAME).is_file():
            found.append(place)
        else:
            why = (
                entry.get("setup_error")
                or "; ".join(entry.get("unknowns") or ())
                or "its folder is not stored any more"
            )
            problems.append(f"{run}: {masked(str(why))}")
    if not entries:
        problems.append(f"{folder.name} has no run in it")
    return Chosen(
        folders=tuple(found),
        problems=tuple(problems),
        notes=tuple(f"skipped in {folder.name}: {one}" for one in skipped),
    )


def verdict_of(folder: Path) -> StoredVerdict:
    """The stored verdict of a run, or one made now from its history; nothing is written.

    Raises :class:`harness.errors.HarnessError` where neither can be read.
    """
    if (folder / RESULT_FILE).is_file():
        try:
            return _stored(folder, _json(folder / RESULT_FILE))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            if not (folder / FILE_NAME).is_file():
                raise UsageError(f"{folder / RESULT_FILE} cannot be read as a result ({error!r}).") from error
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
    return StoredVerdict(
        run=str(data["run"]),
        folder=folder,
        scenario=str(data["scenario"]["name"]),
        requirements=frozenset(str(one) for one in data["scenario"]["requirements"]),
        findings=tuple(NamedFinding(checker, _finding(finding)) for checker, finding in findings),
        unknowns=tuple(unknowns),
        acknowledged=0 if books is None else int(books["facts"].get("events_acknowledged") or 0),
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
        conservation_judged=not books.not_checked and not books.unknowns,
    )


def _json(path: Path) -> dict[str, Any]:
    """Read a JSON object; raises :class:`UsageError` for anything else."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read ({error}); write it again with `harness check`.") from error
    if not isinstance(data, dict):
        raise UsageError(f"{path} holds no JSON object; write it again with `harness check`.")
    return data


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
