"""Measuring: from the runs of a sweep to the figures of each size, in each condition that the runs went through.

A run has up to two conditions: the database as it is, before the fault of the scenario, and with that fault on.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from .. import events as ev
from ..checkers._pool_series import MAX_OPEN
from ..checking import STOOD_STILL
from ..errors import HarnessError
from ..judging import is_large, load_run, open_run
from ..noise import BLOCK_SECONDS, MIN_BLOCKS, Quantile, Timed, quantile
from ..oracle import CREATED, QUEUED
from ..report.figures import PoolUse, direct_writes, pool_use, scrapes_of
from ..report.judged import RESULT_FILE, Judged, read_judged
from ..rundata import Run
from ..values import Phase
from .plan import Played
from .watching import Cpu, Watched, cpu_between, read_watched

SHARES = (0.5, 0.95, 0.99)
AS_IT_IS = "database as it is"
MIN_WRITES = 2000
"""Below this the 99th hundredth of a noisy machine says nothing (docs/reference/checkers.md has the same)."""
MOST_FALLBACKS = 0.001
"""The assessment's own bound for fallbacks (202): one of them may be a stall of the disk, and no pool's doing."""
_APART_SECONDS = 100_000.0
"""Set between the rounds, so that no block of time has samples of two of them."""


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """One condition of one run, as measured.  ``statuses`` counts first sends that were sent and over within it."""

    condition: str
    seconds: float
    times: tuple[Timed, ...]
    statuses: Counter[int]
    pool: PoolUse | None
    backends: int
    cpu: Cpu | None


@dataclass(frozen=True, kw_only=True)
class Point:
    """One run of one size; ``problem`` says why it has no figures, or none that count."""

    size: int
    round: int
    run: str
    verdict: str
    stretches: tuple[Stretch, ...] = ()
    problem: str = ""
    broken: tuple[str, ...] = ()
    connection_limit: int | None = None


@dataclass(frozen=True, kw_only=True)
class Figures:
    """One size in one condition, over all rounds.  ``problem``: why it says nothing; empty for one that counts."""

    size: int
    condition: str
    seconds: float = 0.0
    writes: int = 0
    errors: Mapping[int, int] = field(default_factory=dict)
    quantiles: Mapping[float, Quantile | None] = field(default_factory=dict)
    pools: tuple[PoolUse, ...] = ()
    backends: int = -1
    cpu: Cpu | None = None
    problem: str = ""
    broken: tuple[str, ...] = ()

    @property
    def clean(self) -> bool:
        """Tell whether nothing was refused or left unanswered, and hardly anything queued."""
        refused = sum(count for status, count in self.errors.items() if status != QUEUED)
        sent = self.writes + sum(self.errors.values())
        return not refused and self.errors.get(QUEUED, 0) < max(1.0, MOST_FALLBACKS * sent)

    @property
    def created_per_second(self) -> float:
        """Direct writes a second."""
        return self.writes / self.seconds if self.seconds > 0 else 0.0

    @property
    def mean_wait_seconds(self) -> float | None:
        """Of all acquisitions of a connection; None where the service does not say."""
        acquisitions = sum(pool.acquisitions for pool in self.pools)
        return sum(pool.waited_seconds for pool in self.pools) / acquisitions if acquisitions else None

    @property
    def waited_share(self) -> float | None:
        """How many of the acquisitions waited for longer than the smallest bucket."""
        acquisitions = sum(pool.acquisitions for pool in self.pools)
        return sum(pool.waited for pool in self.pools) / acquisitions if acquisitions else None

    @property
    def longest_wait_seconds(self) -> float | None:
        """The bound of the bucket that 99 of 100 acquisitions stay within, of the worst round."""
        return max((pool.p99_at_most_seconds for pool in self.pools), default=None)

    @property
    def full_share(self) -> float | None:
        """The share of scrapes at which every connection was in use."""
        scrapes = sum(pool.scrapes for pool in self.pools)
        return sum(pool.full_share * pool.scrapes for pool in self.pools) / scrapes if scrapes else None


def measure(runs: Path, played: Played) -> Point:
    """Read one run of a sweep; what cannot be read, or does not count, says why."""
    folder = runs / played.run
    size, number = played.task.size, played.task.round
    try:
        judged = read_judged(folder)
        if judged is None or judged.verdict == "SETUP":
            why = judged.setup_error if judged is not None else "it was never judged"
            verdict = "SETUP" if judged is not None else "not judged"
            return Point(size=size, round=number, run=played.run, verdict=verdict, problem=why)
        run = open_run(folder).run if is_large(folder) else load_run(folder)
    except HarnessError as error:
        return Point(size=size, round=number, run=played.run, verdict="unreadable", problem=str(error))
    seen = read_watched(folder)
    return Point(
        size=size,
        round=number,
        run=played.run,
        verdict=judged.verdict,
        stretches=tuple(_stretches(run, size, seen)),
        problem=_problem(judged, run, size),
        broken=tuple(f"{one.checker}: {one.summary}" for one in judged.broken),
        connection_limit=seen.connection_limit,
    )


def _problem(judged: Judged, run: Run, size: int) -> str:
    """Why the run does not count, although it took place."""
    told = [value for scrape in scrapes_of(run) if (value := scrape.get(MAX_OPEN)) is not None]
    if not told:
        return f"the service does not say with which size it ran (no {MAX_OPEN})"
    if told[-1] != size:
        return f"the service ran with a pool of {told[-1]:g}: it does not heed the variable that is set"
    if judged.verdict == "UNKNOWN":
        return f"its run is UNKNOWN: {next(iter(judged.unknowns), 'no reason was stored')}"
    if _stood_still(judged.folder):
        return "the whole machine stood still while it was measured"
    return ""


def _stood_still(folder: Path) -> bool:
    try:
        checks = json.loads((folder / RESULT_FILE).read_text(encoding="utf-8"))["checks"]
        return any(float(check["facts"].get(STOOD_STILL) or 0.0) > 0 for check in checks)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def conditions(run: Run) -> Iterator[tuple[str, float, float]]:
    """The conditions that a run went through, each with its begin and end (seconds of the run)."""
    begun = run.phase_start(Phase.BEFORE)
    if begun is None:
        return
    if not run.windows:
        # When the load ended nobody has marked, only that the last phase began under it.
        yield AS_IT_IS, begun, run.phase_start(Phase.AFTER) or run.end
        return
    yield AS_IT_IS, begun, min(window.injecting for window in run.windows)
    confirmed = [window.confirmed for window in run.windows if window.confirmed is not None]
    healing = [window.healing for window in run.windows if window.healing is not None]
    if len(confirmed) == len(healing) == len(run.windows) and max(confirmed) < min(healing):
        names = " and ".join(dict.fromkeys(window.name for window in run.windows))
        yield f"under {names}", max(confirmed), min(healing)


def _stretches(run: Run, size: int, seen: Watched) -> Iterator[Stretch]:
    began = _unix(run)
    for condition, start, end in conditions(run):
        times = tuple(
            (op.invoked, op.seconds) for op in direct_writes(run) if start <= op.invoked and op.completed <= end
        )
        over = (
            op
            for op in run.under_way(start, end)
            if op.kind is ev.OpKind.WRITE and op.writer >= 0 and start <= op.invoked and op.completed <= end
        )
        samples = [one.backends for one in run.of_kind(ev.ConnectionSample) if start <= one.t <= end]
        yield Stretch(
            condition=condition,
            seconds=end - start,
            times=times,
            statuses=Counter(op.status for op in over),
            pool=pool_use(scrapes_of(run, start, end), size),
            backends=max(samples, default=-1),
            cpu=None if began is None else cpu_between(seen, began + start, began + end),
        )


def _unix(run: Run) -> float | None:
    """Unix seconds of the run's 0."""
    try:
        return datetime.fromisoformat(run.started.started_at).timestamp()
    except ValueError:
        return None


def figures_of(points: Sequence[Point]) -> tuple[Figures, ...]:
    """Put the rounds of each size together, condition by condition; a run that does not count leaves its reason."""
    names = list(dict.fromkeys(stretch.condition for point in points for stretch in point.stretches)) or [AS_IT_IS]
    sizes = sorted({point.size for point in points})
    return tuple(_figures(size, name, [one for one in points if one.size == size]) for name in names for size in sizes)


def _figures(size: int, condition: str, points: Sequence[Point]) -> Figures:
    sound = [point for point in points if not point.problem]
    broken = tuple(dict.fromkeys(said for point in points for said in point.broken))
    found = [(point, stretch) for point in sound for stretch in point.stretches if stretch.condition == condition]
    if not found:
        problem = next((point.problem for point in points if point.problem), "no run had this condition")
        return Figures(size=size, condition=condition, problem=problem, broken=broken)
    times = [(t + point.round * _APART_SECONDS, seconds) for point, stretch in found for t, seconds in stretch.times]
    statuses: Counter[int] = Counter()
    for _, stretch in found:
        statuses.update(stretch.statuses)
    cpus = [stretch.cpu for _, stretch in found if stretch.cpu is not None]
    seconds = math.fsum(stretch.seconds for _, stretch in found)
    quantiles = {share: quantile(times, share) for share in SHARES}
    problem = ""
    # Where most events got another answer, that is what is to be said.
    if statuses[CREATED] >= sum(statuses.values()) * 0.5:
        problem = _too_little(len(times), seconds, quantiles)
    return Figures(
        size=size,
        condition=condition,
        seconds=seconds,
        writes=len(times),
        errors={status: count for status, count in sorted(statuses.items()) if status != CREATED},
        quantiles=quantiles,
        pools=tuple(stretch.pool for _, stretch in found if stretch.pool is not None),
        backends=max(stretch.backends for _, stretch in found),
        cpu=_mean(cpus),
        problem=problem,
        broken=broken,
    )


def _too_little(writes: int, seconds: float, quantiles: Mapping[float, Quantile | None]) -> str:
    if writes < MIN_WRITES:
        return f"only {writes} direct writes were measured; {MIN_WRITES} are needed"
    if any(found is None for found in quantiles.values()):
        least = MIN_BLOCKS * BLOCK_SECONDS
        return f"measured for {seconds:.1f} s; {least:g} s are needed: ask for more --events or --rounds"
    return ""


def _mean(cpus: Sequence[Cpu]) -> Cpu | None:
    if not cpus:
        return None
    return Cpu(
        postgres_cores=math.fsum(cpu.postgres_cores for cpu in cpus) / len(cpus),
        service_cores=math.fsum(cpu.service_cores for cpu in cpus) / len(cpus),
        machine_share=math.fsum(cpu.machine_share for cpu in cpus) / len(cpus),
        cores=cpus[0].cores,
    )
