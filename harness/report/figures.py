"""Figures: what was measured in one run, worked out of its history for what is made of several runs.

A write is *outside* when no fault that was or may have been on covers its month: from the first try to inject it until
the recovery time after the probe that saw health has passed.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .. import events as ev
from ..checkers._common import reaches, recovery_edge, weighed_expectations
from ..checkers._pool_series import ERRORS, IN_USE, WAIT
from ..checkers._series import Scrape
from ..checkers.isolation import settled
from ..noise import Timed
from ..oracle import CREATED
from ..rundata import Operation, Run, is_created
from ..values import Month

_SLICES = 40
"""Of a condensed run the writes are asked for in so many pieces, since all at once would take its memory back."""

DRAINED = "datastorage_dlq_drained_total"
DRAIN_FAILURES = "datastorage_dlq_drain_failures_total"
WRITE_FAILURES = "datastorage_partition_write_failures_total"
EVENTS = "datastorage_events_total"


@dataclass(frozen=True, kw_only=True)
class Latencies:
    """Times of direct writes that were answered 201, by requests of their own.

    ``outside`` are those outside every blast radius.  Of the months that the faults spare, ``control`` are those before
    the first fault and ``under`` those while every fault was on and the first lock time-outs were over: what the
    checker ``isolation`` compares.
    """

    outside: tuple[Timed, ...] = ()
    control: tuple[Timed, ...] = ()
    under: tuple[Timed, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Answers:
    """How many first sends of the load got which status (0: no answer), outside every blast radius and inside one.

    What an edge of a fault touched may have met either side of it, and is in neither.
    """

    outside: Counter[int]
    inside: Counter[int]


@dataclass(frozen=True, kw_only=True)
class PoolUse:
    """What the scrapes of some time say about the connection pool.

    ``waited`` acquisitions took longer than the smallest bucket of the histogram; ``p99_at_most_seconds`` is the upper
    bound of the bucket that the 99th hundredth falls into.  ``full_share`` is the share of scrapes at which every
    connection was in use.
    """

    scrapes: int
    acquisitions: float
    waited: float
    waited_seconds: float
    p99_at_most_seconds: float
    most_in_use: float
    full_share: float

    @property
    def mean_wait_seconds(self) -> float:
        """Of all acquisitions; 0 where there was none."""
        return self.waited_seconds / self.acquisitions if self.acquisitions else 0.0


def direct_writes(run: Run) -> Iterator[Operation]:
    """Yield the load's first sends that were answered 201 and had a request of their own, folded ones too."""
    if run.condensed is None:
        yield from (op for op in run.operations if _counts(op))
        return
    step = max(run.end / _SLICES, 0.5)
    for number in range(math.ceil(run.end / step) + 1):
        since, until = number * step, (number + 1) * step
        for op in run.under_way(since, until, statuses=(CREATED,)):
            if since <= op.invoked < until and _counts(op):
                yield op


def _counts(operation: Operation) -> bool:
    return operation.writer >= 0 and not operation.batch and is_created(operation)


def is_outside(run: Run, month: Month, start: float, end: float) -> bool:
    """Tell whether no fault covers the month in [start, end]."""
    return not any(
        reaches(window, month) and window.injecting <= end and start <= recovery_edge(window, run)
        for window in run.windows
    )


def latencies(run: Run) -> Latencies:
    """Sort the times of direct writes."""
    first = min((window.injecting for window in run.windows), default=math.inf)
    spared = {month for month in run.months if not any(reaches(window, month) for window in run.windows)}
    outside: list[Timed] = []
    control: list[Timed] = []
    under: list[Timed] = []
    for op in direct_writes(run):
        timed = (op.invoked, op.seconds)
        if is_outside(run, op.month, op.invoked, op.completed):
            outside.append(timed)
        if run.windows and op.month in spared:
            if op.completed < first:
                control.append(timed)
            elif all(settled(window, run, op) for window in run.windows):
                under.append(timed)
    return Latencies(outside=tuple(outside), control=tuple(control), under=tuple(under))


def canary_times(run: Run) -> tuple[Timed, ...]:
    """Times of the harness's own inserts outside every blast radius: what the database took, the service apart."""
    return tuple(
        (sample.t, sample.seconds)
        for sample in run.of_kind(ev.CanarySample)
        if not sample.sqlstate and is_outside(run, Month.parse(sample.month), sample.t, sample.t + sample.seconds)
    )


def answers(run: Run) -> Answers:
    """Count the answers to the load's first sends."""
    outside: Counter[int] = Counter()
    inside: Counter[int] = Counter()
    for op, expected, count in weighed_expectations(run):
        if op.kind is ev.OpKind.WRITE and op.writer >= 0 and expected.strict:
            side = inside if expected.covered else outside
            side[op.status] += count
    return Answers(outside=outside, inside=inside)


def scrapes_of(run: Run, start: float = -math.inf, end: float = math.inf) -> list[Scrape]:
    """The successful scrapes that were asked for and answered within [start, end]."""
    found = (Scrape(sample) for sample in run.of_kind(ev.MetricsSample) if not sample.error)
    return [scrape for scrape in found if start <= scrape.t and scrape.end <= end]


def grown(scrapes: Sequence[Scrape], name: str, **labels: str) -> float | None:
    """How much a counter grew over all its label values that match, restarts included; None where it was not seen."""
    values = [value for scrape in scrapes if (value := _sum(scrape, name, labels)) is not None]
    if len(values) < 2:
        return None
    # What falls began anew with another process.
    return sum(after - before if after >= before else after for before, after in itertools.pairwise(values))


def _sum(scrape: Scrape, name: str, wanted: dict[str, str]) -> float | None:
    values = [value for labels, value in scrape.each(name) if wanted.items() <= labels.items()]
    return sum(values) if values else None


def pool_use(scrapes: Sequence[Scrape], limit: int) -> PoolUse | None:
    """Work out what the scrapes say about a pool of ``limit``; None where they say nothing about waits."""
    acquisitions, seconds = grown(scrapes, f"{WAIT}_count"), grown(scrapes, f"{WAIT}_sum")
    in_use = [value for scrape in scrapes if (value := scrape.get(IN_USE)) is not None]
    if acquisitions is None or seconds is None or not in_use:
        return None
    bounds = sorted({labels["le"] for scrape in scrapes for labels, _ in scrape.each(f"{WAIT}_bucket")}, key=float)
    below = [(float(le), grown(scrapes, f"{WAIT}_bucket", le=le) or 0.0) for le in bounds]
    within = next((bound for bound, count in below if count >= 0.99 * acquisitions), math.inf)
    return PoolUse(
        scrapes=len(scrapes),
        acquisitions=acquisitions,
        waited=max(0.0, acquisitions - below[0][1]) if below else 0.0,
        waited_seconds=seconds,
        p99_at_most_seconds=within,
        most_in_use=max(in_use),
        full_share=sum(value >= limit for value in in_use) / len(in_use),
    )


def key_metrics(run: Run) -> dict[str, float | None]:
    """The series by which a run is told from another, each with its unit; None where they were not seen."""
    scrapes = scrapes_of(run)
    pool = pool_use(scrapes, run.limits.db_pool_max)
    depths = [sample.depth for sample in run.of_kind(ev.DlqSample) if sample.depth >= 0]
    return {
        "fallbacks (events)": grown(scrapes, EVENTS, outcome="queued"),
        "drained (events)": grown(scrapes, DRAINED),
        "failed drain tries (events)": grown(scrapes, DRAIN_FAILURES),
        "write failures of partitions": grown(scrapes, WRITE_FAILURES),
        "connection errors": grown(scrapes, ERRORS),
        "deepest queue (events)": float(max(depths)) if depths else None,
        "waits for a connection": pool.waited if pool else None,
        "mean wait for a connection (ms)": pool.mean_wait_seconds * 1000 if pool else None,
        "most connections in use": pool.most_in_use if pool else None,
    }
