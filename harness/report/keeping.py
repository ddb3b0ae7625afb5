"""Keeping: how many runs stay stored, and what may be removed to make room for new ones.

What is removed is old, was made by the harness, and is nobody's to look at any more.  Spared are the newest runs with
the rest of their suites, those of the command that just ended, for a while those that did not pass, and always: a run
whose ledger is open (it may hold the only way to undo a damage), one that is being played, judged or healed, and a
folder with anything in it that the harness did not put there.  What has no name of the harness's is not even counted.
Sweeps and selftests are bounded by the runs in them, each sort by itself; the newest of a sort stays.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ..columnar import FOLDER as COLUMNS
from ..errors import HistoryError, SetupError
from ..history import FILE_NAME as HISTORY
from ..ledger import FOLDER as LEDGER
from ..ledger import Ledger
from ..stacks.cache import user_cache
from .judged import read_suite
from .latest import FILES as SUITE_FILES
from .series import CPU_FILE, RUNS, SERIES, Series
from .stored import StoredRun, stored_runs, stored_suites

ALL_RUNS = sys.maxsize
FAILED_DAYS = 7
"""For so long a run that did not pass outlives newer ones that did."""
_JUDGING_SECONDS = 3600.0
"""A run without a verdict whose files changed this lately may be about to be judged."""
_NAMED = 5

_AGAIN, _KEPT = "-again", "-kept"
_NAME = rf"\d{{8}}-\d{{6}}-.+-[0-9a-f]{{4}}({_AGAIN})*({_KEPT})?"
_MADE = re.compile(_NAME)
_SERIES_NAME = rf"(?:{'|'.join(sort.noun for sort in SERIES)})-\d{{8}}-\d{{6}}-(?:.+-)?[0-9a-f]{{4}}"
_MADE_SERIES = re.compile(_SERIES_NAME)
_DOOMED = re.compile(rf"\.(?:{_NAME}|{_SERIES_NAME})\.removed")
_REPORTS = ("result.json", "junit.xml", "report.html", "summary.md", "report-errors.txt", "measured.json")
_LOGS = ("service.log", "service-start.log", "postgres.log", "toxiproxy.log", "locust.log", "harness-error.txt")
RUN_FILES = frozenset((HISTORY, LEDGER, COLUMNS, f"{COLUMNS}.new", *_REPORTS, *_LOGS))
"""All that the harness puts into the folder of a run."""


@dataclass(frozen=True)
class Removed:
    """What was removed, oldest first, and what was too old and could not be, with the reason."""

    runs: tuple[str, ...] = ()
    suites: tuple[str, ...] = ()
    series: tuple[str, ...] = ()
    spared: tuple[tuple[str, str], ...] = ()

    @property
    def text(self) -> str:
        """One paragraph; empty when nothing was done."""
        lines = []
        for names, one, several in (
            (self.runs, "run", "runs"),
            (self.suites, "page of a suite", "pages of suites"),
            (self.series, "sweep or selftest", "sweeps and selftests"),
        ):
            if names:
                noun = one if len(names) == 1 else several
                lines.append(f"Removed {len(names)} old {noun} (--keep-runs): {_listed(names)}.")
        lines += [f"Kept {name} beyond --keep-runs: {reason}." for name, reason in self.spared[:_NAMED]]
        if len(self.spared) > _NAMED:
            lines.append(f"Kept {len(self.spared) - _NAMED} more beyond --keep-runs, for such reasons.")
        return "\n".join(lines)


def _listed(names: Collection[str]) -> str:
    shown = list(names)[:_NAMED]
    more = len(names) - len(shown)
    return f"{', '.join(shown)}{f' and {more} more' if more else ''}"


def prune(reports: Path, keep: int, *, spare: Collection[str] = (), now: datetime | None = None) -> Removed:
    """Remove the oldest runs below ``reports`` beyond the ``keep`` newest, and suites, sweeps and selftests alike.

    ``spare``: names of folders that stay whatever their age.  Never raises for what cannot be removed: it says
    so.
    """
    if keep >= ALL_RUNS or not reports.is_dir():
        return Removed()
    with contextlib.suppress(OSError):
        for left in [path for path in reports.iterdir() if _DOOMED.fullmatch(path.name)]:
            shutil.rmtree(left, ignore_errors=True)  # A runner was killed while it removed it.
    runs = [run for run in stored_runs(reports) if _is_made(run.folder)]
    removed: list[str] = []
    spared: list[tuple[str, str]] = []
    if len(runs) > keep:
        stay = {one for name in (*spare, *_beside(reports, runs[:keep])) for one in _names_of(name)}
        for run in _surplus(runs, keep, stay, now or datetime.now(UTC)):
            reason = _removed(run.folder)
            if reason:
                spared.append((run.folder.name, reason))
            else:
                removed.append(run.folder.name)
    suites = [suite.name for suite in _surplus_suites(reports, keep, spare) if not _gone(suite)]
    series: list[str] = []
    for sort, folder in _surplus_series(reports, keep, spare):
        reason = _series_removed(sort, folder)
        if reason:
            spared.append((folder.name, reason))
        else:
            series.append(folder.name)
    return Removed(runs=tuple(removed), suites=tuple(suites), series=tuple(series), spared=tuple(spared))


def _is_made(folder: Path) -> bool:
    """Tell whether a folder has a name that the harness gives; whoever gave it another, or a link, wants to keep it."""
    return _MADE.fullmatch(folder.name) is not None and not folder.is_symlink()


def _names_of(run: str) -> Iterator[str]:
    """Yield the name of a run, and those of the runs before it where it was played again."""
    yield run
    while run.endswith(_AGAIN):
        run = run.removesuffix(_AGAIN)
        yield run


def _beside(reports: Path, newest: Collection[StoredRun]) -> Iterator[str]:
    """Yield the runs of each suite of which one stays: a suite that lacks some of its runs tells another story."""
    names = {run.folder.name for run in newest}
    for folder in stored_suites(reports):
        with contextlib.suppress(HistoryError):
            whole = {entry.folder.name for entry in read_suite(folder).entries}
            if whole & names:
                yield from whole


def _surplus(runs: list[StoredRun], keep: int, stay: Collection[str], now: datetime) -> Iterator[StoredRun]:
    """Yield the runs to remove, oldest first; of those beyond the newest, ``keep`` recent failures stay at most."""
    kept_failures = 0
    doomed = []
    for run in runs[keep:]:
        failed = run.verdict != "PASS" and _age(run, now) <= timedelta(days=FAILED_DAYS)
        if run.folder.name in stay:
            continue
        if failed and kept_failures < keep:
            kept_failures += 1
            continue
        doomed.append(run)
    yield from reversed(doomed)


def _age(run: StoredRun, now: datetime) -> timedelta:
    try:
        started = datetime.fromisoformat(run.started_at)
    except ValueError:
        return timedelta.max
    return now - (started if started.tzinfo else started.replace(tzinfo=UTC))


def _removed(folder: Path) -> str:
    """Remove a run; return why it stays, or nothing."""
    try:
        reason = _why_it_stays(folder)
        if reason:
            return reason
        # A lab that goes on with what a run left goes on in a folder of its own, and holds the lock of the run.
        with lock_of(folder.with_name(folder.name.removesuffix(_KEPT))) as free:
            return _gone(folder) if free else "it still runs, is being healed, or is another user's"
    except FileNotFoundError:
        return ""  # Another command has removed it meanwhile.
    except OSError as error:
        return f"it cannot be looked into ({error.strerror})"


def _why_it_stays(folder: Path, known: Collection[str] = RUN_FILES) -> str:
    strangers = sorted(foreign_entries(folder, known))
    if strangers:
        return f"it holds {_listed(strangers)}, which the harness did not put there"
    try:
        record = Ledger(folder / LEDGER).record
    except (KeyError, TypeError):
        return "its ledger is none of this version's"
    if record is not None and record.open:
        return "its ledger is open; harness heal undoes what is left"
    if not (folder / "result.json").exists() and _changed_within(folder, _JUDGING_SECONDS):
        return "it has no verdict yet, and was written to within the last hour"
    return ""


def foreign_entries(folder: Path, known: Collection[str] = RUN_FILES) -> Iterator[str]:
    """Yield what lies in a folder, a run's unless another's files are ``known``, and the harness did not put there."""
    return (path.name for path in folder.iterdir() if path.name not in known)


def _changed_within(folder: Path, seconds: float) -> bool:
    newest = max((path.stat().st_mtime for path in folder.iterdir()), default=0.0)
    return datetime.now(UTC).timestamp() - newest < seconds


def lock_of(folder: Path) -> contextlib.AbstractContextManager[bool]:
    """Hold the lock of a run's ledger, and tell whether nobody else has it; there may be none."""
    return _locked(folder / LEDGER / "lock")


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[bool]:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        yield True
        return
    except OSError:
        yield False
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(descriptor)


def _gone(folder: Path) -> str:
    """Remove a folder of the harness's own; return why it could not be, or nothing.

    Renamed first, so that two commands that remove at the same time do not meet, and none shows half a run.
    """
    doomed = folder.with_name(f".{folder.name}.removed")
    try:
        folder.rename(doomed)
        shutil.rmtree(doomed)
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"it cannot be removed ({error.strerror})"
    return ""


def _surplus_suites(reports: Path, keep: int, spare: Collection[str]) -> Iterator[Path]:
    """Yield folders of suites beyond the newest, oldest first, that hold nothing but a suite's own files."""
    own = {*SUITE_FILES, "report-errors.txt"}
    suites = [folder for folder in stored_suites(reports) if _is_made(folder)]
    for folder in reversed(suites[keep:]):
        with contextlib.suppress(OSError, HistoryError):
            known = {path.name for path in folder.iterdir()} <= own and read_suite(folder).name == folder.name
            if known and folder.name not in spare:
                yield folder


def _surplus_series(reports: Path, keep: int, spare: Collection[str]) -> Iterator[tuple[Series, Path]]:
    """Yield sweeps and selftests, oldest first, that come after so many runs of newer ones of their sort.

    One without a run counts as one, so that their number is bounded as well.
    """
    for sort in SERIES:
        counted = 0
        doomed: list[Path] = []
        for folder in sort.stored(reports):
            if not _MADE_SERIES.fullmatch(folder.name) or folder.is_symlink():
                continue
            if counted >= keep and folder.name not in spare:
                doomed.append(folder)
            counted += max(1, len(_runs_of(folder)))
        yield from ((sort, folder) for folder in reversed(doomed))


def _runs_of(folder: Path) -> list[Path]:
    try:
        return sorted((folder / RUNS).iterdir())
    except OSError:
        return []


def _series_removed(sort: Series, folder: Path) -> str:
    """Remove a sweep or selftest with its target files, which may have tokens; return why it stays, or nothing."""
    try:
        with _locked(folder / sort.lines) as free:
            reason = _why_series_stays(sort, folder) if free else "another command adds to it, or it is another user's"
            reason = reason or _gone(folder)
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"it cannot be looked into ({error.strerror})"
    if not reason:
        with contextlib.suppress(SetupError):
            shutil.rmtree(user_cache() / sort.cache / folder.name, ignore_errors=True)
    return reason


def _why_series_stays(sort: Series, folder: Path) -> str:
    strangers = sorted(foreign_entries(folder, sort.files))
    if strangers:
        return f"it holds {_listed(strangers)}, which the harness did not put there"
    answered = any((folder / name).exists() for name in sort.answers)
    if not answered and _changed_within(folder, _JUDGING_SECONDS):
        return "it has no answer yet, and was written to within the last hour"
    for run in _runs_of(folder):
        if not run.is_dir() or run.is_symlink():
            return f"it holds {RUNS}/{run.name}, which the harness did not put there"
        reason = _why_it_stays(run, RUN_FILES | {CPU_FILE})
        if reason:
            return f"of its run {run.name}: {reason}"
        with lock_of(run) as free:
            if not free:
                return f"its run {run.name} is being healed, or is another user's"
    return ""
