"""Keeping: how many runs stay stored, and what may be removed to make room for new ones.

What is removed is old, was made by the harness, and is nobody's to look at any more.  Spared are the newest runs, those
of the command that just ended, for a while those that did not pass, and always: a run whose ledger is open (it may hold
the only way to undo a damage), one that is being played, judged or healed, and a folder with anything in it that the
harness did not put there.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ..columnar import FOLDER as COLUMNS
from ..history import FILE_NAME as HISTORY
from ..ledger import FOLDER as LEDGER
from ..ledger import Ledger
from .latest import FILES as SUITE_FILES
from .stored import StoredRun, stored_runs

ALL_RUNS = sys.maxsize
FAILED_DAYS = 7
"""For so long a run that did not pass outlives newer ones that did."""
_JUDGING_SECONDS = 3600.0
"""A run without a verdict whose files changed this lately may be about to be judged."""
_NAMED = 5

_MADE = re.compile(r"\d{8}-\d{6}-.+-[0-9a-f]{4}(-again)*")
_DOOMED = re.compile(r"\.\d{8}-\d{6}-.+-[0-9a-f]{4}(-again)*\.removed")
_REPORTS = ("result.json", "junit.xml", "report.html", "summary.md", "report-errors.txt", "measured.json")
_LOGS = ("service.log", "service-start.log", "postgres.log", "toxiproxy.log", "locust.log", "harness-error.txt")
RUN_FILES = frozenset((HISTORY, LEDGER, COLUMNS, f"{COLUMNS}.new", *_REPORTS, *_LOGS))
"""All that the harness puts into the folder of a run."""


@dataclass(frozen=True)
class Removed:
    """What was removed, oldest first, and what was too old and could not be, with the reason."""

    runs: tuple[str, ...] = ()
    suites: tuple[str, ...] = ()
    spared: tuple[tuple[str, str], ...] = ()

    @property
    def text(self) -> str:
        """One paragraph; empty when nothing was done."""
        lines = []
        for names, one, several in (
            (self.runs, "run", "runs"),
            (self.suites, "page of a suite", "pages of suites"),
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
    """Remove the oldest runs below ``reports`` beyond the ``keep`` newest, and the oldest suites alike.

    ``spare``: names of runs that stay whatever their age.  Never raises for what cannot be removed: it says so.
    """
    if keep >= ALL_RUNS or not reports.is_dir():
        return Removed()
    moment = now or datetime.now(UTC)
    for left in [path for path in reports.iterdir() if _DOOMED.fullmatch(path.name)]:
        shutil.rmtree(left, ignore_errors=True)  # A runner was killed while it removed it.
    removed: list[str] = []
    spared: list[tuple[str, str]] = []
    for run in _surplus(stored_runs(reports), keep, set(spare), moment):
        reason = _removed(run)
        if reason:
            spared.append((run.folder.name, reason))
        else:
            removed.append(run.folder.name)
    suites = [suite.name for suite in _surplus_suites(reports, keep) if not _gone(suite)]
    return Removed(tuple(removed), tuple(suites), tuple(spared))


def _surplus(runs: list[StoredRun], keep: int, spare: set[str], now: datetime) -> Iterator[StoredRun]:
    """Yield the runs to remove, oldest first; of those beyond the newest, ``keep`` recent failures stay at most."""
    kept_failures = 0
    doomed = []
    for run in runs[keep:]:
        failed = run.verdict != "PASS" and _age(run, now) <= timedelta(days=FAILED_DAYS)
        if run.folder.name in spare:
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


def _removed(run: StoredRun) -> str:
    """Remove a run; return why it stays, or nothing."""
    if run.folder.is_symlink() or not _MADE.fullmatch(run.folder.name):
        return "it has no name that the harness gives"
    try:
        reason = _why_it_stays(run.folder)
        if reason:
            return reason
        with lock_of(run.folder) as free:
            return _gone(run.folder) if free else "it still runs, is being healed, or is another user's"
    except FileNotFoundError:
        return ""  # Another command has removed it meanwhile.
    except OSError as error:
        return f"it cannot be looked into ({error.strerror})"


def _why_it_stays(folder: Path) -> str:
    strangers = sorted(foreign_entries(folder))
    if strangers:
        return f"it holds {_listed(strangers)}, which the harness did not put there"
    record = Ledger(folder / LEDGER).record
    if record is not None and record.open:
        return "its ledger is open; harness heal undoes what is left"
    if not (folder / "result.json").exists() and _changed_within(folder, _JUDGING_SECONDS):
        return "it has no verdict yet, and was written to within the last hour"
    return ""


def foreign_entries(folder: Path) -> Iterator[str]:
    """Yield what lies in a run's folder and is none of what the harness puts there."""
    return (path.name for path in folder.iterdir() if path.name not in RUN_FILES)


def _changed_within(folder: Path, seconds: float) -> bool:
    newest = max((path.stat().st_mtime for path in folder.iterdir()), default=0.0)
    return datetime.now(UTC).timestamp() - newest < seconds


@contextlib.contextmanager
def lock_of(folder: Path) -> Iterator[bool]:
    """Hold the lock of a run's ledger, and tell whether nobody else has it; there may be none."""
    try:
        descriptor = os.open(folder / LEDGER / "lock", os.O_RDWR | os.O_CLOEXEC)
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


def _surplus_suites(reports: Path, keep: int) -> Iterator[Path]:
    """Yield folders of suites beyond the newest, oldest first, that hold nothing but a suite's own files."""
    own = {*SUITE_FILES, "report-errors.txt"}
    suites = [path.parent for path in reports.glob("*-suite-*/suite.json") if _MADE.fullmatch(path.parent.name)]
    for folder in sorted(suites)[: max(0, len(suites) - keep)]:
        with contextlib.suppress(OSError):
            if not folder.is_symlink() and {path.name for path in folder.iterdir()} <= own and _is_suite(folder):
                yield folder


def _is_suite(folder: Path) -> bool:
    try:
        return bool(json.loads((folder / "suite.json").read_text(encoding="utf-8"))["suite"] == folder.name)
    except (OSError, ValueError, KeyError, TypeError):
        return False
