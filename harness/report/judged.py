"""Judged: what ``result.json`` and ``suite.json`` say of stored runs, typed for what is made of several runs.

What a later version adds is passed over; what an earlier one did not write yet is empty.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import HistoryError, UsageError
from ..history import FILE_NAME
from ..results import Clocks
from .stored import LAST, LAST_SUITE, SUITE_FILE, find_run, newest, stored_suites

RESULT_FILE = "result.json"
_NAMED = 5
_FILES = (SUITE_FILE, RESULT_FILE, FILE_NAME)
_SHAPE = ("load", "schedule", "service_environment", "judge_latency", "min_strict_events", "min_latency_samples")
"""What of a scenario decides what its run measures."""


@dataclass(frozen=True)
class Broken:
    """A broken promise of a stored verdict: who found it, which promise, the sentence, how many events it names.

    ``timeless``: no delay of the machine brings it about.
    """

    checker: str
    promise: int
    summary: str
    events: int
    timeless: bool = False


@dataclass(frozen=True)
class CheckSaid:
    """One checker's word, ``NOT CHECKED`` among them."""

    checker: str
    verdict: str


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One stored run as it was judged.  ``shape``: the parts of its scenario that decide what it measures, as JSON."""

    run: str
    folder: Path
    verdict: str
    scenario: str
    claim: str = ""
    requirements: tuple[str, ...] = ()
    shape: str = ""
    started_at: str = ""
    target: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    limits: Mapping[str, float] = field(default_factory=dict)
    load: Mapping[str, Any] = field(default_factory=dict)
    checks: tuple[CheckSaid, ...] = ()
    broken: tuple[Broken, ...] = ()
    unknowns: tuple[str, ...] = ()
    not_checked: tuple[tuple[str, str], ...] = ()
    clocks: tuple[Clocks, ...] = ()
    faults: tuple[str, ...] = ()
    operations: int = 0
    repeat_command: str = ""
    setup_error: str = ""


@dataclass(frozen=True, kw_only=True)
class SuiteEntry:
    """One run of a stored suite; ``folder`` need not exist, since a run that never began has none.

    ``why`` is what kept it from being set up or judged, "" for nothing.
    """

    run: str
    scenario: str
    folder: Path
    verdict: str
    why: str = ""

    @property
    def is_stored(self) -> bool:
        """Tell whether there is anything left of the run to look at."""
        return any((self.folder / file).is_file() for file in (RESULT_FILE, FILE_NAME))


@dataclass(frozen=True, kw_only=True)
class StoredSuite:
    """A stored suite: its runs in their order, and the scenarios that this machine could not play, with the reason.

    ``owed`` are the states that it had to reach somewhere, and reached nowhere.
    """

    name: str
    folder: Path
    entries: tuple[SuiteEntry, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()
    owed: tuple[str, ...] = ()


def read_result(folder: Path) -> dict[str, Any] | None:
    """Read ``result.json``; None for a run that was never judged, :class:`HistoryError` for what is no JSON object."""
    return _read(folder / RESULT_FILE, f"Judge the run again with `harness check {folder.name}`.")


def read_judged(folder: Path) -> Judged | None:
    """Read a run's verdict; None for one that was never judged, :class:`HistoryError` for what nobody can read."""
    data = read_result(folder)
    if data is None:
        return None
    try:
        return _judged(folder, data)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise HistoryError(
            f"{folder / RESULT_FILE} is not the verdict of a run ({error!r}). Judge it again with `harness check "
            f"{folder.name}`."
        ) from error


def _judged(folder: Path, data: dict[str, Any]) -> Judged:
    scenario, checks = data["scenario"], data["checks"]
    return Judged(
        run=str(data["run"]),
        folder=folder,
        verdict=str(data["verdict"]),
        scenario=str(scenario["name"]),
        claim=str(scenario.get("claim", "")),
        requirements=tuple(str(one) for one in scenario.get("requirements", ())),
        shape=json.dumps({key: scenario.get(key) for key in _SHAPE}, sort_keys=True),
        started_at=str(data.get("started_at", "")),
        target=str(data.get("target", "")),
        versions={str(key): str(value) for key, value in data.get("versions", {}).items()},
        limits={str(key): float(value) for key, value in data.get("limits", {}).items()},
        load=dict(scenario.get("load") or {}),
        checks=tuple(CheckSaid(str(one["checker"]), str(one["verdict"])) for one in checks),
        broken=tuple(_broken(str(one["checker"]), each) for one in checks for each in one["findings"]),
        unknowns=tuple(str(one) for one in data.get("unknowns", ())),
        not_checked=tuple((str(one["checker"]), str(one["needs"])) for one in data.get("not_checked", ())),
        clocks=tuple(_clocks(one, at) for at, one in enumerate(data.get("clocks", ()))),
        faults=tuple(str(one["name"]) for one in data.get("faults", ())),
        operations=int(data.get("operations", 0)),
        repeat_command=str(data.get("repeat_command", "")),
        setup_error=str(data.get("setup_error", "")),
    )


def _broken(checker: str, data: dict[str, Any]) -> Broken:
    timeless = bool(data.get("timeless", False))
    return Broken(checker, int(data["promise"]), str(data["summary"]), len(data["event_ids"]), timeless)


def _clocks(data: dict[str, Any], place: int) -> Clocks:
    def seconds(name: str) -> float | None:
        value = data.get(f"{name}_seconds")
        return None if value is None else float(value)

    return Clocks(
        fault=str(data["fault"]),
        # An earlier version wrote no number; faults were numbered as they came.
        number=int(data.get("number", place)),
        detect_seconds=seconds("detect"),
        fallback_seconds=seconds("fallback"),
        recover_seconds=seconds("recover"),
        drain_seconds=seconds("drain"),
    )


def read_suite(folder: Path) -> StoredSuite:
    """Read a stored suite; raises :class:`HistoryError`."""
    path = folder / SUITE_FILE
    data = _read(path, "Run the suite again.")
    if data is None:
        raise HistoryError(f"There is no {path}. Name a suite that is stored, or run one.")
    try:
        return StoredSuite(
            name=str(data["suite"]),
            folder=folder,
            entries=tuple(_entry(folder, one) for one in data["runs"]),
            skipped=tuple((str(one["scenario"]), str(one["reason"])) for one in data.get("skipped", ())),
            owed=tuple(str(one["name"]) for one in data.get("reached", ()) if one.get("owed")),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise HistoryError(f"{path} is no suite ({error!r}). Run the suite again.") from error


def _entry(suite: Path, data: dict[str, Any]) -> SuiteEntry:
    return SuiteEntry(
        run=str(data["run"]),
        scenario=str(data["scenario"]),
        folder=suite.parent / str(data["folder"]),
        verdict=str(data["verdict"]),
        why=str(data.get("setup_error") or "; ".join(data.get("unknowns", ()))),
    )


def _read(path: Path, remedy: str) -> dict[str, Any] | None:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise HistoryError(f"{path} cannot be read: {error}. {remedy}") from error
    if not isinstance(data, dict):
        raise HistoryError(f"{path} is no JSON object. {remedy}")
    return data


def find_stored(reports: Path, name: str) -> Path:
    """Find a stored run or suite as :func:`harness.report.stored.find_run` finds a run, or ``last-suite``.

    Of ``last`` the whole suite is meant where that is the newest.
    A run that could not be set up, which has a verdict and no history, is found by its path or its whole name.  A part
    of a name that fits a run means the run.  Raises :class:`UsageError`.
    """
    if name == LAST:
        return newest(reports)
    if name == LAST_SUITE:
        suites = stored_suites(reports)
        if not suites:
            raise UsageError(f"There is no suite below {reports} yet; `harness run` makes one.")
        return suites[0]
    for exact in (Path(name), reports / name):
        folder = exact.parent if exact.name in _FILES else exact
        if any((folder / file).is_file() for file in _FILES):
            return folder
    suites = [path for path in stored_suites(reports) if name in path.name]
    if not suites or any(name in path.parent.name for path in reports.glob(f"*/{FILE_NAME}")):
        return find_run(reports, name)
    if len(suites) == 1:
        return suites[0]
    shown = ", ".join(path.name for path in suites[:_NAMED])
    more = f" and {len(suites) - _NAMED} more" if len(suites) > _NAMED else ""
    raise UsageError(f"{name!r} could be {shown}{more}; give more of the name.")
