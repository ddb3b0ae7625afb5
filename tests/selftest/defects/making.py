"""Defects of months: how they are made, found, dated, and told from each other."""

import dataclasses
import functools
import time
from collections.abc import Callable
from datetime import date, datetime, timedelta

from service import partitions
from service.database import Connection, pause, sql
from service.models import Event
from service.partitions import JOB, Maintenance, Months, Sight
from service.writer import Writer

from .planting import reword
from .registry import defect

DETACHED, BASELINE = ("december-detached",), ("baseline",)
LOADED = ("month-made-under-load",)
WEST_HOURS = 5
# What is there in the second after a fault may be the fault's own doing, and what comes in the last one is not sampled.
MISSED_SECONDS = 1.05
LOOK_SECONDS = 0.2


@defect(
    "default-partition-present",
    promise=1,
    scenarios=DETACHED,
    checkers=("partition-hygiene",),
    names_events=False,
    quick=True,
)
def default_partition_present() -> None:
    """A default partition takes the events of a missing month, which then stand in the wrong place."""
    reword(
        "schema",
        "PARTITION BY RANGE (event_date);",
        "PARTITION BY RANGE (event_date);\n"
        "CREATE TABLE IF NOT EXISTS audit_events_default PARTITION OF audit_events DEFAULT;",
    )
    Months.trip = lambda self, month: None  # type: ignore[method-assign]


@defect(
    "default-made-for-a-missing-month",
    promise=1,
    scenarios=DETACHED,
    checkers=("partition-hygiene",),
    names_events=False,
)
def default_made_for_a_missing_month() -> None:
    """When a month is missing the maintenance makes a default partition, so that nothing has to be queued."""
    look_and_create, gone_for_long = Maintenance._look_and_create, _gone_for_long()

    async def rescued(self: Maintenance) -> None:
        await look_and_create(self)
        if {month.name for month in self.months.values() if gone_for_long(month.name, month.attached is False)}:
            async with self.database.connection(JOB, 1.0, 5.0) as connection:
                await connection.execute(
                    "CREATE TABLE IF NOT EXISTS audit_events_default PARTITION OF audit_events DEFAULT"
                )

    Maintenance._look_and_create = rescued  # type: ignore[method-assign]


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


@defect(
    "one-month-ahead-too-few",
    promise=3,
    scenarios=BASELINE,
    checkers=("partition-hygiene",),
    names_events=False,
    quick=True,
)
def one_month_ahead_too_few() -> None:
    """PARTITIONS_AHEAD_MONTHS is counted with the present month, so that the last one is missing."""
    ahead = Maintenance._ahead
    Maintenance._ahead = lambda self, start: ahead(self, start)[:-1]  # type: ignore[method-assign]


@defect("made-under-a-lock-of-all", promise=3, scenarios=LOADED, checkers=("partition-hygiene",), names_events=False)
def made_under_a_lock_of_all() -> None:
    """A month is made by CREATE TABLE … PARTITION OF, which locks every month, in a transaction with slower work."""
    reword(
        "create_partition",
        "CREATE TABLE audit_events_{month} (LIKE audit_events INCLUDING ALL);\n"
        "ALTER TABLE audit_events ATTACH PARTITION audit_events_{month}\n    FOR VALUES",
        "CREATE TABLE audit_events_{month} PARTITION OF audit_events\n    FOR VALUES",
    )
    # Between the lock and the commit, what statistics of a large table take; not for each of many at the first start.
    later = "SELECT pg_sleep(0.5) WHERE DATE '{first}' > now() + interval '3 months';"
    reword("create_partition", "ON CONFLICT DO NOTHING;", f"ON CONFLICT DO NOTHING;\n{later}")


@defect("asked-for-and-not-made", promise=4, scenarios=LOADED, checkers=("partition-hygiene",), names_events=False)
def asked_for_and_not_made() -> None:
    """A month that an event asks for is never made: only those that are due ahead of time are."""
    make = Maintenance._look_and_create

    async def ahead_only(self: Maintenance) -> None:
        for month in self.months.values():
            month.asked = False
        await make(self)

    Maintenance._look_and_create = ahead_only  # type: ignore[method-assign]


def _gone_for_long() -> Callable[[str, bool], bool]:
    """Tell of a month, missing now or not, whether it has been for so long that its table is not only being moved.

    A fault of a short scenario lasts hardly longer than the time between two looks of the maintenance loop: it looks
    more often here.
    """
    vars(partitions)["pause"] = lambda seconds: pause(min(seconds, LOOK_SECONDS))
    since: dict[str, float] = {}

    def gone(month: str, missing: bool) -> bool:
        if not missing:
            since.pop(month, None)
            return False
        return time.monotonic() - since.setdefault(month, time.monotonic()) > MISSED_SECONDS

    return gone


@defect("dropped-month-made-anew", promise=1, scenarios=("december-dropped",), checkers=("partition-hygiene",))
def dropped_month_made_anew() -> None:
    """Nobody remembers which months were attached once: one that is gone is made anew, and empty."""
    look, gone_for_long = partitions.look, _gone_for_long()

    async def forgetful(names: list[str], connection: Connection) -> list[Sight]:
        seen = await look(names, connection)
        return [
            dataclasses.replace(
                one, recorded=one.recorded and not gone_for_long(one.month, one.first_missing is not None)
            )
            for one in seen
        ]

    vars(partitions)["look"] = forgetful


@defect("detached-month-shadowed", promise=1, scenarios=DETACHED, checkers=("partition-hygiene",))
def detached_month_shadowed() -> None:
    """A month that is gone is made anew, and under another name where its own is taken by what was detached."""
    dropped_month_made_anew()
    create = Maintenance._create

    async def insistent(self: Maintenance, connection: Connection, names: list[str]) -> None:
        await create(self, connection, names)
        missing = {one.month for one in await partitions.look(names, connection) if one.first_missing is not None}
        for name in sorted(missing):
            text = sql("create_partition").replace("audit_events_{month}", "audit_events_{month}_new")
            await connection.execute(text.format(month=name, first=partitions.first_day(name)))

    Maintenance._create = insistent  # type: ignore[method-assign]


@defect("months-known-by-name", promise=5, scenarios=("december-restored-copy",), checkers=("recovery",))
def months_known_by_name() -> None:
    """A month is written directly when a child has its name: a restored copy under another name is not seen."""
    reword("catalog", "AND NOT i.inhdetachpending", "AND NOT i.inhdetachpending AND c.relname ~ '_[0-9]{4}_[0-9]{2}$'")
    look, may_try = partitions.look, Writer._may_try
    unseen = set[str]()

    async def by_name(names: list[str], connection: Connection) -> list[Sight]:
        seen = await look(names, connection)
        unseen.clear()
        unseen.update(one.month for one in seen if one.first_missing is not None)
        return seen

    vars(partitions)["look"] = by_name
    Writer._may_try = lambda self, month: month.name not in unseen and may_try(self, month)  # type: ignore[method-assign]


@defect("rows-dated-in-local-time", promise=1, scenarios=BASELINE, checkers=("conservation",))
def rows_dated_in_local_time() -> None:
    """A row's date is that of the server's zone: the last hour of a day, and of a month, is in the next one."""
    reword(
        "insert", "(event_timestamp AT TIME ZONE 'UTC')::date", "(event_timestamp AT TIME ZONE 'Europe/Berlin')::date"
    )


@defect("months-told-in-local-time", promise=2, scenarios=DETACHED, checkers=("honest-status",))
def months_told_in_local_time() -> None:
    """An event's month is that of a zone in the west: the first hours of a month are taken for the one before."""

    @functools.lru_cache(maxsize=65536)
    def local(event: str) -> str:
        stamp = event[70 : event.index('"', 70)]
        return f"{datetime.fromisoformat(stamp) - timedelta(hours=WEST_HOURS):%Y_%m}"

    Event.month = property(local)  # type: ignore[method-assign, assignment]


@defect("times-in-milliseconds", promise=1, scenarios=BASELINE, checkers=("conservation",), quick=True)
def times_in_milliseconds() -> None:
    """The time of an event is stored in milliseconds: its microseconds are gone."""
    reword("insert", "::date, event_timestamp, version", "::date, date_trunc('milliseconds', event_timestamp), version")


@defect("days-rounded-up", promise=1, scenarios=BASELINE, checkers=("conservation",))
def days_rounded_up() -> None:
    """The date of a row is that of its rounded hour: the last half hour of a month falls into the next one."""
    reword(
        "insert",
        "(event_timestamp AT TIME ZONE 'UTC')::date",
        "date_trunc('hour', event_timestamp AT TIME ZONE 'UTC' + interval '30 minutes')::date",
    )
