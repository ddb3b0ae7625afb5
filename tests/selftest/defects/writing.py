"""Defects of the live write, of isolation, and of what the service reports."""

import asyncio
import dataclasses
import time
from collections.abc import Mapping
from datetime import date

from service import app, database, partitions, writer
from service import config as config_module
from service.config import Config
from service.database import Admission, Connection, Fault, Owner
from service.models import Event, Outcome
from service.partitions import Breaker, Maintenance, Month, Months
from service.writer import Writer

from .registry import defect

# Long enough that a fault, or a look at the table, comes between the answer and the commit.
LATE_SECONDS = 0.5


@defect("control", promise=0)
def control() -> None:
    """Nothing is broken: the suite must pass."""


@defect("no-partition-is-400", promise=2, scenarios=("december-detached",), checkers=("honest-status",), quick=True)
def no_partition_is_400() -> None:
    """SQLSTATE 23514 is taken for the client's fault: events of a missing month are refused with 400."""
    settle_owner = writer.settle_owner

    async def blame_client(connection: Connection, fault: Fault, day: date) -> Fault:
        if fault.no_partition:
            return dataclasses.replace(fault, owner=Owner.EVENT)
        return await settle_owner(connection, fault, day)

    vars(writer)["settle_owner"] = blame_client
    # The maintenance loop must not hide it by sparing the month.
    Months.trip = lambda self, month: None  # type: ignore[method-assign]


@defect(
    "one-bad-month-queues-all", promise=3, scenarios=("argument-one-partition",), checkers=("isolation",), quick=True
)
def one_bad_month_queues_all() -> None:
    """While any month's breaker is open all months go to the queue."""
    may_try = Writer._may_try

    def only_when_all_are_well(self: Writer, month: Month) -> bool:
        return may_try(self, month) and all(other.breaker.allows for other in self.months.values())

    Writer._may_try = only_when_all_are_well  # type: ignore[method-assign]


@defect(
    "no-breaker-no-bulkhead", promise=3, scenarios=("december-locked",), checkers=("isolation", "fallback"), quick=True
)
def no_breaker_no_bulkhead() -> None:
    """A hanging month is tried again and again, and may take the whole pool from the others."""
    Breaker.trip = lambda self: False  # type: ignore[method-assign]
    Admission._eligible = lambda self, key: True  # type: ignore[method-assign]


@defect("acknowledged-before-commit", promise=1, scenarios=("database-killed",), checkers=("conservation",), quick=True)
def acknowledged_before_commit() -> None:
    """201 is answered while the commit is still to come, and whatever goes wrong with it goes unnoticed."""
    write_month = Writer._write_month
    tasks: set[asyncio.Task[object]] = set()

    async def early(self: Writer, month: Month, events: list[Event], deadline: float) -> dict[Event, Outcome]:
        loop = asyncio.get_running_loop()
        if not self._may_try(month):
            return await write_month(self, month, events, deadline)

        def commit() -> None:
            task: asyncio.Task[object] = loop.create_task(
                self.store(month.name, month, events, [], lambda: self._limits(time.monotonic() + 4))
            )
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        loop.call_later(LATE_SECONDS, commit)
        return dict.fromkeys(events, writer.CREATED)

    Writer._write_month = early  # type: ignore[method-assign]


@defect(
    "default-partition-present",
    promise=1,
    scenarios=("december-detached",),
    checkers=("partition-hygiene",),
    names_events=False,
    quick=True,
)
def default_partition_present() -> None:
    """A default partition takes the events of a missing month, which then stand in the wrong place."""
    named = database.sql

    def with_default(name: str) -> str:
        extra = ";\nCREATE TABLE IF NOT EXISTS audit_events_default PARTITION OF audit_events DEFAULT"
        return named(name) + (extra if name == "schema" else "")

    vars(partitions)["sql"] = with_default
    Months.trip = lambda self, month: None  # type: ignore[method-assign]


@defect(
    "pool-of-30",
    promise=9,
    scenarios=("pool-exhausted",),
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


@defect(
    "status-stuck", promise=8, scenarios=("december-detached",), checkers=("metrics",), names_events=False, quick=True
)
def status_stuck() -> None:
    """The metric of a month's status stays at unavailable after its recovery."""
    trip, status = Breaker.trip, vars(Month)["status"].fget
    tripped: set[int] = set()

    def remember(self: Breaker) -> bool:
        tripped.add(id(self))
        return trip(self)

    def stuck(self: Month) -> str:
        return "unavailable" if id(self.breaker) in tripped else str(status(self))

    Breaker.trip = remember  # type: ignore[method-assign]
    Month.status = property(stuck)  # type: ignore[method-assign, assignment]


@defect(
    "months-ahead-of-the-start-only",
    promise=3,
    scenarios=("month-end-under-load",),
    checkers=("isolation",),
    quick=True,
)
def months_ahead_of_the_start_only() -> None:
    """Which months are due ahead of time is reckoned once, at the start: no midnight brings a new one."""
    ahead = Maintenance._ahead
    reckoned: dict[date | None, list[str]] = {}

    def once(self: Maintenance, start: date | None) -> list[str]:
        return reckoned.setdefault(start, ahead(self, start))

    Maintenance._ahead = once  # type: ignore[method-assign]
