"""Every series of the service, in one registry; gauges are read at the scrape, so they are never stale."""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from .dlq.base import DeadLetterQueue
    from .partitions import Month
    from .pool import Database

WAIT_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
STATUSES = ("healthy", "degraded", "unavailable")
OUTCOMES = ("created", "queued", "duplicate", "rejected", "unavailable")
DEAD_REASONS = ("poison", "conflict")


class Metrics:
    """The counters and histograms; `watch` adds the gauges once their owners exist."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        histogram = partial(Histogram, namespace="datastorage", registry=self.registry, buckets=WAIT_BUCKETS)
        counter = partial(Counter, namespace="datastorage", registry=self.registry)
        of_month = partial(counter, labelnames=["partition"])
        self.wait = histogram("db_connection_wait_duration_seconds", "Each acquisition of a connection")
        self.requests = histogram("request_duration_seconds", "Each request", labelnames=["route", "status"])
        self.connection_errors = counter("db_connection_errors", "Failed connects, connections found broken")
        self.events = counter("events", "Each event at its answer", labelnames=["outcome"])
        self.write_failures = of_month("partition_write_failures", "Live inserts failed for their partition's fault")
        self.drained = of_month("dlq_drained", "Events moved from queue to table")
        self.drain_failures = of_month("dlq_drain_failures", "Events whose drain try failed")
        for outcome in OUTCOMES:
            self.events.labels(outcome)

    def know(self, partition: str) -> None:
        """Make the series of a partition exist, at zero: missing is not zero."""
        for counter in (self.write_failures, self.drained, self.drain_failures):
            counter.labels(partition)

    def watch(self, database: "Database", months: "Iterable[Month]", queue: "DeadLetterQueue") -> None:
        """Register the gauges."""
        self.registry.register(_Gauges(database, months, queue))

    def text(self) -> bytes:
        """The exposition in the Prometheus text format."""
        return generate_latest(self.registry)


class _Gauges(Collector):
    def __init__(self, database: "Database", months: "Iterable[Month]", queue: "DeadLetterQueue") -> None:
        self._database = database
        self._months = months
        self._queue = queue

    def describe(self) -> Iterable[Metric]:
        """Nothing: asking for the values at registration would read a queue that is not open yet."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All gauges as they are now."""
        idle, used = self._database.idle, self._database.in_use
        for name, value in (
            ("db_connections_open", used + idle),
            ("db_connections_in_use", used),
            ("db_connections_idle", idle),
            ("db_max_open_connections", self._database.size_max),
            ("dlq_oldest_age_seconds", self._queue.oldest_age_seconds()),
            ("dlq_capacity", self._queue.capacity),
        ):
            yield GaugeMetricFamily(f"datastorage_{name}", "Now", value=value)
        written = GaugeMetricFamily(
            "datastorage_partition_last_write_timestamp", "Unix seconds of the last commit", labels=["partition"]
        )
        status = GaugeMetricFamily(
            "datastorage_partition_status", "Exactly one status is 1", labels=["partition", "status"]
        )
        depth = GaugeMetricFamily("datastorage_dlq_depth", "Pending events", labels=["partition"])
        pending = self._queue.pending_by_partition()
        for month in self._months:
            written.add_metric([month.name], month.last_write_timestamp)
            depth.add_metric([month.name], pending.pop(month.name, 0))
            now = month.status
            for name in STATUSES:
                status.add_metric([month.name, name], 1 if name == now else 0)
        for name, count in pending.items():
            depth.add_metric([name], count)
        dead = GaugeMetricFamily("datastorage_dlq_dead_letters", "Dead letters", labels=["reason"])
        found = {**dict.fromkeys(DEAD_REASONS, 0), **self._queue.dead_by_reason()}
        for reason, count in found.items():
            dead.add_metric([reason], count)
        yield from (written, status, depth, dead)
