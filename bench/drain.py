"""How fast and how steadily a backlog of queued events drains, idle and under live load, and that all of it arrives.

    python -m bench.drain [--events N] [--slice-seconds S] [--live-share X] [--only idle|live]

The reference is what PostgreSQL does with equal rows in the same run: COPY into a staging table, then INSERT ... SELECT
... ON CONFLICT DO NOTHING into the same partitioned table.  docs/reference/speed.md says what the figures mean.  Exit
code 1 when a goal is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import json
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from harness._wait import pause, wait_until
from harness.errors import HarnessError
from harness.stacks.children import tail
from harness.stacks.service_process import LaunchedService

from ._backlog import (
    Backlog,
    Found,
    Reference,
    compare,
    empty_queue,
    empty_table,
    keep_queue,
    make_backlog,
    measure_reference,
    place_queue,
    queue_samples,
)
from ._lab import Lab, Verdicts, cpu, load, open_lab, port_of, resident_mib, spread
from ._load import Order, Result

IDLE_GOAL = 1 / 3
LIVE_GOAL = 1 / 10
LATENCY_GOAL = 3.0
MEMORY_GOAL_MIB = 100.0
# The slowest tenth of an idle drain against the median one; below this it is not called steady.
STEADY_GOAL = 0.5
CONNECTIONS = 50
SERVICE = "service"
_SAMPLE_SECONDS = 0.2
_SLOWEST_EVENTS_PER_SECOND = 200.0
_FULL_SPEED_SECONDS = 8.0


@dataclass(frozen=True)
class Sample:
    """One look: monotonic seconds, pending events, resident memory."""

    at: float
    depth: int
    resident_mib: float


@dataclass(frozen=True)
class Slice:
    """Live load for a while; ``drained_per_second`` is 0 in a control slice."""

    result: Result
    drained_per_second: float
    ran_empty: bool


@dataclass(frozen=True)
class Options:
    """What the command line says."""

    events: int
    slice_seconds: float
    live_share: float
    rounds: int
    proxied: bool
    only: str | None


@dataclass
class Bench:
    """One run: the service, stopped whenever a queue is exchanged, and what has been measured."""

    lab: Lab
    options: Options
    service: LaunchedService
    empty: Path
    backlog: Backlog
    references: list[Reference] = field(default_factory=list)
    idle: list[Sample] = field(default_factory=list)
    ready_empty_mib: float = 0.0
    controls: list[Slice] = field(default_factory=list)
    drains: list[Slice] = field(default_factory=list)
    founds: list[tuple[str, Found, int]] = field(default_factory=list)

    @property
    def queue(self) -> Path:
        """Where the service looks for its queue."""
        return self.lab.queue_file(SERVICE)

    async def reference(self) -> None:
        """PostgreSQL's own way, once."""
        done = await asyncio.to_thread(measure_reference, self.lab, self.backlog)
        self.references.append(done)
        print(f"reference: INSERT SELECT {done.insert_rate:.0f} events/s alone, {done.whole_rate:.0f} with its COPY")
        print(f"  {done.used.told(0.0, done.events)}", flush=True)

    async def start(self, queue: Path | None) -> None:
        """Start on that queue, or on the one that is in place."""
        if queue is not None:
            await asyncio.to_thread(place_queue, queue, self.queue)
        await self.service.start()
        await self.service.wait_ready()

    async def stop(self) -> None:
        """Stop in good order, so that the queue is whole in its file."""
        code = await self.service.terminate()
        if code:
            print(f"the service ended with {code} after SIGTERM", flush=True)

    async def drain_idle(self) -> None:
        """The whole backlog without any load."""
        await asyncio.to_thread(empty_table, self.lab)
        await self.start(self.empty)
        self.ready_empty_mib = resident_mib(self.service.pid or 0)
        await self.stop()
        await asyncio.to_thread(place_queue, self.backlog.queue, self.queue)
        await self.service.start()
        before = cpu(self.lab, self.service)
        async with watching(self.service) as samples:
            await self._empty(samples)
        used = cpu(self.lab, self.service).since(before)
        await self.stop()
        self.idle = since_first(samples)
        rates = " ".join(f"{rate:.0f}" for rate in rates_of_tenths(self.idle))
        print(f"idle drain: {overall_rate(self.idle):.0f} events/s; by tenth {rates}")
        print(f"  {used.told(0.0, self.options.events)}", flush=True)
        await self._look("idle", 0)

    async def _empty(self, samples: list[Sample]) -> None:
        async def empty() -> bool:
            return bool(since_first(samples)) and samples[-1].depth == 0

        limit = 60 + self.options.events / _SLOWEST_EVENTS_PER_SECOND
        await wait_until(empty, what="the queue to run empty", deadline_seconds=limit, interval_seconds=0.05)

    async def _look(self, name: str, live_events: int) -> None:
        self.founds.append((name, await asyncio.to_thread(compare, self.lab), live_events))

    async def drain_live(self) -> None:
        """Slices of live load in turns on an empty queue and on what is left of the backlog, until that is gone."""
        await asyncio.to_thread(empty_table, self.lab)
        left = self.queue.with_name("left.sqlite3")
        await asyncio.to_thread(place_queue, self.backlog.queue, left)
        await self.start(self.empty)
        full = await load(Order(port_of(self.service), CONNECTIONS, _FULL_SPEED_SECONDS, seed=1))
        await self.stop()
        rate, accepted = full.events_per_second * self.options.live_share, full.accepted
        print(f"live: {full.events_per_second:.0f} single events/s at full speed; load from here {rate:.0f}/s")
        for number in range(self.options.rounds):
            await self.start(self.empty)
            accepted += await self._slice("control", self.controls, rate, 2 + 2 * number)
            await self.stop()
            await asyncio.to_thread(place_queue, left, self.queue)
            await self.service.start()
            accepted += await self._slice("draining", self.drains, rate, 3 + 2 * number)
            await self.stop()
            keep_queue(self.queue, left)
            if self.drains[-1].ran_empty:
                break
        keep_queue(left, self.queue)
        await self.service.start()
        async with watching(self.service) as samples:
            await self._until_empty_or_was(samples)
        await self.stop()
        await self._look("live", accepted)

    async def _until_empty_or_was(self, samples: list[Sample]) -> None:
        await self.service.wait_ready()
        seen = len(samples)

        async def empty() -> bool:
            # Two looks after readiness: the first may be older than the opening of the queue.
            return len(samples) > seen + 2 and samples[-1].depth == 0

        limit = 60 + self.options.events / _SLOWEST_EVENTS_PER_SECOND
        await wait_until(empty, what="the queue to run empty", deadline_seconds=limit, interval_seconds=0.05)

    async def _slice(self, name: str, slices: list[Slice], rate: float, seed: int) -> int:
        """Load for one slice, print it, and return how many events were accepted."""
        order = Order(port_of(self.service), CONNECTIONS, self.options.slice_seconds, seed, events_per_second=rate)
        async with watching(self.service) as samples:
            if slices is self.drains:
                await self._until_falling(samples)
            before = cpu(self.lab, self.service)
            result = await load(order)
            used = cpu(self.lab, self.service).since(before)
            end = time.monotonic()
        inside = [sample for sample in samples if end - order.seconds <= sample.at <= end]
        drained = overall_rate(inside) if slices is self.drains else 0.0
        slices.append(Slice(result, drained, ran_empty=slices is self.drains and inside[-1].depth == 0))
        statuses = "" if result.created_only else f"  STATUSES {result.statuses}"
        print(
            f"  {name:8} live {result.events_per_second:6.0f}/s  p50 {1000 * result.p50_seconds:6.1f} ms"
            f"  p99 {1000 * result.p99_seconds:6.1f} ms  drained {drained:6.0f}/s  left {inside[-1].depth}{statuses}"
        )
        events = result.accepted + round(drained * order.seconds)
        print(f"           {used.told(result.cpu_seconds, events)}", flush=True)
        return result.accepted

    async def _until_falling(self, samples: list[Sample]) -> None:
        async def falling() -> bool:
            return any(later.depth < earlier.depth for earlier, later in pairwise(samples))

        await wait_until(falling, what="the drain to begin", deadline_seconds=60, interval_seconds=0.05)


def read_depth(port: int) -> int:
    """Ask the service how many events are pending."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/api/v1/dlq")
        return int(json.loads(connection.getresponse().read())["depth"])
    finally:
        connection.close()


@contextlib.asynccontextmanager
async def watching(service: LaunchedService) -> AsyncIterator[list[Sample]]:
    """Samples of a running service, growing while the context is open."""
    samples: list[Sample] = []

    async def watch() -> None:
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException, ValueError, KeyError):
                depth = await asyncio.to_thread(read_depth, port_of(service))
                samples.append(Sample(time.monotonic(), depth, resident_mib(service.pid or 0)))
            await pause(_SAMPLE_SECONDS)

    task = asyncio.create_task(watch())
    try:
        yield samples
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def since_first(samples: list[Sample]) -> list[Sample]:
    """The samples from the first on that shows the backlog: before it the queue is not open yet."""
    first = next((number for number, sample in enumerate(samples) if sample.depth), len(samples))
    return samples[first:]


def overall_rate(samples: list[Sample]) -> float:
    """Events a second from the first sample to the first empty one, or to the last."""
    last = next((sample for sample in samples if sample.depth == 0), samples[-1])
    elapsed = last.at - samples[0].at
    return (samples[0].depth - last.depth) / elapsed if elapsed else 0.0


def rates_of_tenths(samples: list[Sample]) -> list[float]:
    """Events a second in each tenth of the backlog; the times between two samples are interpolated."""
    total = samples[0].depth
    crossed = [samples[0].at]
    for tenth in range(1, 11):
        goal = total - total * tenth / 10
        for earlier, later in pairwise(samples):
            if earlier.depth > goal >= later.depth:
                share = (earlier.depth - goal) / (earlier.depth - later.depth)
                crossed.append(earlier.at + share * (later.at - earlier.at))
                break
    return [total / 10 / (later - earlier) for earlier, later in pairwise(crossed)]


def judge_idle(bench: Bench, verdicts: Verdicts) -> None:
    """Rate, steadiness and memory of the idle drain."""
    rate, tenths = overall_rate(bench.idle), rates_of_tenths(bench.idle)
    alone = [rate / reference.insert_rate for reference in bench.references]
    whole = [rate / reference.whole_rate for reference in bench.references]
    print(f"idle drain / INSERT SELECT alone = {spread(alone)}; with COPY = {spread(whole)}")
    ratio, steady = statistics.median(alone), min(tenths) / statistics.median(tenths)
    verdicts.judge(f"idle, a third of INSERT SELECT alone: {ratio:.0%}", kept=ratio >= IDLE_GOAL)
    verdicts.judge(
        f"steady: the slowest tenth at {steady:.0%} of the median one, at least {STEADY_GOAL:.0%}",
        kept=steady >= STEADY_GOAL,
    )
    peak = max(sample.resident_mib for sample in bench.idle)
    for name, base in (("ready with the backlog", bench.idle[0].resident_mib), ("ready, empty", bench.ready_empty_mib)):
        verdicts.judge(
            f"memory grows by less than {MEMORY_GOAL_MIB:.0f} MiB: {peak - base:.0f} from {base:.0f} when {name}",
            kept=peak - base < MEMORY_GOAL_MIB,
        )


def judge_live(bench: Bench, verdicts: Verdicts) -> None:
    """Rate and latency under live load, of the slices in which there was something to drain until their end."""
    pairs = list(zip(bench.controls, bench.drains, strict=True))
    pairs = [pair for pair in pairs if not pair[1].ran_empty] or pairs
    reference = statistics.median(done.insert_rate for done in bench.references)
    rates = [drain.drained_per_second / reference for _, drain in pairs]
    latencies = [drain.result.p99_seconds / control.result.p99_seconds for control, drain in pairs]
    print(f"drain under load / INSERT SELECT alone = {spread(rates)}; live p99 / without = {spread(latencies)}")
    ratio, latency = statistics.median(rates), statistics.median(latencies)
    verdicts.judge(f"under live load, a tenth of INSERT SELECT alone: {ratio:.0%}", kept=ratio >= LIVE_GOAL)
    verdicts.judge(
        f"live p99 at most {LATENCY_GOAL:.0f} times that without draining: {latency:.2f}", kept=latency <= LATENCY_GOAL
    )
    clean = all(one.result.created_only for pair in pairs for one in pair)
    verdicts.judge("every live event was answered 201", kept=clean)


def judge(bench: Bench) -> int:
    """Print ratios and goals; return the exit code."""
    verdicts = Verdicts()
    print()
    if bench.idle:
        judge_idle(bench, verdicts)
    if bench.drains:
        judge_live(bench, verdicts)
    for name, found, live in bench.founds:
        expected = bench.options.events + live
        text = f"{found.rows} rows of {expected}, {found.missing} missing, {found.different} with other content"
        kept = found == Found(expected, 0, 0)
        verdicts.judge(f"{name}: every event is in the table exactly once: {text}", kept=kept)
    return verdicts.exit_code()


async def measure(options: Options) -> int:
    """Make the backlog, then the phases, with the reference before, between and after them."""
    async with open_lab() as lab:
        path = "through Toxiproxy" if options.proxied else "directly"
        print(f"PostgreSQL {lab.database.version_num}, fsync and synchronous_commit on; the service reaches it {path}")
        service = lab.prepared(
            SERVICE, ("service",), lab.reference_settings(SERVICE), lab.port(proxied=options.proxied)
        )
        with tempfile.TemporaryDirectory(prefix="backlog-") as folder:
            try:
                samples, empty = await queue_samples(lab), Path(folder) / "empty.sqlite3"
                began = time.monotonic()
                empty_queue(samples, empty)
                backlog = await asyncio.to_thread(make_backlog, Path(folder), samples, options.events)
                size = backlog.queue.stat().st_size / 2**20
                print(f"backlog: {options.events} events, {size:.0f} MiB, in {time.monotonic() - began:.0f} s")
                bench = Bench(lab, options, service, empty, backlog)
                for phase in chosen(bench, options):
                    await bench.reference()
                    await phase()
                await bench.reference()
            except HarnessError as error:
                print(f"{error}\nThe service's last lines: {tail(service.log_path)}", file=sys.stderr)
                return 1
            finally:
                await service.close()
        return judge(bench)


def chosen(bench: Bench, options: Options) -> list[Callable[[], Awaitable[None]]]:
    """The phases that the command line asks for."""
    phases = {"idle": bench.drain_idle, "live": bench.drain_live}
    return [phase for name, phase in phases.items() if options.only in (None, name)]


def main() -> int:
    """Measure; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.drain", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--events", type=int, default=1_000_000, help="size of the backlog (default 1000000)")
    parser.add_argument("--slice-seconds", type=float, default=30, help="of live load, in turns with and without drain")
    parser.add_argument("--live-share", type=float, default=0.5, help="live load by what single writes reach")
    parser.add_argument("--rounds", type=int, default=12, help="most slices; what is left drains idle (default 12)")
    parser.add_argument("--proxied", action="store_true", help="the service reaches PostgreSQL through Toxiproxy")
    parser.add_argument("--only", choices=("idle", "live"), help="one half alone")
    return asyncio.run(measure(Options(**vars(parser.parse_args()))))


if __name__ == "__main__":
    sys.exit(main())
