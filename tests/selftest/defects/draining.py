"""Defects of the way back: whether the drain begins, how fast it is, what it writes, what it does to others."""

import asyncio
import dataclasses
import time
from collections.abc import Sequence

from service import database
from service.database import Fault, Owner, pause
from service.dlq import DlqError, Entry, SqliteQueue
from service.drainer import BATCH_MAX, Drainer
from service.models import Event, Outcome, Status
from service.partitions import Month
from service.writer import CREATED, Results, Writer

from .planting import drain_as, drain_results, edited, months_moved, reword, without_identity
from .registry import defect

MINUTE_SECONDS, QUIET_SECONDS, STATEMENT_EVENTS = 60.0, 1.0, 20
DETACHED = ("december-detached",)
# A few events of each: sent again with other content while they are stored, but their month is out.
CONTRADICTED = ("all-partitions-unavailable", "database-down", "december-detached-in-cycles")


@defect("drainer-off", promise=5, scenarios=DETACHED, checkers=("recovery",), quick=True)
def drainer_off() -> None:
    """The drainer is never started: queued events stay queued after the repair."""

    async def never(self: Drainer) -> None:
        await asyncio.Event().wait()

    Drainer.run_drain = never  # type: ignore[method-assign]


@defect("drain-begins-after-a-minute", promise=5, scenarios=DETACHED, checkers=("recovery",))
def drain_begins_after_a_minute() -> None:
    """The drainer sleeps before its first round, not after it: nothing drains for a minute."""
    run_drain = Drainer.run_drain

    async def late(self: Drainer) -> None:
        await pause(MINUTE_SECONDS)
        await run_drain(self)

    Drainer.run_drain = late  # type: ignore[method-assign]


@defect("drain-of-one-a-second", promise=5, scenarios=DETACHED, checkers=("recovery",))
def drain_of_one_a_second() -> None:
    """The drain moves one event a second, however many wait."""
    move = Drainer._move

    async def single(self: Drainer, month: Month) -> bool:
        month.batch = 1
        more = await move(self, month)
        await pause(1.0)
        return more

    Drainer._move = single  # type: ignore[method-assign]


@defect("drain-wakes-on-enqueue-only", promise=5, scenarios=DETACHED, checkers=("recovery",))
def drain_wakes_on_enqueue_only() -> None:
    """The drain is woken by new queued events alone: after a repair, when none comes any more, nobody wakes it."""
    enqueue = SqliteQueue.enqueue
    woken = asyncio.Event()

    async def waking(self: SqliteQueue, failed: Sequence[tuple[Event, Fault]], timeout_seconds: float) -> list[Outcome]:
        woken.set()
        return await enqueue(self, failed, timeout_seconds)

    async def woken_only(self: Drainer) -> None:
        while True:
            await woken.wait()
            woken.clear()
            for name in self.parts.queue.pending:
                self._start(self.parts.months[name], self._drain)

    SqliteQueue.enqueue, Drainer.run_drain = waking, woken_only  # type: ignore[method-assign]


@defect("drain-waits-for-quiet", promise=5, scenarios=DETACHED, checkers=("recovery",))
def drain_waits_for_quiet() -> None:
    """The drain leaves the table to live traffic: while events come it does nothing."""
    drain = Drainer._drain

    async def when_quiet(self: Drainer, month: Month) -> None:
        if time.monotonic() - self.parts.months.asked_at > QUIET_SECONDS:
            await drain(self, month)

    Drainer._drain = when_quiet  # type: ignore[method-assign]


@defect(
    "interrupted-drain-given-up", promise=5, scenarios=("december-corrupted-while-draining",), checkers=("recovery",)
)
def interrupted_drain_given_up() -> None:
    """A drain that a fault breaks off is not begun again: its task ended, and nobody looks after it."""
    drain = Drainer._drain
    moving, given_up = months_moved(), set[str]()

    async def once(self: Drainer, month: Month) -> None:
        if month.name in given_up:
            return
        await drain(self, month)
        if month.name in moving and not month.breaker.allows and self.parts.queue.pending.get(month.name):
            given_up.add(month.name)
        moving.discard(month.name)

    Drainer._drain = once  # type: ignore[method-assign]


@defect("failed-drain-waits-five-minutes", promise=5, scenarios=DETACHED, checkers=("recovery",))
def failed_drain_waits_five_minutes() -> None:
    """The drain tries also while a month is out, and puts what failed aside for five minutes."""

    async def hopeful(self: Drainer, month: Month) -> None:
        while self.parts.database.available and await self._move(month):
            pass

    async def aside(self: Drainer, month: Month, failed: list[tuple[Entry, Fault]], alone: bool) -> int:
        for entry, fault in failed:
            await self.parts.queue.put_back([entry], fault, time.time() + 5 * MINUTE_SECONDS, None)
        return len(failed)

    Drainer._drain, Drainer._put_back = hopeful, aside  # type: ignore[method-assign]


@defect("full-queue-is-never-drained", promise=5, scenarios=("dlq-full-in-outage",), checkers=("recovery",), quick=True)
def full_queue_is_never_drained() -> None:
    """Once the queue is full nothing is taken out of it any more."""
    drain = Drainer._drain

    async def only_with_room(self: Drainer, month: Month) -> None:
        if not self.parts.queue.full:
            await drain(self, month)

    Drainer._drain = only_with_room  # type: ignore[method-assign]


@defect("drained-but-not-deleted", promise=5, scenarios=DETACHED, checkers=("recovery",))
def drained_but_not_deleted() -> None:
    """Drained entries are never removed from the queue: its depth does not fall, and it is drained for ever."""

    async def keep(self: SqliteQueue, entries: Sequence[Entry]) -> int:
        await pause(0.1)
        return len(entries)

    SqliteQueue.remove = keep  # type: ignore[method-assign]


@defect("live-waits-for-the-drain", promise=5, scenarios=(*DETACHED, "dlq-full-in-outage"), checkers=("recovery",))
def live_waits_for_the_drain() -> None:
    """The drain goes first, event by event: live writes of every month wait until it is through."""
    drain, move, write_month = Drainer._drain, Drainer._move, Writer._write_month
    draining = set[str]()

    async def marked(self: Drainer, month: Month) -> None:
        try:
            await drain(self, month)
        finally:
            draining.discard(month.name)

    async def slowly(self: Drainer, month: Month) -> bool:
        draining.add(month.name)
        month.batch = 1
        # A month that was hurt may keep its writers waiting for a while: the drain has to outlast that by far.
        await pause(0.05)
        return await move(self, month)

    async def behind(self: Writer, month: Month, events: list[Event], deadline: float) -> dict[Event, Outcome]:
        while draining and time.monotonic() < deadline - 1.0:
            await pause(0.01)
        return await write_month(self, month, events, deadline)

    Drainer._drain, Drainer._move, Writer._write_month = marked, slowly, behind  # type: ignore[method-assign]


@defect("drain-deletes-on-failure", promise=1, scenarios=DETACHED, checkers=("conservation",), quick=True)
def drain_deletes_on_failure() -> None:
    """The drain deletes a batch from the queue although its write failed."""
    drain_results(lambda result: CREATED if isinstance(result, Fault) else result)

    async def always(self: Drainer, month: Month) -> None:
        while await self._move(month):
            pass

    Drainer._drain = always  # type: ignore[method-assign]


@defect("drain-drops-a-field", promise=1, scenarios=DETACHED, checkers=("conservation",), quick=True)
def drain_drops_a_field() -> None:
    """The drain writes events without the last key of their event_data."""
    drain_as(lambda event: edited(event, lambda value: value["event_data"].pop(max(value["event_data"]))))


@defect("drain-loses-the-last-of-a-batch", promise=1, scenarios=DETACHED, checkers=("conservation",))
def drain_loses_the_last_of_a_batch() -> None:
    """A fencepost: of each full batch the drain inserts all but the last event, and removes them all."""
    insert_batch = Drainer.insert_batch

    async def one_short(self: Drainer, month: Month, entries: list[Entry]) -> Results:
        full = len(entries) == month.batch > 1
        results = await insert_batch(self, month, entries[:-1] if full else entries)
        return results | ({entries[-1].event: CREATED} if full else {})

    Drainer.insert_batch = one_short  # type: ignore[method-assign]


@defect("drain-removes-first", promise=1, scenarios=("service-killed-while-draining",), checkers=("conservation",))
def drain_removes_first() -> None:
    """The drain takes all that is due out of the queue before it writes it: what a SIGKILL meets between is gone."""
    due, insert_batch = SqliteQueue.due, Drainer.insert_batch

    async def all_due(self: SqliteQueue, partition: str, limit: int) -> list[Entry]:
        return await due(self, partition, BATCH_MAX)

    async def taken_out(self: Drainer, month: Month, entries: list[Entry]) -> Results:
        await self.parts.queue.remove(entries)
        results = Results()
        # The server ends the statement that it has begun, whatever became of the client: a short one saves few.
        for start in range(0, len(entries), STATEMENT_EVENTS):
            results |= await insert_batch(self, month, entries[start : start + STATEMENT_EVENTS])
        missing = Fault(Owner.POOL, None, "not tried")
        failed = [(entry.event, results.get(entry.event, missing)) for entry in entries]
        back = [(event, fault) for event, fault in failed if isinstance(fault, Fault)]
        if back:
            await self.parts.queue.enqueue(back, 5.0)
        return results

    SqliteQueue.due, Drainer.insert_batch = all_due, taken_out  # type: ignore[method-assign]


@defect("drained-under-the-date-of-today", promise=1, scenarios=DETACHED, checkers=("conservation",))
def drained_under_the_date_of_today() -> None:
    """A drained row gets the date of its drain, and stands in today's month."""
    reword("insert", "(event_timestamp AT TIME ZONE 'UTC')::date", "current_date", drain_only=True)


def _blame_events_for_their_key() -> None:
    classify = database.classify

    def blaming(sqlstate: str | None, constraint: str | None, message: str, fatal: bool = False) -> Fault:
        fault = classify(sqlstate, constraint, message, fatal)
        return dataclasses.replace(fault, owner=Owner.EVENT) if sqlstate == "23505" else fault

    vars(database)["classify"] = blaming


@defect("drain-not-idempotent", promise=7, scenarios=("answers-black-holed",), checkers=("poison", "conservation"))
def drain_not_idempotent() -> None:
    """The drain inserts without ON CONFLICT: what an ambiguous commit stored already becomes a dead letter."""
    reword("insert", "ON CONFLICT (event_id, event_date) DO NOTHING\n", "", drain_only=True)
    _blame_events_for_their_key()


@defect(
    "drain-overwrites",
    promise=1,
    scenarios=CONTRADICTED,
    checkers=("conservation",),
)
def drain_overwrites() -> None:
    """The drain updates a row that is there: another content under its identity replaces what was answered 201."""
    upsert = "DO UPDATE SET event_action = EXCLUDED.event_action, event_data = EXCLUDED.event_data"
    reword("insert", "DO NOTHING", upsert, drain_only=True)


@defect(
    "drain-forgets-conflicts",
    promise=1,
    scenarios=CONTRADICTED,
    checkers=("conservation",),
)
def drain_forgets_conflicts() -> None:
    """The drain takes an identity that is there for its own event: another content that was acknowledged vanishes."""
    drain_results(_as_stored)


def _as_stored(result: Outcome | Fault) -> Outcome | Fault:
    return CREATED if isinstance(result, Outcome) and result.status is Status.CONFLICT else result


@defect("reinsert-without-idempotence", promise=6, scenarios=DETACHED, checkers=("duplicates",), quick=True)
def reinsert_without_idempotence() -> None:
    """The table has no primary key, inserts no ON CONFLICT, and a batch whose removal failed is drained again."""
    without_identity()
    remove = SqliteQueue.remove
    failed_once: set[int] = set()

    async def forgetful(self: SqliteQueue, entries: Sequence[Entry]) -> int:
        fresh = {entry.seq for entry in entries} - failed_once
        failed_once.update(fresh)
        if fresh:
            raise DlqError("the removal was lost", "unknown")
        return await remove(self, entries)

    SqliteQueue.remove = forgetful  # type: ignore[method-assign]


@defect("late-months-are-never-drained", promise=5, scenarios=("future-month-missing",), checkers=("recovery",))
def late_months_are_never_drained() -> None:
    """The drain knows the months of the start: one that was asked for later is made, and never drained."""
    drain = Drainer._drain
    known = set[str]()

    async def of_the_start(self: Drainer, month: Month) -> None:
        if not known:
            known.update(name for name, one in self.parts.months.items() if one.attached)
        if month.name in known:
            await drain(self, month)

    Drainer._drain = of_the_start  # type: ignore[method-assign]
