"""Defects of dead letters: events that the table can never take, and those that are taken for such ones."""

import dataclasses
import time
from collections.abc import Sequence
from functools import partial

from service import writer
from service.database import Fault, Owner
from service.dlq import Entry, SqliteQueue
from service.drainer import JOB, Drainer
from service.models import Event, Outcome
from service.partitions import Month
from service.writer import CREATED, Limits, Results, Writer

from .planting import drain_results
from .registry import defect

DETACHED, POISONED = ("december-detached",), ("poison-while-detached",)


@defect("dead-after-five-faults-of-its-partition", promise=7, scenarios=DETACHED, checkers=("poison",))
def dead_after_five_faults_of_its_partition() -> None:
    """The drain tries also while a month is out, and each failure is an attempt of the event's: it dies of five."""

    async def hopeful(self: Drainer, month: Month) -> None:
        while self.parts.database.available and await self._move(month):
            pass

    Drainer._drain = hopeful  # type: ignore[method-assign]
    _count_every_failure()


def _count_every_failure() -> None:
    async def counted(self: Drainer, month: Month, failed: list[tuple[Entry, Fault]], alone: bool) -> int:
        most = self.parts.config.dlq_max_attempts
        for entry, fault in failed:
            reason = "poison" if entry.attempts + 1 >= most else None
            await self.parts.queue.put_back([entry], dataclasses.replace(fault, owner=Owner.EVENT), 0.0, reason)
        return len(failed)

    Drainer._put_back = counted  # type: ignore[method-assign]


@defect("poison-fails-its-batch", promise=7, scenarios=POISONED, checkers=("poison",))
def poison_fails_its_batch() -> None:
    """One event that can never be stored fails the batch it drains in, again and again, until all of it are dead."""

    store = Writer.store

    async def in_one_piece(
        self: Writer, key: str, month: Month, events: list[Event], known: list[Event], limits: Limits
    ) -> Results:
        if key != JOB:
            return await store(self, key, month, events, known, limits)
        work = partial(writer.insert_or_compare, month, events, known)
        results = await self.attempt(key, month.probe_day, work, limits())
        return dict.fromkeys(events, results) if isinstance(results, Fault) else results

    Writer.store = in_one_piece  # type: ignore[method-assign]
    _count_every_failure()


@defect("poison-is-retried-for-ever", promise=7, scenarios=POISONED, checkers=("poison",))
def poison_is_retried_for_ever() -> None:
    """DLQ_MAX_ATTEMPTS is not heeded: an event that can never be stored stays pending for ever."""

    async def again(self: Drainer, month: Month, failed: list[tuple[Entry, Fault]], alone: bool) -> int:
        for entry, fault in failed:
            await self.parts.queue.put_back([entry], fault, time.time() + 1.0, None)
        return len(failed)

    Drainer._put_back = again  # type: ignore[method-assign]


@defect("poison-blocks-the-queue", promise=5, scenarios=POISONED, checkers=("recovery",))
def poison_blocks_the_queue() -> None:
    """The drain goes strictly in order, and stops for good before the first event that can never be stored."""
    due, put_back = SqliteQueue.due, SqliteQueue.put_back
    blocked = set[str]()

    async def in_order(self: SqliteQueue, partition: str, limit: int) -> list[Entry]:
        return [] if partition in blocked else await due(self, partition, limit)

    async def block(
        self: SqliteQueue, entries: Sequence[Entry], fault: Fault, due_at: float, reason: str | None
    ) -> None:
        if fault.owner is Owner.EVENT and reason != "conflict":
            blocked.update(entry.partition for entry in entries)
        await put_back(self, entries, fault, due_at, reason)

    SqliteQueue.due, SqliteQueue.put_back = in_order, block  # type: ignore[method-assign]


@defect("poison-is-dropped", promise=7, scenarios=POISONED, checkers=("poison",), quick=True)
def poison_is_dropped() -> None:
    """The drain removes what the table can never take, and keeps no dead letter of it."""
    drain_results(_dropped)


def _dropped(result: Outcome | Fault) -> Outcome | Fault:
    return CREATED if isinstance(result, Fault) and result.owner is Owner.EVENT else result


@defect("refused-events-queued", promise=2, scenarios=POISONED, checkers=("honest-status", "poison"))
def refused_events_queued() -> None:
    """202 is answered for events that no partition can ever take, in place of 400."""
    store = Writer.store

    async def hopeful(
        self: Writer, key: str, month: Month, events: list[Event], known: list[Event], limits: Limits
    ) -> Results:
        results = await store(self, key, month, events, known, limits)
        if key == JOB:
            return results
        return {event: _not_its_own(one) if isinstance(one, Fault) else one for event, one in results.items()}

    Writer.store = hopeful  # type: ignore[method-assign]


def _not_its_own(fault: Fault) -> Fault:
    return dataclasses.replace(fault, owner=Owner.POOL) if fault.owner is Owner.EVENT else fault
