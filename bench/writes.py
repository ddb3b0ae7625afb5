"""How fast the service writes, against a bare insert service (single events) and against COPY (batches).

    python -m bench.writes [--rounds N] [--seconds S] [--proxied] [--only singles|batches]

Every round measures the service and its references one after the other, in an order that turns, on one PostgreSQL and
into one table.  docs/reference/speed.md says what the figures mean.  Exit code 1 when a goal is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import islice

from harness.stacks.service_process import LaunchedService

from ._lab import Cpu, Lab, Verdicts, cpu, load, open_lab, port_of, spread
from ._load import COLUMNS, Order, Result, events

SINGLES_GOAL = 0.6
BATCHES_GOAL = 0.2
EVENTS_PER_BATCH = 500
SERVICE = "service"
BARES = {"bare": {}, "bare autocommit": {"AUTOCOMMIT": "1"}}
COPY = "COPY"
_BLOCK_BYTES = 256 * 1024


@dataclass(frozen=True)
class Options:
    """What the command line says."""

    rounds: int
    seconds: float
    connections: int
    batch_connections: int
    copy_rows: int
    proxied: bool
    only: str | None


@dataclass
class Tally:
    """Events a second of each contestant by round, and every row that should be in the table."""

    rates: dict[str, list[float]] = field(default_factory=dict)
    rows: int = 0
    clean: bool = True

    def note(self, name: str, rate: float, rows: int) -> None:
        """Remember one measurement."""
        self.rates.setdefault(name, []).append(rate)
        self.rows += rows

    def ratios(self, reference: str) -> list[float]:
        """The service's rate by that of the reference, round by round."""
        return [own / other for own, other in zip(self.rates[SERVICE], self.rates[reference], strict=True)]


async def loaded(lab: Lab, name: str, service: LaunchedService, order: Order, tally: Tally) -> None:
    """Measure one service under one load and print a line."""
    before = cpu(lab, service)
    result = await load(order)
    used = cpu(lab, service).since(before)
    tally.note(name, result.events_per_second, result.accepted)
    tally.clean &= result.created_only
    print(f"  {name:15} {_told(result, used)}", flush=True)


def _told(result: Result, used: Cpu) -> str:
    statuses = "" if result.created_only else f"  STATUSES {result.statuses}"
    return (
        f"{result.events_per_second:8.0f} events/s  p50 {1000 * result.p50_seconds:6.1f} ms"
        f"  p99 {1000 * result.p99_seconds:6.1f} ms  {used.told(result.cpu_seconds, result.accepted)}{statuses}"
    )


def copy_blocks(rows: int, seed: int) -> list[bytes]:
    """The text of so many rows, in blocks as a file would be read."""
    text = "".join([shape.copy_line(event_id) for shape, event_id in islice(events(seed), rows)]).encode()
    return [text[start : start + _BLOCK_BYTES] for start in range(0, len(text), _BLOCK_BYTES)]


async def copied(lab: Lab, rows: int, seed: int, tally: Tally) -> None:
    """Measure a plain COPY into the table, its text prepared beforehand, and print a line."""

    def copy() -> tuple[float, Cpu]:
        blocks = copy_blocks(rows, seed)
        with lab.connect() as connection, connection.cursor() as cursor:
            before, began = cpu(lab, None), time.monotonic()
            with cursor.copy(f"COPY audit_events ({COLUMNS}) FROM STDIN") as copying:
                for block in blocks:
                    copying.write(block)
            # Asked while the backend lives: what it used is its parent's only a while after its end.
            return time.monotonic() - began, cpu(lab, None).since(before)

    seconds, used = await asyncio.to_thread(copy)
    tally.note(COPY, rows / seconds, rows)
    print(f"  {COPY:15} {rows / seconds:8.0f} events/s  {used.told(0.0, rows)}", flush=True)


def turned(names: Sequence[str], number: int) -> list[str]:
    """The names beginning with another one each round, so that none is always first."""
    start = number % len(names)
    return [*names[start:], *names[:start]]


async def singles(lab: Lab, services: dict[str, LaunchedService], options: Options) -> Tally:
    """Single-event writes, each contestant once a round."""
    tally = Tally()
    for number in range(options.rounds):
        print(f"singles, {options.connections} connections, round {number + 1} of {options.rounds}", flush=True)
        for place, name in enumerate(turned(list(services), number)):
            seed = 1000 * (number + 1) + place
            order = Order(port_of(services[name]), options.connections, options.seconds, seed)
            await loaded(lab, name, services[name], order, tally)
    return tally


async def batches(lab: Lab, service: LaunchedService, options: Options) -> Tally:
    """Batch writes and COPY, each once a round."""
    tally = Tally()
    for number in range(options.rounds):
        print(f"batches of {EVENTS_PER_BATCH}, {options.batch_connections} connections, round {number + 1}", flush=True)
        for name in turned([SERVICE, COPY], number):
            seed = 1_000_000 + 2 * number
            if name == COPY:
                await copied(lab, options.copy_rows, seed + 1, tally)
            else:
                connections = options.batch_connections
                order = Order(port_of(service), connections, options.seconds, seed, EVENTS_PER_BATCH)
                await loaded(lab, name, service, order, tally)
    return tally


def judged(singles_tally: Tally | None, batches_tally: Tally | None, rows: int) -> int:
    """Print the ratios and the goals; return the exit code."""
    verdicts, expected = Verdicts(), 0
    print()
    if singles_tally is not None:
        ratios = {name: singles_tally.ratios(name) for name in BARES}
        for name, values in ratios.items():
            print(f"singles: service / {name} = {spread(values)}")
        # The faster of the two forms is the one that has to be measured up to.
        lowest = min(map(statistics.median, ratios.values()))
        goal = f"single writes reach at least {SINGLES_GOAL:.0%} of a bare insert service: {lowest:.0%}"
        verdicts.judge(goal, kept=lowest >= SINGLES_GOAL)
        expected += singles_tally.rows
    if batches_tally is not None:
        batch_ratios = batches_tally.ratios(COPY)
        print(f"batches: service / COPY = {spread(batch_ratios)}")
        middle = statistics.median(batch_ratios)
        goal = f"batch writes reach at least {BATCHES_GOAL:.0%} of plain COPY: {middle:.0%}"
        verdicts.judge(goal, kept=middle >= BATCHES_GOAL)
        expected += batches_tally.rows
    clean = all(tally.clean for tally in (singles_tally, batches_tally) if tally is not None)
    verdicts.judge("every event of every round was answered 201", kept=clean)
    verdicts.judge(f"the table holds exactly what was accepted: {rows} rows of {expected}", kept=rows == expected)
    return verdicts.exit_code()


async def measure(options: Options) -> int:
    """Run both halves."""
    async with open_lab() as lab, AsyncExitStack() as stack:
        port = lab.port(proxied=options.proxied)
        path = "through Toxiproxy" if options.proxied else "directly"
        print(f"PostgreSQL {lab.database.version_num}, fsync and synchronous_commit on; services reach it {path}")
        settings = lab.reference_settings(SERVICE)
        service = await stack.enter_async_context(lab.service(SERVICE, ("service",), settings, port))
        singles_tally = batches_tally = None
        if options.only != "batches":
            services = {SERVICE: service}
            for name, more in BARES.items():
                bare = lab.service(name.replace(" ", "-"), ("bench.bare_service",), more, port)
                services[name] = await stack.enter_async_context(bare)
            singles_tally = await singles(lab, services, options)
        if options.only != "singles":
            batches_tally = await batches(lab, service, options)
        with lab.connect() as connection:
            found = connection.execute("SELECT count(*) FROM audit_events").fetchone()
        return judged(singles_tally, batches_tally, found[0] if found else 0)


def main() -> int:
    """Measure; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.writes", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="rounds; the goals are about their median (default 5)")
    parser.add_argument("--seconds", type=float, default=10, help="each measurement, after one second of warm-up")
    parser.add_argument("--connections", type=int, default=50, help="of the single writes (default 50)")
    parser.add_argument("--batch-connections", type=int, default=4, help="of the batch writes (default 4)")
    parser.add_argument("--copy-rows", type=int, default=100_000, help="rows of each COPY (default 100000)")
    parser.add_argument("--proxied", action="store_true", help="all services reach PostgreSQL through Toxiproxy")
    parser.add_argument("--only", choices=("singles", "batches"), help="one half alone")
    return asyncio.run(measure(Options(**vars(parser.parse_args()))))


if __name__ == "__main__":
    sys.exit(main())
