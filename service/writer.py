"""One event's way: into the table if its month takes it, into the queue if not, refused if it is at fault."""

import time
from dataclasses import dataclass, fields
from datetime import date, timedelta
from enum import Enum

import psycopg

from .admission import DismissedError
from .classify import Fault, Owner, fault_of
from .dlq.base import DlqError, LastError, Receipt
from .models import Event, canonical, parse_json
from .partitions import Month
from .parts import Parts
from .pool import Connection, sql

# Kept back from the request deadline for the queue and the answer.
QUEUE_RESERVE_SECONDS = 0.6
ANSWER_RESERVE_SECONDS = 0.2
PROBE_LOCK_TIMEOUT_MS = 250
_SPARED = LastError(None, "live writes are spared at present")
_TEXT_COLUMNS = [one.name for one in fields(Event) if one.name not in ("event_id", "event_timestamp")]
TAKEN = "another event has this event_id and date"
# An insert that reports success without a row, as a trigger may make it do, is the partition's fault.
NOTHING_STORED = Fault(Owner.PARTITION, None, "the insert stored nothing")


class Result(Enum):
    """What became of an event."""

    CREATED = "created"
    QUEUED = "queued"
    DUPLICATE_STORED = "duplicate, stored"
    DUPLICATE_QUEUED = "duplicate, queued"
    CONFLICT = "conflict"
    REJECTED = "rejected"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True)
class Outcome:
    """A result, the reason of a refusal, and for UNAVAILABLE whether it is surely not stored."""

    result: Result
    detail: str = ""
    not_stored: bool = True


def event_values(event: Event) -> tuple[str, ...]:
    """The columns of an event in the order of the insert statements, as PostgreSQL reads them."""
    return (*event.identity, event.event_timestamp.isoformat(), *(getattr(event, name) for name in _TEXT_COLUMNS))


async def stored_events(connection: Connection, events: list[Event]) -> dict[tuple[str, str], Event]:
    """What the table holds under the identities of these events, which lie in one month."""
    # The bounds keep every other month, which may be locked, out of the plan.
    days = [event.event_date for event in events]
    ids = [event.identity[0] for event in events]
    bounds = (min(days), max(days) + timedelta(days=1))
    cursor = await connection.execute(sql("stored"), (*bounds, ids, days))
    found = [Event(*[*row[:-1], canonical(parse_json(row[-1]))]) for row in await cursor.fetchall()]
    return {event.identity: event for event in found}


async def probe(connection: Connection, day: date) -> Fault | None:
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
        if fault.lost or connection.broken:
            raise
        await connection.execute("ROLLBACK")
        return fault


async def settle_owner(connection: Connection, fault: Fault, day: date) -> Fault:
    """A value error is the event's only if a harmless row is spared it; otherwise the canary's own fault."""
    if fault.owner is not Owner.EVENT:
        return fault
    harmless = await probe(connection, day)
    if harmless is None:
        return fault
    owner = Owner.PARTITION if harmless.owner is Owner.EVENT else harmless.owner
    return Fault(owner, harmless.sqlstate, harmless.message, no_partition=harmless.no_partition)


class Writer:
    """Takes events; knows nothing of HTTP."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts

    async def write(self, event: Event, deadline: float) -> Outcome:
        """Store or queue the event before `deadline` (monotonic seconds)."""
        month = self.parts.months.get(event.month)
        if self.parts.queue.may_hold(event):
            known = await self._resend(event, month, deadline)
            if known is not None:
                return known
        sent = False
        error = _SPARED
        if self._may_try(event, month):
            result = await self._try_table(event, month, deadline)
            if isinstance(result, Outcome):
                return result
            sent, error = result
        self.parts.months.fell_back(month)
        return await self._enqueue(event, error, deadline, sent)

    def _may_try(self, event: Event, month: Month) -> bool:
        return self.parts.database.available and month.takes(event.event_date)

    def _limits(self, deadline: float) -> tuple[float, float]:
        left = deadline - time.monotonic() - QUEUE_RESERVE_SECONDS
        use = min(self.parts.database.statement_seconds, max(0.1, left * 0.55))
        return max(0.0, min(self.parts.config.db_acquire_timeout_seconds, left - use)), use

    async def _try_table(self, event: Event, month: Month, deadline: float) -> Outcome | tuple[bool, LastError]:
        """An outcome, or, when the event must be queued: whether it may be stored all the same, and why."""
        wait, use = self._limits(deadline)
        sent = False
        try:
            async with self.parts.database.connection(
                month.name, wait, use, lambda: self._may_try(event, month)
            ) as connection:
                sent = True
                try:
                    outcome = await self.insert(connection, event)
                except psycopg.Error as error:
                    fault = fault_of(error)
                    if fault.lost or connection.broken:
                        raise
                    # The server refused it: surely not stored.
                    sent = False
                    fault = await settle_owner(connection, fault, event.event_date)
                    return self._refused(event, month, fault)
            if outcome is None:
                return self._refused(event, month, NOTHING_STORED)
        except DismissedError as error:
            return sent, LastError(None, str(error))
        except psycopg.Error as error:
            fault = fault_of(error)
            return sent, LastError(fault.sqlstate, fault.message)
        month.breaker.success()
        if outcome.result is Result.CREATED:
            self.parts.months.wrote(month)
        return outcome

    async def insert(self, connection: Connection, event: Event) -> Outcome | None:
        """One statement that commits by itself; on conflict the stored row decides. None: nothing is stored."""
        cursor = await connection.execute(sql("insert"), event_values(event))
        return Outcome(Result.CREATED) if cursor.rowcount == 1 else await self._compare(connection, event)

    async def _compare(self, connection: Connection, event: Event) -> Outcome | None:
        stored = (await stored_events(connection, [event])).get(event.identity)
        if stored is None:
            return None
        return Outcome(Result.DUPLICATE_STORED) if stored == event else Outcome(Result.CONFLICT, TAKEN)

    def _refused(self, event: Event, month: Month, fault: Fault) -> Outcome | tuple[bool, LastError]:
        if fault.owner is Owner.EVENT:
            return Outcome(Result.REJECTED, f"the database refuses it: {fault.message} ({fault.sqlstate})")
        month.probe_day = event.event_date
        if fault.owner is Owner.PARTITION:
            self.parts.metrics.write_failures.labels(month.name).inc()
            message = f"Failed to write to partition audit_events_{month.name}"
            self.parts.log.error(message, sqlstate=fault.sqlstate, error=fault.message)
        self.note_fault(month, fault)
        return False, LastError(fault.sqlstate, fault.message)

    def note_fault(self, month: Month, fault: Fault) -> None:
        """Open the month's breaker, and have a month created that never was."""
        if fault.no_partition and month.name not in self.parts.months.asked:
            self.parts.months.asked.add(month.name)
            self.parts.maintenance.wake()
        self.parts.months.failed(month, fault.threshold)

    async def _resend(self, event: Event, month: Month, deadline: float) -> Outcome | None:
        """The answer to an event whose identity the queue holds: the table decides if it can be asked."""
        try:
            entry = await self.parts.queue.find(event)
        except DlqError:
            return None
        if entry is None:
            return None
        if self._may_try(event, month):
            wait, use = self._limits(deadline)
            try:
                async with self.parts.database.connection(month.name, wait, use) as connection:
                    stored = await self._compare(connection, event)
                if stored is not None:
                    return stored
            except (psycopg.Error, DismissedError):
                pass  # The table cannot be asked, so the queue's own copy decides.
        if entry.event == event.to_json():
            return Outcome(Result.DUPLICATE_QUEUED)
        return Outcome(Result.CONFLICT, TAKEN)

    async def _enqueue(self, event: Event, error: LastError, deadline: float, sent: bool) -> Outcome:
        left = deadline - time.monotonic() - ANSWER_RESERVE_SECONDS
        try:
            receipt = await self.parts.queue.enqueue(event, error, max(0.05, left))
        except DlqError as refusal:
            surely_not = refusal.outcome == "not_stored" and not sent
            return Outcome(Result.UNAVAILABLE, f"neither table nor queue took it: {refusal}", surely_not)
        if receipt is Receipt.CONFLICT:
            return Outcome(Result.CONFLICT, TAKEN)
        return Outcome(Result.QUEUED if receipt is Receipt.QUEUED else Result.DUPLICATE_QUEUED)
