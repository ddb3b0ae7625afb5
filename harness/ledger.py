"""The undo ledger: what a heal needs, on disk before the damage is done.

::

    reports/RUN/ledger/
        run.json                   the run, and how another process opens its environment again
        lock                       held by the living runner, or by whoever heals
        00-detach-partition/
            _entry.json            the fault as JSON and its state: injecting, injected, healed
            children.json, …       what the fault itself saved

A fault is frozen data and keeps no state; whatever its heal needs (saved page bytes, bounds of a detached
partition, rows about to be destroyed) it saves here first.  Each save is fsynced before it returns, so an
interrupted inject can be healed from what the ledger holds.  No password is ever written here: connections are
described without one, and libpq finds it where it found it before (``PGPASSWORD``, ``PGPASSFILE``, ``~/.pgpass``).
"""

from __future__ import annotations

import contextlib
import enum
import fcntl
import json
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ._wait import wait_until_sync
from .errors import DeadlineExceeded, LedgerBusy

FOLDER = "ledger"
_RUN = "run.json"
_LOCK = "lock"
_ENTRY = "_entry"


class EntryState(enum.StrEnum):
    """How far a fault got.  All but ``HEALED`` may still have an effect."""

    INJECTING = "injecting"
    INJECTED = "injected"
    HEALED = "healed"


class Holder(enum.StrEnum):
    """Who holds a ledger's lock."""

    RUN = "run"
    HEAL = "heal"
    LAB = "lab"


@dataclass(frozen=True)
class LedgerEntry:
    """The part of the ledger that belongs to one fault of a run: a folder of small files."""

    folder: Path

    def save(self, key: str, value: Any) -> None:
        """Write a JSON value under ``key``, durably and atomically."""
        self.save_bytes(f"{key}.json", json.dumps(value).encode())

    def load(self, key: str) -> Any:
        """Read a JSON value back; None when it was never saved."""
        raw = self.load_bytes(f"{key}.json")
        return None if raw is None else json.loads(raw)

    def save_bytes(self, key: str, value: bytes) -> None:
        """Write bytes under ``key``, durably and atomically."""
        _make(self.folder)
        _write(self.folder / key, value)

    def load_bytes(self, key: str) -> bytes | None:
        """Read bytes back; None when they were never saved."""
        try:
            return (self.folder / key).read_bytes()
        except FileNotFoundError:
            return None

    def mark(self, state: EntryState, fault: Mapping[str, Any] | None = None) -> None:
        """Save how far the fault got; ``fault`` (its JSON) is kept from the first time."""
        entry = self.load(_ENTRY) or {}
        self.save(_ENTRY, {**entry, **({"fault": dict(fault)} if fault is not None else {}), "state": str(state)})

    @property
    def state(self) -> EntryState | None:
        """How far the fault got; None before its inject."""
        entry = self.load(_ENTRY)
        return None if entry is None else EntryState(entry["state"])

    @property
    def fault(self) -> dict[str, Any]:
        """The fault as JSON."""
        return dict((self.load(_ENTRY) or {}).get("fault", {}))

    @property
    def saved(self) -> tuple[str, ...]:
        """Names of what the fault saved for its heal."""
        return tuple(sorted(path.name for path in self.folder.glob("[!._]*")))


@dataclass(frozen=True)
class LedgerRecord:
    """The ledger's own page: whose it is, how its environment is opened again, and whether anything is left."""

    run: str
    environment: Mapping[str, Any]
    open: bool
    host: str


@dataclass(frozen=True)
class Ledger:
    """All entries of one run, below ``folder``."""

    folder: Path

    def entry(self, fault: int, name: str) -> LedgerEntry:
        """Return the entry of the ``fault``-th fault of the schedule."""
        return LedgerEntry(self.folder / f"{fault:02d}-{name}")

    def begin(self, run: str, environment: Mapping[str, Any]) -> None:
        """Write, durably, whose ledger it is and how another process opens the environment."""
        record = {"run": run, "host": socket.gethostname(), "open": True, "environment": dict(environment)}
        _make(self.folder)
        _write(self.folder / _RUN, json.dumps(record, indent=1).encode())

    def finish(self) -> None:
        """Write that nothing is left to do; harmless for a ledger that never began."""
        raw = self._raw()
        if raw is not None:
            _write(self.folder / _RUN, json.dumps({**raw, "open": False}, indent=1).encode())

    @property
    def record(self) -> LedgerRecord | None:
        """The ledger's own page; None for one that never began."""
        raw = self._raw()
        if raw is None:
            return None
        return LedgerRecord(str(raw["run"]), raw["environment"], bool(raw["open"]), str(raw["host"]))

    def entries(self) -> Sequence[LedgerEntry]:
        """Return the faults that began, in the order of the schedule."""
        return [LedgerEntry(path.parent) for path in sorted(self.folder.glob(f"*/{_ENTRY}.json"))]

    def open_entries(self) -> Sequence[LedgerEntry]:
        """Return the faults that may still have an effect, in the order of the schedule."""
        return [entry for entry in self.entries() if entry.state is not EntryState.HEALED]

    @contextlib.contextmanager
    def held(self, holder: Holder, *, wait_seconds: float = 0.0) -> Iterator[None]:
        """Hold the lock, which the kernel frees with the process; raise :class:`LedgerBusy` when it is taken."""
        _make(self.folder)
        descriptor = os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)

        def locked() -> bool:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

        try:
            try:
                wait_until_sync(locked, what="the ledger's lock", deadline_seconds=wait_seconds, interval_seconds=0.05)
            except DeadlineExceeded:
                raise self._busy() from None
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps({"holder": str(holder), "pid": os.getpid()}).encode(), 0)
            yield
        finally:
            os.close(descriptor)

    def _busy(self) -> LedgerBusy:
        try:
            said = json.loads((self.folder / _LOCK).read_bytes())
            holder, pid = Holder(said["holder"]), int(said["pid"])
        except (OSError, ValueError, KeyError, TypeError):
            holder, pid = Holder.RUN, 0
        if holder is Holder.HEAL:
            return LedgerBusy(
                f"{self.folder.parent.name} is being healed by process {pid}; wait for it.", running=False
            )
        if holder is Holder.LAB:
            return LedgerBusy(
                f"{self.folder.parent.name} is a lab that lives as process {pid}; `harness lab heal` heals its faults, "
                "`harness lab down` ends it.",
                running=True,
            )
        return LedgerBusy(
            f"{self.folder.parent.name} still runs as process {pid} and heals its faults itself; end it by Ctrl-C.",
            running=True,
        )

    def _raw(self) -> dict[str, Any] | None:
        try:
            data = json.loads((self.folder / _RUN).read_bytes())
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None
        return data if isinstance(data, dict) else None


def open_ledgers(reports: Path) -> list[Ledger]:
    """Return the ledgers below ``reports`` that were begun and never finished, newest first."""
    found = [Ledger(path.parent) for path in sorted(reports.glob(f"*/{FOLDER}/{_RUN}"), reverse=True)]
    return [ledger for ledger in found if (record := ledger.record) is not None and record.open]


def _make(folder: Path) -> None:
    """Make a folder that only its owner reads (it may hold rows), and make sure that its name outlives a crash."""
    if folder.is_dir():
        return
    if not folder.parent.is_dir():
        _make(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    _sync(folder.parent)


def _write(path: Path, value: bytes) -> None:
    part = path.with_name(f".{path.name}.part")
    with part.open("wb") as file:
        file.write(value)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    _sync(path.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
