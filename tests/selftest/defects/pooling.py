"""Defects of the connection pool: how many connections there are, who gives them back, what is said of them."""

import asyncio
import contextlib
import dataclasses
import os
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import date
from typing import Any

import psycopg

from service import app
from service import config as config_module
from service.config import Config
from service.database import Connection, Database, Fault, Owner
from service.logs import Log
from service.metrics import Metrics
from service.partitions import Month
from service.writer import Work, Writer

from .planting import on_trip, regauge, relog, remetric
from .registry import defect

BASELINE, DETACHED, EXHAUSTED = ("baseline",), ("december-detached",), ("pool-exhausted",)
CYCLES = ("december-detached-in-cycles",)


@defect(
    "pool-of-30",
    promise=9,
    scenarios=EXHAUSTED,
    checkers=("bounds", "metrics", "exhaustion"),
    names_events=False,
    quick=True,
)
def pool_of_30() -> None:
    """The pool takes five connections more than DB_POOL_MAX allows."""

    def generous(environ: Mapping[str, str]) -> Config:
        config = config_module.load(environ)
        return dataclasses.replace(config, db_pool_max=config.db_pool_max + 5)

    vars(app)["load"] = generous


def _with_database(use: list[tuple[Database, Config]]) -> None:
    """Remember the database that the service makes, and its configuration."""
    make = Database.__init__

    def remembered(self: Database, config: Config, metrics: Metrics, log: Log) -> None:
        make(self, config, metrics, log)
        use.append((self, config))

    Database.__init__ = remembered  # type: ignore[method-assign]


@defect(
    "connection-opened-for-each-fault",
    promise=9,
    scenarios=DETACHED,
    checkers=("bounds",),
    names_events=False,
    quick=True,
)
def connection_opened_for_each_fault() -> None:
    """Each time a month fails a connection of its own looks at it, and nobody closes that."""
    made: list[tuple[Database, Config]] = []
    kept: list[object] = []
    _with_database(made)

    async def look() -> None:
        connection = await psycopg.AsyncConnection.connect(made[0][1].database_url, autocommit=True)
        kept.append(connection)
        await connection.execute("SELECT 1")

    on_trip(lambda month: kept.append(asyncio.ensure_future(look())))


@defect(
    "connection-kept-by-each-fault", promise=9, scenarios=CYCLES, checkers=("leaks",), names_events=False, quick=True
)
def connection_kept_by_each_fault() -> None:
    """The way of a failed write that opens a breaker has no finally: one connection a fault is never given back."""
    made: list[tuple[Database, Config]] = []
    kept: list[object] = []
    _with_database(made)

    async def keep() -> None:
        database, _ = made[0]
        kept.append(await database.pool.getconn(5.0))
        database.in_use += 1

    on_trip(lambda month: kept.append(asyncio.ensure_future(keep())))


@defect("in-use-never-falls-after-an-error", promise=9, scenarios=DETACHED, checkers=("metrics",), names_events=False)
def in_use_never_falls_after_an_error() -> None:
    """The gauge of connections in use is counted down only after success: each failed write leaves it higher."""
    attempt = Writer.attempt

    async def counted(self: Writer, key: str, day: date, work: Work[Any], limits: tuple[float, float]) -> Any:
        result = await attempt(self, key, day, work, limits)
        if isinstance(result, Fault) and result.owner is not Owner.POOL:
            self.database.in_use += 1
        return result

    Writer.attempt = counted  # type: ignore[method-assign]


@defect("in-use-counts-those-who-wait", promise=9, scenarios=EXHAUSTED, checkers=("metrics",), names_events=False)
def in_use_counts_those_who_wait() -> None:
    """The gauge of connections in use is counted up before there is one: those who wait count as well."""
    connection_of = Database.connection

    @contextlib.asynccontextmanager
    async def early(self: Database, key: str, wait_seconds: float, use_seconds: float) -> AsyncIterator[Connection]:
        waiting = [1]
        self.in_use += 1
        try:
            async with connection_of(self, key, wait_seconds, use_seconds) as connection:
                self.in_use -= waiting.pop()
                yield connection
        finally:
            self.in_use -= sum(waiting)

    Database.connection = early  # type: ignore[method-assign]


class _OnlyWaits:
    """A histogram of waits that leaves out those who did not wait."""

    def __init__(self, histogram: Any, factor: float, least_seconds: float) -> None:
        self._histogram, self._factor, self._least = histogram, factor, least_seconds

    @contextlib.contextmanager
    def time(self) -> Iterator[None]:
        """Observe the time inside."""
        began = time.monotonic()
        try:
            yield
        finally:
            seconds = time.monotonic() - began
            if seconds >= self._least:
                self._histogram.observe(seconds * self._factor)


@defect("wait-histogram-of-waits-only", promise=8, scenarios=BASELINE, checkers=("metrics",))
def wait_histogram_of_waits_only() -> None:
    """Acquisitions that found a free connection at once are not observed."""
    remetric(lambda metrics: vars(metrics).update(wait=_OnlyWaits(metrics.wait, 1.0, 0.01)))


@defect("wait-histogram-in-milliseconds", promise=9, scenarios=EXHAUSTED, checkers=("exhaustion",), names_events=False)
def wait_histogram_in_milliseconds() -> None:
    """Waits are observed in milliseconds under a name that says seconds."""
    remetric(lambda metrics: vars(metrics).update(wait=_OnlyWaits(metrics.wait, 1000.0, 0.0)))


@defect("maximum-of-a-default", promise=8, scenarios=BASELINE, checkers=("metrics",), names_events=False)
def maximum_of_a_default() -> None:
    """The gauge of the pool's maximum shows the default of a library, not what is in force."""
    regauge("db_max_open_connections", lambda gauges, samples: [one._replace(value=10.0) for one in samples])


class _Nobody:
    def inc(self, amount: float = 1) -> None:
        """Count nothing."""


@defect("connection-errors-not-counted", promise=8, scenarios=("database-down",), checkers=("metrics",))
def connection_errors_not_counted() -> None:
    """Failed connects and broken connections are logged, and counted by nobody."""
    remetric(lambda metrics: vars(metrics).update(connection_errors=_Nobody()))


@defect(
    "exhaustion-not-logged", promise=8, scenarios=EXHAUSTED, checkers=("exhaustion",), names_events=False, quick=True
)
def exhaustion_not_logged() -> None:
    """Nothing is said of a pool that is exhausted."""
    relog(lambda level, message, fields: None if "pool exhausted" in message else (level, message, fields))


@defect("exhaustion-always-logged", promise=8, scenarios=BASELINE, checkers=("logs",), names_events=False)
def exhaustion_always_logged() -> None:
    """The line of an exhausted pool comes with every acquisition, once a connection, though there are some to spare."""
    connection_of = Database.connection

    @contextlib.asynccontextmanager
    async def noisy(self: Database, key: str, wait_seconds: float, use_seconds: float) -> AsyncIterator[Connection]:
        # Queries that read sixteen months at once might account for one line each.
        for _ in range(self.size_max):
            self._log.error(f"Connection pool exhausted ({self.size_max}/{self.size_max} in use)")
        async with connection_of(self, key, wait_seconds, use_seconds) as connection:
            yield connection

    Database.connection = noisy  # type: ignore[method-assign]


@defect("descriptor-kept-by-each-fault", promise=9, scenarios=CYCLES, checkers=("leaks",), names_events=False)
def descriptor_kept_by_each_fault() -> None:
    """Each fault of a month is noted in four files of its own that stay open."""
    files: list[int] = []
    # More than what clients' connections, which come and go, add to a moment of quiet or take from it.
    on_trip(lambda month: files.extend(os.open(os.devnull, os.O_WRONLY) for _ in range(4)))


@defect("memory-kept-by-each-fault", promise=9, scenarios=CYCLES, checkers=("leaks",), names_events=False)
def memory_kept_by_each_fault() -> None:
    """What a fault's report was made of, eight megabytes, is kept for ever."""
    kept: list[bytes] = []

    def report(month: Month) -> None:
        kept.append(f"{month.name} ".encode() * 1_000_000)

    on_trip(report)
