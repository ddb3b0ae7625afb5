"""Promise 3: a fault on one month changes neither the status nor, for long, the latency of the others."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Sequence

from ..checking import BOUND, CHECKERS, COMPARED_WITH, CONDENSABLE, CheckResult, Finding, Needs
from ..oracle import CREATED, Oracle
from ..rundata import FaultWindow, Operation, Run, is_created
from ..values import Month, Promise
from ._common import (
    LATENCY_MARGIN_SECONDS,
    MIN_LATENCY_SAMPLES,
    Calm,
    Canary,
    expectations,
    folded_expectations,
    nothing_sent,
    quantile,
    recovery_edge,
    shared,
    weighed_expectations,
    wishes,
)
from ._deviations import Owner, deviations, grouped
from ._standstill import hangs, met

NAME = Owner.ISOLATION.value
P99_RATIO = 2.0
GRACE_SECONDS = 0.5
"""Beyond the lock time-out, what the other months may wait after the bite."""


@CHECKERS.register(NAME)
def isolation(run: Run) -> CheckResult:
    """Judge operations outside every radius while a fault is on or at its edge."""
    empty = nothing_sent(NAME, run)
    if empty is not None:
        return empty
    findings, unknowns = grouped(deviations(run, Owner.ISOLATION))
    facts = {"operations_outside": float(_outside(run))}
    if wishes(run).judge_latency and run.windows:
        late, unsure, figures = _latency(run)
        findings, unknowns = (*findings, *late), (*unknowns, *unsure)
        facts.update(figures)
    return CheckResult(NAME, findings, unknowns, facts=facts)


@CONDENSABLE.register(NAME)
def _needs(run: Run) -> Needs:
    hung = shared(run, hangs) if wishes(run).judge_latency else ()
    return Needs(cuts=(*_compared_times(run), *hung))


def _compared_times(run: Run) -> Iterator[float]:
    for window in run.windows:
        yield from (window.injecting, recovery_edge(window, run))
        if window.confirmed is not None:
            yield window.confirmed + run.limits.lock_timeout_seconds + GRACE_SECONDS
        if window.healing is not None:
            yield window.healing


def _outside(run: Run) -> int:
    """Count operations that no radius covers, while some fault is on or at its edge."""
    return sum(
        count
        for operation, expected, count in weighed_expectations(run)
        if not expected.covered
        and any(
            window.injecting <= operation.completed and operation.invoked <= recovery_edge(window, run)
            for window in run.windows
        )
    )


def settled(window: FaultWindow, run: Run, operation: Operation) -> bool:
    """Tell whether the operation ran wholly while the fault was on and the first lock time-outs were over."""
    if window.confirmed is None or window.healing is None:
        return False
    start = window.confirmed + run.limits.lock_timeout_seconds + GRACE_SECONDS
    return start <= operation.invoked and operation.completed < window.healing


def _latency(run: Run) -> tuple[tuple[Finding, ...], tuple[str, ...], dict[str, float]]:
    """Compare the p99 of healthy months under the fault with that of the same months before it."""
    first = min(window.injecting for window in run.windows)
    judged = list(_latencies(run))
    during = [one for one in judged if all(settled(window, run, one[0]) for window in run.windows)]
    months = {like.month for like, _ in during}
    before = [one for one in judged if one[0].completed < first and one[0].month in months]
    samples_before, samples_during = (
        list(itertools.chain.from_iterable(seconds for _, seconds in side)) for side in (before, during)
    )
    if min(len(samples_before), len(samples_during)) < MIN_LATENCY_SAMPLES:
        counts = f"{len(samples_before)} healthy samples before the fault and {len(samples_during)} under it"
        return (
            (),
            (f"The latency of other months was not judged: {counts}; {MIN_LATENCY_SAMPLES} each are needed.",),
            {},
        )
    p99_before = quantile(samples_before, 0.99)
    p99_during = quantile(samples_during, 0.99)
    bound = max(P99_RATIO * p99_before, p99_before + LATENCY_MARGIN_SECONDS)
    facts = {"p99_during_seconds": p99_during, COMPARED_WITH: p99_before, BOUND: bound}
    if p99_during <= bound:
        return (), (), facts
    said = (
        f"p99 of other months is {p99_during:.3f} s under the fault, {p99_before:.3f} s before it; bound {bound:.3f} s"
    )
    canary = shared(run, Canary)
    named = _judged_during(run, months)
    begin, end = min(o.invoked for o in named), max(o.completed for o in named)
    if any(canary.around(month, begin, end) is Calm.STALLED for month in months):
        return (), (f"{said}; but the canary stalled as well.",), facts
    slow = tuple(operation.event_id for operation in named if operation.seconds > bound)
    return (Finding(Promise.ISOLATION, f"{said}.", slow, begin, comparative=True),), (), facts


def _latencies(run: Run) -> Iterator[tuple[Operation, Sequence[float]]]:
    """Latencies (seconds) of direct writes that no radius covers, each with an operation that stands for them.

    What was under way while the machine or its disk hung is left out.  Of folded operations none was: such a time is a
    cut.
    """
    hung = shared(run, hangs)
    for operation, expected in expectations(run):
        if not expected.covered and is_created(operation) and not operation.batch and not met(hung, operation):
            yield operation, (operation.seconds,)
    for group, expected in folded_expectations(run):
        if not expected.covered and is_created(group.like) and not group.like.batch:
            yield group.like, group.seconds


def _judged_during(run: Run, months: Collection[Month]) -> list[Operation]:
    """The operations themselves whose latencies under the fault were compared."""
    oracle, hung = Oracle(run), shared(run, hangs)
    return [
        operation
        for operation in run.under_way(months=months, statuses=(CREATED,))
        if is_created(operation)
        and not operation.batch
        and not met(hung, operation)
        and all(settled(window, run, operation) for window in run.windows)
        and not oracle.expect(operation).covered
    ]
