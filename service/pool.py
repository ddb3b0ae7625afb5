"""The database as the service sees it: one bounded pool, known to be reachable or not, a deadline on every use."""

import asyncio
import contextlib
import os
import select
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import cache
from pathlib import Path
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from .admission import Admission, DismissedError
from .classify import Owner, fault_of
from .config import Config
from .logs import Log
from .metrics import Metrics

Connection = psycopg.AsyncConnection[tuple[Any, ...]]
# The server's own time-outs come first; this is what a silent server gets on top.
CLIENT_GRACE_SECONDS = 0.3
CONNECT_TIMEOUT_SECONDS = 3.0
CONNECT_PAUSE_SECONDS = 0.2
LOST_IN_A_ROW = 2
_LOOK_SECONDS = 0.1


@cache
def sql(name: str) -> str:
    """The text of a named statement in sql/."""
    return (Path(__file__).parent / "sql" / f"{name}.sql").read_text("utf-8")


async def pause(seconds: float) -> None:
    """Wait so long."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asyncio.Event().wait(), seconds)


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
                connection = await self.pool.getconn(min(left, _LOOK_SECONDS))
                if _alive(connection):
                    return connection
                self._metrics.connection_errors.inc()
                await connection.close()
                await self.pool.putconn(connection)
        raise DismissedError("no connection could be had in time")

    @contextlib.asynccontextmanager
    async def connection(self, key: str, wait_seconds: float, use_seconds: float) -> AsyncIterator[Connection]:
        """A connection after at most `wait_seconds`, severed after `use_seconds`. Raises DismissedError."""
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
