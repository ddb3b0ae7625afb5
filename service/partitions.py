"""Months: what is attached, what was, and the loop that creates what never was."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

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


def first_day(month: str) -> date:
    """The first day of a month by its name."""
    return date(int(month[:4]), int(month[5:]), 1)


def next_month(day: date) -> date:
    """The first day of the month after the one that holds this day."""
    return date(day.year + day.month // 12, day.month % 12 + 1, 1)


@dataclass
class Month:
    """One month: its breaker, whether it is attached as a whole (None: unknown), and the episode of its fallback."""

    name: str
    breaker: Breaker
    admission: Admission
    probe_day: date
    attached: bool | None = None
    asked: bool = False
    fallback: bool = False
    last_write_timestamp: float = 0.0
    # When it was last seen to take a row (monotonic seconds), and why it last did not.
    proved_at: float = 0.0
    evidence: str = ""

    @property
    def first(self) -> date:
        """Its first day."""
        return first_day(self.name)

    @property
    def status(self) -> str:
        """healthy, degraded or unavailable."""
        if not self.breaker.allows or self.attached is False:
            return "unavailable"
        return "degraded" if self.fallback or self.admission.stalls(self.name) else "healthy"


@dataclass
class Months:
    """All known months; asking for one makes it known."""

    config: Config
    admission: Admission
    metrics: Metrics
    log: Log
    # When a live event last came for any month (monotonic seconds).
    asked_at: float = -math.inf
    _known: dict[str, Month] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Month]:
        return iter([self._known[name] for name in sorted(self._known)])

    def get(self, name: str) -> Month:
        """The month of this name."""
        month = self._known.get(name)
        if month is None:
            breaker = Breaker(self.config.dlq_retry_min_seconds, self.config.dlq_retry_max_seconds)
            month = self._known[name] = Month(name, breaker, self.admission, first_day(name))
            self.metrics.know(name)
        return month

    def wrote(self, month: Month) -> None:
        """A write of this month was committed, live or drained."""
        month.last_write_timestamp, month.proved_at = time.time(), time.monotonic()
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
        if fault.no_partition:
            month.asked, month.attached = True, False
        if fault.owner in (Owner.PARTITION, Owner.DATABASE):
            month.evidence = f"{fault.message} ({fault.sqlstate})"
            self.trip(month)


@dataclass(frozen=True)
class Sight:
    """What the catalog shows of a month: ever attached, the first and last day that is not, whether any day is."""

    month: str
    recorded: bool
    first_missing: date | None
    last_missing: date | None
    partly_attached: bool


async def look(names: list[str], connection: Connection) -> list[Sight]:
    """These months, and all that the catalog knows."""
    return [Sight(*row) for row in await (await connection.execute(sql("catalog"), [names])).fetchall()]


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
            try:
                await self._look_and_create()
            except (psycopg.Error, DismissedError) as error:
                self.log.error("Partition maintenance failed", error=str(error))
            seconds = self.config.partition_check_seconds
            await pause(seconds if self.database.schema_ready else min(seconds, 0.25))

    async def _look_and_create(self) -> None:
        started = time.time()
        async with self.database.connection(JOB, self.database.limits[0], _JOB_SECONDS) as connection:
            if not self.database.schema_ready:
                await connection.execute(_LOCK + sql("schema"))
            names = [*self._ahead(self.config.partitions_from), *(month.name for month in self.months)]
            seen = await look(names, connection)
            ahead = self._ahead(None if any(one.recorded for one in seen) else self.config.partitions_from)
            due = {*ahead, *(month.name for month in self.months if month.asked)}
            absent = [one.month for one in seen if one.month in due and not one.recorded and not one.partly_attached]
            if absent:
                await self._create(connection, absent)
                seen = await look(names, connection)
            unrecorded = [one.month for one in seen if one.partly_attached and not one.recorded]
            if unrecorded:
                await connection.execute(_RECORD, [unrecorded])
        for one in seen:
            month = self.months.get(one.month)
            # A write that came through after the look knows better than the look.
            if one.first_missing is None or month.last_write_timestamp < started:
                self._apply(month, one)
        self.database.schema_ready = True

    async def _create(self, connection: Connection, names: list[str]) -> None:
        """All in one transaction, which is quick; if that fails each in its own."""
        text = _LOCK
        for name in names:
            first = first_day(name)
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

    def _apply(self, month: Month, sight: Sight) -> None:
        month.attached = sight.first_missing is None
        month.asked = month.asked and not month.attached
        if sight.first_missing is not None:
            # Also in part: which days a write may try would be one more thing to be wrong about.
            month.probe_day = sight.first_missing
            month.evidence = f"no partition is attached for {sight.first_missing} to {sight.last_missing}"
            self.months.trip(month)
