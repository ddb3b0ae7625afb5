"""Months: what is attached, what was, and the loop that creates what never was."""

import asyncio
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

import psycopg

from .admission import Admission, DismissedError
from .breaker import Breaker
from .classify import Fault, Owner
from .config import Config
from .logs import Log
from .metrics import Metrics
from .models import month_of
from .pool import Connection, Database, pause, sql

JOB = "maintenance"
_JOB_SECONDS = 5.0
_LOCK = "SELECT pg_advisory_xact_lock(7204551931);\n"
_RECORD = "INSERT INTO audit_partitions (month) SELECT unnest(%s::text[]) ON CONFLICT DO NOTHING"
_BOUNDS = re.compile(r"FOR VALUES FROM \((.+)\) TO \((.+)\)")
Bounds = list[tuple[date, date]]


def next_month(day: date) -> date:
    """The first day of the month after the one that holds this day."""
    return date(day.year + day.month // 12, day.month % 12 + 1, 1)


def days_of(month: str) -> list[date]:
    """All days of a month by its name."""
    first = date(int(month[:4]), int(month[5:]), 1)
    return [first + timedelta(days=number) for number in range((next_month(first) - first).days)]


def read_bounds(expressions: list[str]) -> Bounds:
    """The ranges, upper bound exclusive, in texts such as FOR VALUES FROM ('2025-12-01') TO ('2026-01-01')."""
    ends = {"MINVALUE": date.min, "'-infinity'": date.min, "MAXVALUE": date.max, "'infinity'": date.max}
    matches = [match for match in map(_BOUNDS.fullmatch, expressions) if match is not None]
    pairs = [[ends.get(text) or date.fromisoformat(text.strip("'")) for text in match.groups()] for match in matches]
    return [(low, high) for low, high in pairs]


def days_taken(month: str, bounds: Bounds) -> frozenset[date]:
    """The days of a month that some attached partition takes."""
    return frozenset(day for day in days_of(month) if any(low <= day < high for low, high in bounds))


@dataclass
class Month:
    """One month: its breaker, its days that are attached (None: unknown), and the episode of its fallback."""

    name: str
    breaker: Breaker
    admission: Admission
    probe_day: date
    days: frozenset[date] | None = None
    asked: bool = False
    fallback: bool = False
    last_write_timestamp: float = 0.0

    def covers(self, day: date) -> bool:
        """Whether the day is attached for all that is known; of a month without any day the breaker decides."""
        return not self.days or day in self.days

    @property
    def status(self) -> str:
        """healthy, degraded or unavailable."""
        if not self.breaker.allows or (self.days is not None and not self.days):
            return "unavailable"
        partial = self.days is not None and len(self.days) < len(days_of(self.name))
        return "degraded" if partial or self.breaker.failures or self.admission.stalls(self.name) else "healthy"


@dataclass
class Months:
    """All known months; asking for one makes it known."""

    config: Config
    admission: Admission
    metrics: Metrics
    log: Log
    look_now: asyncio.Event = field(default_factory=asyncio.Event)
    _known: dict[str, Month] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Month]:
        return iter([self._known[name] for name in sorted(self._known)])

    def get(self, name: str) -> Month:
        """The month of this name."""
        month = self._known.get(name)
        if month is None:
            breaker = Breaker(self.config.dlq_retry_min_seconds, self.config.dlq_retry_max_seconds)
            month = self._known[name] = Month(name, breaker, self.admission, days_of(name)[0])
            self.metrics.know(name)
        return month

    def wrote(self, month: Month) -> None:
        """A write of this month was committed, live or drained."""
        month.last_write_timestamp = time.time()
        month.breaker.success()
        # One that was under way when the breaker opened does not end the episode.
        if month.fallback and month.breaker.allows:
            month.fallback = False
            self.log.info(f"DLQ fallback ended for partition {month.name}")

    def fell_back(self, month: Month) -> None:
        """An event of this month goes to the queue."""
        if not month.fallback:
            month.fallback = True
            self.log.info(f"DLQ fallback activated for partition {month.name}")

    def trip(self, month: Month) -> None:
        """Spare this month: those who wait for a connection on its behalf leave at once."""
        if month.breaker.trip():
            self.admission.dismiss(month.name)

    def failed(self, month: Month, fault: Fault) -> None:
        """A write failed: open the breaker if the server refused it, and have a month created that never was."""
        if fault.no_partition and not month.asked:
            month.asked = True
            self.look_now.set()
        if fault.owner in (Owner.PARTITION, Owner.DATABASE) and month.breaker.failure(fault.threshold):
            self.admission.dismiss(month.name)


@dataclass(frozen=True)
class Maintenance:
    """Looks at the catalog every few seconds and when a month is asked for; creates what is due."""

    config: Config
    database: Database
    months: Months
    log: Log

    def _ahead(self, start: date | None) -> list[str]:
        today = datetime.now(UTC).date().replace(day=1)
        names, day, left = [], min(start or today, today), self.config.partitions_ahead_months
        while day <= today or left > 0:
            names.append(month_of(day))
            left -= day > today
            day = next_month(day)
        return names

    async def run(self) -> None:
        """For ever."""
        for name in self._ahead(self.config.partitions_from):
            self.months.get(name)
        while True:
            await self.database.connected.wait()
            self.months.look_now.clear()
            try:
                await self._look_and_create()
            except (psycopg.Error, DismissedError) as error:
                self.log.error("Partition maintenance failed", error=str(error))
            seconds = self.config.partition_check_seconds
            await pause(seconds if self.database.schema_ready else min(seconds, 0.25), self.months.look_now)

    async def _look_and_create(self) -> None:
        started = time.time()
        async with self.database.connection(JOB, self.database.limits[0], _JOB_SECONDS) as connection:
            if not self.database.schema_ready:
                await connection.execute(_LOCK + sql("schema"))
            bounds, recorded = await self._look(connection)
            ahead = self._ahead(None if recorded else self.config.partitions_from)
            due = {*ahead, *(month.name for month in self.months if month.asked)} - recorded
            missing = sorted(name for name in due if not days_taken(name, bounds))
            if missing:
                await self._create(connection, missing)
                bounds, recorded = await self._look(connection)
            for name in recorded | {month_of(low) for low, _ in bounds if low > date.min}:
                self.months.get(name)
            attached = {month.name: days_taken(month.name, bounds) for month in self.months}
            unrecorded = [name for name, days in attached.items() if days and name not in recorded]
            if unrecorded:
                await connection.execute(_RECORD, [unrecorded])
        for name, days in attached.items():
            # A write that came through after the look knows better than the look.
            if days or self.months.get(name).last_write_timestamp < started:
                self._apply(self.months.get(name), days)
        self.database.schema_ready = True

    async def _look(self, connection: Connection) -> tuple[Bounds, set[str]]:
        expressions = [text for (text,) in await (await connection.execute(sql("catalog"))).fetchall()]
        recorded = await (await connection.execute("SELECT month FROM audit_partitions")).fetchall()
        return read_bounds(expressions), {month for (month,) in recorded}

    async def _create(self, connection: Connection, names: list[str]) -> None:
        """All in one transaction, which is quick; if that fails each in its own."""
        text = _LOCK
        for name in names:
            first = days_of(name)[0]
            text += sql("create_partition").format(month=name, first=first, after=next_month(first))
        try:
            await connection.execute(text)
            self.log.info("Partitions created", months=", ".join(names))
        except psycopg.Error as error:
            if connection.broken:
                raise
            if len(names) == 1:
                self.log.error(f"Partition audit_events_{names[0]} could not be created", sqlstate=error.sqlstate)
            for name in names if len(names) > 1 else []:
                await self._create(connection, [name])

    def _apply(self, month: Month, days: frozenset[date]) -> None:
        month.days = days
        month.asked = month.asked and not days
        if not days:
            self.months.trip(month)
        elif month.probe_day not in days:
            # Days outside are spared one by one; the month itself is judged by a day inside.
            month.probe_day = min(days)
