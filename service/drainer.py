"""Recovery: probes of the months that are spared, and the way back from the queue into the table."""

import asyncio
import time
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from itertools import accumulate

from .classify import Fault, Owner
from .dlq import DlqError, Entry
from .models import CONFLICT, Event, parse_event, parse_json
from .partitions import Month
from .pool import Connection, pause, sql
from .writer import NOTHING_STORED, Writer, event_values, probe, stored_events

BATCH_MAX = 250
# What the event loop can parse, and a statement carry, in a short time.
BATCH_CHARACTERS = 256 * 1024
JOB = "drain"
PROBES_AT_ONCE = 2
_TICK_SECONDS = 0.1
_CONFLICT = Fault(Owner.EVENT, None, CONFLICT.detail)
Stored = dict[tuple[str, str], Event]


def event_of(entry: Entry) -> Event:
    """The event as it was accepted; its age is not looked at again."""
    return parse_event(parse_json(entry.event))


async def insert_many(events: list[Event], connection: Connection) -> Stored:
    """What the table holds afterwards under each identity; committed when this returns."""
    columns = [list(column) for column in zip(*map(event_values, events), strict=True)]
    inserted = set(await (await connection.execute(sql("insert_many"), columns)).fetchall())
    stored = {event.identity: event for event in events if event.identity in inserted}
    rest = [event for event in events if event.identity not in inserted]
    return stored | await stored_events(connection, rest) if rest else stored


@dataclass
class Drainer:
    """Two loops: one probes open months, one empties the queue of those that are closed."""

    parts: Writer
    _probes: set[asyncio.Task[None]] = field(default_factory=set)
    _batch: int = BATCH_MAX

    async def run_probes(self) -> None:
        """For ever: each open month gets its one probe when it is due."""
        while True:
            for month in self.parts.months:
                if self.parts.database.available and month.breaker.probe_is_due and len(self._probes) < PROBES_AT_ONCE:
                    month.breaker.begin_probe()
                    task = asyncio.create_task(self._probe(month))
                    self._probes.add(task)
                    task.add_done_callback(self._probes.discard)
            await pause(_TICK_SECONDS)

    async def _probe(self, month: Month) -> None:
        day = month.probe_day
        fault = await self.parts.attempt(JOB, day, partial(probe, day), self.parts.database.limits)
        if fault is None:
            month.breaker.probe_succeeded()
            month.days = month.days or None
        else:
            month.breaker.probe_failed()
            self.parts.months.failed(month, fault)

    async def run_drain(self) -> None:
        """For ever: while something was moved go on at once."""
        while True:
            moved = False
            for name in self.parts.queue.pending:
                month = self.parts.months.get(name)
                if self.parts.database.available and self.may_drain(month):
                    moved |= await self.drain_month(month)
            if not moved:
                await pause(self.parts.config.dlq_retry_min_seconds)

    def may_drain(self, month: Month) -> bool:
        """Whether the month takes writes."""
        return month.breaker.allows

    async def drain_month(self, month: Month) -> bool:
        """Move one batch. Returns whether anything left the queue."""
        try:
            entries = await self.parts.queue.due(month.name, self._batch)
            covered = [entry for entry in entries if month.covers(date.fromisoformat(entry.event_date))]
            if len(covered) < len(entries):
                self._batch = BATCH_MAX  # Behind days that are not attached there may be others that are.
            sizes = accumulate(len(entry.event) for entry in covered)
            covered = covered[: max(1, sum(size <= BATCH_CHARACTERS for size in sizes))]
            return bool(covered) and await self._move(month, covered)
        except DlqError as error:
            self.parts.log.error("DLQ cannot be drained", error=str(error))
            return False

    async def _move(self, month: Month, entries: list[Entry]) -> bool:
        pairs = [(entry, event_of(entry)) for entry in entries]
        stored = await self.insert_batch(month, [event for _, event in pairs])
        failures = self.parts.metrics.drain_failures.labels(month.name)
        if isinstance(stored, Fault):
            if stored.owner is Owner.POOL:
                return False  # Live writes go first; the next round tries again.
            failures.inc(len(entries))
            if stored.owner is not Owner.EVENT:
                self.parts.months.failed(month, stored)
                # A batch too large for a slow link, or for the statement's time, would fail for ever.
                self._batch = max(1, self._batch // 4)
                return False
            if len(entries) == 1:
                await self._strike(entries[0], stored)
                return False
            half = len(entries) // 2
            first = await self._move(month, entries[:half])
            return await self._move(month, entries[half:]) or first
        equal = [entry for entry, event in pairs if stored[event.identity] == event]
        other = [entry for entry, event in pairs if stored[event.identity] != event]
        if equal:
            self._batch = min(BATCH_MAX, len(entries) * 2)
            self.parts.months.wrote(month)
            await self.parts.queue.remove(equal)
            self.parts.metrics.drained.labels(month.name).inc(len(equal))
        if other:
            failures.inc(len(other))
            await self.parts.queue.put_back(other, _CONFLICT, time.time(), "conflict")
        return True

    async def insert_batch(self, month: Month, events: list[Event]) -> Stored | Fault:
        """What the table holds afterwards under each identity, or why nothing was written."""
        work, limits = partial(insert_many, events), self.parts.database.limits
        stored = await self.parts.attempt(JOB, events[0].event_date, work, limits)
        return stored if isinstance(stored, Fault) or len(stored) == len(events) else NOTHING_STORED

    async def _strike(self, entry: Entry, fault: Fault) -> None:
        """One more attempt that failed by the event's own fault; dead after the last."""
        config, attempts = self.parts.config, entry.attempts + 1
        wait = min(config.dlq_retry_min_seconds * 2.0 ** min(attempts, 30), config.dlq_retry_max_seconds)
        reason = "poison" if attempts >= config.dlq_max_attempts else None
        await self.parts.queue.put_back([entry], fault, time.time() + wait, reason)
