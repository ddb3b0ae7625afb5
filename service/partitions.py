"""Months: what is attached, what was, and the loop that creates what never was."""

import math
import time
from dataclasses import dataclass
from datetime import UTC, date, datetime

import psycopg

from .config import Config
from .database import Admission, Clock, Connection, Database, Fault, Owner, pause, sql
from .logs import Log
from .metrics import Metrics

# A probe at least this often, so that a repair is found well inside the promised 5 s.
PROBE_INTERVAL_MAX_SECONDS = 1.0
# What a drain takes of a month at once, at first: how large the events are shows when they are read.
BATCH_START = 64
JOB, JOB_SECONDS = "maintenance", 5.0
_LOCK = "SELECT pg_advisory_xact_lock(7204551931);\n"
_RECORD = "INSERT INTO audit_partitions (month) SELECT unnest(%s::text[]) ON CONFLICT DO NOTHING"


def first_day(month: str) -> date:
    """The first day of a month by its name."""
    return date(int(month[:4]), int(month[5:]), 1)


class Breaker:
    """Decides whether live writes may try; knows time only through its clock."""

    def __init__(self, retry_min_seconds: float, retry_max_seconds: float, clock: Clock = time.monotonic) -> None:
        self._min, self._clock = retry_min_seconds, clock
        self._max = min(retry_max_seconds, max(retry_min_seconds, PROBE_INTERVAL_MAX_SECONDS))
        self._delay = retry_min_seconds
        # None: closed. A time: open until the probe that is due then, or half-open, the probe is out.
        self._due_at: float | None = None

    @property
    def allows(self) -> bool:
        """Whether a live write may try."""
        return self._due_at is None

    @property
    def probe_is_due(self) -> bool:
        """Whether it is open and its next probe should go out."""
        return self._due_at is not None and self._clock() >= self._due_at

    def trip(self) -> bool:
        """A live write failed: open it. Returns whether it was closed before."""
        if self._due_at is not None:
            return False
        self._delay, self._due_at = self._min, self._clock() + self._min
        return True

    def begin_probe(self) -> None:
        """The one probe goes out; one that is not heard of for long is taken for lost."""
        self._due_at = self._clock() + 10 * PROBE_INTERVAL_MAX_SECONDS

    def end_probe(self, succeeded: bool) -> None:
        """Close it, or leave it open and wait longer before the next probe."""
        self._delay = min(self._delay * 2, self._max)
        self._due_at = None if succeeded else self._clock() + self._delay


@dataclass
class Month:
    """One month: its breaker, whether it is attached as a whole (None: unknown), and the episode of its fallback."""

    name: str
    first: date
    breaker: Breaker
    admission: Admission
    probe_day: date
    attached: bool | None = None
    asked: bool = False
    fallback: bool = False
    last_write_timestamp: float = 0.0
    batch: int = BATCH_START
    # When it was last seen to take a row (monotonic seconds), and why it last did not.
    proved_at: float = 0.0
    evidence: str = ""

    @property
    def status(self) -> str:
        """healthy, degraded or unavailable."""
        if not self.breaker.allows or self.attached is False:
            return "unavailable"
        return "degraded" if self.fallback or self.admission.stalls(self.name) else "healthy"


class Months(dict[str, Month]):
    """All known months by name; asking for one makes it known."""

    def __init__(self, config: Config, admission: Admission, metrics: Metrics, log: Log) -> None:
        self._config, self._admission, self._metrics, self._log = config, admission, metrics, log
        # When a live event last came for any month (monotonic seconds).
        self.asked_at = -math.inf

    def __missing__(self, name: str) -> Month:
        breaker = Breaker(self._config.dlq_retry_min_seconds, self._config.dlq_retry_max_seconds)
        self[name] = Month(name, first_day(name), breaker, self._admission, first_day(name))
        self._metrics.know(name)
        return self[name]

    def wrote(self, month: Month) -> None:
        """A write of this month was committed, live or drained."""
        month.last_write_timestamp, month.proved_at = time.time(), time.monotonic()
        # One that was under way when the breaker opened does not end the episode.
        if month.fallback and month.breaker.allows:
            month.fallback = False
            self._log.info(f"DLQ fallback ended for partition {month.name}")

    def trip(self, month: Month) -> None:
        """Spare this month: those who wait for a connection on its behalf leave at once."""
        if month.breaker.trip():
            self._admission.dismiss(month.name)

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
        """From `start`, or at the latest this month, to the last that is due ahead of time."""
        today = datetime.now(UTC).date()
        first, now = [day.year * 12 + day.month - 1 for day in (min(start or today, today), today)]
        months = range(first, now + self.config.partitions_ahead_months + 1)
        return [f"{month // 12:04d}_{month % 12 + 1:02d}" for month in months]

    async def run(self) -> None:
        """For ever."""
        for name in self._ahead(self.config.partitions_from):
            self.months[name]
        while True:
            await self.database.connected.wait()
            try:
                await self._look_and_create()
            except (psycopg.Error, TimeoutError) as error:
                self.log.error("Partition maintenance failed", error=str(error))
            seconds = self.config.partition_check_seconds
            await pause(seconds if self.database.schema_ready else min(seconds, 0.25))

    async def _look_and_create(self) -> None:
        started = time.time()
        async with self.database.connection(JOB, self.database.limits[0], JOB_SECONDS) as connection:
            if not self.database.schema_ready:
                await connection.execute(_LOCK + sql("schema"))
            names = [*self._ahead(self.config.partitions_from), *self.months]
            seen = await look(names, connection)
            ahead = self._ahead(None if any(one.recorded for one in seen) else self.config.partitions_from)
            due = {*ahead, *(month.name for month in self.months.values() if month.asked)}
            absent = [one.month for one in seen if one.month in due and not one.recorded and not one.partly_attached]
            if absent:
                await self._create(connection, absent)
                seen = await look(names, connection)
            unrecorded = [one.month for one in seen if one.partly_attached and not one.recorded]
            if unrecorded:
                await connection.execute(_RECORD, [unrecorded])
        for one in seen:
            month = self.months[one.month]
            if one.first_missing is None:
                month.attached, month.asked = True, False
            # A write that came through after the look knows better than the look.
            elif month.last_write_timestamp < started:
                # Also in part: which days a write may try would be one more thing to be wrong about.
                month.attached, month.probe_day = False, one.first_missing
                month.evidence = f"no partition is attached for {one.first_missing} to {one.last_missing}"
                self.months.trip(month)
        self.database.schema_ready = True

    async def _create(self, connection: Connection, names: list[str]) -> None:
        """All in one transaction, which is quick; if that fails each in its own."""
        text = _LOCK
        for name in names:
            text += sql("create_partition").format(month=name, first=first_day(name))
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
