"""Recovery: probes of the months that are spared or idle, and the way back from the queue into the table."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate

from .database import Fault, Owner, pause
from .dlq import DlqError, Entry
from .models import CONFLICT, Outcome
from .partitions import BATCH_START, Month
from .writer import Results, Writer, probe

# What a statement carries in a short time.
BATCH_MAX, BATCH_CHARACTERS = 1000, 1024 * 1024
JOB, PROBES_AT_ONCE, DRAINS_AT_ONCE = "drain", 2, 2
# While somebody wrote so lately the drain works two thirds of the time, in short steps.
LIVE_SECONDS, LIVE_BATCH_MAX = 1.0, 200
Job = Callable[[Month], Awaitable[None]]


@dataclass
class Drainer:
    """Two loops: one probes months, one empties the queue of those that take writes."""

    parts: Writer
    _running: dict[tuple[Job, str], asyncio.Future[None]] = field(default_factory=dict)
    # In the order in which they ask, so that slow months do not keep the places from others.
    _probing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(PROBES_AT_ONCE))
    _turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(DRAINS_AT_ONCE))

    def _start(self, month: Month, job: Job) -> None:
        """One of its kind a month; one that failed by what it did not foresee raises here, where it is reported."""
        last = self._running.get((job, month.name))
        if last is None or last.done():
            self._running[job, month.name] = asyncio.ensure_future(job(month))
            if last is not None:
                last.result()

    async def run_probes(self) -> None:
        """For ever: each open month gets its one probe when it is due, an idle one now and then."""
        while True:
            for month in list(self.parts.months.values()) if self.parts.database.available else []:
                # Damage shows only when somebody writes: where nobody does, a probe must.
                idle = time.monotonic() - month.proved_at > self.parts.config.partition_check_seconds
                if month.breaker.probe_is_due or (idle and month.attached and month.breaker.allows):
                    self._start(month, self._probe)
            await pause(0.1)

    async def _probe(self, month: Month) -> None:
        async with self._probing:
            spared, day = not month.breaker.allows, month.probe_day
            if spared:
                month.breaker.begin_probe()
            fault = await self.parts.attempt(JOB, day, partial(probe, day), self.parts.database.limits)
        month.proved_at = time.monotonic()
        if spared:
            month.breaker.end_probe(succeeded=fault is None)
        if fault is not None:
            self.parts.months.failed(month, fault)
        elif spared:
            month.attached = month.attached or None

    async def run_drain(self) -> None:
        """For ever: a job for each month that has something queued and takes writes."""
        while True:
            for name in self.parts.queue.pending:
                self._start(self.parts.months[name], self._drain)
            await pause(self.parts.config.dlq_retry_min_seconds)

    async def _drain(self, month: Month) -> None:
        try:
            while self.parts.database.available and month.breaker.allows and await self._move(month):
                pass
        except DlqError as error:
            self.parts.log.error("DLQ cannot be drained", error=str(error))
            month.batch = BATCH_START

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
                await pause((time.monotonic() - began) / 2)
        return results

    async def _move(self, month: Month) -> bool:
        """Move one batch. Returns whether there may be more to do."""
        queue, metrics = self.parts.queue, self.parts.metrics
        entries = await queue.due(month.name, month.batch)
        sizes = accumulate(len(entry.event) for entry in entries)
        # One that failed comes alone: again in a batch it would fail the others, and have the month spared.
        fresh = next((number for number, entry in enumerate(entries) if entry.due_at), len(entries))
        entries = entries[: max(1, min(fresh, sum(size <= BATCH_CHARACTERS for size in sizes)))]
        damaged = [entry for entry in entries if entry.event.month != entry.partition]
        if damaged:
            await queue.put_back(damaged, Fault(Owner.EVENT, None, "changed in the queue"), time.time(), "poison")
            return True
        results = await self.insert_batch(month, entries)
        stored, conflicts, failed = list[Entry](), list[Entry](), list[tuple[Entry, Fault]]()
        for entry in entries:
            result = results.get(entry.event)
            if isinstance(result, Outcome):
                (stored if result.accepted else conflicts).append(entry)
            # Without a connection nothing was tried: live writes go first, the next round tries again.
            elif result is not None and result.owner is not Owner.POOL:
                failed.append((entry, result))
        if stored:
            month.batch = min(BATCH_MAX, max(month.batch, len(stored) * 2))
            self.parts.months.wrote(month)
            metrics.drained.labels(month.name).inc(await queue.remove(stored))
        metrics.drain_failures.labels(month.name).inc(len(failed) + len(conflicts))
        if conflicts:
            await queue.put_back(conflicts, Fault(Owner.EVENT, None, CONFLICT.detail), time.time(), "conflict")
        aside = await self._put_back(month, failed, alone=len(entries) == 1)
        return bool(stored or conflicts or aside)

    async def _put_back(self, month: Month, failed: list[tuple[Entry, Fault]], alone: bool) -> int:
        """One more try that failed; dead after the last that was the event's own fault. Returns how many wait aside."""
        config, aside = self.parts.config, []
        for entry, fault in failed:
            own = fault.owner is Owner.EVENT
            attempts = entry.attempts + own
            wait = min(config.dlq_retry_min_seconds * 2.0 ** min(attempts, 30), config.dlq_retry_max_seconds)
            due_at = time.time() + (wait if own else config.dlq_retry_max_seconds)
            reason = "poison" if own and attempts >= config.dlq_max_attempts else None
            # One that its partition refuses alone waits aside: those behind it may be welcome.
            if own or (alone and fault.owner is Owner.PARTITION):
                aside.append(self.parts.queue.put_back([entry], fault, due_at, reason))
            else:
                self.parts.months.failed(month, fault)
                # A batch too large for a slow link, or for the statement's time, would fail for ever.
                month.batch = max(1, len(failed) // 4)
        return len(await asyncio.gather(*aside))
