"""The undo ledger: what a heal needs, on disk before the damage is done.

A fault is frozen data and keeps no state; whatever its heal needs (saved page bytes, bounds of a detached
partition, rows about to be destroyed) it saves here first.  Each save is fsynced before it returns, so an
interrupted inject can be healed from what the ledger holds.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any


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
        self.folder.mkdir(parents=True, exist_ok=True)
        part = self.folder / f".{key}.part"
        with part.open("wb") as file:
            file.write(value)
            file.flush()
            os.fsync(file.fileno())
        part.replace(self.folder / key)
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def load_bytes(self, key: str) -> bytes | None:
        """Read bytes back; None when they were never saved."""
        try:
            return (self.folder / key).read_bytes()
        except FileNotFoundError:
            return None


@dataclass(frozen=True)
class Ledger:
    """All entries of one run, below ``folder``."""

    folder: Path

    def entry(self, fault: int, name: str) -> LedgerEntry:
        """Return the entry of the ``fault``-th fault of the schedule."""
        return LedgerEntry(self.folder / f"{fault:02d}-{name}")
