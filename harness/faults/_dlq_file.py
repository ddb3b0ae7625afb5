"""The SQLite file of the queue as files and as a database: all access of the faults to it is here.

The layout of its tables is the service's own: ids are found wherever a column is called ``event_id`` or a text holds
JSON with that member.
"""

from __future__ import annotations

import ctypes
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from ..errors import FaultError
from ..fault import Scene
from ._service import Life

SUFFIXES = ("", "-wal", "-shm", "-journal")
WRITTEN = ("", "-wal", "-journal")
"""The files that a commit writes; the ``-shm`` file is memory."""
LARGEST_DISK_BYTES = 256 * 1024 * 1024
"""A file system larger than this is not the small one of a scenario, and is never filled."""

_PIDFD_GETFD = 438
_ID = re.compile(r'"event_id"\s*:\s*"([0-9A-Fa-f-]{36})"')
_NAMES = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"


def dlq_file(scene: Scene) -> Path:
    """The file; raises :class:`FaultError` where the environment has none."""
    path = scene.environment.dlq_file
    if path is None:
        raise FaultError("This environment does not know the service's queue file; see launch.dlq_file of the target.")
    return path


def present(path: Path, suffixes: tuple[str, ...] = SUFFIXES) -> list[Path]:
    """Those of the database's files that exist."""
    return [file for suffix in suffixes if (file := Path(f"{path}{suffix}")).exists()]


def open_in(life: Life, path: Path, suffixes: tuple[str, ...] = SUFFIXES) -> list[int]:
    """Descriptors by which the process holds those files open, under their present names."""
    wanted = {(stat.st_dev, stat.st_ino) for stat in (file.stat() for file in present(path, suffixes))}
    found = []
    for link in Path(f"/proc/{life.pid}/fd").iterdir():
        with suppress(OSError):
            stat = link.stat()
            if (stat.st_dev, stat.st_ino) in wanted:
                found.append(int(link.name))
    return found


def writable_by(life: Life, descriptors: list[int]) -> list[int]:
    """Those of the process's own descriptors that take a write, tried with one of no bytes."""
    pidfd = os.pidfd_open(life.pid)
    taking = []
    try:
        for descriptor in descriptors:
            twin = ctypes.CDLL(None, use_errno=True).syscall(_PIDFD_GETFD, pidfd, descriptor, 0)
            if twin < 0:
                raise OSError(ctypes.get_errno(), "pidfd_getfd")
            with suppress(OSError):
                os.pwrite(twin, b"", 0)
                taking.append(descriptor)
            os.close(twin)
    finally:
        os.close(pidfd)
    return taking


def takes_writes(path: Path) -> bool:
    """Tell whether the file can be opened for writing; a missing one can when its folder takes a new file."""
    try:
        os.close(os.open(path, os.O_RDWR))
    except FileNotFoundError:
        return os.access(path.parent, os.W_OK)
    except OSError:
        return False
    return True


def free_bytes(path: Path) -> int:
    """What the file system of that folder has left for anyone."""
    stat = os.statvfs(path)
    return stat.f_bavail * stat.f_frsize


def fill(filler: Path) -> int:
    """Write the filler until nothing is left on its file system, and return its size; raises :class:`FaultError`."""
    stat = os.statvfs(filler.parent)
    if stat.f_blocks * stat.f_frsize > LARGEST_DISK_BYTES:
        raise FaultError(
            f"The file system of {filler.parent} has {stat.f_blocks * stat.f_frsize // 1024**2} MiB, so it is not the "
            "small disk of a scenario and is not filled; put DLQ_URL onto the small disk."
        )
    written = 0
    with filler.open("wb", buffering=0) as file:
        for size in (1024 * 1024, 64 * 1024, 4096, 512):
            with suppress(OSError):
                while True:
                    written += file.write(bytes(size))
    return written


def write_refused(folder: Path) -> str:
    """Try to store one page beside the queue; return the error, "" when it was taken."""
    probe = folder / ".harness-probe"
    try:
        with probe.open("wb", buffering=0) as file:
            file.write(bytes(4096))
    except OSError as error:
        return str(error.strerror)
    finally:
        with suppress(OSError):
            probe.unlink()
    return ""


def delete_under_lock(path: Path) -> tuple[str, ...]:
    """Keep every commit out, read the ids of all events, delete the files; return the ids.

    Raises sqlite3.Error or OSError.  The connection closes after the names are gone, so it can touch nothing new.
    """
    if not path.exists():
        raise FileNotFoundError(f"There is no queue file {path}.")
    with closing(sqlite3.connect(path, timeout=5.0, isolation_level=None)) as database:
        database.text_factory = lambda data: data.decode("utf-8", "replace")
        database.execute("BEGIN IMMEDIATE")
        ids = tuple(dict.fromkeys(_ids(database)))
        for file in present(path):
            file.unlink(missing_ok=True)
    return ids


def _ids(database: sqlite3.Connection) -> Iterator[str]:
    for (table,) in database.execute(_NAMES).fetchall():
        quoted = str(table).replace('"', '""')
        rows = database.execute(f'SELECT * FROM "{quoted}"')  # noqa: S608  (a name cannot be a parameter)
        columns = [str(column[0]) for column in rows.description]
        for row in rows:
            for column, value in zip(columns, row, strict=True):
                text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
                if isinstance(text, str):
                    yield from ([text] if column == "event_id" else _ID.findall(text)[:1])


def write_lock(path: Path, timeout_seconds: float) -> str:
    """Take the lock that a write needs and give it back; return SQLite's refusal, "" when it was had."""
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=rw", uri=True, timeout=timeout_seconds)) as database:
            database.isolation_level = None
            database.execute("BEGIN IMMEDIATE")
            database.execute("ROLLBACK")
    except sqlite3.Error as error:
        return str(error)
    return ""
