"""The dead letter queue: one SQLite file, one thread that commits in groups and acknowledges after the commit."""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from .classify import Fault
from .logs import Log
from .models import CONFLICT, Event, Outcome, Status
from .pool import sql

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]
GROUP_MAX = 500
BUSY_SECONDS = 0.5
WRITE_SECONDS = 5.0
READ_SECONDS = 2.0
_ENTRIES = (
    "SELECT seq, event_id, event_date, partition, state, attempts, sqlstate, message, queued_at, event FROM events"
)
_INSERT = "INSERT INTO events (event_id, event_date, partition, sqlstate, message, queued_at, event)"
_RETRY = "UPDATE events SET attempts=attempts+1, sqlstate=?, message=?, due_at=?, reason=?, state=?"


class DlqError(Exception):
    """The queue could not do it; `outcome` says what became of the event: not_stored or unknown."""

    def __init__(self, message: str, outcome: str = "not_stored") -> None:
        super().__init__(message)
        self.outcome = outcome


@dataclass(frozen=True)
class Entry:
    """One event in the queue; `event` is its whole JSON, `queued_at` Unix seconds."""

    seq: int
    event_id: str
    event_date: str
    partition: str
    state: str
    attempts: int
    sqlstate: str | None
    message: str
    queued_at: float
    event: str


class SqliteQueue:
    """A durable queue whose coroutines raise DlqError; `pending` (by month) and `dead` (by reason) are counts."""

    def __init__(self, path: str, capacity: int, log: Log) -> None:
        self.capacity, self.available = capacity, False
        self.pending: dict[str, int] = {}
        self.dead: dict[str, int] = {}
        self._oldest_queued_at: float | None = None
        self._path, self._log = Path(path).absolute(), log
        self._thread = ThreadPoolExecutor(1, "dlq")
        self._waiting: list[tuple[Work[object], asyncio.Future[Any]]] = []
        self._flusher: asyncio.Task[None] | None = None
        self._db: sqlite3.Connection | None = None
        self._inodes: list[int] = []
        self._identities: set[int] = set()

    # The event loop's side.

    async def enqueue(self, event: Event, fault: Fault, timeout_seconds: float) -> Outcome:
        """Store durably, once per identity; answers only after the commit."""
        outcome = await self._write(lambda db: self._insert(db, event, fault), timeout_seconds)
        if outcome is None:
            raise DlqError(f"the queue is full ({self.capacity} events)")
        return outcome

    async def remove(self, entries: list[Entry]) -> None:
        """Forget entries that are in the table."""
        await self._write(lambda db: self._delete(db, entries))

    async def put_back(self, entries: list[Entry], fault: Fault, due_at: float, dead_reason: str | None = None) -> None:
        """Record an attempt that failed by the events' own fault: due again later, or dead for a reason."""
        state = "dead" if dead_reason else "pending"
        rows = [(fault.sqlstate, fault.message, due_at, dead_reason, state, entry.seq) for entry in entries]
        await self._write(lambda db: db.executemany(f"{_RETRY} WHERE seq=?", rows))

    async def check(self) -> None:
        """Find out whether the queue can be written, without writing; sets `available`."""
        with contextlib.suppress(DlqError):
            await self._write(lambda db: None)

    async def find(self, event: Event) -> Entry | None:
        """The entry with this event's identity."""
        found = await self._read("event_id=? AND event_date=?", *event.identity, 1)
        return found[0] if found else None

    async def due(self, partition: str, limit: int) -> list[Entry]:
        """The oldest pending entries of a month whose time has come."""
        return await self._read("state='pending' AND partition=? AND due_at<=?", partition, time.time(), limit)

    async def page(self, state: str | None, after_seq: int, limit: int) -> list[Entry]:
        """Entries in the order of their arrival."""
        return await self._read("seq>? AND state=coalesce(?, state)", after_seq, state, limit)

    def may_hold(self, event: Event) -> bool:
        """False only if the identity is surely not in the queue."""
        return self._db is None or hash(event.identity) in self._identities

    @property
    def full(self) -> bool:
        """Whether it holds as many events as it may, pending and dead."""
        return sum(self.pending.values()) + sum(self.dead.values()) >= self.capacity

    @property
    def oldest_age_seconds(self) -> float:
        """Age of the oldest pending event, 0 without one."""
        return max(0.0, time.time() - (self._oldest_queued_at or time.time()))

    async def close(self) -> None:
        """Finish what waits, then close the file."""
        if self._flusher is not None:
            await self._flusher
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown()

    async def _read(self, condition: str, *values: str | float | None) -> list[Entry]:
        query = f"{_ENTRIES} WHERE {condition} ORDER BY seq LIMIT ?"
        try:
            async with asyncio.timeout(READ_SECONDS):
                return await asyncio.get_running_loop().run_in_executor(self._thread, self._select, query, values)
        except TimeoutError:
            raise DlqError("the queue did not answer in time") from None

    async def _write(self, work: Work[T], timeout_seconds: float = WRITE_SECONDS) -> T:
        """Do it in the next group's transaction; whoever gives up before its turn knows that nothing was done."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((work, future))
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.create_task(self._flush())
        await asyncio.wait([future], timeout=timeout_seconds)
        if future.done():
            return future.result()
        outcome = "not_stored" if (work, future) in self._waiting else "unknown"
        future.cancel()
        raise DlqError("the queue did not answer in time", outcome)

    async def _flush(self) -> None:
        while self._waiting:
            group = [one for one in self._waiting[:GROUP_MAX] if not one[1].done()]
            del self._waiting[:GROUP_MAX]
            works = [work for work, _ in group]
            results = await asyncio.get_running_loop().run_in_executor(self._thread, self._transact, works)
            for (_, future), result in zip(group, results, strict=True):
                if isinstance(result, DlqError) and not future.done():
                    future.set_exception(result)
                elif not future.done():
                    future.set_result(result)

    # The thread's side.

    def _transact(self, works: list[Work[object]]) -> list[object]:
        outcome = "not_stored"
        try:
            db = self._current()
            db.execute("BEGIN IMMEDIATE")
            results = [work(db) for work in works]
            outcome = "unknown"
            db.execute("COMMIT")
            if self._files() != self._inodes:
                raise OSError("the file was deleted or replaced meanwhile")
            self._count(db)
            return results
        except Exception as error:  # noqa: BLE001 - the callers are told
            # A full disk at commit is undone by SQLite; after an I/O error nobody knows.
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
                outcome = "not_stored"
            return [self._failed(error, outcome)] * len(works)

    def _select(self, query: str, values: tuple[str | float | None, ...]) -> list[Entry]:
        try:
            return [Entry(*row) for row in self._current().execute(query, values)]
        except (sqlite3.Error, OSError) as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception, outcome: str = "not_stored") -> DlqError:
        self.available = False
        self._log.error("DLQ cannot be used", error=str(error))
        if self._db is not None and self._db.in_transaction:
            # The identities in memory ran ahead of the transaction: opened again, they are read anew.
            self._close()
        return DlqError(str(error), outcome)

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    def _files(self) -> list[int]:
        """What bears the names of the database and of its log now: they may be deleted or replaced."""
        paths = [Path(f"{self._path}{suffix}") for suffix in ("", "-wal")]
        return [path.stat().st_ino if path.exists() else 0 for path in paths]

    def _current(self) -> sqlite3.Connection:
        """The file that has the name now; a deleted one is made anew."""
        if self._db is not None:
            if self._files() == self._inodes:
                return self._db
            # Closed before the new one opens: both would map the same -shm file.
            self._close()
            self._log.error("DLQ file was deleted or replaced under the service")
        self._path.parent.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(self._path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            db.executescript(sql("dlq"))
            self._identities = set(map(hash, db.execute("SELECT event_id, event_date FROM events")))
            self._inodes = self._files()
            self._count(db)
        except (sqlite3.Error, OSError):
            db.close()
            raise
        self._db = db
        return db

    def _count(self, db: sqlite3.Connection) -> None:
        rows = db.execute(sql("dlq_counts")).fetchall()
        self.pending = {name: events for state, name, events, _ in rows if state == "pending"}
        self.dead = {name: events for state, name, events, _ in rows if state == "dead"}
        self._oldest_queued_at = min((oldest for state, _, _, oldest in rows if state == "pending"), default=None)
        self.available = True

    def _insert(self, db: sqlite3.Connection, event: Event, fault: Fault) -> Outcome | None:
        text, identity = event.to_json(), event.identity
        known = db.execute("SELECT event FROM events WHERE event_id=? AND event_date=?", identity).fetchone()
        if known is not None:
            return Outcome(Status.QUEUED, duplicate=True) if known[0] == text else CONFLICT
        if db.execute("SELECT coalesce(sum(events), 0) FROM counts").fetchone()[0] >= self.capacity:
            return None
        values = (*identity, event.month, fault.sqlstate, fault.message, time.time(), text)
        db.execute(f"{_INSERT} VALUES (?, ?, ?, ?, ?, ?, ?)", values)
        self._identities.add(hash(identity))
        return Outcome(Status.QUEUED)

    def _delete(self, db: sqlite3.Connection, entries: list[Entry]) -> None:
        db.executemany("DELETE FROM events WHERE seq=?", [[entry.seq] for entry in entries])
        self._identities.difference_update(hash((entry.event_id, entry.event_date)) for entry in entries)
