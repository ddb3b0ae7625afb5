"""Looking: how a living lab is at this moment, asked of its parts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ..checkers._pool_series import IDLE, IN_USE, MAX_OPEN, WAIT
from ..checkers._series import Scrape
from ..events import DlqSample, FaultStep, MetricsSample, ReadySample
from ..nemesis import Nemesis
from ..probes.http import HttpProbe
from ..probes.tables import TablesLook, look_at_tables
from ..stacks.base import Environment
from .book import Book
from .parameters import shown_parameters
from .status import FaultState, PoolState, QueueState, ServiceState


async def look(environment: Environment, probe: HttpProbe) -> tuple[ReadySample, DlqSample, TablesLook]:
    """Ask service, queue and database at once; none of them raises, and none takes longer than some seconds."""
    reads = environment.target.reads

    async def queue() -> DlqSample:
        return await probe.dlq(0.0) if reads.dlq else DlqSample(0.0, -1)

    async def tables() -> TablesLook:
        if not reads.sql:
            return TablesLook(problem="the target does not let anyone look")
        return await look_at_tables(environment.database)

    return await asyncio.gather(probe.ready(0.0), queue(), tables())


def service_state(environment: Environment, ready: ReadySample) -> ServiceState:
    """Return the service as its page tells of it."""
    service = environment.service
    return ServiceState(url=service.base_url, pid=service.pid, status=ready.status, degraded=ready.degraded)


def queue_state(sample: DlqSample) -> QueueState:
    """Return the queue as its page tells of it."""
    return QueueState(depth=sample.depth, dead=sample.dead, capacity=sample.capacity, by_month=dict(sample.partitions))


def pool_state(scrapes: Sequence[MetricsSample], waiting_for_locks: int, now: float) -> PoolState:
    """Return the pool as the last scrapes of the samplers tell of it; what is older than some seconds tells nothing."""
    fresh = [Scrape(sample) for sample in scrapes if now - sample.t < _FRESH_SECONDS]
    if not fresh:
        return PoolState(waiting_for_locks=waiting_for_locks)
    first, last = fresh[0], fresh[-1]
    grown = _grown(first, last, f"{WAIT}_count")
    waited = _grown(first, last, f"{WAIT}_sum")
    return PoolState(
        in_use=_whole(last.get(IN_USE)),
        idle=_whole(last.get(IDLE)),
        maximum=_whole(last.get(MAX_OPEN)),
        acquisitions=_whole(grown),
        mean_wait_seconds=waited / grown if grown and waited is not None else None,
        over_seconds=last.t - first.t,
        waiting_for_locks=waiting_for_locks,
    )


_FRESH_SECONDS = 5.0


def _grown(first: Scrape, last: Scrape, series: str) -> float | None:
    """How much a counter grew; None where it is missing, or fell with the life of its process."""
    begun, ended = first.get(series), last.get(series)
    if first is last or begun is None or ended is None or ended < begun:
        return None
    return ended - begun


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def fault_states(nemesis: Nemesis, book: Book, now: float) -> tuple[FaultState, ...]:
    """Return the faults that are on, in the order of their injection."""
    found = []
    for number in nemesis.open_faults:
        fault = nemesis.fault(number)
        begun, proof = book.last(number, FaultStep.INJECTING), book.last(number, FaultStep.CONFIRMED)
        failed = book.last(number, FaultStep.HEAL_FAILED)
        found.append(
            FaultState(
                number=number,
                name=fault.name,
                parameters=shown_parameters(fault),
                since_seconds=now - begun.t if begun is not None else 0.0,
                evidence=proof.detail if proof is not None else "",
                problem=failed.detail if failed is not None else "",
            )
        )
    return tuple(found)
