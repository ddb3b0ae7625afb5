"""Promise 3: a fault on one month changes neither the status nor, for long, the latency of the others."""

from __future__ import annotations

from .. import events as ev
from ..checking import CHECKERS, CheckResult, Finding
from ..rundata import FaultWindow, Operation, Run
from ..values import Promise
from ._common import (
    LATENCY_MARGIN_SECONDS,
    MIN_LATENCY_SAMPLES,
    Calm,
    Canary,
    expectations,
    nothing_sent,
    quantile,
    recovery_edge,
    wishes,
)
from ._deviations import Owner, deviations, grouped

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
    facts = {"operations_outside": float(len(_outside(run)))}
    if wishes(run).judge_latency and run.windows:
        late, unsure, figures = _latency(run)
        findings, unknowns = (*findings, *late), (*unknowns, *unsure)
        facts.update(figures)
    return CheckResult(NAME, findings, unknowns, facts=facts)


def _outside(run: Run) -> list[Operation]:
    """Operations that no radius covers, while some fault is on or at its edge."""
    return [
        operation
        for operation, expected in expectations(run)
        if not expected.covered
        and any(
            window.injecting <= operation.completed and operation.invoked <= recovery_edge(window, run)
            for window in run.windows
        )
    ]


def _settled(window: FaultWindow, run: Run, operation: Operation) -> bool:
    """Tell whether the operation ran wholly while the fault was on and the first lock time-outs were over."""
    if window.confirmed is None or window.healing is None:
        return False
    start = window.confirmed + run.limits.lock_timeout_seconds + GRACE_SECONDS
    return start <= operation.invoked and operation.completed < window.healing


def _latency(run: Run) -> tuple[tuple[Finding, ...], tuple[str, ...], dict[str, float]]:
    """Compare the p99 of healthy months under the fault with that of the same months before it."""
    first = min(window.injecting for window in run.windows)
    judged = [
        operation
        for operation, expected in expectations(run)
        if not expected.covered
        and operation.kind is ev.OpKind.WRITE
        and operation.status == 201
        and not operation.batch
    ]
    during = [operation for operation in judged if all(_settled(window, run, operation) for window in run.windows)]
    months = {operation.month for operation in during}
    before = [operation for operation in judged if operation.completed < first and operation.month in months]
    if min(len(before), len(during)) < MIN_LATENCY_SAMPLES:
        counts = f"{len(before)} healthy samples before the fault and {len(during)} under it"
        return (
            (),
            (f"The latency of other months was not judged: {counts}; {MIN_LATENCY_SAMPLES} each are needed.",),
            {},
        )
    p99_before = quantile([operation.seconds for operation in before], 0.99)
    p99_during = quantile([operation.seconds for operation in during], 0.99)
    facts = {"p99_before_seconds": p99_before, "p99_during_seconds": p99_during}
    bound = max(P99_RATIO * p99_before, p99_before + LATENCY_MARGIN_SECONDS)
    if p99_during <= bound:
        return (), (), facts
    said = (
        f"p99 of other months is {p99_during:.3f} s under the fault, {p99_before:.3f} s before it; bound {bound:.3f} s"
    )
    canary = Canary(run)
    begin, end = min(o.invoked for o in during), max(o.completed for o in during)
    if any(canary.around(month, begin, end) is Calm.STALLED for month in months):
        return (), (f"{said}; but the canary stalled as well.",), facts
    slow = tuple(operation.event_id for operation in during if operation.seconds > bound)
    return (Finding(Promise.ISOLATION, f"{said}.", slow, begin, comparative=True),), (), facts
