"""Recovery: probes of the months that are spared, and the way back from the queue into the table."""

import asyncio
import time
from datetime import date

import psycopg

from .admission import DismissedError
from .classify import Fault, Owner, fault_of
from .dlq.base import DlqError, Entry, LastError, Retry
from .models import Event, parse_event, parse_json
from .partitions import Month
from .parts import Parts
from .pool import Connection, sql
from .writer import NOTHING_STORED, TAKEN, Writer, event_values, probe, settle_owner, stored_events

BATCH_MAX = 250
JOB = "drain"
PROBES_AT_ONCE = 2
_TICK_SECONDS = 0.1


class _RefusedError(Exception):
    """A batch that failed for one of its events."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


class Drainer:
    """Two loops: one probes open months, one empties the queue of those that are closed."""

    def __init__(self, parts: Parts, writer: Writer) -> None:
        self.parts = parts
        self._writer = writer
        self._wake = asyncio.Event()
        self._probes: set[asyncio.Task[None]] = set()
        parts.database.on_up.append(self._database_up)

    def _database_up(self) -> None:
        for month in self.parts.months:
            month.breaker.hasten()
        self._wake.set()

    # --- probes

    async def run_probes(self) -> None:
        """For ever: each open month gets its one probe when it is due."""
        never = asyncio.Event()
        while True:
            if self.parts.database.available:
                for month in self.parts.months:
                    if month.breaker.seconds_to_probe == 0 and len(self._probes) < PROBES_AT_ONCE:
                        month.breaker.begin_probe()
                        task = asyncio.create_task(self._probe(month))
                        self._probes.add(task)
                        task.add_done_callback(self._probes.discard)
            try:
                await asyncio.wait_for(never.wait(), _TICK_SECONDS)
            except TimeoutError:
                continue

    async def _probe(self, month: Month) -> None:
        wait, use = self.parts.config.db_acquire_timeout_seconds, self.parts.database.statement_seconds
        fault: Fault | None
        try:
            async with self.parts.database.connection(JOB, wait, use) as connection:
                fault = await probe(connection, month.probe_day)
        except psycopg.Error as error:
            fault = fault_of(error)
        except DismissedError as error:
            fault = Fault(Owner.DATABASE, None, str(error))
        if fault is None:
            month.breaker.probe_succeeded()
            month.attached = True
            self._wake.set()
            return
        month.breaker.probe_failed()
        if not fault.lost:
            self._writer.note_fault(month, fault)

    # --- drain

    async def run_drain(self) -> None:
        """For ever: while something was moved go on at once, else wait for a reason or the next due time."""
        while True:
            self._wake.clear()
            moved = False
            if self.parts.database.available:
                for name in self.parts.queue.pending_by_partition():
                    month = self.parts.months.get(name)
                    if self.may_drain(month):
                        moved = await self.drain_month(month) or moved
            if not moved:
                try:
                    await asyncio.wait_for(self._wake.wait(), self.parts.config.dlq_retry_min_seconds)
                except TimeoutError:
                    continue

    def may_drain(self, month: Month) -> bool:
        """Whether the month takes writes."""
        return month.breaker.allows

    async def drain_month(self, month: Month) -> bool:
        """Move one batch. Returns whether anything left the queue."""
        try:
            entries = await self.parts.queue.due(month.name, BATCH_MAX)
            if month.partial is not None:
                entries = [entry for entry in entries if month.partial.holds(date.fromisoformat(entry.event_date))]
            if not entries:
                return False
            return await self._move(month, entries)
        except DlqError as error:
            self.parts.log.error("DLQ cannot be drained", error=str(error))
        except DismissedError:
            pass  # No connection was free: live writes go first, the next round tries again.
        return False

    async def _move(self, month: Month, entries: list[Entry]) -> bool:
        events = [event_of(entry) for entry in entries]
        try:
            stored = await self.insert_batch(month, events)
        except _RefusedError as refused:
            self._failed(month, len(entries))
            if len(entries) == 1:
                return await self._strike(entries[0], refused.fault)
            half = len(entries) // 2
            first = await self._move(month, entries[:half])
            return await self._move(month, entries[half:]) or first
        except psycopg.Error as error:
            self._failed(month, len(entries))
            fault = fault_of(error)
            if not fault.lost:
                self._writer.note_fault(month, fault)
            return False
        if len(stored) < len(events):
            self._failed(month, len(entries))
            self._writer.note_fault(month, NOTHING_STORED)
            return False
        pairs = list(zip(entries, events, strict=True))
        equal = [entry.seq for entry, event in pairs if stored[event.identity] == event]
        other = [entry.seq for entry, event in pairs if stored[event.identity] != event]
        if equal:
            self.parts.months.wrote(month)
            self.parts.metrics.drained.labels(month.name).inc(len(equal))
            await self.parts.queue.remove(equal)
        if other:
            self._failed(month, len(other))
            taken = LastError(None, TAKEN)
            await self.parts.queue.put_back(Retry(seq, taken, time.time(), "conflict") for seq in other)
        return True

    def _failed(self, month: Month, count: int) -> None:
        self.parts.metrics.drain_failures.labels(month.name).inc(count)

    async def insert_batch(self, month: Month, events: list[Event]) -> dict[tuple[str, str], Event]:
        """What the table holds afterwards under each identity; committed when this returns.

        Raises _RefusedError for a fault of some event, psycopg.Error for everything else.
        """
        wait, use = self.parts.config.db_acquire_timeout_seconds, self.parts.database.statement_seconds
        async with self.parts.database.connection(JOB, wait, use) as connection:
            try:
                return await self._insert(connection, events)
            except psycopg.Error as error:
                fault = fault_of(error)
                if fault.owner is not Owner.EVENT or connection.broken:
                    raise
                settled = await settle_owner(connection, fault, events[0].event_date)
                if settled.owner is not Owner.EVENT:
                    self._writer.note_fault(month, settled)
                    raise
                raise _RefusedError(fault) from error

    async def _insert(self, connection: Connection, events: list[Event]) -> dict[tuple[str, str], Event]:
        columns = [list(column) for column in zip(*map(event_values, events), strict=True)]
        inserted = set(await (await connection.execute(sql("insert_many"), columns)).fetchall())
        stored = {event.identity: event for event in events if event.identity in inserted}
        rest = [event for event in events if event.identity not in inserted]
        if rest:
            stored.update(await stored_events(connection, rest))
        return stored

    async def _strike(self, entry: Entry, fault: Fault) -> bool:
        """One more attempt that failed by the event's own fault; dead after the last."""
        attempts = entry.attempts + 1
        pause = min(self.parts.config.dlq_retry_min_seconds * 2**attempts, self.parts.config.dlq_retry_max_seconds)
        reason = "poison" if attempts >= self.parts.config.dlq_max_attempts else None
        error = LastError(fault.sqlstate, fault.message)
        await self.parts.queue.put_back([Retry(entry.seq, error, time.time() + pause, reason)])
        return False


def event_of(entry: Entry) -> Event:
    """The event as it was accepted; its age is not looked at again."""
    return parse_event(parse_json(entry.event))
