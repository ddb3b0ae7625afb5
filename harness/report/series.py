"""Series: the runs that one command makes for one question, in a folder of their own: a sweep, a selftest.

Such a folder ``sweep-…`` or ``selftest-…`` lies below the reports.  It has a header (what was asked), a file with a
line a run, by whose lock one command at a time adds to it, ``runs/``, and what was made of them at the end.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import UsageError

LAST = "last"
"""What one types for the newest of its sort."""
RUNS = "runs"
CPU_FILE = "cpu.json"
"""What a sweep adds to the folder of each of its runs."""
_NAMED = 5


@dataclass(frozen=True, kw_only=True)
class Series:
    """One sort of them: the names of its files, and of the folder of the user's cache that has its target files."""

    noun: str
    header: str
    lines: str
    answers: tuple[str, ...]
    cache: str

    @property
    def prefix(self) -> str:
        """How the name of each folder begins."""
        return f"{self.noun}-"

    @property
    def files(self) -> frozenset[str]:
        """All that the harness puts into such a folder."""
        return frozenset((self.header, f"{self.header}.new", self.lines, RUNS, *self.answers))

    def stored(self, reports: Path) -> list[Path]:
        """Return the folders below ``reports``, newest first: their names have their times."""
        folders = (path.parent for path in reports.glob(f"{self.prefix}*/{self.header}"))
        return sorted(folders, key=lambda folder: folder.name, reverse=True)

    def find(self, reports: Path, name: str) -> Path:
        """Find a stored one by path, by name below ``reports``, or as ``last``; raises :class:`UsageError`."""
        for exact in (Path(name), reports / name):
            if name != LAST and (exact / self.header).is_file():
                return exact
        known = self.stored(reports)
        if name == LAST and known:
            return known[0]
        shown = ", ".join(path.name for path in reversed(known[:_NAMED])) or "none"
        raise UsageError(
            f"There is no {self.noun} {name!r} below {reports}; stored are: {shown}. Without --resume one begins."
        )


SWEEP = Series(
    noun="sweep", header="sweep.json", lines="points.jsonl", answers=("pool.json", "pool.html"), cache="sweeps"
)
SELFTEST = Series(
    noun="selftest",
    header="selftest.json",
    lines="runs.jsonl",
    answers=("matrix.json", "matrix.md", "matrix.html"),
    cache="selftests",
)
SERIES = (SWEEP, SELFTEST)
"""All sorts.  One that is added is bounded by ``--keep-runs`` as they are."""
