"""Every series of the service, in one registry; gauges are read at the scrape, so they are never stale."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from .writer import Writer

BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
STATUSES = ("healthy", "degraded", "unavailable")


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
        for outcome in ("created", "queued", "duplicate", "rejected", "unavailable"):
            self.events.labels(outcome)

    def know(self, partition: str) -> None:
        """Make the series of a partition exist, at zero: missing is not zero."""
        for counter in (self.write_failures, self.drained, self.drain_failures):
            counter.labels(partition)


@dataclass(frozen=True, eq=False)
class Gauges(Collector):
    """What is read off the parts at each scrape."""

    parts: "Writer"

    def collect(self) -> Iterator[Metric]:
        """All gauges as they are now."""
        database, queue, months = self.parts.database, self.parts.queue, [*self.parts.months.values()]
        idle, used = database.pool.get_stats().get("pool_available", 0), database.in_use
        yield _gauge("db_connections_open", "In use and idle", {(): used + idle})
        yield _gauge("db_connections_in_use", "Lent out", {(): used})
        yield _gauge("db_connections_idle", "Waiting in the pool", {(): idle})
        yield _gauge("db_max_open_connections", "DB_POOL_MAX", {(): database.size_max})
        yield _gauge("dlq_oldest_age_seconds", "Age of the oldest pending event", {(): queue.oldest_age_seconds})
        yield _gauge("dlq_capacity", "DLQ_MAX_EVENTS", {(): queue.capacity})
        dead = {"poison": 0, "conflict": 0} | queue.dead
        yield _gauge("dlq_dead_letters", "Dead letters", {(reason,): dead[reason] for reason in dead}, "reason")
        depth = {(month.name,): queue.pending.get(month.name, 0) for month in months}
        yield _gauge("dlq_depth", "Pending events", depth, "partition")
        last_write = {(month.name,): month.last_write_timestamp for month in months}
        yield _gauge("partition_last_write_timestamp", "Unix seconds of the last commit", last_write, "partition")
        now = {month.name: month.status for month in months}
        status = {(name, one): one == now[name] for name in now for one in STATUSES}
        yield _gauge("partition_status", "Exactly one status is 1", status, "partition", "status")


def _gauge(name: str, help_text: str, samples: Mapping[Any, float], *labels: str) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"datastorage_{name}", help_text, labels=labels)
    for values, value in samples.items():
        family.add_metric(values, value)
    return family
