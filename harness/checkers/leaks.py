"""Promise 9, what adds up: nothing kept after the heal, and no slope of memory or descriptors over identical cycles.

A *floor* is the least of several looks in a moment of quiet: what is borrowed comes back between them, what leaked
stays.  Connections up to the pool's maximum are no leak, since a pool may grow when it is pressed, so descriptors are
counted without them; that none goes beyond it is ``bounds``.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from .. import events as ev
from ..checking import CHECKERS, CONDENSABLE, CheckResult, Finding, nothing_more
from ..rundata import FaultWindow, Run
from ..values import Promise
from ._common import in_flight, nothing_sent, recovery_edge
from ._pool_series import IN_USE

NAME = "leaks"
MIN_CYCLES = 6
"""So many identical faults, one after the other, are cycles by which a slope is judged."""
LAST_RISES = 5
"""A leak raises the floor after each of so many last cycles; what warms up in the first ones is none."""
QUIET_SECONDS = 0.6
"""The end of a recovery, before the next fault: the moment of quiet of a cycle."""
DESCRIPTOR_SLACK = 16
"""Descriptors that a process may hold more after a fault than before it: files and caches that it opened since."""
IN_USE_SLACK = 2
MIN_LOOKS = 8
"""A floor after the heal is that of so many looks at least."""
MEMORY_RISE_BYTES = 256 * 1024
MEMORY_SLOPE_BYTES = 1024 * 1024
"""Memory slopes upward where each of the last cycles adds the first, and their median adds the second."""
NEAR_SECONDS = 1.0


@dataclass(frozen=True)
class _Measure:
    """One thing that may add up: its looks in time, what a cycle must add to be a leak, and in the median."""

    name: str
    looks: Sequence[tuple[float, float]]
    rise: float = 1.0
    slope: float = 1.0

    def floor(self, start: float, end: float) -> float | None:
        """The least value seen in [start, end]; None when nobody looked."""
        return min((value for t, value in self.looks if start <= t <= end), default=None)


@CHECKERS.register(NAME)
def leaks(run: Run) -> CheckResult:
    """Compare the floors after cycles of one fault, and what is held after the last heal with what was before."""
    empty = nothing_sent(NAME, run)
    if empty is not None:
        return empty
    seen = [sample for sample in run.of_kind(ev.ProcessSample) if sample.descriptors >= 0]
    pooled = _in_use(run)
    if not seen and not pooled.looks:
        return CheckResult(NAME, not_checked="process")
    findings: list[Finding] = []
    unknowns: list[str] = []
    facts: dict[str, float] = {}
    cycles = _cycles(run)
    if cycles:
        facts["cycles"] = float(len(cycles))
        for measure in (_descriptors(run, seen), _memory(seen), pooled):
            _slope(run, cycles, measure, findings, unknowns, facts)
    _held(run, seen, pooled, findings, facts)
    return CheckResult(NAME, tuple(findings), tuple(unknowns), facts=facts)


CONDENSABLE.register(NAME)(nothing_more)


def _in_use(run: Run) -> _Measure:
    scrapes = [(sample.t, sample.series.get(IN_USE)) for sample in run.of_kind(ev.MetricsSample) if not sample.error]
    return _Measure("pool connections in use", [(t, value) for t, value in scrapes if value is not None])


def _memory(seen: Sequence[ev.ProcessSample]) -> _Measure:
    looks = [(sample.t, float(sample.memory_bytes)) for sample in seen if sample.memory_bytes >= 0]
    return _Measure("bytes of memory", looks, MEMORY_RISE_BYTES, MEMORY_SLOPE_BYTES)


def _descriptors(run: Run, seen: Sequence[ev.ProcessSample]) -> _Measure:
    """Descriptors without those of the pool's connections, where both were seen at about the same time."""
    samples = [sample for sample in run.of_kind(ev.ConnectionSample) if sample.backends >= 0]
    times = [sample.t for sample in samples]
    looks: list[tuple[float, float]] = []
    for sample in seen:
        index = bisect.bisect_left(times, sample.t)
        near = [each for each in samples[max(0, index - 1) : index + 1] if abs(each.t - sample.t) <= NEAR_SECONDS]
        if near:
            # The most of both neighbours: a connection that comes or goes between the looks is no descriptor too many.
            looks.append((sample.t, float(sample.descriptors - max(each.backends for each in near))))
    return _Measure("descriptors", looks)


def _cycles(run: Run) -> list[FaultWindow]:
    """The longest row of identical faults of which each began after the one before was seen repaired."""
    best: list[FaultWindow] = []
    row: list[FaultWindow] = []
    for window in sorted(run.windows, key=lambda each: each.injecting):
        previous = row[-1] if row else None
        same = previous is not None and (previous.name, previous.radius) == (window.name, window.radius)
        healed = previous is not None and previous.probed is not None and previous.probed <= window.injecting
        row = [*row, window] if same and healed else [window]
        best = max(best, row, key=len)
    return best if len(best) >= MIN_CYCLES and best[-1].probed is not None else []


def _quiet(run: Run, cycles: Sequence[FaultWindow]) -> list[tuple[float, float]]:
    """The moments of quiet: before the first fault, before each next one, and after the last recovery.

    The last one ends with the load: what its clients held open goes with them.
    """
    spans = [(each.injecting - QUIET_SECONDS, each.injecting) for each in cycles]
    edge = recovery_edge(cycles[-1], run)
    loaded = max((op.invoked for op in run.seen if op.writer >= 0), default=edge)
    return [*spans, (edge, loaded if loaded > edge else run.end)]


def _slope(
    run: Run,
    cycles: Sequence[FaultWindow],
    measure: _Measure,
    findings: list[Finding],
    unknowns: list[str],
    facts: dict[str, float],
) -> None:
    spans = _quiet(run, cycles)[-LAST_RISES - 1 :]
    if _another_life(run, spans[0][0], spans[-1][1]):
        facts["cycles_of_several_lives"] = 1.0
        return
    floors = [floor for start, end in spans if (floor := measure.floor(start, end)) is not None]
    if len(floors) < len(spans):
        if measure.looks:
            said = f"Of {len(spans)} moments of quiet between cycles {len(floors)} show {measure.name}"
            unknowns.append(f"{said}, so their slope was not judged.")
        return
    rises = [later - earlier for earlier, later in itertools.pairwise(floors)]
    facts[f"{measure.name.replace(' ', '_')}_per_cycle"] = median(rises)
    if min(rises) < measure.rise or median(rises) < measure.slope:
        return
    told = ", ".join(f"{floor:g}" for floor in floors)
    said = f"Each of the last {len(rises)} cycles of {cycles[-1].name} added {measure.name}: {told}."
    findings.append(Finding(Promise.BOUNDS, said, in_flight(run, *spans[-1]), spans[-1][0]))


def _another_life(run: Run, start: float, end: float) -> bool:
    pids = {sample.pid for sample in run.of_kind(ev.ProcessSample) if start <= sample.t <= end and sample.pid}
    return len(pids) > 1 or any(
        start <= mark.t <= end and mark.what != "started" for mark in run.of_kind(ev.ServiceMark)
    )


def _held(
    run: Run, seen: Sequence[ev.ProcessSample], pooled: _Measure, findings: list[Finding], facts: dict[str, float]
) -> None:
    """What the service holds after the last recovery edge, beside what it held before the first fault.

    Of descriptors a whole pool may have come on top of what was no connection: also one of connections that died and
    that the pool has not yet found broken.
    """
    begun = min((window.injecting for window in run.windows), default=math.inf)
    healed = max((recovery_edge(window, run) for window in run.windows), default=math.inf)
    if math.isinf(begun) or math.isinf(healed) or _another_life(run, 0.0, run.end):
        return
    # A client opens another connection when the one that it had is not answered any more.
    clients = len(run.began)
    beside = [value for t, value in _descriptors(run, seen).looks if t < begun]
    rules = (
        ("descriptors", beside, [(each.t, float(each.descriptors)) for each in seen], max, 2),
        ("pool_connections_in_use", [value for t, value in pooled.looks if t < begun], pooled.looks, min, MIN_LOOKS),
    )
    slacks = (run.limits.db_pool_max + DESCRIPTOR_SLACK + clients, IN_USE_SLACK)
    for (name, before, looks, of_before, fewest), slack in zip(rules, slacks, strict=True):
        after = [value for t, value in looks if t > healed]
        if not before or len(after) < fewest:
            continue
        allowed = of_before(before) + slack
        facts |= {f"{name}_after": min(after), f"{name}_allowed": allowed}
        if min(after) > allowed:
            said = (
                f"{min(after):g} {name.replace('_', ' ')} at least after the last recovery, where {allowed:g} at most"
            )
            summary = f"{said} are explained by what was held before the first fault: the rest was not given back."
            findings.append(Finding(Promise.BOUNDS, summary, in_flight(run, healed, run.end), healed))
