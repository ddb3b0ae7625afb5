"""Defects of the metrics: gauges that lag, counters that count something else, series that are not there."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.samples import Sample

from service import routes
from service.database import Connection, Database, Fault, Owner
from service.dlq import Entry, SqliteQueue
from service.metrics import Gauges, Metrics
from service.models import Event, Outcome, Status
from service.partitions import Breaker, Month
from service.writer import Results, Writer

from .planting import regauge, remetric, reword
from .registry import defect

BASELINE, DETACHED = ("baseline",), ("december-detached",)


@defect("status-stuck", promise=8, scenarios=DETACHED, checkers=("metrics",), names_events=False, quick=True)
def status_stuck() -> None:
    """The metric of a month's status stays at unavailable after its recovery."""
    trip, status = Breaker.trip, vars(Month)["status"].fget
    tripped: set[int] = set()

    def remember(self: Breaker) -> bool:
        tripped.add(id(self))
        return trip(self)

    def stuck(self: Month) -> str:
        return "unavailable" if id(self.breaker) in tripped else str(status(self))

    Breaker.trip = remember  # type: ignore[method-assign]
    Month.status = property(stuck)  # type: ignore[method-assign, assignment]


@defect("degraded-for-good", promise=8, scenarios=DETACHED, checkers=("metrics",), names_events=False)
def degraded_for_good() -> None:
    """A month that once fell back to the queue never becomes healthy again in the metrics."""
    status = vars(Month)["status"].fget
    fell_back: set[str] = set()

    def remembered(self: Month) -> str:
        if self.fallback:
            fell_back.add(self.name)
        now = str(status(self))
        return "degraded" if now == "healthy" and self.name in fell_back else now

    Month.status = property(remembered)  # type: ignore[method-assign, assignment]


@defect("always-healthy", promise=8, scenarios=DETACHED, checkers=("metrics",))
def always_healthy() -> None:
    """The metric of a month's status knows only what the last successful write said."""
    Month.status = property(lambda self: "healthy")  # type: ignore[method-assign, assignment]


@defect("two-statuses-at-once", promise=8, scenarios=DETACHED, checkers=("metrics",))
def two_statuses_at_once() -> None:
    """A month that becomes unavailable keeps its 1 for healthy."""

    def both(gauges: Gauges, samples: list[Sample]) -> list[Sample]:
        return [one._replace(value=1.0) if one.labels["status"] == "healthy" else one for one in samples]

    regauge("partition_status", both)


@defect("depth-as-of-the-last-enqueue", promise=8, scenarios=DETACHED, checkers=("metrics",), names_events=False)
def depth_as_of_the_last_enqueue() -> None:
    """The gauge of the queue's depth is refreshed when an event is queued, not when one leaves."""
    enqueue = SqliteQueue.enqueue
    shown: dict[str, int] = {}

    async def refreshing(
        self: SqliteQueue, failed: Sequence[tuple[Event, Fault]], timeout_seconds: float
    ) -> list[Outcome]:
        outcomes = await enqueue(self, failed, timeout_seconds)
        shown.clear()
        shown.update(self.pending)
        return outcomes

    def stale(gauges: Gauges, samples: list[Sample]) -> list[Sample]:
        return [one._replace(value=float(shown.get(one.labels["partition"], 0))) for one in samples]

    SqliteQueue.enqueue = refreshing  # type: ignore[method-assign]
    regauge("dlq_depth", stale)


@defect(
    "depth-counts-dead-letters",
    promise=8,
    scenarios=("poison-while-detached",),
    checkers=("metrics",),
    names_events=False,
)
def depth_counts_dead_letters() -> None:
    """The gauge of the queue's depth has the dead letters among the pending."""

    def all_of_them(gauges: Gauges, samples: list[Sample]) -> list[Sample]:
        dead = float(sum(gauges.parts.queue.dead.values()))
        return [one._replace(value=one.value + (0.0 if number else dead)) for number, one in enumerate(samples)]

    regauge("dlq_depth", all_of_them)


@defect("age-of-the-newest", promise=8, scenarios=DETACHED, checkers=("metrics",))
def age_of_the_newest() -> None:
    """The gauge of the oldest event's age shows the youngest's: while events come it stays near 0."""
    reword("dlq/oldest", "ORDER BY seq LIMIT 1", "ORDER BY seq DESC LIMIT 1")


@defect("age-never-resets", promise=8, scenarios=DETACHED, checkers=("metrics",), names_events=False)
def age_never_resets() -> None:
    """The gauge of the oldest event's age goes on growing when the queue is empty."""
    first: list[float] = []

    def since_the_first(gauges: Gauges, samples: list[Sample]) -> list[Sample]:
        if gauges.parts.queue.oldest_queued_at is not None and not first:
            first.append(gauges.parts.queue.oldest_queued_at)
        return [one._replace(value=time.time() - first[0] if first else one.value) for one in samples]

    regauge("dlq_oldest_age_seconds", since_the_first)


@defect("capacity-shows-the-room-left", promise=8, scenarios=DETACHED, checkers=("metrics",), names_events=False)
def capacity_shows_the_room_left() -> None:
    """The gauge of the queue's capacity shows how much room is left in it."""

    def room(gauges: Gauges, samples: list[Sample]) -> list[Sample]:
        return [one._replace(value=one.value - sum(gauges.parts.queue.pending.values())) for one in samples]

    regauge("dlq_capacity", room)


@defect("last-write-of-a-failed-try", promise=8, scenarios=("december-refused-by-check",), checkers=("metrics",))
def last_write_of_a_failed_try() -> None:
    """The time of the last write moves with each event of the month, stored or not."""
    write_month = Writer._write_month

    async def touched(self: Writer, month: Month, events: list[Event], deadline: float) -> dict[Event, Outcome]:
        month.last_write_timestamp = time.time()
        return await write_month(self, month, events, deadline)

    Writer._write_month = touched  # type: ignore[method-assign]


@defect("last-write-in-milliseconds", promise=8, scenarios=BASELINE, checkers=("metrics",), quick=True)
def last_write_in_milliseconds() -> None:
    """The time of the last write is in milliseconds."""

    def thousandfold(gauges: Gauges, samples: list[Sample]) -> list[Sample]:
        return [one._replace(value=one.value * 1000) for one in samples]

    regauge("partition_last_write_timestamp", thousandfold)


@defect("series-from-the-first-failure-on", promise=8, scenarios=BASELINE, checkers=("metrics",))
def series_from_the_first_failure_on() -> None:
    """The series of a month's failures exist only once there was one: an alert on them meets nothing."""
    Metrics.know = lambda self, partition: None  # type: ignore[method-assign]


class _Counter:
    """A counter whose increments go another way; `inc` is told the labels and the amount."""

    def __init__(self, counter: Any, inc: Callable[[Any, tuple[str, ...], float], None]) -> None:
        self._counter, self._inc = counter, inc
        self._labels: tuple[str, ...] = ()

    def labels(self, *values: str) -> "_Counter":
        """The child of these label values."""
        child = _Counter(self._counter, self._inc)
        child._labels = values
        # As the original does: the series exists from now on.
        self._counter.labels(*values)
        return child

    def inc(self, amount: float = 1) -> None:
        """Count."""
        self._inc(self._counter, self._labels, amount)

    def observe(self, amount: float) -> None:
        """Observe, for a histogram."""
        self._inc(self._counter, self._labels, amount)


def _recount(name: str, inc: Callable[[Any, tuple[str, ...], float], None]) -> None:
    remetric(lambda metrics: vars(metrics).update({name: _Counter(vars(metrics)[name], inc)}))


@defect("events-counted-with-a-race", promise=8, scenarios=BASELINE, checkers=("metrics",))
def events_counted_with_a_race() -> None:
    """The counter of events is read, and a moment later written: of two answers at a time one is not counted."""

    def racing(counter: Any, labels: tuple[str, ...], amount: float) -> None:
        child = counter.labels(*labels)
        seen = child._value.get()
        asyncio.get_running_loop().call_later(0.005, child._value.set, seen + amount)

    _recount("events", racing)


@defect("refusals-not-counted", promise=8, scenarios=DETACHED, checkers=("metrics",))
def refusals_not_counted() -> None:
    """Events that are refused are no events: `rejected` stays at 0."""

    def accepted(counter: Any, labels: tuple[str, ...], amount: float) -> None:
        counter.labels(*labels).inc(0 if labels == ("rejected",) else amount)

    _recount("events", accepted)


@defect("queued-counted-as-created", promise=8, scenarios=DETACHED, checkers=("metrics",), quick=True)
def queued_counted_as_created() -> None:
    """No metric tells 201 from 202: what was accepted counts as created."""
    routes._LABELS[Status.QUEUED] = "created"


@defect("refused-requests-not-timed", promise=8, scenarios=DETACHED, checkers=("metrics",), names_events=False)
def refused_requests_not_timed() -> None:
    """The histogram of requests has only those that went well."""

    def successes(histogram: Any, labels: tuple[str, ...], amount: float) -> None:
        if labels[1].startswith("2"):
            histogram.labels(*labels).observe(amount)

    _recount("requests", successes)


@defect(
    "failures-under-the-present-month",
    promise=8,
    scenarios=("december-refused-by-check",),
    checkers=("metrics", "logs"),
    names_events=False,
)
def failures_under_the_present_month() -> None:
    """Write failures are counted under the month of the clock, not that of the event."""

    def by_the_clock(counter: Any, labels: tuple[str, ...], amount: float) -> None:
        counter.labels(f"{datetime.now(UTC):%Y_%m}").inc(amount)

    _recount("write_failures", by_the_clock)


@defect(
    "spared-events-counted-as-failures",
    promise=8,
    scenarios=("december-refused-by-check",),
    checkers=("logs", "metrics"),
    names_events=False,
)
def spared_events_counted_as_failures() -> None:
    """Events that an open breaker spared count as failed writes, though nobody tried them."""
    write_month = Writer._write_month

    async def counted(self: Writer, month: Month, events: list[Event], deadline: float) -> dict[Event, Outcome]:
        if not self._may_try(month):
            self.metrics.write_failures.labels(month.name).inc(len(events))
        return await write_month(self, month, events, deadline)

    Writer._write_month = counted  # type: ignore[method-assign]


@defect("outage-counted-as-failures-of-months", promise=8, scenarios=("database-down",), checkers=("metrics", "logs"))
def outage_counted_as_failures_of_months() -> None:
    """A lost database counts as a failed write of each month, as if its partition were broken."""
    note, write_month = Writer._note, Writer._write_month

    def blaming(self: Writer, month: Month, results: Results) -> None:
        lost = {event: one for event, one in results.items() if isinstance(one, Fault) and one.owner is Owner.LINK}
        self.metrics.write_failures.labels(month.name).inc(len(lost))
        for fault in lost.values():
            self.log.error(f"Failed to write to partition audit_events_{month.name}", sqlstate=fault.sqlstate)
        note(self, month, results)

    async def outage(self: Writer, month: Month, events: list[Event], deadline: float) -> dict[Event, Outcome]:
        if not self.database.available:
            blaming(self, month, {event: Fault(Owner.LINK, "08006", "no database") for event in events})
        return await write_month(self, month, events, deadline)

    Writer._note, Writer._write_month = blaming, outage  # type: ignore[method-assign]


@defect(
    "counters-begin-anew-with-the-database",
    promise=8,
    scenarios=("database-down",),
    checkers=("metrics",),
    names_events=False,
)
def counters_begin_anew_with_the_database() -> None:
    """With a new connection after an outage the counters are made anew, at 0."""
    keep_connecting, outages = Database.keep_connecting, []

    async def anew(self: Database, attempt: Any) -> Connection:
        async def noting() -> Connection:
            if self.schema_ready and not self.connected.is_set():
                outages.append(self)
            return await attempt()  # type: ignore[no-any-return]

        connection = await keep_connecting(self, noting)
        if outages:
            outages.clear()
            for outcome in ("created", "queued", "duplicate", "rejected", "unavailable"):
                self._metrics.events.labels(outcome).reset()
        return connection

    Database.keep_connecting = anew  # type: ignore[method-assign]


@defect("drained-counted-twice", promise=8, scenarios=DETACHED, checkers=("metrics",))
def drained_counted_twice() -> None:
    """A drained event counts when it is stored and again when it leaves the queue."""
    _drained_times(2)


@defect("drained-not-counted", promise=8, scenarios=DETACHED, checkers=("metrics",))
def drained_not_counted() -> None:
    """The counter of drained events counts what SQLite says of a statement that changed nothing."""
    _drained_times(0)


def _drained_times(factor: int) -> None:
    remove = SqliteQueue.remove

    async def multiplied(self: SqliteQueue, entries: Sequence[Entry]) -> int:
        return await remove(self, entries) * factor

    SqliteQueue.remove = multiplied  # type: ignore[method-assign]


def _another_family(name: str, labels: Callable[[Gauges], dict[str, str]]) -> None:
    """Export one more gauge, at 1."""
    collect = Gauges.collect

    def more(self: Gauges) -> Iterator[Metric]:
        yield from collect(self)
        values = labels(self)
        family = GaugeMetricFamily(f"datastorage_{name}", "For whom it may help", labels=list(values))
        family.add_metric(list(values.values()), 1.0)
        yield family

    Gauges.collect = more  # type: ignore[method-assign]


@defect("event-id-in-a-label", promise=8, scenarios=BASELINE, checkers=("metrics",), names_events=False, quick=True)
def event_id_in_a_label() -> None:
    """A series tells the last event of the table by its id."""
    last = [""]
    wrote = Writer._note

    def noted(self: Writer, month: Month, results: Results) -> None:
        last[0] = next(iter(results)).event_id if results else last[0]
        wrote(self, month, results)

    Writer._note = noted  # type: ignore[method-assign]
    _another_family("last_event_info", lambda gauges: {"event_id": last[0]})


@defect("connection-string-in-a-label", promise=8, scenarios=BASELINE, checkers=("metrics",), names_events=False)
def connection_string_in_a_label() -> None:
    """A series tells the database by its URL, user and password included."""
    _another_family("database_info", lambda gauges: {"url": gauges.parts.config.database_url})
