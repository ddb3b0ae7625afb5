"""Recovery: probes of the months that are spared or idle, and the way back from the queue into the table."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate

from .classify import Fault, Owner
from .dlq import DlqError, Entry
from .models import CONFLICT, Outcome, Status
from .partitions import Month
from .pool import pause
from .table import probe
from .writer import Results, Writer

# Small at first: how large the events are shows when they are read.
BATCH_START, BATCH_MAX = 64, 1000
# What a statement carries in a short time.
BATCH_CHARACTERS = 1024 * 1024
JOB = "drain"
PROBES_AT_ONCE = 2
DRAINS_AT_ONCE = 2
# While somebody wrote so lately the drain works half of the time, in short steps.
LIVE_SECONDS = 1.0
LIVE_BATCH_MAX = 200
_TICK_SECONDS = 0.1
_DAMAGED = Fault(Owner.EVENT, None, "the entry was changed in the queue")
_CONFLICT = Fault(Owner.EVENT, None, CONFLICT.detail)


@dataclass
class Drainer:
    """Two loops: one probes months, one empties the queue of those that take writes."""

    parts: Writer
    _probes: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _drains: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    # In the order in which they ask, so that slow months do not keep the places from others.
    _probing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(PROBES_AT_ONCE))
    _turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(DRAINS_AT_ONCE))
    _batch: int = BATCH_START

    def _start(
        self, jobs: dict[str, asyncio.Task[None]], month: Month, job: Callable[[Month], Awaitable[None]]
    ) -> None:
        """One job a month; one that failed by what it did not foresee raises here, where it is reported."""
        running = jobs.get(month.name)
        if running is None or running.done():
            jobs[month.name] = asyncio.ensure_future(job(month))
            if running is not None:
                running.result()

    async def run_probes(self) -> None:
        """For ever: each open month gets its one probe when it is due, an idle one now and then."""
        while True:
            for month in self.parts.months if self.parts.database.available else []:
                # Damage shows only when somebody writes: where nobody does, a probe must.
                idle = time.monotonic() - month.proved_at > self.parts.config.partition_check_seconds
                if month.breaker.probe_is_due or (idle and month.attached and month.breaker.allows):
                    self._start(self._probes, month, self._probe)
            await pause(_TICK_SECONDS)

    async def _probe(self, month: Month) -> None:
        async with self._probing:
            spared, day = not month.breaker.allows, month.probe_day
            if spared:
                month.breaker.begin_probe()
            fault = await self.parts.attempt(JOB, day, partial(probe, day), self.parts.database.limits)
        month.proved_at = time.monotonic()
        if spared and fault is None:
            month.breaker.probe_succeeded()
            month.attached = month.attached or None
        elif spared:
            month.breaker.probe_failed()
        if fault is not None:
            self.parts.months.failed(month, fault)

    async def run_drain(self) -> None:
        """For ever: a job for each month that has something queued and takes writes."""
        while True:
            for name in self.parts.queue.pending:
                self._start(self._drains, self.parts.months.get(name), self._drain)
            await pause(self.parts.config.dlq_retry_min_seconds)

    async def _drain(self, month: Month) -> None:
        while self.parts.database.available and self.may_drain(month) and await self.drain_month(month):
            pass

    def may_drain(self, month: Month) -> bool:
        """Whether the month takes writes."""
        return month.breaker.allows

    async def drain_month(self, month: Month) -> bool:
        """Move one batch. Returns whether anything left the queue."""
        try:
            entries = await self.parts.queue.due(month.name, self._batch)
            sizes = accumulate(len(entry.event.text) for entry in entries)
            entries = entries[: max(1, sum(size <= BATCH_CHARACTERS for size in sizes))]
            return bool(entries) and await self._move(month, entries)
        except DlqError as error:
            self.parts.log.error("DLQ cannot be drained", error=str(error))
            self._batch = BATCH_START
            return False

    async def insert_batch(self, month: Month, entries: list[Entry]) -> Results:
        """What became of each entry's event; of none that come after a fault that was not their own."""
        limits, results, left = self.parts.database.limits, Results(), [entry.event for entry in entries]
        while left and all(isinstance(one, Outcome) or one.owner is Owner.EVENT for one in results.values()):
            began, live = time.monotonic(), time.monotonic() - self.parts.months.asked_at < LIVE_SECONDS
            size = LIVE_BATCH_MAX if live else BATCH_MAX
            async with self._turns:
                results |= await self.parts.store(JOB, month, left[:size], [], lambda: limits)
            left = left[size:]
            if live:
                await pause(time.monotonic() - began)
        return results

    async def _move(self, month: Month, entries: list[Entry]) -> bool:
        damaged = [entry for entry in entries if entry.event.month != entry.partition]
        if damaged:
            await self.parts.queue.put_back(damaged, _DAMAGED, time.time(), "poison")
            return True
        results = await self.insert_batch(month, entries)
        outcomes = [(entry, results[entry.event]) for entry in entries if entry.event in results]
        stored = [entry for entry, one in outcomes if isinstance(one, Outcome) and one.status is Status.CREATED]
        other = [entry for entry, one in outcomes if one == CONFLICT]
        # Without a connection nothing was tried: live writes go first, the next round tries again.
        failed = [(e, one) for e, one in outcomes if isinstance(one, Fault) and one.owner is not Owner.POOL]
        if stored:
            self._batch = min(BATCH_MAX, max(BATCH_START, len(stored) * 2))
            self.parts.months.wrote(month)
            self.parts.metrics.drained.labels(month.name).inc(await self.parts.queue.remove(stored))
        self.parts.metrics.drain_failures.labels(month.name).inc(len(failed) + len(other))
        if other:
            await self.parts.queue.put_back(other, _CONFLICT, time.time(), "conflict")
        # One that its partition refuses alone waits aside: those behind it may be welcome.
        alone = len(entries) == 1
        own = [(entry, fault) for entry, fault in failed if fault.owner is Owner.EVENT]
        aside = own or [(entry, fault) for entry, fault in failed if alone and fault.owner is Owner.PARTITION]
        await asyncio.gather(*[self._strike(entry, fault) for entry, fault in aside])
        for fault in {fault for entry, fault in failed if (entry, fault) not in aside}:
            self.parts.months.failed(month, fault)
            # A batch too large for a slow link, or for the statement's time, would fail for ever.
            self._batch = max(1, self._batch // 4)
        return bool(stored or other)

    async def _strike(self, entry: Entry, fault: Fault) -> None:
        """One more attempt that failed; dead after the last that was the event's own fault."""
        config, own = self.parts.config, fault.owner is Owner.EVENT
        attempts = entry.attempts + own
        wait = min(config.dlq_retry_min_seconds * 2.0 ** min(attempts, 30), config.dlq_retry_max_seconds)
        reason = "poison" if own and attempts >= config.dlq_max_attempts else None
        due_at = time.time() + (wait if own else config.dlq_retry_max_seconds)
        await self.parts.queue.put_back([entry], fault, due_at, reason)
