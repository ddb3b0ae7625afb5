"""Months: what is attached, what was, and the loop that creates what never was."""

import asyncio
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime

import psycopg

from .admission import Admission, DismissedError
from .breaker import Breaker
from .config import Config
from .logs import Log
from .metrics import Metrics
from .models import month_of
from .pool import Connection, Database, sql

JOB = "maintenance"
_JOB_SECONDS = 5.0
_ADVISORY_LOCK = 7_204_551_931
_BOUNDS = re.compile(r"FOR VALUES FROM \((.+)\) TO \((.+)\)")


def next_month(day: date) -> date:
    """The first day of the month after the one that holds this day."""
    return date(day.year + day.month // 12, day.month % 12 + 1, 1)


def first_day(month: str) -> date:
    """The first day of a month by its name."""
    return date(int(month[:4]), int(month[5:]), 1)


@dataclass(frozen=True)
class Coverage:
    """The date ranges that the attached partitions take, lower bound inclusive, upper exclusive."""

    ranges: tuple[tuple[date, date], ...]

    @staticmethod
    def of_bounds(expressions: list[str]) -> "Coverage":
        """Read from the catalog's text, such as FOR VALUES FROM ('2025-12-01') TO ('2026-01-01')."""
        found = []
        for expression in expressions:
            match = _BOUNDS.fullmatch(expression)
            if match is not None:
                low = date.min if match[1] == "MINVALUE" else date.fromisoformat(match[1].strip("'"))
                high = date.max if match[2] == "MAXVALUE" else date.fromisoformat(match[2].strip("'"))
                found.append((low, high))
        return Coverage(tuple(found))

    def holds(self, day: date) -> bool:
        """Whether some partition takes this day."""
        return any(low <= day < high for low, high in self.ranges)

    def holds_month(self, month: str) -> bool:
        """Whether one partition takes the whole month."""
        first = first_day(month)
        return any(low <= first and next_month(first) <= high for low, high in self.ranges)

    def touches_month(self, month: str) -> bool:
        """Whether some partition takes a part of the month."""
        first = first_day(month)
        return any(low < next_month(first) and first < high for low, high in self.ranges)

    def first_in(self, month: str) -> date:
        """The first day of the month that some partition takes; the month must be touched."""
        first = first_day(month)
        return min(max(low, first) for low, high in self.ranges if low < next_month(first) and first < high)

    def months(self) -> list[str]:
        """The months that are wholly taken, for ranges of sensible length."""
        found: list[str] = []
        for low, high in self.ranges:
            day = low if low.day == 1 else next_month(low)
            while next_month(day) <= high and len(found) < 1200 and low > date.min and high < date.max:
                found.append(month_of(day))
                day = next_month(day)
        return found


class Month:
    """One month: its breaker, whether it is attached, and the episode of its fallback."""

    def __init__(self, name: str, breaker: Breaker, admission: Admission) -> None:
        self.name = name
        self.breaker = breaker
        self._admission = admission
        self.attached: bool | None = None
        self.partial: Coverage | None = None
        self.probe_day = first_day(name)
        self.fallback = False
        self.last_write_timestamp = 0.0
        self.last_write_at = float("-inf")

    def takes(self, day: date) -> bool:
        """Whether a live write for this day may try."""
        return self.breaker.allows and (self.partial is None or self.partial.holds(day))

    @property
    def status(self) -> str:
        """healthy, degraded or unavailable."""
        if not self.breaker.allows or not self.attached:
            return "unavailable"
        troubled = self.breaker.failures > 0 or self.partial is not None or self._admission.stalls(self.name)
        return "degraded" if troubled else "healthy"


class Months:
    """All known months; asking for one makes it known."""

    def __init__(self, config: Config, admission: Admission, metrics: Metrics, log: Log) -> None:
        self._config = config
        self._admission = admission
        self._metrics = metrics
        self._log = log
        self._known: dict[str, Month] = {}
        self.asked: set[str] = set()

    def __iter__(self) -> Iterator[Month]:
        return iter([self._known[name] for name in sorted(self._known)])

    def get(self, name: str) -> Month:
        """The month of this name."""
        month = self._known.get(name)
        if month is None:
            breaker = Breaker(self._config.dlq_retry_min_seconds, self._config.dlq_retry_max_seconds)
            month = self._known[name] = Month(name, breaker, self._admission)
            self._metrics.know(name)
        return month

    def wrote(self, month: Month) -> None:
        """A write of this month was committed, live or drained."""
        month.last_write_timestamp = time.time()
        month.last_write_at = time.monotonic()
        # One that was under way when the breaker opened does not end the episode.
        if month.fallback and month.breaker.allows:
            month.fallback = False
            self._log.info(f"DLQ fallback ended for partition {month.name}")

    def fell_back(self, month: Month) -> None:
        """An event of this month goes to the queue."""
        if not month.fallback:
            month.fallback = True
            self._log.info(f"DLQ fallback activated for partition {month.name}")

    def trip(self, month: Month) -> None:
        """Spare this month: those who wait for a connection on its behalf leave at once."""
        if month.breaker.trip():
            self._admission.dismiss(month.name)

    def failed(self, month: Month, threshold: int) -> None:
        """A write into this month failed for a fault that is not the event's."""
        if month.breaker.failure(threshold):
            self._admission.dismiss(month.name)


class Maintenance:
    """Looks at the catalog every few seconds and at once when woken; creates what is due."""

    def __init__(self, config: Config, database: Database, months: Months, log: Log) -> None:
        self._config = config
        self._database = database
        self._months = months
        self._log = log
        self._wake = asyncio.Event()
        for name in self._ahead(config.partitions_from):
            months.get(name)
        database.on_up.append(self.wake)

    def wake(self) -> None:
        """Look now."""
        self._wake.set()

    def _ahead(self, start: date | None) -> list[str]:
        today = datetime.now(UTC).date().replace(day=1)
        last = today
        for _ in range(self._config.partitions_ahead_months):
            last = next_month(last)
        day, names = min(start or today, today), []
        while day <= last:
            names.append(month_of(day))
            day = next_month(day)
        return names

    async def run(self) -> None:
        """For ever."""
        while True:
            self._wake.clear()
            if self._database.link.up:
                try:
                    await self._once()
                except (psycopg.Error, DismissedError) as error:
                    self._log.error("Partition maintenance failed", error=str(error))
            pause = self._config.partition_check_seconds
            if self._database.link.up and not self._database.schema_ready:
                pause = min(pause, 0.25)
            try:
                await asyncio.wait_for(self._wake.wait(), pause)
            except TimeoutError:
                continue

    async def _once(self) -> None:
        started = time.monotonic()
        wait = self._config.db_acquire_timeout_seconds
        async with self._database.connection(JOB, wait, _JOB_SECONDS) as connection:
            if not self._database.schema_ready:
                await self._create_tables(connection)
            coverage, recorded = await self._look(connection)
            due = self._due(coverage, recorded)
            if due:
                await self._create(connection, due)
                coverage, recorded = await self._look(connection)
            unrecorded = [name for name in coverage.months() if name not in recorded]
            if unrecorded:
                await connection.execute(
                    "INSERT INTO audit_partitions (month) SELECT unnest(%s::text[]) ON CONFLICT DO NOTHING",
                    [unrecorded],
                )
        self._apply(coverage, recorded | set(unrecorded), started)
        self._database.make_ready()

    async def _create_tables(self, connection: Connection) -> None:
        cursor = await connection.execute("SELECT to_regclass('audit_events'), to_regclass('audit_partitions')")
        if None in (await cursor.fetchone() or (None,)):
            async with connection.transaction():
                await connection.execute("SELECT pg_advisory_xact_lock(%s)", [_ADVISORY_LOCK])
                await connection.execute(sql("schema"))

    async def _look(self, connection: Connection) -> tuple[Coverage, set[str]]:
        bounds = await (await connection.execute(sql("catalog"))).fetchall()
        if any(bound == "DEFAULT" for (bound,) in bounds):
            self._log.warning("A default partition is attached; events of missing months land in it")
        recorded = await (await connection.execute("SELECT month FROM audit_partitions")).fetchall()
        return Coverage.of_bounds([bound for (bound,) in bounds]), {month for (month,) in recorded}

    def _due(self, coverage: Coverage, recorded: set[str]) -> list[str]:
        names = set(self._ahead(None if recorded else self._config.partitions_from)) | self._months.asked
        return [name for name in sorted(names) if name not in recorded and not coverage.touches_month(name)]

    async def _create(self, connection: Connection, names: list[str]) -> None:
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", [_ADVISORY_LOCK])
            # Another process may have been quicker while this one waited for the lock.
            coverage, recorded = await self._look(connection)
            for name in names:
                if name in recorded or coverage.touches_month(name):
                    continue
                first = first_day(name)
                text = sql("create_partition").format(month=name, first=first, after=next_month(first))
                try:
                    async with connection.transaction():
                        await connection.execute(text)
                except psycopg.Error as error:
                    if connection.broken:
                        raise
                    self._log.error(f"Partition audit_events_{name} could not be created", sqlstate=error.sqlstate)
                else:
                    self._log.info(f"Partition audit_events_{name} created")

    def _apply(self, coverage: Coverage, recorded: set[str], looked_at: float) -> None:
        for name in recorded | set(coverage.months()):
            self._months.get(name)
        for month in self._months:
            touched, was = coverage.touches_month(month.name), month.attached
            month.attached = touched
            month.partial = coverage if touched and not coverage.holds_month(month.name) else None
            if touched:
                self._months.asked.discard(month.name)
                if month.partial is not None:
                    # Days outside are spared one by one; the month itself is judged by a day inside.
                    month.probe_day = coverage.first_in(month.name)
                if was is False:
                    month.breaker.hasten()
            # A write that came through after the look knows better than the look.
            elif month.last_write_at < looked_at:
                self._months.trip(month)
