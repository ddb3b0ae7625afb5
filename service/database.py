"""The database as the service sees it: one bounded pool, known to be reachable or not, a deadline on every use."""

import asyncio
import contextlib
import enum
import math
import os
import select
import socket
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from .config import Config
from .logs import Log
from .metrics import Metrics

Connection = psycopg.AsyncConnection[tuple[Any, ...]]
# The server's own time-outs come first; this is what a silent server gets on top.
CLIENT_GRACE_SECONDS = 0.3
CONNECT_TIMEOUT_SECONDS, CONNECT_PAUSE_SECONDS = 3.0, 0.2
LOST_IN_A_ROW, LOOK_SECONDS = 2, 0.1
Clock = Callable[[], float]
# A month that stalls or fails holds at most this many connections; a healthy one may use them all.
STALLING_SHARE = 4
# A month stalls when its oldest write is this old and none of its writes came back meanwhile.
STALL_SECONDS = 0.25
# Constraints that this service's own schema declares on the parent table.
OWN_CONSTRAINTS = frozenset({"audit_events_pkey"})
# The server answered, but no month can be written: read-only, or the table itself is not there.
_DATABASE_STATES = frozenset({"25006", "42P01", "42P10"})


@cache
def sql(name: str) -> str:
    """The text of a named statement in sql/."""
    return (Path(__file__).parent / "sql" / f"{name}.sql").read_text("utf-8")


async def pause(seconds: float) -> None:
    """Wait so long."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asyncio.Event().wait(), seconds)


class Owner(enum.Enum):
    """Who is at fault: the event is refused; a partition or database that refuses is spared for a while."""

    EVENT = "event"
    PARTITION = "partition"
    DATABASE = "database"
    LINK = "the connection was lost: whether the event is stored is unknown"
    POOL = "no connection: nothing was tried"


@dataclass(frozen=True)
class Fault:
    """Why a try failed; `no_partition` when the month's partition is not there."""

    owner: Owner
    sqlstate: str | None
    message: str
    no_partition: bool = False


def classify(sqlstate: str | None, constraint: str | None, message: str, fatal: bool = False) -> Fault:
    """Find the owner; EVENT is provisional until a harmless row succeeds in the same month."""
    # Not by the class: one month's trigger may raise 57P01 while the connection lives on.
    if sqlstate is None or fatal:
        return Fault(Owner.LINK, sqlstate, message)
    if sqlstate in _DATABASE_STATES:
        return Fault(Owner.DATABASE, sqlstate, message)
    of_own_schema = sqlstate == "23502" or (sqlstate.startswith("23") and constraint in OWN_CONSTRAINTS)
    if sqlstate.startswith("22") or of_own_schema:
        return Fault(Owner.EVENT, sqlstate, message)
    return Fault(Owner.PARTITION, sqlstate, message, no_partition=sqlstate == "23514" and not constraint)


def fault_of(error: psycopg.Error) -> Fault:
    """Classify an exception of the driver."""
    message = error.diag.message_primary or str(error) or type(error).__name__
    if error.sqlstate is None and isinstance(error, psycopg.DataError):
        return Fault(Owner.EVENT, "22000", message)
    fatal = error.diag.severity_nonlocalized in ("FATAL", "PANIC")
    return classify(error.sqlstate, error.diag.constraint_name, message, fatal)


class Admission:
    """As many places as connections, first come first served among eligible keys: months, background jobs."""

    def __init__(self, size: int, clock: Clock) -> None:
        self._free, self._clock = size, clock
        self._waiting: dict[asyncio.Future[float], str] = {}
        # When each of a key's places was taken, oldest first, and when one was last given back.
        self._taken_at: defaultdict[str, list[float]] = defaultdict(list)
        self._returned_at: defaultdict[str, float] = defaultdict(lambda: -math.inf)

    def stalls(self, key: str) -> bool:
        """Whether the writes of this key have stopped coming back."""
        limit, taken_at = self._clock() - STALL_SECONDS, self._taken_at[key]
        return bool(taken_at) and taken_at[0] < limit and self._returned_at[key] < limit

    def _eligible(self, key: str) -> bool:
        return len(self._taken_at[key]) < STALLING_SHARE or not self.stalls(key)

    def _admit(self) -> None:
        for future, key in list(self._waiting.items()):
            if self._free > 0 and not future.done() and self._eligible(key):
                del self._waiting[future]
                self._free -= 1
                self._taken_at[key].append(self._clock())
                future.set_result(self._taken_at[key][-1])

    @contextlib.asynccontextmanager
    async def place(self, key: str, timeout_seconds: float, queued: Callable[[], None]) -> AsyncIterator[None]:
        """Hold a place; calls `queued` first if none is free at once. Raises TimeoutError, early if it is dismissed."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[float] = loop.create_future()
        self._waiting[future] = key
        self._admit()
        if not future.done():
            queued()
        timer = loop.call_later(timeout_seconds, self._send_away, future, "no connection became free in time")
        try:
            await future
            yield
        finally:
            timer.cancel()
            self._waiting.pop(future, None)
            # Not only after the use: a place may be granted in the moment in which its waiter is cancelled.
            if not future.cancelled() and future.exception() is None:
                self._free += 1
                self._taken_at[key].remove(future.result())
                self._returned_at[key] = self._clock()
                self._admit()

    def _send_away(self, future: asyncio.Future[float], reason: str) -> None:
        if self._waiting.pop(future, None) is not None and not future.done():
            future.set_exception(TimeoutError(reason))

    def dismiss(self, key: str | None = None) -> None:
        """Send away those who wait: of one key, or all."""
        for future, waiting_key in list(self._waiting.items()):
            if key in (None, waiting_key):
                self._send_away(future, "its breaker opened")


def sever(connection: Connection) -> None:
    """Shut the socket down: whoever waits on it fails at once, though the server may never answer."""
    with contextlib.suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.pgconn.socket)) as twin:
        twin.shutdown(socket.SHUT_RDWR)


def _alive(connection: Connection) -> bool:
    """Whether an idle connection is still connected, without a round trip."""
    with contextlib.suppress(psycopg.Error):
        poll = select.poll()
        poll.register(connection.pgconn.socket, select.POLLIN)
        while poll.poll(0):  # A notice may precede the end of the stream, at which this raises.
            connection.pgconn.consume_input()
    return not connection.broken and not connection.closed


class _Connection(psycopg.AsyncConnection[Any]):
    @classmethod
    async def connect(cls, conninfo: str = "", *, database: "Database", **kwargs: Any) -> Any:  # type: ignore[override]
        """Connect under the rules of the database."""
        parent = super().connect
        return await database.keep_connecting(lambda: parent(conninfo, **kwargs))


class Database:
    """Bounded connections; `connected` is cleared by losses in a row and set by a connect that succeeds."""

    def __init__(self, config: Config, metrics: Metrics, log: Log) -> None:
        self._metrics, self._log = metrics, log
        self.size_max, self.in_use = config.db_pool_max, 0
        # Seconds to wait for a connection, seconds of its use.
        self.limits = (config.db_acquire_timeout_seconds, config.db_statement_timeout_seconds + CLIENT_GRACE_SECONDS)
        self.admission = Admission(config.db_pool_max, time.monotonic)
        self.connected = asyncio.Event()
        self.schema_ready = False
        self._lost_in_a_row = 0
        self._drain_task: asyncio.Task[None] | None = None
        # Also under a short deadline the server gives up before the writer severs the connection.
        most = max(0.1, config.request_deadline_seconds * 0.55 - 0.63)
        times = config.db_statement_timeout_seconds, config.db_lock_timeout_seconds
        statement_ms, lock_ms = [int(min(seconds, most) * 1000) for seconds in times]
        options = f"-c statement_timeout={statement_ms} -c lock_timeout={lock_ms} -c TimeZone=UTC -c DateStyle=ISO"
        names = {"options": options, "application_name": "audit-service", "client_encoding": "utf8"}
        # Prepared only where it is asked for: a first use costs a second round trip.
        kwargs = {"database": self, "autocommit": True, "prepare_threshold": 10**9, "gssencmode": "disable", **names}
        # Full from the start: growing under pressure would serialise one slow connect after another.
        self.pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            config.database_url, connection_class=_Connection, kwargs=kwargs, min_size=self.size_max, open=False
        )

    @property
    def available(self) -> bool:
        """Whether a write may try: reachable, and its tables known to exist."""
        return self.connected.is_set() and self.schema_ready

    async def keep_connecting(self, attempt: Callable[[], Awaitable[Connection]]) -> Connection:
        """Try until it works: the pool's own pauses grow far beyond the promised recovery time."""
        while True:
            try:
                connection = await asyncio.wait_for(attempt(), CONNECT_TIMEOUT_SECONDS)
            except (psycopg.Error, OSError, TimeoutError) as error:
                # A server that has no connection to spare is not lost to those who have one.
                works = self.in_use or self.pool.get_stats().get("pool_available")
                self._lost("Database connect failed", error, 0 if works else 1)
                await pause(CONNECT_PAUSE_SECONDS)
            else:
                self._lost_in_a_row = 0
                if not self.connected.is_set():
                    self._log.info("Database available")
                    self.connected.set()
                return connection

    def _lost(self, message: str, error: Exception, count: int = 1) -> None:
        self._metrics.connection_errors.inc()
        self._log.error(message, error=type(error).__name__)
        self._lost_in_a_row += count
        if self._lost_in_a_row >= LOST_IN_A_ROW and self.connected.is_set():
            self.connected.clear()
            self._log.error("Database unavailable")
            self.admission.dismiss()
            # What lies idle died with the others; draining replaces it, and what is in use when it returns.
            self._drain_task = asyncio.create_task(self.pool.drain())

    def _note_queued(self) -> None:
        if self.in_use >= self.size_max:
            self._log.error(f"Connection pool exhausted ({self.in_use}/{self.size_max} in use)")
        self._log.info("Request queued, waiting for available connection")

    async def _take(self, until: float) -> Connection:
        while self.connected.is_set() and (left := until - time.monotonic()) > 0:
            # In short waits, to notice at once that the database went away.
            with contextlib.suppress(PoolTimeout):
                connection = await self.pool.getconn(min(left, LOOK_SECONDS))
                if _alive(connection):
                    return connection
                self._metrics.connection_errors.inc()
                await connection.close()
                await self.pool.putconn(connection)
        raise TimeoutError("no connection could be had in time")

    @contextlib.asynccontextmanager
    async def connection(self, key: str, wait_seconds: float, use_seconds: float) -> AsyncIterator[Connection]:
        """A connection after at most `wait_seconds`, severed after `use_seconds`. Raises TimeoutError."""
        until = time.monotonic() + wait_seconds
        async with contextlib.AsyncExitStack() as place:
            with self._metrics.wait.time():
                await place.enter_async_context(self.admission.place(key, wait_seconds, self._note_queued))
                connection = await self._take(until)
            self.in_use += 1
            timer = asyncio.get_running_loop().call_later(use_seconds, sever, connection)
            try:
                yield connection
                self._lost_in_a_row = 0
            except psycopg.Error as error:
                if connection.broken or fault_of(error).owner is Owner.LINK:
                    # One cut off early, for want of time, says nothing of the database.
                    self._lost("Database connection lost", error, int(use_seconds >= self.limits[1]))
                else:
                    self._lost_in_a_row = 0
                raise
            finally:
                timer.cancel()
                self.in_use -= 1
                if connection.pgconn.transaction_status != TransactionStatus.IDLE:
                    await connection.close()
                await self.pool.putconn(connection)
