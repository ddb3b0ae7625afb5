"""Every series of the service, in one registry; gauges are read at the scrape, so they are never stale."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from .dlq import SqliteQueue
    from .partitions import Month
    from .pool import Database

BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
STATUSES = ("healthy", "degraded", "unavailable")
OUTCOMES = ("created", "queued", "duplicate", "rejected", "unavailable")
DEAD_REASONS = ("poison", "conflict")


class Metrics:
    """The counters and histograms; the gauges register themselves in `registry`."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        histogram = partial(Histogram, namespace="datastorage", registry=self.registry, buckets=BUCKETS)
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


@dataclass(frozen=True, eq=False)
class Gauges(Collector):
    """What is read off the parts at each scrape."""

    database: "Database"
    months: "Iterable[Month]"
    queue: "SqliteQueue"

    def collect(self) -> Iterator[Metric]:
        """All gauges as they are now."""
        idle, used = self.database.pool.get_stats().get("pool_available", 0), self.database.in_use
        yield _gauge("db_connections_open", "In use and idle", used + idle)
        yield _gauge("db_connections_in_use", "Lent out", used)
        yield _gauge("db_connections_idle", "Waiting in the pool", idle)
        yield _gauge("db_max_open_connections", "DB_POOL_MAX", self.database.size_max)
        yield _gauge("dlq_oldest_age_seconds", "Age of the oldest pending event", self.queue.oldest_age_seconds)
        yield _gauge("dlq_capacity", "DLQ_MAX_EVENTS", self.queue.capacity)
        last_write = _gauge("partition_last_write_timestamp", "Unix seconds of the last commit", None, "partition")
        status = _gauge("partition_status", "Exactly one status is 1", None, "partition", "status")
        depth = _gauge("dlq_depth", "Pending events", None, "partition")
        dead = _gauge("dlq_dead_letters", "Dead letters", None, "reason")
        for month in self.months:
            now = month.status
            last_write.add_metric([month.name], month.last_write_timestamp)
            depth.add_metric([month.name], self.queue.pending.get(month.name, 0))
            for name in STATUSES:
                status.add_metric([month.name, name], name == now)
        for reason, count in (dict.fromkeys(DEAD_REASONS, 0) | self.queue.dead).items():
            dead.add_metric([reason], count)
        yield from (last_write, status, depth, dead)


def _gauge(name: str, help_text: str, value: float | None, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"datastorage_{name}", help_text, value, labels or None)
