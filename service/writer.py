"""The way of events: into the table if their month takes them, into the queue if not, refused if they are at fault."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import partial
from typing import Any, TypeVar

import psycopg

from .config import Config
from .database import Connection, Database, Fault, Owner, fault_of, sql
from .dlq import DeadLetterQueue, DlqError
from .logs import Log
from .metrics import Metrics
from .models import CONFLICT, Event, Outcome, Status, canonical, make_event, parse_json
from .partitions import Month, Months, look

T = TypeVar("T")
Work = Callable[[Connection], Awaitable[T]]
Limits = Callable[[], tuple[float, float]]
Results = dict[Event, Outcome | Fault]
# Kept back from the request deadline for the queue and the answer.
QUEUE_RESERVE_SECONDS, ANSWER_RESERVE_SECONDS = 0.6, 0.2
READS_AT_ONCE = 4
# An insert that reports success without a row, as a trigger may make it do, is the partition's fault.
NOTHING_STORED = Fault(Owner.PARTITION, None, "the insert stored nothing")
SPARED = Fault(Owner.POOL, None, "live writes are spared at present")
CREATED, QUEUED_BEFORE = Outcome(Status.CREATED), Outcome(Status.QUEUED, duplicate=True)


def event_of(row: Sequence[Any]) -> Event:
    """The event in a row of the columns after event_date, led by its id; a stranger's may be nested deeper."""
    event_id, stamp, *texts, data = row
    return make_event(event_id, stamp, texts, canonical(parse_json(data), -900))


async def probe(day: date, connection: Connection) -> Fault | None:
    """Try a harmless row for this day and take it back. Returns what went wrong; raises when the link is lost."""
    try:
        cursor = await connection.execute(sql("probe").format(day=day.isoformat()))
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


async def insert_or_compare(month: Month, events: list[Event], known: list[Event], connection: Connection) -> Results:
    """Insert `events` in one statement; for those that were there, and for `known`, what is stored decides."""
    results: Results = {}
    if events:
        # In one order everywhere: two batches that wait for each other's identities would deadlock.
        cursor = await connection.execute(sql("insert"), [f"[{','.join(sorted(events))}]"], prepare=True)
        new = events
        if cursor.rowcount < len(events):
            identities = set(await cursor.fetchall())
            new = [event for event in events if event.identity in identities]
        results = dict.fromkeys(new, CREATED)
    rest = [event for event in [*events, *known] if event not in results]
    if not rest:
        return results
    try:
        # The month keeps every other one, which may be locked, out of the plan.
        ids, dates = [event.event_id for event in rest], [event.event_date for event in rest]
        values = {"first": month.first, "ids": ids, "dates": dates}
        rows = await (await connection.execute(sql("stored"), values)).fetchall()
    except psycopg.Error as error:
        # What was inserted is committed, whatever became of the comparison.
        return results | dict.fromkeys(rest, fault_of(error))
    # Under the columns of the key: a stranger's row may have a timestamp of another day.
    there = {row[:2]: event_of((row[0], *row[2:])) for row in rows}
    for event in rest:
        other = there.get(event.identity)
        same = replace(CREATED, duplicate=True) if other == event else CONFLICT
        results[event] = NOTHING_STORED if other is None else same
    return results


@dataclass(frozen=True)
class Writer:
    """Takes events; knows nothing of HTTP. Its parts are those of the whole service."""

    config: Config
    log: Log
    metrics: Metrics
    database: Database
    months: Months
    queue: DeadLetterQueue

    async def attempt(self, key: str, day: date, work: Work[T], limits: tuple[float, float]) -> T | Fault:
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
        except TimeoutError as error:
            return Fault(Owner.POOL, None, str(error))
        except psycopg.Error as error:
            return replace(fault_of(error), owner=Owner.LINK)

    async def store(self, key: str, month: Month, events: list[Event], known: list[Event], limits: Limits) -> Results:
        """Bring events of one month into the table, compare the `known` ones: each one's outcome, or why not."""
        work = partial(insert_or_compare, month, events, known)
        results = await self.attempt(key, month.probe_day, work, limits())
        if not isinstance(results, Fault):
            return results
        if results.owner is Owner.EVENT and len(events) > 1:
            # One of them can never be stored: halving finds it, so that it fails no other.
            half = len(events) // 2
            first = await self.store(key, month, events[:half], known, limits)
            return first | await self.store(key, month, events[half:], [], limits)
        return dict.fromkeys([*events, *known], results)

    async def write(self, events: list[Event], deadline: float) -> list[Outcome]:
        """Store or queue each event before `deadline` (monotonic seconds); their outcomes in order."""
        self.months.asked_at = time.monotonic()
        outcomes: dict[Event, Outcome] = {}
        waiting = list(dict.fromkeys(events))
        while waiting:
            # Of several with one identity the first goes first; those after it are re-sends with other content.
            turn = {event.identity: event for event in reversed(waiting)}.values()
            months = defaultdict(list)
            for event in reversed(turn):
                months[event.month].append(event)
            jobs = [self._write_month(self.months[name], group, deadline) for name, group in months.items()]
            for one in await asyncio.gather(*jobs) if len(jobs) > 1 else [await jobs[0]]:
                outcomes |= one
            # What was refused for want of room or time would be again, and the deadline is for all.
            refused = {event.identity: one for event, one in outcomes.items() if one.status is Status.UNAVAILABLE}
            outcomes |= {event: refused[event.identity] for event in waiting if event.identity in refused}
            waiting = [event for event in waiting if event not in outcomes]
        answers, seen = [], set[Event]()
        for event in events:
            answers.append(replace(outcomes[event], duplicate=True) if event in seen else outcomes[event])
            seen.add(event)
        return answers

    async def read(self, asked: Mapping[str, Any], deadline: float) -> tuple[list[Event], list[str]]:
        """What is asked for, one more than the limit if there is more, and the names of months that cannot be read."""
        start, end = asked["from"].date(), asked["to"].replace(tzinfo=None)
        # One that spans many months must not take the pool from those who write.
        places = asyncio.Semaphore(READS_AT_ONCE)

        async def read_month(month: Month) -> list[tuple[Any, ...]] | Fault:
            async def work(connection: Connection) -> list[tuple[Any, ...]]:
                return await (await connection.execute(sql("query"), {**asked, "first": month.first})).fetchall()

            async with places:
                return await self.attempt(f"query {month.name}", month.probe_day, work, self._limits(deadline))

        months = [month for _, month in sorted(self.months.items()) if month.first >= start.replace(day=1)]
        months = [month for month in months if datetime.combine(month.first, datetime.min.time()) < end]
        results = list(zip(months, await asyncio.gather(*map(read_month, months)), strict=True))
        rows = [row for _, result in results if not isinstance(result, Fault) for row in result][: asked["limit"] + 1]
        # After the reads: a month that was detached before them has nothing to say, and no error either.
        names = [month.name for month in months]
        seen = await self.attempt("query", start, partial(look, names), self._limits(deadline)) if names else []
        missing = {one.month for one in seen if one.first_missing} if not isinstance(seen, Fault) else set(names)
        bad = [month.name for month, one in results if isinstance(one, Fault) or month.name in missing]
        return list(map(event_of, rows)), bad

    def _may_try(self, month: Month) -> bool:
        return self.database.available and month.breaker.allows

    def _limits(self, deadline: float) -> tuple[float, float]:
        left = deadline - time.monotonic() - QUEUE_RESERVE_SECONDS
        wait, use = self.database.limits
        use = min(use, max(0.1, left * 0.55))
        return max(0.0, min(wait, left - use)), use

    async def _write_month(self, month: Month, events: list[Event], deadline: float) -> dict[Event, Outcome]:
        held = await self._held(events)
        fresh = [event for event in events if event.identity not in held]
        results: Results = dict.fromkeys(events, SPARED)
        if self._may_try(month):
            known = [event for event in events if event.identity in held]
            results = await self.store(month.name, month, fresh, known, partial(self._limits, deadline))
            self._note(month, {event: results[event] for event in fresh})
        outcomes = {event: result for event, result in results.items() if isinstance(result, Outcome)}
        failed = {event: result for event, result in results.items() if isinstance(result, Fault)}
        unstored = []
        for event, fault in failed.items():
            # What the table does not have, or cannot be asked for, has the state that the queue knows.
            if event.identity in held:
                outcomes[event] = QUEUED_BEFORE if held[event.identity] == event else CONFLICT
            elif fault.owner is Owner.EVENT:
                why = f"the database refuses it: {fault.message} ({fault.sqlstate})"
                outcomes[event] = Outcome(Status.REJECTED, why, errors=(("event_data", why),))
            else:
                unstored.append((event, fault))
        if unstored:
            queued = await self._enqueue(unstored, deadline)
            if not month.fallback and any(outcome.status is Status.QUEUED for outcome in queued.values()):
                month.fallback = True
                self.log.info(f"DLQ fallback activated for partition {month.name}")
            outcomes |= queued
        return outcomes

    async def _held(self, events: list[Event]) -> dict[tuple[str, str], Event]:
        maybe = [event for event in events if self.queue.may_hold(event)]
        try:
            return await self.queue.find(maybe) if maybe else {}
        except DlqError:
            return {}

    def _note(self, month: Month, results: Results) -> None:
        """Tell metrics, log and breaker how the table took new events of a month."""
        faults = [(event, result) for event, result in results.items() if isinstance(result, Fault)]
        if any(result == CREATED for result in results.values()):
            self.months.wrote(month)
        for event, fault in faults:
            if fault.owner is Owner.PARTITION:
                month.probe_day = date.fromisoformat(event.event_date)
                self.metrics.write_failures.labels(month.name).inc()
                message = f"Failed to write to partition audit_events_{month.name}"
                self.log.error(message, sqlstate=fault.sqlstate, error=fault.message)
        for fault in {fault for _, fault in faults}:
            self.months.failed(month, fault)

    async def _enqueue(self, failed: list[tuple[Event, Fault]], deadline: float) -> dict[Event, Outcome]:
        left = deadline - time.monotonic() - ANSWER_RESERVE_SECONDS
        # Asked before: what is only now queued is known to have been nowhere.
        unsure = {event for event, fault in failed if fault.owner is Owner.LINK or self.queue.may_hold(event)}
        try:
            outcomes = await self.queue.enqueue(failed, max(0.05, left))
        except DlqError as error:
            why = f"neither table nor queue took it: {error}"
            outcomes = [Outcome(Status.UNAVAILABLE, why, stored=error.outcome)] * len(failed)
        pairs = zip([event for event, _ in failed], outcomes, strict=True)
        refused = Status.UNAVAILABLE
        return {e: replace(o, stored="unknown") if e in unsure and o.status is refused else o for e, o in pairs}
