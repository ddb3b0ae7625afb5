"""One damaged month leaves the others alone, and a whole outage is answered from the queue in time.

    python -m bench.isolation [--only NAME ...] [--rates 10,0] [--seed N]

50 writers, each in one of four months, at each rate (requests a second of each writer; 0: as fast as answers come).
A month is locked (ACCESS EXCLUSIVE), corrupted (pages of its heap), detached; then the whole database is stopped and
paused (SIGSTOP of every process).  Every experiment has its own control phase right before it, with which it is
compared.  Each figure is printed with its bound from docs/reference/contract.md, promises 3 to 5; exit 1 if one is
broken or an acknowledged event is missing in the end.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from harness._wait import pause, wait_until
from harness.errors import DeadlineExceeded
from harness.fault import Scene
from harness.faults.database import StopDatabase
from harness.faults.partition import DetachPartition, LockPartition
from harness.faults.storage import CorruptHeap
from harness.probes.http import HttpProbe
from harness.probes.postgres import probe_insert
from harness.targets.model import Limits
from harness.values import Month

from ._stage import Stage, on_stage, parser, perform
from ._verdict import drained, judge, keep_evidence, quantile
from ._writers import MONTHS, WRITERS, Fleet, Mix, Said, Sent

DAMAGED = Month(2025, 12)
WARM_UP_SECONDS = 2.0
_OPENED_SECONDS = 10.0
_PROBED_SECONDS = 30.0
_AFTER_SECONDS = 7.0
"""How long the load goes on after the repair: longer than the recovery may take."""


class Disturbance(Protocol):
    """The two verbs of a fault that matter here, and the probe that times the recovery."""

    async def inject(self, scene: Scene) -> None:
        """Damage."""

    async def heal(self, scene: Scene) -> None:
        """Undo."""

    async def probe(self, scene: Scene) -> bool:
        """Tell whether it works again."""


class PauseDatabase:
    """SIGSTOP of the postmaster and of every backend: nothing answers, and no connection is closed."""

    def __init__(self) -> None:
        self._pids: list[int] = []

    async def inject(self, scene: Scene) -> None:
        """The postmaster first, so that it makes no more backends."""
        database = scene.environment.database
        if database.pid is not None:
            os.kill(database.pid, signal.SIGSTOP)
            self._pids = [database.pid, *database.backend_pids()]
        self._signal(signal.SIGSTOP)

    async def heal(self, scene: Scene) -> None:
        """Let all of them go on."""
        self._signal(signal.SIGCONT)

    async def probe(self, scene: Scene) -> bool:
        """An insert comes back through the proxy."""
        return (await probe_insert(scene.environment.database, DAMAGED.first_day, proxied=True)).accepted

    def _signal(self, number: signal.Signals) -> None:
        for pid in self._pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)


@dataclass(frozen=True)
class Experiment:
    """One fault; ``month`` is None when it reaches all of them."""

    name: str
    month: Month | None
    make: Callable[[], Disturbance]


EXPERIMENTS = (
    Experiment("locked", DAMAGED, lambda: LockPartition(months=(DAMAGED,))),
    Experiment("corrupted", DAMAGED, lambda: CorruptHeap(months=(DAMAGED,))),
    Experiment("detached", DAMAGED, lambda: DetachPartition(months=(DAMAGED,))),
    Experiment("stopped", None, StopDatabase),
    Experiment("paused", None, PauseDatabase),
)


@dataclass(frozen=True)
class Sample:
    """One answer, with the month of its event; times are monotonic."""

    month: Month
    said: Said
    began: float
    ended: float

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended - self.began


@dataclass(frozen=True)
class Times:
    """The marks of one experiment, monotonic seconds; ``opened`` is None when no breaker was seen to open."""

    control: float
    injecting: float
    bitten: float
    opened: float | None
    healing: float
    probed: float
    end: float


@dataclass(frozen=True)
class Figure:
    """One measured number and its bound, in the same unit; a bound of None only informs."""

    what: str
    value: float | None
    bound: float | None
    unit: str

    @property
    def kept(self) -> bool:
        """Whether it is within its bound; what could not be measured is not."""
        return self.bound is None or (self.value is not None and self.value <= self.bound)

    def __str__(self) -> str:
        """One line of the report."""
        value = "none" if self.value is None else f"{self.value:.5g} {self.unit}"
        bound = "" if self.bound is None else f"at most {self.bound:.4g} {self.unit}"
        word = "" if self.bound is None else "kept" if self.kept else "BROKEN"
        return f"  {self.what:<58} {value:>12}  {bound:<20} {word}"


async def play(stage: Stage, experiment: Experiment, fleet: Fleet, options: argparse.Namespace) -> Times:
    """Control, damage, hold, repair, and a while longer, under load."""
    fault = experiment.make()
    scene = stage.scene(experiment.name)
    clock = asyncio.get_running_loop().time
    fleet.start([(MONTHS[number % len(MONTHS)],) for number in range(WRITERS)])
    try:
        await pause(WARM_UP_SECONDS)
        control = clock()
        await pause(options.control)
        injecting = clock()
        stage.note(f"{experiment.name}: inject")
        try:
            await fault.inject(scene)
            bitten = clock()
            opened = await _opened(stage, experiment.month, bitten)
            await pause(bitten + options.hold - clock())
            healing = clock()
            stage.note(f"{experiment.name}: heal")
        finally:
            await fault.heal(scene)
        await wait_until(lambda: fault.probe(scene), what="a probe of the repair", deadline_seconds=_PROBED_SECONDS)
        probed = clock()
        await pause(_AFTER_SECONDS)
        fleet.check()
    finally:
        await fleet.stop()
    return Times(control, injecting, bitten, opened, healing, probed, clock())


async def _opened(stage: Stage, month: Month | None, bitten: float) -> float | None:
    """The time when the service itself says that it spares the month, or the database."""
    probe = HttpProbe(stage.environment)
    series = f'datastorage_partition_status{{partition="{month}",status="unavailable"}}'

    async def said() -> bool:
        if month is None:
            return "database" in (await probe.ready(0.0)).degraded
        return (await probe.metrics(0.0)).series.get(series) == 1.0

    try:
        await wait_until(said, what="the breaker", deadline_seconds=_OPENED_SECONDS, interval_seconds=0.05)
    except DeadlineExceeded:
        return None
    finally:
        await probe.close()
    return asyncio.get_running_loop().time()


def samples_of(fleet: Fleet) -> list[Sample]:
    """Every answer, in the order of their beginning."""
    found = [
        Sample(Month.of(one.event_date), reply.said, reply.began, reply.began + reply.seconds)
        for one in fleet.sent
        for reply in one.replies
    ]
    return sorted(found, key=lambda sample: sample.began)


def fallback_figures(hurt: Sequence[Sample], every: Sequence[Sample], times: Times, limits: Limits) -> list[Figure]:
    """Promise 4, and what it says of each answer in the months that are hurt."""
    control = [one.seconds * 1000 for one in every if times.control <= one.began and one.ended < times.injecting]
    during = [one for one in hurt if times.bitten <= one.began and one.ended < times.healing]
    queued = [one for one in hurt if one.said is Said.QUEUED and one.ended >= times.injecting]
    first = max(0.0, min(one.ended for one in queued) - times.bitten) if queued else None
    opened = times.opened
    spared = [
        one.seconds * 1000 for one in during if one.said is Said.QUEUED and opened is not None and one.began >= opened
    ]
    healthy = quantile(control, 0.5)
    return [
        Figure("healthy 201, median", healthy, None, "ms"),
        Figure("hurt months: answers other than 202 after the bite", _others(during, Said.QUEUED), 0.0, ""),
        Figure("hurt months: first 202 after the bite", first, limits.request_deadline_seconds, "s"),
        Figure("breaker seen open after the bite", None if opened is None else opened - times.bitten, None, "s"),
        Figure(
            f"hurt months: median of {len(spared)} x 202 with the breaker open",
            quantile(spared, 0.5) if spared else None,
            3 * healthy,
            "ms",
        ),
        Figure("longest of all answers", max(one.seconds for one in every), limits.request_deadline_seconds, "s"),
    ]


def isolation_figures(others: Sequence[Sample], times: Times, limits: Limits) -> list[Figure]:
    """Promise 3: the months that no fault touches."""
    wait = limits.lock_timeout_seconds + 0.5
    settled = times.bitten + wait
    control = [one.seconds * 1000 for one in others if times.control <= one.began and one.ended < times.injecting]
    edge = [one.seconds for one in others if times.injecting <= one.ended and one.began < settled]
    during = [one.seconds * 1000 for one in others if settled <= one.began and one.ended < times.healing]
    return [
        Figure("other months: answers other than 201", _others(others, Said.CREATED), 0.0, ""),
        Figure("other months: longest in the first window", max(edge, default=None), wait, "s"),
        Figure("other months: p99 before", quantile(control, 0.99), None, "ms"),
        Figure(
            f"other months: p99 of {len(during)} from then on",
            quantile(during, 0.99) if during else None,
            2 * quantile(control, 0.99),
            "ms",
        ),
        Figure(
            "other months: p99 from then on, by that before (promised: 2)",
            quantile(during, 0.99) / quantile(control, 0.99) if during and control else None,
            None,
            "",
        ),
        Figure("other months: longest from then on", max(during, default=None), None, "ms"),
    ]


def recovery_figures(hurt: Sequence[Sample], times: Times, limits: Limits) -> list[Figure]:
    """Promise 5: from the first successful probe on."""
    after = [one for one in hurt if one.began >= times.healing]
    created = [one.ended for one in after if one.said is Said.CREATED]
    late = [one.began for one in after if one.said is not Said.CREATED]
    bound = limits.recovery_seconds
    return [
        Figure("recovery: first 201", max(0.0, min(created) - times.probed) if created else None, bound, "s"),
        Figure("recovery: last request not answered 201", max(0.0, max(late, default=0.0) - times.probed), bound, "s"),
    ]


def _others(samples: Sequence[Sample], due: Said) -> float:
    return float(sum(one.said is not due for one in samples))


async def measure(
    stage: Stage, experiment: Experiment, rate: float, options: argparse.Namespace, sent: list[Sent]
) -> bool:
    """Play one experiment at one rate, print its figures, and tell whether every bound is kept.

    What was sent is added to ``sent``, for the judgement of the table at the end.
    """
    stage.progress(f"{experiment.name}, {f'{rate:g} requests/s a writer' if rate else 'unpaced'}")
    # A seed of its own, because equal seeds make equal ids.
    fleet = Fleet(stage.port, Mix(rate_per_writer=rate), options.seed + len(sent), f"{experiment.name}-{rate:g}")
    times = await play(stage, experiment, fleet, options)
    backlog = await _depth(stage)
    undrained = await drained(stage.environment, 60.0 + fleet.acknowledged / 100)
    drain_seconds = asyncio.get_running_loop().time() - times.end
    sent += fleet.sent
    limits, every = stage.environment.target.limits, samples_of(fleet)
    hurt = [one for one in every if experiment.month in (None, one.month)]
    figures = fallback_figures(hurt, every, times, limits)
    if experiment.month is not None:
        figures += isolation_figures([one for one in every if one.month != experiment.month], times, limits)
    figures += recovery_figures(hurt, times, limits)
    left = f"left in the queue {drain_seconds:.0f} s after the load (of {backlog} at its end)"
    figures.append(Figure(left, float(undrained), 0.0, ""))
    in_control = sum(times.control <= one.began < times.injecting for one in every)
    said = ", ".join(f"{count} x {word}" for word, count in sorted(Counter(one.said for one in every).items()))
    print(f"{experiment.name}, {f'{rate:g} requests/s by each of' if rate else 'unpaced,'} {WRITERS} writers: {said}")
    print(f"  control phase: {in_control / (times.injecting - times.control):.0f} events/s")
    for figure in figures:
        print(figure)
    return all(figure.kept for figure in figures)


async def _depth(stage: Stage) -> int:
    probe = HttpProbe(stage.environment)
    try:
        return (await probe.dlq(0.0)).depth
    finally:
        await probe.close()


async def run(options: argparse.Namespace, folder: Path) -> bool:
    """Every experiment at every rate on one environment, then the table."""
    kept, sent = True, list[Sent]()
    async with on_stage("isolation", options, folder) as stage:
        print(f"seed {stage.seed}")
        for rate in options.rates:
            for experiment in EXPERIMENTS:
                if not options.only or experiment.name in options.only:
                    kept &= await measure(stage, experiment, rate, options, sent)
        verdict = await judge(stage.environment, sent, undrained=await drained(stage.environment, 60.0))
        for line in verdict.lines():
            print(line)
        if not (kept and verdict.kept):
            keep_evidence(folder, stage.timeline, sent)
    return kept and verdict.kept


def _rates(text: str) -> list[float]:
    return [float(part) for part in text.split(",")]


def main() -> None:
    """Read the command line and run."""
    arguments = parser("isolation", __doc__ or "")
    names = [experiment.name for experiment in EXPERIMENTS]
    arguments.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=", ".join(names))
    arguments.add_argument("--rates", type=_rates, default=[10.0, 0.0], help="comma-separated (10,0)")
    arguments.add_argument("--control", type=float, default=10.0, metavar="SECONDS", help="before the fault (10)")
    arguments.add_argument("--hold", type=float, default=12.0, metavar="SECONDS", help="length of the fault (12)")
    options = arguments.parse_args()
    perform("isolation", lambda folder: run(options, folder))


if __name__ == "__main__":
    main()
