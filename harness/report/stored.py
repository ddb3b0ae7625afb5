"""Stored runs: found by what a user types for one, and listed newest first."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ..errors import HistoryError, UsageError
from ..events import RunStarted
from ..history import FILE_NAME
from ..jsonlines import decode
from .summary import moment_text

LAST = "last"
"""What one types for what was played last: the newest suite, or a run that began after it; for one run its newest."""
LAST_SUITE = "last-suite"
"""What one types for the newest suite."""

NOT_JUDGED = "not judged"
SUITE_FILE = "suite.json"
_NAMED = 5


@dataclass(frozen=True)
class StoredRun:
    """A run's folder, its verdict as result.json has it, and when it started (RFC 3339, UTC)."""

    folder: Path
    verdict: str
    started_at: str

    @property
    def text(self) -> str:
        """Verdict and time, as the list shows them."""
        return f"{self.verdict:<10}  {moment_text(self.started_at)}"


def stored_runs(reports: Path) -> list[StoredRun]:
    """Return all runs below ``reports`` that have a history, newest first."""
    runs = [StoredRun(path.parent, _verdict(path.parent), _started_at(path)) for path in reports.glob(f"*/{FILE_NAME}")]
    return sorted(runs, key=lambda run: (run.started_at, run.folder.name), reverse=True)


def stored_suites(reports: Path) -> list[Path]:
    """Return the folders of all suites below ``reports``, newest first: their names begin with their times.

    The copy of the newest in ``latest/`` is none of them.
    """
    folders = (path.parent for path in reports.glob(f"*-suite-*/{SUITE_FILE}"))
    return sorted(folders, key=lambda folder: folder.name, reverse=True)


def newest(reports: Path) -> Path:
    """Return the folder of the newest suite, or of a run that began after that had ended.

    A suite of which no run has a history is one all the same: the one before it must not pass in its place.  Raises
    :class:`UsageError` where nothing is stored.
    """
    runs = stored_runs(reports)
    last = max(((_ended_at(folder), folder) for folder in stored_suites(reports)), default=None)
    if last is not None and (not runs or _began_at(runs[0]) <= last[0]):
        return last[1]
    if not runs:
        raise UsageError(f"There is no run below {reports} yet; `harness run` makes one.")
    return runs[0].folder


def _newest_run(reports: Path) -> Path:
    """Return the newest run of what was played last, as :func:`newest` finds it; raises :class:`UsageError`."""
    place = newest(reports)
    if not (place / SUITE_FILE).is_file():
        return place
    own = _folders_of(place)
    found = next((run.folder for run in stored_runs(reports) if run.folder.name in own), None)
    if found is None:
        raise UsageError(
            f"{place.name} was played last, and no run of it has a history. Look into its index.html, or name an older "
            "run; `harness list runs` shows them."
        )
    return found


def _folders_of(suite: Path) -> frozenset[str]:
    try:
        data = json.loads((suite / SUITE_FILE).read_text(encoding="utf-8"))
        return frozenset(str(run["folder"]) for run in data["runs"])
    except (OSError, ValueError, KeyError, TypeError):
        return frozenset()


def find_run(reports: Path, name: str) -> Path:
    """Find a stored run by path, name, the beginning or a part of its name, or ``last``.

    Raises :class:`UsageError` for none, for several, and for a suite, whose runs it names.
    """
    for exact in (Path(name), reports / name):
        folder = exact.parent if exact.name == FILE_NAME else exact
        if (folder / FILE_NAME).is_file():
            return folder
        if (folder / SUITE_FILE).is_file():
            raise UsageError(_suite_text(folder))
    if name == LAST:
        return _newest_run(reports)
    folders = sorted(path for path in reports.glob("*") if path.is_dir() and name in path.name)
    known = [path for path in folders if (path / FILE_NAME).is_file()]
    begun = [path for path in known if path.name.startswith(name)]
    matches = begun or known
    if len(matches) == 1:
        return matches[0]
    if matches:
        shown = ", ".join(path.name for path in matches[:_NAMED])
        more = f" and {len(matches) - _NAMED} more" if len(matches) > _NAMED else ""
        raise UsageError(f"{name!r} could be {shown}{more}; give more of the name.")
    for folder in folders:
        if (folder / SUITE_FILE).is_file():
            raise UsageError(_suite_text(folder))
    raise UsageError(f"There is no run {name!r} below {reports}; `harness list runs` shows those that are stored.")


def _ended_at(suite: Path) -> datetime:
    """When a suite had ended: it is named by the time when it began, and knows how long it took; else by its file."""
    path = suite / SUITE_FILE
    try:
        began = datetime.strptime(suite.name[:15], "%Y%m%d-%H%M%S").replace(tzinfo=UTC)
        took_seconds = float(json.loads(path.read_text(encoding="utf-8"))["seconds"])
        # The name has whole seconds only.
        return began + timedelta(seconds=took_seconds + 1)
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)


def _began_at(run: StoredRun) -> datetime:
    """When a run began; one whose time nobody can read began before all others."""
    try:
        moment = datetime.fromisoformat(run.started_at)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _suite_text(folder: Path) -> str:
    try:
        data = json.loads((folder / SUITE_FILE).read_text(encoding="utf-8"))
        runs = ", ".join(str(run["run"]) for run in data["runs"])
    except (OSError, ValueError, KeyError, TypeError):
        runs = "in its index.html"
    return f"{folder} is a suite; its runs are {runs}. Name one of them."


def _verdict(folder: Path) -> str:
    try:
        return str(json.loads((folder / "result.json").read_text(encoding="utf-8"))["verdict"])
    except (OSError, ValueError, KeyError, TypeError):
        return NOT_JUDGED


def _started_at(path: Path) -> str:
    """The time of the first record; of a history without it, when the file was last written."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            first = decode(file.readline())
    except (OSError, HistoryError):
        first = None
    if isinstance(first, RunStarted):
        return first.started_at
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat()
    except OSError:
        return ""
