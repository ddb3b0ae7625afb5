"""A backlog of queued events, equal rows for PostgreSQL's own way, and the look whether all of them arrived.

To have the service queue a million events would take minutes.  It queues one event of each shape, with no database in
reach, and its rows are multiplied in the file when it has stopped: so form and schema are its own, whatever they are.
"""

from __future__ import annotations

import asyncio
import http.client
import os
import shutil
import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from service.dlq import key_of
from service.models import Event

from ._lab import Cpu, Lab, cpu, port_of
from ._load import BATCH_PATH, COLUMNS, SHAPES, events

_SEED = 4_000_000
_SAMPLES = "samples"
_BLOCK_BYTES = 256 * 1024
_CONTENT = (
    "event_timestamp, version, event_type, event_category, event_action, event_outcome, correlation_id, event_data"
)
_MOVE = (
    f"INSERT INTO audit_events ({COLUMNS}) SELECT {COLUMNS} FROM staging ON CONFLICT (event_id, event_date) DO NOTHING"
)
_FOUND = """
SELECT (SELECT count(*) FROM audit_events),
       count(*) FILTER (WHERE a.event_id IS NULL),
       count(*) FILTER (WHERE a.event_id IS NOT NULL AND ({own}) IS DISTINCT FROM ({theirs}))
FROM staging s LEFT JOIN audit_events a ON a.event_id = s.event_id AND a.event_date = s.event_date
"""


@dataclass(frozen=True)
class Backlog:
    """The same events as a queue file and as text for COPY."""

    events: int
    queue: Path
    text: Path


async def queue_samples(lab: Lab) -> Path:
    """Return the queue of a service that had no database, with one event of each shape under ``_sample_id``."""
    body = f"[{','.join([shape.json(_sample_id(number)) for number, shape in enumerate(SHAPES)])}]"
    with socket.socket() as closed:
        # Bound and not listening, so that every connect is refused.
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        service = lab.prepared(_SAMPLES, ("service",), lab.reference_settings(_SAMPLES), port)
        try:
            await service.start()
            status = await asyncio.to_thread(_post, port_of(service), body)
            if status != 202:
                raise SystemExit(f"a batch without a database was answered {status} and not 202; nothing can be queued")
        finally:
            await service.terminate()
    return lab.queue_file(_SAMPLES)


def _sample_id(number: int) -> str:
    return f"00000000-0000-4000-a000-{number:012d}"


def _post(port: int, body: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("POST", BATCH_PATH, body.encode(), {"Content-Type": "application/json"})
        return connection.getresponse().status
    finally:
        connection.close()


def empty_queue(samples: Path, destination: Path) -> None:
    """The same queue without any event."""
    _copy_queue(samples, destination)
    with closing(sqlite3.connect(destination, isolation_level=None)) as queue:
        queue.execute("DELETE FROM events")
        queue.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def make_backlog(folder: Path, samples: Path, count: int) -> Backlog:
    """Write both files."""
    backlog = Backlog(count, folder / "backlog.sqlite3", folder / "backlog.copy")
    empty_queue(samples, backlog.queue)
    with closing(sqlite3.connect(samples)) as queue:
        columns = [name for _, name, *_ in queue.execute("PRAGMA table_info(events)")]
        found = queue.execute(f"SELECT {', '.join(columns)} FROM events ORDER BY substr(event, 14, 36)").fetchall()

    def rows() -> Iterator[list[object]]:
        with backlog.text.open("w") as text:
            for number, (shape, event_id) in enumerate(islice(events(_SEED), count)):
                text.write(shape.copy_line(event_id))
                sample = number % len(SHAPES)
                own = _sample_id(sample)
                row = [value.replace(own, event_id) if isinstance(value, str) else value for value in found[sample]]
                event = Event(str(row[columns.index("event")]))
                row[columns.index("key")] = key_of(event)
                # The month leads the number; what follows it counts arrivals.
                row[columns.index("seq")] = int(str(row[columns.index("seq")])) + number - sample
                yield row

    with closing(sqlite3.connect(backlog.queue, isolation_level=None)) as queue:
        # Nobody reads it before it is whole.
        queue.execute("PRAGMA synchronous=OFF")
        queue.execute("BEGIN")
        marks = ", ".join("?" for _ in columns)
        queue.executemany(f"INSERT INTO events ({', '.join(columns)}) VALUES ({marks})", rows())
        queue.execute("COMMIT")
        queue.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return backlog


def _copy_queue(source: Path, destination: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        Path(f"{destination}{suffix}").unlink(missing_ok=True)
    shutil.copyfile(source, destination)


def place_queue(source: Path, destination: Path) -> None:
    """Copy a closed queue to where a stopped service will look for it, and wait until the disk is quiet again."""
    _copy_queue(source, destination)
    os.sync()


def keep_queue(source: Path, destination: Path) -> None:
    """Move the queue of a stopped service aside, with what it may have left in its log."""
    for suffix in ("", "-wal", "-shm"):
        Path(f"{destination}{suffix}").unlink(missing_ok=True)
        if Path(f"{source}{suffix}").exists():
            Path(f"{source}{suffix}").replace(f"{destination}{suffix}")


@dataclass(frozen=True)
class Reference:
    """What PostgreSQL took for the same rows; ``used`` is the CPU of both statements."""

    events: int
    copy_seconds: float
    insert_seconds: float
    used: Cpu

    @property
    def insert_rate(self) -> float:
        """Events a second of the INSERT ... SELECT alone, the rows being in PostgreSQL already."""
        return self.events / self.insert_seconds

    @property
    def whole_rate(self) -> float:
        """Events a second with the COPY into the staging table: like the drain's, the rows come from outside."""
        return self.events / (self.copy_seconds + self.insert_seconds)


def empty_table(lab: Lab) -> None:
    """Remove every event and write out what PostgreSQL holds back, so that each measurement begins alike."""
    with lab.connect() as connection:
        connection.execute("TRUNCATE audit_events")
        connection.execute("CHECKPOINT")


def measure_reference(lab: Lab, backlog: Backlog) -> Reference:
    """COPY into a fresh staging table without WAL, then one INSERT ... SELECT into the empty table."""
    empty_table(lab)
    with lab.connect() as connection, connection.cursor() as cursor, backlog.text.open("rb") as text:
        cursor.execute("DROP TABLE IF EXISTS staging")
        cursor.execute(f"CREATE UNLOGGED TABLE staging AS SELECT {COLUMNS} FROM audit_events WITH NO DATA")
        before, began = cpu(lab, None), time.monotonic()
        with cursor.copy(f"COPY staging ({COLUMNS}) FROM STDIN") as copying:
            while block := text.read(_BLOCK_BYTES):
                copying.write(block)
        copied = time.monotonic()
        cursor.execute(_MOVE)
        assert cursor.rowcount == backlog.events
        inserted = time.monotonic()
        # Asked while the backend lives: what it used is its parent's only a while after its end.
        return Reference(backlog.events, copied - began, inserted - copied, cpu(lab, None).since(before))


@dataclass(frozen=True)
class Found:
    """What direct SQL says of the backlog; ``rows`` is everything in the table."""

    rows: int
    missing: int
    different: int


def compare(lab: Lab) -> Found:
    """Compare the table with the staging table, which holds the backlog."""
    own, theirs = (", ".join(f"{alias}.{name}" for name in _CONTENT.split(", ")) for alias in "as")
    with lab.connect() as connection:
        row = connection.execute(_FOUND.format(own=own, theirs=theirs)).fetchone()
    assert row is not None
    return Found(*row)
