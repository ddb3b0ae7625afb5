"""One event's way: into the table if its month takes it, into the queue if not, refused if it is at fault."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import partial
from typing import TypeVar

import psycopg

from .admission import DismissedError
from .classify import Fault, Owner, fault_of
from .config import Config
from .dlq import DlqError, SqliteQueue
from .logs import Log
from .metrics import Metrics
from .models import CONFLICT, TEXT_FIELDS, Event, Outcome, Status, canonical, parse_json
from .partitions import Month, Months
from .pool import Connection, Database, sql

T = TypeVar("T")
# Kept back from the request deadline for the queue and the answer.
QUEUE_RESERVE_SECONDS = 0.6
ANSWER_RESERVE_SECONDS = 0.2
PROBE_LOCK_TIMEOUT_MS = 250
SPARED = Fault(Owner.POOL, None, "live writes are spared at present")
# An insert that reports success without a row, as a trigger may make it do, is the partition's fault.
NOTHING_STORED = Fault(Owner.PARTITION, None, "the insert stored nothing")


def event_values(event: Event) -> tuple[str, ...]:
    """The columns of an event in the order of the insert statements, as PostgreSQL reads them."""
    texts = [getattr(event, name) for name in TEXT_FIELDS]
    return (*event.identity, event.event_timestamp.isoformat(), *texts, event.event_data)


async def stored_events(connection: Connection, events: list[Event]) -> dict[tuple[str, str], Event]:
    """What the table holds under the identities of these events, which lie in one month."""
    # The bounds keep every other month, which may be locked, out of the plan.
    days = [event.event_date for event in events]
    values = (min(days), max(days) + timedelta(days=1), [event.event_id for event in events], days)
    rows = await (await connection.execute(sql("stored"), values)).fetchall()
    # Under the columns of the key: a stranger's row may have a timestamp of another day.
    return {row[:2]: Event(*(row[0], *row[2:-1], canonical(parse_json(row[-1])))) for row in rows}


async def probe(day: date, connection: Connection) -> Fault | None:
    """Try a harmless row for this day and take it back. Returns what went wrong; raises when the link is lost."""
    try:
        text = sql("probe").format(day=day.isoformat(), lock_timeout_ms=PROBE_LOCK_TIMEOUT_MS)
        cursor = await connection.execute(text)
        counts = [cursor.rowcount]
        while cursor.nextset():
            counts.append(cursor.rowcount)
        return None if 1 in counts else NOTHING_STORED
    except psycopg.Error as error:
        fault = fault_of(error)
        if fault.owner is Owner.LINK or connection.broken:
            raise
        await connection.execute("ROLLBACK")
        return fault


async def settle_owner(connection: Connection, fault: Fault, day: date) -> Fault:
    """A value error is the event's only if a harmless row is spared it; otherwise the harmless row's own fault."""
    harmless = await probe(day, connection) if fault.owner is Owner.EVENT else fault
    if harmless is None:
        return fault
    return replace(harmless, owner=Owner.PARTITION) if harmless.owner is Owner.EVENT else harmless


@dataclass(frozen=True)
class Writer:
    """Takes events; knows nothing of HTTP. Its parts are those of the whole service."""

    config: Config
    log: Log
    metrics: Metrics
    database: Database
    months: Months
    queue: SqliteQueue

    async def attempt(
        self, key: str, day: date, work: Callable[[Connection], Awaitable[T]], limits: tuple[float, float]
    ) -> T | Fault:
        """Work on a connection; whatever the database does wrong comes back as the fault of its owner."""
        try:
            async with self.database.connection(key, *limits) as connection:
                try:
                    return await work(connection)
                except psycopg.Error as error:
                    fault = fault_of(error)
                    if fault.owner is Owner.LINK or connection.broken:
                        raise
                    return await settle_owner(connection, fault, day)
        except DismissedError as error:
            return Fault(Owner.POOL, None, str(error))
        except psycopg.Error as error:
            return replace(fault_of(error), owner=Owner.LINK)

    async def write(self, event: Event, deadline: float) -> Outcome:
        """Store or queue the event before `deadline` (monotonic seconds)."""
        month = self.months.get(event.month)
        if self.queue.may_hold(event):
            known = await self._resend(event, month, deadline)
            if known is not None:
                return known
        result: Outcome | Fault = SPARED
        if self._may_try(event, month):
            result = await self._try_table(event, month, deadline)
        if isinstance(result, Outcome):
            return result
        self.months.fell_back(month)
        return await self._enqueue(event, result, deadline)

    def _may_try(self, event: Event, month: Month) -> bool:
        return self.database.available and month.breaker.allows and month.covers(event.event_date)

    def _limits(self, deadline: float) -> tuple[float, float]:
        left = deadline - time.monotonic() - QUEUE_RESERVE_SECONDS
        wait, use = self.database.limits
        use = min(use, max(0.1, left * 0.55))
        return max(0.0, min(wait, left - use)), use

    async def _try_table(self, event: Event, month: Month, deadline: float) -> Outcome | Fault:
        """An outcome, or why the event must be queued."""
        work = partial(self.insert, event)
        result = await self.attempt(month.name, event.event_date, work, self._limits(deadline))
        if isinstance(result, Outcome):
            if result.status is Status.CREATED and not result.duplicate:
                self.months.wrote(month)
            return result
        if result.owner is Owner.EVENT:
            return Outcome(Status.REJECTED, f"the database refuses it: {result.message} ({result.sqlstate})")
        if result.owner is Owner.PARTITION:
            month.probe_day = event.event_date
            self.metrics.write_failures.labels(month.name).inc()
            message = f"Failed to write to partition audit_events_{month.name}"
            self.log.error(message, sqlstate=result.sqlstate, error=result.message)
        self.months.failed(month, result)
        return result

    async def insert(self, event: Event, connection: Connection) -> Outcome | Fault:
        """One statement that commits by itself; on conflict the stored row decides."""
        cursor = await connection.execute(sql("insert"), event_values(event))
        return Outcome(Status.CREATED) if cursor.rowcount == 1 else await self._compare(event, connection)

    async def _compare(self, event: Event, connection: Connection) -> Outcome | Fault:
        stored = (await stored_events(connection, [event])).get(event.identity)
        if stored is None:
            return NOTHING_STORED
        return Outcome(Status.CREATED, duplicate=True) if stored == event else CONFLICT

    async def _resend(self, event: Event, month: Month, deadline: float) -> Outcome | None:
        """The answer to an event whose identity the queue holds: the table decides if it can be asked."""
        try:
            entry = await self.queue.find(event)
        except DlqError:
            return None
        if entry is None:
            return None
        if self._may_try(event, month):
            work = partial(self._compare, event)
            result = await self.attempt(month.name, event.event_date, work, self._limits(deadline))
            if isinstance(result, Outcome):
                return result
        return Outcome(Status.QUEUED, duplicate=True) if entry.event == event.to_json() else CONFLICT

    async def _enqueue(self, event: Event, fault: Fault, deadline: float) -> Outcome:
        left = deadline - time.monotonic() - ANSWER_RESERVE_SECONDS
        may_be_stored = fault.owner is Owner.LINK or self.queue.may_hold(event)
        try:
            return await self.queue.enqueue(event, fault, max(0.05, left))
        except DlqError as error:
            stored = "unknown" if may_be_stored else error.outcome
            return Outcome(Status.UNAVAILABLE, f"neither table nor queue took it: {error}", stored=stored)
