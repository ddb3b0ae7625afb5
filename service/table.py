"""The table: insert, compare, probe; every statement stays within one month."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

import psycopg

from .classify import Fault, Owner, fault_of
from .models import Event, canonical, make_event, parse_json
from .pool import Connection, sql

# An insert that reports success without a row, as a trigger may make it do, is the partition's fault.
NOTHING_STORED = Fault(Owner.PARTITION, None, "the insert stored nothing")


def event_of(row: Sequence[Any]) -> Event:
    """The event in a row of the columns after event_date, led by its id; a stranger's may be nested deeper."""
    event_id, stamp, *texts, data = row
    return make_event(event_id, stamp, texts, canonical(parse_json(data), -900))


async def insert(events: list[Event], connection: Connection) -> list[Event]:
    """Insert what is not there yet, in one statement that commits by itself. Returns the events inserted."""
    # In one order everywhere: two batches that wait for each other's identities would deadlock.
    texts = sorted([event.text for event in events])
    cursor = await connection.execute(sql("insert"), [f"[{','.join(texts)}]"], prepare=True)
    if cursor.rowcount == len(events):
        return events
    identities = set(await cursor.fetchall())
    return [event for event in events if event.identity in identities]


async def stored(events: list[Event], first: date, after: date, connection: Connection) -> dict[tuple[str, str], Event]:
    """What the table holds under the identities of these events, which lie in the month of these bounds."""
    # The bounds keep every other month, which may be locked, out of the plan.
    values = (first, after, [event.event_id for event in events], [event.event_date for event in events])
    rows = await (await connection.execute(sql("stored"), values)).fetchall()
    # Under the columns of the key: a stranger's row may have a timestamp of another day.
    return {row[:2]: event_of((row[0], *row[2:])) for row in rows}


@dataclass(frozen=True)
class Query:
    """What is asked for: ids (None: any), and from `start` (inclusive) to `end` (exclusive)."""

    event_id: str | None
    correlation_id: str | None
    start: datetime
    end: datetime
    limit: int


async def select(query: Query, first: date, after: date, connection: Connection) -> list[tuple[Any, ...]]:
    """The rows for `event_of` between these days by time and id, one more than the limit if there are more."""
    values = (first, after, query.start, query.end, query.event_id, query.correlation_id, query.limit + 1)
    return await (await connection.execute(sql("query"), values)).fetchall()


async def probe(day: date, connection: Connection) -> Fault | None:
    """Try a harmless row for this day and take it back. Returns what went wrong; raises when the link is lost."""
    try:
        text = sql("probe").format(day=day.isoformat())
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
