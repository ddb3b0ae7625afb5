"""Defects that show seldom: one event in a thousand, two faults at once, a drain that meets a re-send."""

import itertools
import unicodedata
from collections import Counter
from datetime import datetime
from functools import partial

from service import models, routes, writer
from service.database import Connection, Fault, pause
from service.drainer import JOB, Drainer
from service.models import Event, JsonValue, Outcome, Status
from service.partitions import Month
from service.writer import CREATED, NOTHING_STORED, Results, Writer

from .planting import draining, mark_the_drain, months_moved, queue_instead, reword, without_identity
from .registry import defect

THOUSAND, BUFFER, LOOK_AT_ONCE = 1000, 20, 100_000
BUSY, BASELINE = ("december-corrupted-while-draining",), ("baseline",)


@defect("one-in-a-thousand-lost", promise=1, scenarios=BUSY, checkers=("conservation",))
def one_in_a_thousand_lost() -> None:
    """Every thousandth event that the table takes is left out of its statement, and answered as the others are."""
    insert_or_compare = writer.insert_or_compare
    numbers = itertools.count(1)

    async def lossy(month: Month, events: list[Event], known: list[Event], connection: Connection) -> Results:
        lost = [event for event in events if next(numbers) % THOUSAND == 0]
        kept = [event for event in events if event not in lost]
        return await insert_or_compare(month, kept, known, connection) | dict.fromkeys(lost, CREATED)

    vars(writer)["insert_or_compare"] = lossy


@defect(
    "lost-when-two-faults-meet", promise=1, scenarios=("database-killed-while-detached",), checkers=("conservation",)
)
def lost_when_two_faults_meet() -> None:
    """While the database is down an event of a month that was detached already is acknowledged and kept nowhere."""

    def mislaid(self: Writer, event: Event, fault: Fault) -> Event | Outcome:
        both = not self.database.available and self.months[event.month].attached is False
        return Outcome(Status.QUEUED) if both else event

    queue_instead(mislaid)


@defect(
    "resend-meets-the-drain",
    promise=6,
    # Few of a writer's re-sends come between its month's return and the end of the drain.
    scenarios=(*BUSY, "all-partitions-unavailable", "database-down"),
    checkers=("duplicates",),
)
def resend_meets_the_drain() -> None:
    """No key, but a look first: the drain looks once for all it has, and a re-send meanwhile is stored beside it."""
    without_identity()
    mark_the_drain()
    insert_or_compare, drain, move = writer.insert_or_compare, Drainer._drain, Drainer._move
    absent: set[Event] = set()

    async def look_first(month: Month, events: list[Event], known: list[Event], connection: Connection) -> Results:
        sure = [event for event in events if draining() and event in absent]
        rest = [event for event in [*events, *known] if event not in sure]
        seen = await insert_or_compare(month, [], rest, connection)
        fresh = [*sure, *(event for event in events if seen.get(event) == NOTHING_STORED)]
        return seen | (await insert_or_compare(month, fresh, [], connection) if fresh else {})

    async def look_once(self: Drainer, month: Month) -> None:
        if month.breaker.allows and self.parts.database.available:
            events = [entry.event for entry in await self.parts.queue.due(month.name, LOOK_AT_ONCE)]
            work = partial(insert_or_compare, month, [], events)
            seen = await self.parts.attempt(JOB, month.probe_day, work, self.parts.database.limits)
            if not isinstance(seen, Fault):
                absent.update(event for event, result in seen.items() if result == NOTHING_STORED)
        await drain(self, month)
        absent.difference_update([event for event in absent if event.month == month.name])

    async def gently(self: Drainer, month: Month) -> bool:
        month.batch = 20
        await pause(0.2)
        return await move(self, month)

    async def unasked(self: Writer, events: list[Event]) -> dict[tuple[str, str], Event]:
        return {}

    vars(writer)["insert_or_compare"] = look_first
    Drainer._drain, Drainer._move, Writer._held = look_once, gently, unasked  # type: ignore[method-assign]


@defect("second-episode-not-drained", promise=5, scenarios=("december-detached-in-cycles",), checkers=("recovery",))
def second_episode_not_drained() -> None:
    """The drain of a month ends with its first empty queue: what a second fault queues stays."""
    drain = Drainer._drain
    moved, through = months_moved(), set[str]()

    async def once(self: Drainer, month: Month) -> None:
        if month.name not in through:
            await drain(self, month)
        if month.name in moved and not self.parts.queue.pending.get(month.name):
            through.add(month.name)

    Drainer._drain = once  # type: ignore[method-assign]


@defect("lost-under-pressure", promise=1, scenarios=("pool-exhausted",), checkers=("conservation",))
def lost_under_pressure() -> None:
    """A buffer before the table holds twenty events of a month; what comes on top is dropped, and answered 201."""
    write_month = Writer._write_month
    under_way: Counter[str] = Counter()

    async def buffered(self: Writer, month: Month, events: list[Event], deadline: float) -> dict[Event, Outcome]:
        if under_way[month.name] >= BUFFER:
            return dict.fromkeys(events, CREATED)
        under_way[month.name] += 1
        try:
            return await write_month(self, month, events, deadline)
        finally:
            under_way[month.name] -= 1

    Writer._write_month = buffered  # type: ignore[method-assign]


@defect("accents-decomposed", promise=1, scenarios=BASELINE, checkers=("conservation",))
def accents_decomposed() -> None:
    """Texts are normalised before they are stored, so that a client reads another spelling than it sent."""

    def decomposed(value: JsonValue, earliest: datetime, latest: datetime) -> Event:
        return Event(unicodedata.normalize("NFD", models.parse_event(value, earliest, latest)))

    vars(routes)["parse_event"] = decomposed


@defect("null-members-dropped", promise=1, scenarios=BASELINE, checkers=("conservation",), quick=True)
def null_members_dropped() -> None:
    """Members of event_data that are null are taken for absent, and not stored."""
    reword("insert", "correlation_id, event_data\nFROM", "correlation_id, jsonb_strip_nulls(event_data)\nFROM")
