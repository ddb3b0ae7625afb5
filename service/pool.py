"""The database as the service sees it: one bounded pool, one breaker, and a deadline on everything."""

import asyncio
import os
import select
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

import psycopg
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from .admission import Admission, DismissedError
from .classify import fault_of
from .config import Config
from .logs import Log
from .metrics import Metrics

Connection = psycopg.AsyncConnection[tuple[Any, ...]]
# The server's own time-outs come first; this is what a silent server gets on top.
CLIENT_GRACE_SECONDS = 0.3
CONNECT_TIMEOUT_SECONDS = 3.0
CONNECT_PAUSE_MIN_SECONDS = 0.05
CONNECT_PAUSE_MAX_SECONDS = 0.5
LOST_IN_A_ROW = 2
_RECHECK_SECONDS = 0.1


@cache
def sql(name: str) -> str:
    """The text of a named statement in sql/."""
    return (Path(__file__).parent / "sql" / f"{name}.sql").read_text("utf-8")


def sever(connection: Connection) -> None:
    """Shut the socket down: whoever waits on it fails at once.

    Cancelling instead would ask the server, which may be the one that never answers.
    """
    try:
        with socket.socket(fileno=os.dup(connection.pgconn.socket)) as twin:
            twin.shutdown(socket.SHUT_RDWR)
    except (OSError, psycopg.Error):
        pass  # It is closed already, which is all that was wanted.


def _alive(connection: Connection) -> bool:
    """Whether an idle connection is still connected, without a round trip."""
    try:
        poll = select.poll()
        poll.register(connection.pgconn.socket, select.POLLIN)
        # A notice may precede the end of the stream, so one look is not enough.
        for _ in range(3):
            if not poll.poll(0):
                break
            connection.pgconn.consume_input()
    except psycopg.Error:
        return False
    return not connection.broken and not connection.closed


class Link:
    """Whether the database can be reached: opened by lost connections, closed by a connect that succeeds."""

    def __init__(self, metrics: Metrics, log: Log) -> None:
        self._metrics = metrics
        self._log = log
        self._lost = 0
        self._pause_seconds = CONNECT_PAUSE_MIN_SECONDS
        self._one_at_a_time = asyncio.Lock()
        self.closing = asyncio.Event()
        self.up = False
        self._ever_up = False
        self.on_change: Callable[[bool], None] = lambda up: None

    def _set(self, up: bool) -> None:
        if up != self.up:
            self.up = up
            self.on_change(up)

    def lost(self, error: object, connecting: bool = False) -> None:
        """A connect failed, or a connection was lost in use."""
        self._metrics.connection_errors.inc()
        self._lost += 1
        kind = "Database connect failed" if connecting else "Database connection lost"
        self._log.warning(kind, error=type(error).__name__)
        if self._lost >= LOST_IN_A_ROW:
            self._set(False)

    def answered(self) -> None:
        """The server answered, with whatever: the connection is not the problem."""
        self._lost = 0

    async def connect(self, attempt: Callable[[], Any]) -> Connection:
        """Keep trying until it works: the pool's own pauses grow far beyond the promised recovery time."""
        while not self.closing.is_set():
            if self.up:
                connection = await self._try(attempt)
            else:
                async with self._one_at_a_time:
                    connection = await self._try(attempt)
                    if connection is None:
                        await self._rest()
            if connection is not None:
                return connection
            if self.up:
                await self._rest()
        raise psycopg.OperationalError("the service is shutting down")

    async def _rest(self) -> None:
        pause = self._pause_seconds
        # A server that is only just starting is awaited without growing pauses.
        if self._ever_up:
            self._pause_seconds = min(pause * 2, CONNECT_PAUSE_MAX_SECONDS)
        try:
            await asyncio.wait_for(self.closing.wait(), pause)
        except TimeoutError:
            return

    async def _try(self, attempt: Callable[[], Any]) -> Connection | None:
        try:
            connection: Connection = await asyncio.wait_for(attempt(), CONNECT_TIMEOUT_SECONDS)
        except (psycopg.Error, OSError, TimeoutError) as error:
            self.lost(error, connecting=True)
            return None
        self._lost = 0
        self._pause_seconds = CONNECT_PAUSE_MIN_SECONDS
        self._ever_up = True
        self._set(True)
        return connection


class _LinkedConnection(psycopg.AsyncConnection[Any]):
    @classmethod
    async def connect(cls, conninfo: str = "", *, link: Link, **kwargs: Any) -> Any:  # type: ignore[override]
        """Connect under the rules of the link."""
        parent = super().connect
        return await link.connect(lambda: parent(conninfo, **kwargs))


class Database:
    """Connections for a bounded time, never more than the maximum, in fair order."""

    def __init__(self, config: Config, metrics: Metrics, log: Log) -> None:
        self._config = config
        self._metrics = metrics
        self._log = log
        self.size_max = config.db_pool_max
        self.in_use = 0
        self.statement_seconds = config.db_statement_timeout_seconds + CLIENT_GRACE_SECONDS
        self.link = Link(metrics, log)
        self.admission = Admission(config.db_pool_max, time.monotonic)
        self.schema_ready = False
        self._drain_task: asyncio.Task[None] | None = None
        self._pool: AsyncConnectionPool[Connection] = self._make_pool()
        self.link.on_change = self._link_changed
        self.on_up: list[Callable[[], None]] = []

    def _make_pool(self) -> AsyncConnectionPool[Connection]:
        config = self._config
        options = (
            f"-c statement_timeout={int(config.db_statement_timeout_seconds * 1000)} "
            f"-c lock_timeout={int(config.db_lock_timeout_seconds * 1000)} "
            "-c idle_in_transaction_session_timeout=10000 -c TimeZone=UTC"
        )
        # Never prepared: a first use would cost a second round trip, and plans of a month that was
        # detached meanwhile would have to be thrown away.
        kwargs = {
            "link": self.link,
            "options": options,
            "autocommit": True,
            "prepare_threshold": None,
            "application_name": "audit-service",
            "gssencmode": "disable",
        }
        # Full from the start: growing under pressure would serialise one slow connect after another.
        return AsyncConnectionPool(
            config.database_url,
            connection_class=_LinkedConnection,
            kwargs=kwargs,
            min_size=self.size_max,
            max_size=self.size_max,
            open=False,
        )

    @property
    def available(self) -> bool:
        """Whether a write may try: reachable, and its tables known to exist."""
        return self.link.up and self.schema_ready

    @property
    def idle(self) -> int:
        """Connections waiting in the pool."""
        return int(self._pool.get_stats().get("pool_available", 0))

    async def start(self) -> None:
        """Begin to connect, in the background."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        """Close everything."""
        self.link.closing.set()
        await self._pool.close(timeout=1)

    def _link_changed(self, up: bool) -> None:
        if up:
            self._announce()
            return
        self._log.error("Database unavailable")
        self.admission.dismiss()
        # What lies idle died with the others; draining replaces it, and what is in use when it returns.
        self._drain_task = asyncio.create_task(self._pool.drain())

    def _announce(self) -> None:
        if self.schema_ready:
            self._log.info("Database available")
        for listener in self.on_up:
            listener()

    def make_ready(self) -> None:
        """The tables are known to exist: writes may begin."""
        if not self.schema_ready:
            self.schema_ready = True
            self._announce()

    def _note_queued(self) -> None:
        if self.in_use >= self.size_max:
            self._log.error(f"Connection pool exhausted ({self.in_use}/{self.size_max} in use)")
        self._log.info("Request queued, waiting for available connection")

    async def _take(self, until: float) -> Connection:
        while True:
            left = until - time.monotonic()
            if left <= 0 or not self.link.up:
                raise DismissedError("no connection could be had in time")
            try:
                # In short waits, to notice at once that the database went away.
                connection = await self._pool.getconn(timeout=min(left, _RECHECK_SECONDS))
            except PoolTimeout:
                continue
            if _alive(connection):
                return connection
            self._metrics.connection_errors.inc()
            await connection.close()
            await self._pool.putconn(connection)

    @asynccontextmanager
    async def connection(
        self, key: str, wait_seconds: float, use_seconds: float, still_wanted: Callable[[], bool] = lambda: True
    ) -> AsyncIterator[Connection]:
        """A connection after at most `wait_seconds`, severed after `use_seconds`.

        Raises DismissedError when there is none in time, or when it is `still_wanted` no longer.
        """
        started = time.monotonic()
        try:
            ticket = await self.admission.enter(key, wait_seconds, self._note_queued)
        except DismissedError:
            self._metrics.wait.observe(time.monotonic() - started)
            raise
        try:
            try:
                if not still_wanted():
                    raise DismissedError("its breaker opened")
                connection = await self._take(started + wait_seconds)
            finally:
                self._metrics.wait.observe(time.monotonic() - started)
            self.in_use += 1
            timer = asyncio.get_running_loop().call_later(use_seconds, sever, connection)
            try:
                yield connection
                self.link.answered()
            except psycopg.Error as error:
                if fault_of(error).lost:
                    self.link.lost(error)
                else:
                    self.link.answered()
                raise
            finally:
                timer.cancel()
                self.in_use -= 1
                if connection.pgconn.transaction_status != psycopg.pq.TransactionStatus.IDLE:
                    await connection.close()
                await self._pool.putconn(connection)
        finally:
            self.admission.leave(key, ticket)
