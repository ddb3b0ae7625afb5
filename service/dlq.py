"""The dead letter queue: what the service asks of any, and the one in a SQLite file that commits in groups."""

import asyncio
import contextlib
import fcntl
import json
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar
from zlib import crc32

from .database import Fault, Owner, sql
from .logs import Log
from .models import CONFLICT, Event, Outcome, Status

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]
GROUP_MAX, BUSY_SECONDS, WRITE_SECONDS, READ_SECONDS = 500, 0.5, 5.0, 2.0
# However long the queue: 8 MiB, and a key in eight mistaken for known at a million events.
FILTER_SLOTS = 1 << 23
_MONTH_STEP = 10**13


def key_of(event: Event) -> int:
    """A short number for an identity, nearly always another for another; of any text."""
    return crc32(event[13:80].encode())


class DlqError(Exception):
    """The queue could not do it; `outcome` says what became of the events: not_stored or unknown."""

    def __init__(self, message: str, outcome: str = "not_stored") -> None:
        super().__init__(message)
        self.outcome = outcome


class Entry(NamedTuple):
    """One event in the queue, pending or dead, with its last error; times in Unix seconds, due at 0 until it failed."""

    event: Event
    seq: int
    partition: str
    state: str
    attempts: int
    sqlstate: str | None
    message: str
    queued_at: float
    due_at: float


class DeadLetterQueue(Protocol):
    """A durable, bounded queue that trims nothing and acknowledges after the commit; coroutines raise DlqError.

    - `available`: whether it worked when last used; `check` finds out, and never raises.
    - `pending`, `dead`: how many events, by month and by reason; `oldest_queued_at` (Unix seconds) of the pending ones.
    - `may_hold`: false only if the identity is surely not in the queue; `find` has what it holds under identities.
    - `enqueue`: store durably, once per identity: each QUEUED, CONFLICT, or UNAVAILABLE for want of room.
    - `due`: the oldest pending entries of a month whose time has come; `page`: any, by month, in order of arrival.
    - `remove`: forget entries that are in the table, and tell how many were still there; `put_back`: record a try that
      failed, so that they are due again later, or dead for a reason.
    """

    capacity: int
    available: bool
    pending: dict[str, int]
    dead: dict[str, int]
    oldest_queued_at: float | None

    def may_hold(self, event: Event) -> bool: ...
    async def enqueue(self, failed: Sequence[tuple[Event, Fault]], timeout_seconds: float) -> list[Outcome]: ...
    async def find(self, events: Sequence[Event]) -> dict[tuple[str, str], Event]: ...
    async def due(self, partition: str, limit: int) -> list[Entry]: ...
    async def remove(self, entries: Sequence[Entry]) -> int: ...
    async def put_back(self, entries: Sequence[Entry], fault: Fault, due_at: float, reason: str | None) -> None: ...
    async def page(self, state: str | None, after_seq: int, limit: int) -> list[Entry]: ...
    async def check(self) -> None: ...
    async def close(self) -> None: ...

    @property
    def full(self) -> bool:
        """Whether it holds as many events as it may, pending and dead."""
        return sum(self.pending.values()) + sum(self.dead.values()) >= self.capacity

    @property
    def oldest_age_seconds(self) -> float:
        """Age of the oldest pending event, 0 without one."""
        return max(0.0, time.time() - (self.oldest_queued_at or time.time()))


class SqliteQueue(DeadLetterQueue):
    """The DeadLetterQueue of a file that this process alone owns."""

    def __init__(self, path: str, capacity: int, log: Log) -> None:
        self.capacity, self.available, self.oldest_queued_at = capacity, False, None
        self.pending, self.dead = {}, {}
        self._path, self._log = Path(path).absolute(), log
        self._thread = ThreadPoolExecutor(1, "dlq")
        self._waiting: list[tuple[tuple[Work[object], bool], asyncio.Future[Any]]] = []
        self._flusher: asyncio.Task[None] | None = None
        self._files = contextlib.ExitStack()
        self._db: sqlite3.Connection | None = None
        self._inodes: list[int] = []
        self._filter = bytearray(FILTER_SLOTS)
        # Never used twice, also when the clock stood still: in another file an old number would be another event's.
        self._arrivals = 0

    # The event loop's side.

    async def enqueue(self, failed: Sequence[tuple[Event, Fault]], timeout_seconds: float) -> list[Outcome]:
        return await self._do(lambda db: [self._insert(db, *one) for one in failed], timeout_seconds)

    async def remove(self, entries: Sequence[Entry]) -> int:
        numbers = json.dumps([entry.seq for entry in entries])
        return await self._do(lambda db: db.execute(sql("dlq/forget"), [numbers]).rowcount)

    async def put_back(self, entries: Sequence[Entry], fault: Fault, due_at: float, reason: str | None) -> None:
        # Only the events' own faults count as attempts.
        state = "dead" if reason else "pending"
        why = (fault.owner is Owner.EVENT, fault.sqlstate, fault.message, due_at, reason, state)
        await self._do(lambda db: db.executemany(sql("dlq/retry"), [(*why, entry.seq) for entry in entries]))

    async def check(self) -> None:
        with contextlib.suppress(DlqError):
            await self._do(lambda db: db.execute("SELECT 1"))

    async def find(self, events: Sequence[Event]) -> dict[tuple[str, str], Event]:
        def look(db: sqlite3.Connection) -> dict[tuple[str, str], Event]:
            return {event.identity: held for event in events if (held := self._held(db, event)) is not None}

        return await self._do(look, READ_SECONDS, writes=False)

    async def due(self, partition: str, limit: int) -> list[Entry]:
        condition = "state='pending' AND partition=? AND due_at<=? ORDER BY seq"
        return await self._select(condition, partition, time.time(), limit)

    async def page(self, state: str | None, after_seq: int, limit: int) -> list[Entry]:
        if state is None:
            return await self._select("seq>? ORDER BY seq", after_seq, limit)
        # The same order, and one that the index has.
        condition, number = "state=? AND (partition, seq) > (?, ?) ORDER BY partition, seq", after_seq // _MONTH_STEP
        return await self._select(condition, state, f"{number // 100:04}_{number % 100:02}", after_seq, limit)

    def may_hold(self, event: Event) -> bool:
        return self._db is None or self._filter[key_of(event) % FILTER_SLOTS] > 0

    async def close(self) -> None:
        if self._flusher is not None:
            await self._flusher
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown()

    async def _select(self, condition: str, *values: str | float | None) -> list[Entry]:
        def look(db: sqlite3.Connection) -> tuple[str | None, str]:
            return db.execute(sql("dlq/entries").format(condition), values).fetchone()  # type: ignore[no-any-return]

        texts, columns = await self._do(look, READ_SECONDS, writes=False)
        lines = [] if texts is None else texts.split("\n")
        return [Entry(Event(text), *more) for text, more in zip(lines, json.loads(columns), strict=True)]

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
        try:
            db = self._current()
            # Reading needs no lock. While all is well a lock is enough, else only a write tells; duplicates have none.
            db.execute("BEGIN IMMEDIATE" if (writing := any(writes for _, writes in jobs)) else "BEGIN")
            if writing and not self.available:
                db.execute("PRAGMA user_version=1")
            results = [work(db) for work, _ in jobs]
            outcome = "unknown"
            db.execute("COMMIT")
            if self._names() != self._inodes:
                raise OSError("the file was deleted or replaced meanwhile")
            self._tell(db)
            self.available |= writing
            return results
        except Exception as error:  # noqa: BLE001 - the callers are told
            # A full disk at commit is undone by SQLite; after an I/O error nobody knows.
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
                outcome = "not_stored"
            return [self._failed(error, outcome)] * len(jobs)

    def _failed(self, error: Exception, outcome: str) -> DlqError:
        self.available = False
        self._log.error("DLQ cannot be used", error=str(error))
        if self._db is not None and self._db.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                self._db.rollback()
        # Locked and full are the only troubles that pass by themselves: what was opened for reading stays so.
        passing = getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL)
        if not passing or outcome == "unknown" or (self._db is not None and self._db.in_transaction):
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
            db.executescript(sql("dlq/open"))
            names = self._names()
            (last,) = db.execute("SELECT coalesce(max(seq % ?), 0) FROM events", [_MONTH_STEP]).fetchone()
            self._arrivals = max(self._arrivals, last, int(time.time() * 1000))
            self._fill(db)
            self._tell(db)
            if 0 in names or names != self._names():
                raise OSError("the file was deleted or replaced meanwhile")
            self._db, self._files, self._inodes = db, files.pop_all(), names
        return db

    def _tell(self, db: sqlite3.Connection) -> None:
        counts = db.execute("SELECT state, name, n FROM counts WHERE n>0").fetchall()
        self.pending = {name: count for state, name, count in counts if state == "pending"}
        self.dead = {name: count for state, name, count in counts if state == "dead"}
        (self.oldest_queued_at,) = db.execute(sql("dlq/oldest")).fetchone()
        # To forget one after the other would cost more than the events themselves.
        left = sum(count for state, _, count in counts if state == "left")
        if left > 10_000 + 4 * (sum(self.pending.values()) + sum(self.dead.values())):
            self._fill(db)

    def _fill(self, db: sqlite3.Connection) -> None:
        db.executescript(sql("dlq/fill"))
        known, start = bytearray(FILTER_SLOTS), 0
        # In pieces, since the event loop stands still while one is read.
        while keys := json.loads(db.execute(sql("dlq/keys"), [start]).fetchone()[0]):
            start += len(keys)
            for key in keys:
                known[key % FILTER_SLOTS] = 1
        self._filter = known

    def _held(self, db: sqlite3.Connection, event: Event) -> Event | None:
        rows = db.execute(sql("dlq/held"), [key_of(event), event])
        return next((other for (text,) in rows if (other := Event(text)).identity == event.identity), None)

    def _insert(self, db: sqlite3.Connection, event: Event, fault: Fault) -> Outcome:
        known, key = self._held(db, event), key_of(event)
        if known is not None:
            return Outcome(Status.QUEUED, duplicate=True) if known == event else CONFLICT
        (held,) = db.execute("SELECT total(n) FROM counts WHERE state<>'left'").fetchone()
        if held >= self.capacity:
            return Outcome(Status.UNAVAILABLE, f"the queue is full ({self.capacity} events)")
        self._arrivals += 1
        seq = int(event.month.replace("_", "")) * _MONTH_STEP + self._arrivals
        db.execute(sql("dlq/insert"), (seq, key, event.month, fault.sqlstate, fault.message, time.time(), event))
        # Before the commit: if that fails the filter is wrong on the safe side.
        self._filter[key % FILTER_SLOTS] = 1
        return Outcome(Status.QUEUED)
