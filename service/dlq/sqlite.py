"""The queue in one SQLite file: a single writer thread that commits in groups, and acknowledges after."""

import asyncio
import contextlib
import queue
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Generic, TypeVar

from ..logs import Log
from ..models import Event
from .base import DlqError, Entry, LastError, Receipt, Retry

T = TypeVar("T")
GROUP_MAX = 500
BUSY_SECONDS = 0.5
_COLUMNS = "SELECT seq, event_id, event_date, partition, state, attempts, sqlstate, message, queued_at, event"
_ENTRIES = _COLUMNS + " FROM events WHERE {} ORDER BY seq LIMIT ?"
_BY_IDENTITY = _ENTRIES.format("event_id=? AND event_date=?")
_DUE = _ENTRIES.format("state='pending' AND partition=? AND due_at<=?")
_PAGE = _ENTRIES.format("seq>?")
_PAGE_OF_STATE = _ENTRIES.format("seq>? AND state=?")
_DELETE = "DELETE FROM events WHERE seq=? RETURNING event_id, event_date, partition"
_INSERT = (
    "INSERT INTO events (event_id, event_date, partition, sqlstate, message, queued_at, event)"
    " VALUES (?, ?, ?, ?, ?, ?, ?)"
)


class _Job(Generic[T]):
    """Work for the thread; whoever claims it first, the thread or a caller who gave up, decides its fate."""

    def __init__(self, work: "Callable[[_Store], T]", grouped: bool) -> None:
        self.work = work
        self.grouped = grouped
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[T] = self.loop.create_future()
        self._claim = threading.Lock()

    def claim(self) -> bool:
        return self._claim.acquire(blocking=False)

    def settle(self, result: T | None, error: DlqError | None) -> None:
        if self.future.done():
            return
        if error is not None:
            self.future.set_exception(error)
        else:
            self.future.set_result(result)  # type: ignore[arg-type]


class _Store:
    """The open file and the counts of what it holds; used by the writer thread only."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.db = connection
        self._path = path
        self._inode = path.stat().st_ino
        self.pending: Counter[str] = Counter()
        self.dead: Counter[str] = Counter()
        self.identities: set[int] = set()
        self.oldest_queued_at: float | None = None
        rows = self.db.execute("SELECT event_id, event_date, partition, state, reason FROM events")
        for event_id, event_date, partition, state, reason in rows:
            self.identities.add(hash((event_id, event_date)))
            (self.pending if state == "pending" else self.dead)[partition if state == "pending" else reason] += 1
        self.note_oldest()

    @staticmethod
    def open(path: Path, schema: str) -> "_Store":
        path.parent.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=FULL")
            db.executescript(schema)
            return _Store(path, db)
        except (sqlite3.Error, OSError):
            db.close()
            raise

    def is_current(self) -> bool:
        """Whether the open file is still the one under its name."""
        try:
            return self._path.stat().st_ino == self._inode
        except OSError:
            return False

    def note_oldest(self) -> None:
        query = "SELECT queued_at FROM events WHERE state='pending' AND partition=? ORDER BY seq LIMIT 1"
        firsts = [self.db.execute(query, [name]).fetchone() for name, n in self.pending.items() if n > 0]
        self.oldest_queued_at = min((row[0] for row in firsts if row), default=None)

    def enqueue(self, event: Event, error: LastError, capacity: int) -> Receipt:
        event_id, event_date = event.identity
        text = event.to_json()
        known = self.db.execute(
            "SELECT event FROM events WHERE event_id=? AND event_date=?", [event_id, event_date]
        ).fetchone()
        if known is not None:
            return Receipt.KNOWN if known[0] == text else Receipt.CONFLICT
        if self.pending.total() + self.dead.total() >= capacity:
            raise DlqError(f"the queue is full ({capacity} events)", "not_stored")
        now = time.time()
        row = (event_id, event_date, event.month, error.sqlstate, error.message, now, text)
        self.db.execute(_INSERT, row)
        self.pending[event.month] += 1
        self.identities.add(hash((event_id, event_date)))
        if self.oldest_queued_at is None:
            self.oldest_queued_at = now
        return Receipt.QUEUED

    def forget(self, seqs: list[int]) -> None:
        for seq in seqs:
            row = self.db.execute(_DELETE, [seq]).fetchone()
            if row is not None:
                self.identities.discard(hash(row[:2]))
                self.pending[row[2]] -= 1
        self.note_oldest()

    def put_back(self, retries: list[Retry]) -> None:
        for retry in retries:
            state = "dead" if retry.dead_reason else "pending"
            row = self.db.execute(
                "UPDATE events SET attempts=attempts+1, sqlstate=?, message=?, due_at=?, state=?, reason=?"
                " WHERE seq=? AND state='pending' RETURNING partition",
                [retry.error.sqlstate, retry.error.message, retry.due_at, state, retry.dead_reason, retry.seq],
            ).fetchone()
            if row is not None and retry.dead_reason:
                self.pending[row[0]] -= 1
                self.dead[retry.dead_reason] += 1
        self.note_oldest()

    def entries(self, query: str, *values: str | float) -> list[Entry]:
        return [Entry(*row) for row in self.db.execute(query, values)]


class SqliteQueue:
    """A DeadLetterQueue in a SQLite file with WAL and synchronous=FULL."""

    def __init__(self, path: str, capacity: int, schema: str, log: Log) -> None:
        self.capacity = capacity
        self.available = False
        self._path = Path(path).absolute()
        self._schema = schema
        self._log = log
        self._jobs: queue.SimpleQueue[_Job[object] | None] = queue.SimpleQueue()
        self._store: _Store | None = None
        self._thread = threading.Thread(target=self._run, name="dlq-writer", daemon=True)

    def start(self) -> None:
        """Start the writer thread, which opens the file."""
        self._thread.start()

    def close(self) -> None:
        """Finish what waits, then close the file; blocks for a moment."""
        self._jobs.put(None)
        self._thread.join(timeout=10)

    # --- the event loop's side

    async def _do(self, work: Callable[[_Store], T], timeout_seconds: float = 5.0, grouped: bool = False) -> T:
        job: _Job[T] = _Job(work, grouped)
        self._jobs.put(job)  # type: ignore[arg-type]
        try:
            return await asyncio.wait_for(asyncio.shield(job.future), timeout_seconds)
        except TimeoutError:
            if job.claim():
                raise DlqError("the queue did not answer in time", "not_stored") from None
            job.future.add_done_callback(lambda future: future.exception())
            raise DlqError("the queue did not answer in time", "unknown") from None

    async def enqueue(self, event: Event, error: LastError, timeout_seconds: float) -> Receipt:
        """Store durably, once per identity; answers only after the commit."""
        return await self._do(lambda store: store.enqueue(event, error, self.capacity), timeout_seconds, True)

    async def find(self, event: Event) -> Entry | None:
        """The entry with this event's identity."""
        event_id, day = event.identity
        found = await self._do(lambda store: store.entries(_BY_IDENTITY, event_id, day, 1), 1.0)
        return found[0] if found else None

    async def due(self, partition: str, limit: int) -> list[Entry]:
        """The oldest pending entries of a month whose time has come."""
        return await self._do(lambda store: store.entries(_DUE, partition, time.time(), limit))

    async def remove(self, seqs: Iterable[int]) -> None:
        """Forget entries that are in the table."""
        gone = list(seqs)
        await self._do(lambda store: store.forget(gone), grouped=True)

    async def put_back(self, retries: Iterable[Retry]) -> None:
        """Record failed attempts."""
        failed = list(retries)
        await self._do(lambda store: store.put_back(failed), grouped=True)

    async def page(self, state: str | None, after_seq: int, limit: int) -> list[Entry]:
        """Entries in the order of their arrival."""
        if state is None:
            return await self._do(lambda store: store.entries(_PAGE, after_seq, limit))
        return await self._do(lambda store: store.entries(_PAGE_OF_STATE, after_seq, state, limit))

    async def check(self) -> None:
        """Find out whether the queue can be written, without writing; sets `available`."""
        with contextlib.suppress(DlqError):
            await self._do(lambda store: None, grouped=True)

    def may_hold(self, event: Event) -> bool:
        """False only if the identity is surely not in the queue."""
        return self._store is None or hash(event.identity) in self._store.identities

    @property
    def full(self) -> bool:
        """Whether it holds as many events as it may."""
        store = self._store
        return store is not None and store.pending.total() + store.dead.total() >= self.capacity

    def pending_by_partition(self) -> dict[str, int]:
        """Pending events of each month that has any."""
        return {} if self._store is None else {name: n for name, n in dict(self._store.pending).items() if n > 0}

    def dead_by_reason(self) -> dict[str, int]:
        """Dead letters of each reason that has any."""
        return {} if self._store is None else dict(self._store.dead)

    def oldest_age_seconds(self) -> float:
        """Age of the oldest pending event, 0 without one."""
        oldest = None if self._store is None else self._store.oldest_queued_at
        return 0.0 if oldest is None else max(0.0, time.time() - oldest)

    # --- the thread's side

    def _run(self) -> None:
        with contextlib.suppress(sqlite3.Error, OSError):
            self._current()
        while True:
            group: list[_Job[object]] = []
            job = self._jobs.get()
            while job is not None:
                group.append(job)
                if len(group) >= GROUP_MAX or self._jobs.empty():
                    break
                job = self._jobs.get()
            claimed = [one for one in group if one.claim()]
            if claimed:
                self._work(claimed)
            if job is None:
                if self._store is not None:
                    self._store.db.close()
                return

    def _current(self) -> _Store:
        """The store of the file that has the name now; a deleted file is made anew."""
        if self._store is not None and self._store.is_current():
            return self._store
        if self._store is not None:
            # Closed before the new one opens: both would map the same -shm file.
            self._store.db.close()
            self._store = None
            self._log.error("DLQ file was deleted or replaced under the service")
        self._store = _Store.open(self._path, self._schema)
        self.available = True
        return self._store

    def _work(self, jobs: list[_Job[object]]) -> None:
        """One transaction for everything grouped, then the reads; results go back in one call."""
        results: list[tuple[_Job[object], object, DlqError | None]] = []
        try:
            store = self._current()
            grouped = [job for job in jobs if job.grouped]
            if grouped:
                results += self._commit(store, grouped)
            for job in jobs:
                if not job.grouped:
                    results.append((job, job.work(store), None))
        except Exception as error:  # noqa: BLE001 - the thread lives on and the callers are told
            self._failed(error)
            told = {id(job) for job, _, _ in results}
            refusal = DlqError(str(error), "not_stored")
            results += [(job, None, refusal) for job in jobs if id(job) not in told]
        self._acknowledge(results)

    def _commit(self, store: _Store, jobs: list[_Job[object]]) -> list[tuple[_Job[object], object, DlqError | None]]:
        results: list[tuple[_Job[object], object, DlqError | None]] = []
        outcome = "not_stored"
        try:
            store.db.execute("BEGIN IMMEDIATE")
            for job in jobs:
                try:
                    results.append((job, job.work(store), None))
                except DlqError as error:
                    results.append((job, None, error))
            outcome = "unknown"
            store.db.execute("COMMIT")
        except sqlite3.Error as error:
            # A full disk at commit is undone by SQLite; after an I/O error nobody knows.
            if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
                outcome = "not_stored"
            self._failed(error)
            self._reopen(store)
            return [(job, None, DlqError(str(error), outcome)) for job in jobs]
        self.available = True
        return results

    def _reopen(self, store: _Store) -> None:
        """Undo, and count anew: the counts in memory ran ahead of a transaction that failed."""
        with contextlib.suppress(sqlite3.Error, OSError):
            if store.db.in_transaction:
                store.db.execute("ROLLBACK")
                self._store = _Store(self._path, store.db)

    def _failed(self, error: Exception) -> None:
        self.available = False
        self._log.error("DLQ cannot be used", error=str(error))

    def _acknowledge(self, results: list[tuple[_Job[object], object, DlqError | None]]) -> None:
        """Tell the callers; only ever after the commit."""

        def tell() -> None:
            for job, result, error in results:
                job.settle(result, error)

        if results:
            with contextlib.suppress(RuntimeError):
                results[0][0].loop.call_soon_threadsafe(tell)
