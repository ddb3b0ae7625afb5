"""Stored runs: found by what a user types for one, and listed newest first."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ..errors import HistoryError, UsageError
from ..events import RunStarted
from ..history import FILE_NAME
from ..jsonlines import decode
from .summary import moment_text

LAST = "last"
"""What one types for the newest run."""

NOT_JUDGED = "not judged"
_SUITE_FILE = "suite.json"
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


def find_run(reports: Path, name: str) -> Path:
    """Find a stored run by path, name, the beginning or a part of its name, or ``last``.

    Raises :class:`UsageError` for none, for several, and for a suite, whose runs it names.
    """
    for exact in (Path(name), reports / name):
        folder = exact.parent if exact.name == FILE_NAME else exact
        if (folder / FILE_NAME).is_file():
            return folder
        if (folder / _SUITE_FILE).is_file():
            raise UsageError(_suite_text(folder))
    if name == LAST:
        newest = stored_runs(reports)
        if not newest:
            raise UsageError(f"There is no run below {reports} yet; `harness run` makes one.")
        return newest[0].folder
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
        if (folder / _SUITE_FILE).is_file():
            raise UsageError(_suite_text(folder))
    raise UsageError(f"There is no run {name!r} below {reports}; `harness list runs` shows those that are stored.")


def _suite_text(folder: Path) -> str:
    try:
        data = json.loads((folder / _SUITE_FILE).read_text(encoding="utf-8"))
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
