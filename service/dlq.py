"""The dead letter queue: what the service asks of any, and the one in a SQLite file that commits in groups."""

import asyncio
import contextlib
import fcntl
import json
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar
from zlib import crc32

from .classify import Fault, Owner
from .logs import Log
from .models import CONFLICT, Event, Outcome, Status
from .pool import sql

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]
GROUP_MAX = 500
BUSY_SECONDS = 0.5
WRITE_SECONDS = 5.0
READ_SECONDS = 2.0
# Counters of keys: 8 MiB however long the queue, and a key in eight mistaken for known at a million events.
FILTER_SLOTS = 1 << 23
# One row, and so one return to Python: between rows the thread would wait for the event loop's, again and again.
_ENTRIES = """
SELECT json_group_array(json_array(CAST(event AS TEXT), seq, partition, state, attempts, sqlstate, message, queued_at))
FROM (SELECT * FROM events WHERE {} ORDER BY seq LIMIT ?)"""
_HELD = "SELECT event FROM events WHERE key=? AND (reason IS NOT 'conflict' OR event=?)"
_INSERT = "INSERT INTO events (key, partition, sqlstate, message, queued_at, event) VALUES (?, ?, ?, ?, ?, ?)"
_FORGET = "DELETE FROM events WHERE seq IN (SELECT value FROM json_each(?))"
_RETRY = "UPDATE events SET attempts=attempts+?, sqlstate=?, message=?, due_at=?, reason=?, state=? WHERE seq=?"


def key_of(event: Event) -> int:
    """A short number for an identity, nearly always another for another; of any text."""
    return crc32(event.text[13:80].encode())


class DlqError(Exception):
    """The queue could not do it; `outcome` says what became of the events: not_stored or unknown."""

    def __init__(self, message: str, outcome: str = "not_stored") -> None:
        super().__init__(message)
        self.outcome = outcome


class Entry(NamedTuple):
    """One event in the queue, pending or dead, with its last error; `queued_at` in Unix seconds."""

    event: Event
    # In a file made anew the same number is another event's.
    opening: int
    seq: int
    partition: str
    state: str
    attempts: int
    sqlstate: str | None
    message: str
    queued_at: float


class DeadLetterQueue(Protocol):
    """A durable, bounded queue that trims nothing and acknowledges after the commit; coroutines raise DlqError."""

    capacity: int
    # Whether it worked when last used; counts of pending events by month, of dead ones by reason.
    available: bool
    pending: dict[str, int]
    dead: dict[str, int]

    @property
    def full(self) -> bool:
        """Whether it holds as many events as it may, pending and dead."""

    @property
    def oldest_age_seconds(self) -> float:
        """Age of the oldest pending event, 0 without one."""

    def may_hold(self, event: Event) -> bool:
        """False only if the identity is surely not in the queue."""

    async def enqueue(self, failed: Sequence[tuple[Event, Fault]], timeout_seconds: float) -> list[Outcome]:
        """Store durably, once per identity: each QUEUED, CONFLICT, or UNAVAILABLE for want of room."""

    async def find(self, events: Sequence[Event]) -> dict[tuple[str, str], Event]:
        """What it holds under the identities of these events."""

    async def due(self, partition: str, limit: int) -> list[Entry]:
        """The oldest pending entries of a month whose time has come."""

    async def remove(self, entries: Sequence[Entry]) -> int:
        """Forget entries that are in the table. Returns how many were still there."""

    async def put_back(self, entries: Sequence[Entry], fault: Fault, due_at: float, dead_reason: str | None) -> None:
        """Record an attempt that failed: due again later, or dead for a reason."""

    async def page(self, state: str | None, after_seq: int, limit: int) -> list[Entry]:
        """Entries in the order of their arrival."""

    async def check(self) -> None:
        """Find out whether it can be used; sets `available`. Never raises."""

    async def close(self) -> None:
        """Finish what waits."""


class SqliteQueue:
    """The DeadLetterQueue of a file that this process alone owns."""

    def __init__(self, path: str, capacity: int, log: Log) -> None:
        self.capacity, self.available = capacity, False
        self.pending: dict[str, int] = {}
        self.dead: dict[str, int] = {}
        self._oldest_queued_at: float | None = None
        self._path, self._log = Path(path).absolute(), log
        self._thread = ThreadPoolExecutor(1, "dlq")
        self._waiting: list[tuple[tuple[Work[object], bool], asyncio.Future[Any]]] = []
        self._flusher: asyncio.Task[None] | None = None
        self._files = contextlib.ExitStack()
        self._db: sqlite3.Connection | None = None
        self._inodes: list[int] = []
        self._opening = 0
        self._filter = bytearray(FILTER_SLOTS)
        # Events by state and name, what the transaction under way adds to that, and the keys it removes.
        self._counts: Counter[tuple[str, str]] = Counter()
        self._changes: Counter[tuple[str, str]] = Counter()
        self._leaving: list[int] = []

    # The event loop's side.

    async def enqueue(self, failed: Sequence[tuple[Event, Fault]], timeout_seconds: float) -> list[Outcome]:
        return await self._do(lambda db: [self._insert(db, *one) for one in failed], timeout_seconds)

    async def remove(self, entries: Sequence[Entry]) -> int:
        return await self._do(lambda db: self._delete(db, entries))

    async def put_back(self, entries: Sequence[Entry], fault: Fault, due_at: float, dead_reason: str | None) -> None:
        # Only the events' own faults count as attempts.
        why = (fault.owner is Owner.EVENT, fault.sqlstate, fault.message, due_at, dead_reason)
        await self._do(lambda db: self._retry(db, entries, why))

    async def check(self) -> None:
        # Only a write tells whether a full disk has room again; while all is well a lock is enough.
        work = "SELECT 1" if self.available else "PRAGMA user_version=1"
        with contextlib.suppress(DlqError):
            await self._do(lambda db: db.execute(work))

    async def find(self, events: Sequence[Event]) -> dict[tuple[str, str], Event]:
        def look(db: sqlite3.Connection) -> dict[tuple[str, str], Event]:
            found = [self._held(db, event) for event in events]
            return {event.identity: event for event in found if event is not None}

        return await self._do(look, READ_SECONDS, writes=False)

    async def due(self, partition: str, limit: int) -> list[Entry]:
        return await self._select("state='pending' AND partition=? AND due_at<=?", partition, time.time(), limit)

    async def page(self, state: str | None, after_seq: int, limit: int) -> list[Entry]:
        return await self._select("seq>? AND state=coalesce(?, state)", after_seq, state, limit)

    def may_hold(self, event: Event) -> bool:
        return self._db is None or self._filter[key_of(event) % FILTER_SLOTS] > 0

    @property
    def full(self) -> bool:
        return sum(self.pending.values()) + sum(self.dead.values()) >= self.capacity

    @property
    def oldest_age_seconds(self) -> float:
        return max(0.0, time.time() - (self._oldest_queued_at or time.time()))

    async def close(self) -> None:
        if self._flusher is not None:
            await self._flusher
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown()

    async def _select(self, condition: str, *values: str | float | None) -> list[Entry]:
        def look(db: sqlite3.Connection) -> list[Entry]:
            (rows,) = db.execute(_ENTRIES.format(condition), values).fetchone()
            return [Entry(Event(text), self._opening, *columns) for text, *columns in json.loads(rows)]

        return await self._do(look, READ_SECONDS, writes=False)

    async def _do(self, work: Work[T], timeout_seconds: float = WRITE_SECONDS, writes: bool = True) -> T:
        """Do it in the next group's transaction; whoever gives up before its turn knows that nothing was done."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((job := (work, writes), future))
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.create_task(self._flush())
        await asyncio.wait([future], timeout=timeout_seconds)
        if future.done():
            return future.result()
        outcome = "not_stored" if (job, future) in self._waiting else "unknown"
        future.cancel()
        raise DlqError("the queue did not answer in time", outcome)

    async def _flush(self) -> None:
        while self._waiting:
            group = [one for one in self._waiting[:GROUP_MAX] if not one[1].done()]
            del self._waiting[:GROUP_MAX]
            jobs = [job for job, _ in group]
            results = await asyncio.get_running_loop().run_in_executor(self._thread, self._transact, jobs)
            for (_, future), result in zip(group, results, strict=True):
                if isinstance(result, DlqError) and not future.done():
                    future.set_exception(result)
                elif not future.done():
                    future.set_result(result)

    # The thread's side.

    def _transact(self, jobs: list[tuple[Work[object], bool]]) -> list[object]:
        outcome = "not_stored"
        self._leaving, self._changes = [], Counter()
        try:
            db = self._current()
            # Reading goes on while somebody else holds the lock that writing needs.
            db.execute("BEGIN IMMEDIATE" if any(writes for _, writes in jobs) else "BEGIN")
            results = [work(db) for work, _ in jobs]
            outcome = "unknown"
            db.execute("COMMIT")
            if self._names() != self._inodes:
                raise OSError("the file was deleted or replaced meanwhile")
            for key in self._leaving:
                self._mark(key, -1)
            self._counts.update(self._changes)
            self._tell(db)
            self.available |= any(writes for _, writes in jobs)
            return results
        except Exception as error:  # noqa: BLE001 - the callers are told
            # A full disk at commit is undone by SQLite; after an I/O error nobody knows.
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
                outcome = "not_stored"
            return [self._failed(error, outcome)] * len(jobs)

    def _failed(self, error: Exception, outcome: str = "not_stored") -> DlqError:
        self.available = False
        self._log.error("DLQ cannot be used", error=str(error))
        if self._db is not None and self._db.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                self._db.rollback()
        if outcome == "unknown" or (self._db is not None and self._db.in_transaction):
            self._close()
        return DlqError(str(error), outcome)

    def _close(self) -> None:
        self._db = None
        self._files.close()

    def _names(self) -> list[int]:
        """What bears the names of the database, its log and its lock now: they may be deleted or replaced."""
        paths = [Path(f"{self._path}{suffix}") for suffix in ("", "-wal", "-lock")]
        return [path.stat().st_ino if path.exists() else 0 for path in paths]

    def _current(self) -> sqlite3.Connection:
        """The file that has the name now; a deleted one is made anew."""
        if self._db is not None:
            if self._names() == self._inodes:
                return self._db
            # Closed before the new one opens: both would map the same -shm file.
            self._close()
            self._log.error("DLQ file was deleted or replaced under the service")
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as files:
            lock = files.enter_context(Path(f"{self._path}-lock").open("wb"))
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise OSError("another process owns the queue") from None
            db = sqlite3.connect(self._path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
            files.callback(db.close)
            # What somebody else wrote into the file may be no text, and must stop nobody.
            db.text_factory = lambda data: data.decode("utf-8", "replace")
            db.executescript(sql("dlq"))
            names = self._names()
            self._filter = bytearray(FILTER_SLOTS)
            for (key,) in db.execute("SELECT key FROM events"):
                self._mark(key, 1)
            counted = db.execute("SELECT state, coalesce(reason, partition), count(*) FROM events GROUP BY 1, 2")
            self._counts = Counter({(state, name): count for state, name, count in counted})
            self._tell(db)
            if 0 in names or names != self._names():
                raise OSError("the file was deleted or replaced meanwhile")
            self._db, self._files, self._inodes = db, files.pop_all(), names
            self._opening += 1
        return db

    def _mark(self, key: int, change: int) -> None:
        # A counter that reached its end has lost count, and stays.
        if self._filter[key % FILTER_SLOTS] < 255:
            self._filter[key % FILTER_SLOTS] += change

    def _tell(self, db: sqlite3.Connection) -> None:
        oldest = "SELECT queued_at FROM events WHERE state='pending' AND partition=? ORDER BY seq LIMIT 1"
        self.pending = {name: count for (state, name), count in self._counts.items() if state == "pending" and count}
        self.dead = {name: count for (state, name), count in self._counts.items() if state == "dead" and count}
        times = [db.execute(oldest, [name]).fetchone()[0] for name in self.pending]
        self._oldest_queued_at = min(times, default=None)

    def _held(self, db: sqlite3.Connection, event: Event) -> Event | None:
        # The owner of an identity is in the table: what it refused does not stand for it.
        rows = db.execute(_HELD, [key_of(event), event.text])
        return next((other for (text,) in rows if (other := Event(text)).identity == event.identity), None)

    def _insert(self, db: sqlite3.Connection, event: Event, fault: Fault) -> Outcome:
        known = self._held(db, event)
        if known is not None:
            return Outcome(Status.QUEUED, duplicate=True) if known == event else CONFLICT
        if self._counts.total() + self._changes.total() >= self.capacity:
            return Outcome(Status.UNAVAILABLE, f"the queue is full ({self.capacity} events)")
        values = (key_of(event), event.month, fault.sqlstate, fault.message, time.time(), event.text)
        db.execute(_INSERT, values)
        # Before the commit: if that fails the filter is wrong on the safe side.
        self._mark(key_of(event), 1)
        self._changes["pending", event.month] += 1
        return Outcome(Status.QUEUED)

    def _delete(self, db: sqlite3.Connection, entries: Sequence[Entry]) -> int:
        gone = [entry for entry in entries if entry.opening == self._opening]
        db.execute(_FORGET, [json.dumps([entry.seq for entry in gone])])
        self._leaving += [key_of(entry.event) for entry in gone]
        self._changes.subtract(("pending", entry.partition) for entry in gone)
        return len(gone)

    def _retry(self, db: sqlite3.Connection, entries: Sequence[Entry], why: tuple[str | float | None, ...]) -> None:
        reason = str(why[-1] or "")
        for entry in entries:
            if entry.opening == self._opening:
                db.execute(_RETRY, (*why, "dead" if reason else "pending", entry.seq))
                if reason:
                    self._changes.update({("pending", entry.partition): -1, ("dead", reason): 1})
