"""Store: a selftest on disk, a line a run, written as each ends, so that a killed one goes on where it was.

A folder ``selftest-<id>`` below the reports has ``selftest.json`` (what was chosen, and the state of the sources),
``runs.jsonl`` (a line a run), ``runs/`` (what is kept of the runs) and, made of these at the end, ``matrix.json``,
``matrix.md`` and ``matrix.html``.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from .. import __version__
from ..errors import HistoryError, UsageError
from ..report.base import write_text
from ..report.series import RUNS, SELFTEST
from ..stacks.cache import user_cache
from ..suite import new_run_id
from .catalogue import Catalogue
from .plan import Selection
from .records import Record

FORMAT = 1
"""Version of the files that are JSON; it grows when a field changes its meaning or goes."""

_NAMED = 5
_HARNESS = Path(__file__).parents[1]
_SHOWING = (Path("report"), Path("selftest/page.py"))
"""What of the harness only shows results; a change there changes none."""


@dataclass(frozen=True, kw_only=True)
class Header:
    """What all runs of a selftest have in common.  ``sources``: a digest a file; ``mixed``: when --force was used."""

    name: str
    created_at: str
    catalogue: str
    seed: int
    pg_bindir: str
    selection: Selection
    sources: Mapping[str, str]
    mixed: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON, with the versions that wrote it."""
        return {
            "format": FORMAT,
            **self.__dict__,
            "selection": self.selection.to_json(),
            "sources": dict(self.sources),
            "mixed": list(self.mixed),
            "harness": __version__,
            "python": platform.python_version(),
        }

    @classmethod
    def from_json(cls, data: Any) -> Header:
        """Read back what :meth:`to_json` gave; raises :class:`HistoryError` for anything else."""
        try:
            if data["format"] != FORMAT:
                raise HistoryError(f"it has format {data['format']}, and this version reads format {FORMAT}")
            return cls(
                name=data["name"],
                created_at=data["created_at"],
                catalogue=data["catalogue"],
                seed=int(data["seed"]),
                pg_bindir=data["pg_bindir"],
                selection=Selection.from_json(data["selection"]),
                sources=dict(data["sources"]),
                mixed=tuple(data["mixed"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise HistoryError(f"its {SELFTEST.header} cannot be read ({error!r})") from error


def fingerprint(catalogue: Catalogue) -> dict[str, str]:
    """Return a digest of every file that a verdict depends on: harness, scenarios, target, and the catalogue's own."""
    roots = {_HARNESS, catalogue.scenarios, catalogue.target, catalogue.path, *catalogue.sources}
    digests: dict[str, str] = {}
    for root in sorted(roots):
        for path in [root] if root.is_file() else sorted(root.rglob("*")):
            inside = path.relative_to(root)
            hidden = any(part.startswith(".") or part == "__pycache__" for part in inside.parts)
            showing = root == _HARNESS and any(inside.is_relative_to(one) for one in _SHOWING)
            if path.is_file() and not hidden and not showing:
                name = "/".join((root.name, *inside.parts))
                # Sources of two services may both be named src.
                name = str(path) if name in digests else name
                digests[name] = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return digests


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Name the files that differ."""
    return sorted(name for name in {*before, *after} if before.get(name) != after.get(name))


class Store:
    """One selftest's folder."""

    def __init__(self, folder: Path, header: Header, records: Sequence[Record]) -> None:
        """Take what :func:`create` or :func:`resume` found."""
        self.folder = folder
        self.header = header
        self.records = list(records)
        self._file: IO[str] | None = None

    @property
    def runs_folder(self) -> Path:
        """Where the runs' own folders are."""
        return self.folder / RUNS

    @property
    def targets_folder(self) -> Path:
        """Where the target files are: not among the reports, since a target file may hold tokens."""
        return user_cache() / SELFTEST.cache / self.folder.name

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Hold the folder, so that one process at a time adds to it; raises :class:`UsageError` when one does."""
        self.runs_folder.mkdir(exist_ok=True)
        self.targets_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self.folder / SELFTEST.lines).open("a+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UsageError(
                    f"Another process adds to {self.folder} now; wait until it ends, or start a selftest of its own."
                ) from error
            _cut_torn_line(file)
            self._write_header()
            self._file = file
            try:
                yield
            finally:
                self._file = None

    def add(self, record: Record) -> None:
        """Write one run down at once; only while :meth:`opened`."""
        if self._file is None:
            raise HistoryError(f"{self.folder} is not opened for adding")
        self._file.write(json.dumps(record.to_json()) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self.records.append(record)

    def forget_run(self, record: Record) -> Record:
        """Delete a run's folder (and that of its repetition); return the record without it."""
        base = record.run.removesuffix("-again")
        for name in (base, f"{base}-again"):
            shutil.rmtree(self.runs_folder / name, ignore_errors=True)
        return replace(record, folder="")

    def write(self, name: str, text: str) -> Path:
        """Write one of the files made at the end."""
        return write_text(self.folder / name, text)

    def _write_header(self) -> None:
        partial = self.folder / f"{SELFTEST.header}.new"
        partial.write_text(json.dumps(self.header.to_json(), indent=2) + "\n", encoding="utf-8")
        partial.replace(self.folder / SELFTEST.header)


def create(reports: Path, catalogue: Catalogue, selection: Selection, *, seed: int, pg_bindir: str) -> Store:
    """Make the folder of a new selftest; raises :class:`UsageError` where nothing can be written."""
    name = new_run_id("selftest").replace("-selftest-", "-")
    folder = reports / f"{SELFTEST.prefix}{name}"
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise UsageError(
            f"Reports cannot be written to {reports} ({error.strerror}); name another folder with --reports."
        ) from error
    return Store(
        folder,
        Header(
            name=folder.name,
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            catalogue=str(catalogue.path),
            seed=seed,
            pg_bindir=pg_bindir,
            selection=selection,
            sources=fingerprint(catalogue),
        ),
        (),
    )


def load(folder: Path) -> Store:
    """Read a stored selftest; raises :class:`HistoryError` naming the file and the remedy."""
    try:
        header = Header.from_json(json.loads((folder / SELFTEST.header).read_text(encoding="utf-8")))
        runs = folder / SELFTEST.lines
        lines = runs.read_text(encoding="utf-8").splitlines(keepends=True) if runs.is_file() else []
        # A line without its end was being written when the process was killed: that run is played again.
        records = [Record.from_json(json.loads(line)) for line in lines if line.endswith("\n")]
    except (OSError, ValueError, HistoryError) as error:
        raise HistoryError(
            f"The selftest {folder} cannot be resumed: {error}. Start a new one without --resume."
        ) from error
    return Store(folder, header, records)


def same_state(header: Header, sources: Mapping[str, str], *, pg_bindir: str, force: bool, stored: int) -> Header:
    """Return the header for going on with these sources; raises :class:`UsageError` when they are not the stored ones.

    It says how many runs are ``stored``, which a new selftest goes without.
    With ``force`` the runs are mixed, and the header says so for good.
    """
    differing = changes(header.sources, sources)
    if pg_bindir != header.pg_bindir:
        differing.append(f"--pg-bindir {pg_bindir or '(none)'} instead of {header.pg_bindir or '(none)'}")
    if not differing:
        return header
    more = f" and {len(differing) - _NAMED} more" if len(differing) > _NAMED else ""
    shown = f"{', '.join(differing[:_NAMED])}{more}"
    if not force:
        raise UsageError(
            f"{header.name} was made with other sources; changed since: {shown}. Its {stored} runs do not score this "
            "code: start a new selftest without --resume, which goes without them (they stay on disk), or mix them all "
            "the same with --force."
        )
    mark = f"{datetime.now(UTC).isoformat(timespec='seconds')}: {shown}"
    return replace(header, sources=dict(sources), pg_bindir=pg_bindir, mixed=(*header.mixed, mark))


def _cut_torn_line(file: IO[str]) -> None:
    """Take off what a killed process wrote of its last line, so that the next one begins where it should."""
    file.seek(0)
    text = file.read()
    if text and not text.endswith("\n"):
        whole = text[: text.rfind("\n") + 1]
        os.truncate(file.fileno(), len(whole.encode("utf-8")))
    file.seek(0, os.SEEK_END)
