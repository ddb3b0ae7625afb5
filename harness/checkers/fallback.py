"""Promise 4: every answer in time, the first 202 soon after the bite, and a quick 202 from then on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .. import events as ev
from ..blast import Dlq, ServiceState, Write
from ..checking import BOUND, CHECKERS, COMPARED_WITH, CONDENSABLE, CheckResult, Finding, Needs
from ..oracle import QUEUED
from ..rundata import FaultWindow, Operation, Run
from ..values import Month, Promise
from ._common import (
    CLIENT_SLACK_SECONDS,
    LATENCY_MARGIN_SECONDS,
    MIN_LATENCY_SAMPLES,
    Calm,
    Canary,
    event_ids,
    expectations,
    nothing_sent,
    quantile,
    reaches,
    shared,
    wishes,
)

NAME = "fallback"
MEDIAN_RATIO = 3.0
SLOW_RATIO = 10.0
SLOW_SECONDS = 0.5
SLOW_SAMPLES = 50
"""Where latency is not judged a median 202 is found slow only beyond all noise: with so many 202s, over the median 201
by this ratio and over so many seconds.  A service without a breaker, whose every 202 waits for a time-out, is."""
OPENING_ANSWERS = 5
"""The breaker of a month counts as open from its fifth 202 in a window on; those five may wait for time-outs."""


@CHECKERS.register(NAME)
def fallback(run: Run) -> CheckResult:
    """Judge answer times against the request deadline, and the switch to the queue."""
    empty = nothing_sent(NAME, run)
    if empty is not None:
        return empty
    findings, excused = _late(run)
    for window in run.windows:
        if queues(window):
            findings += [found for month in run.months if (found := _first_queued(run, window, month))]
    unknowns: tuple[str, ...] = tuple(excused)
    answered = [operation.seconds for operation in run.seen if operation.status]
    facts = {"slowest_answer_seconds": max(answered, default=0.0)}
    if wishes(run).judge_latency and any(queues(window) for window in run.windows):
        late, unsure, figures = _median(run)
        findings, unknowns = [*findings, *late], (*unknowns, *unsure)
        facts.update(figures)
    else:
        findings += _slow(run, facts)
    return CheckResult(NAME, tuple(findings), unknowns, facts=facts)


@CONDENSABLE.register(NAME)
def _needs(run: Run) -> Needs:
    return Needs(cuts=tuple(_compared_times(run)))


def _compared_times(run: Run) -> Iterator[float]:
    for window in run.windows:
        marks = (window.injecting, window.injected, window.healing, window.probed)
        yield from (mark for mark in marks if mark is not None)


def queues(window: FaultWindow) -> bool:
    """Tell whether the fault, alone and biting, must send its months to the queue."""
    radius = window.radius
    quiet = radius.dlq is Dlq.YES and radius.service is ServiceState.UP
    return radius.write is Write.NO and quiet and window.confirmed is not None and window.injected is not None


def _late(run: Run) -> tuple[list[Finding], list[str]]:
    """Answers after the deadline; an operation without any answer is judged by honest-status."""
    bound = run.limits.request_deadline_seconds + CLIENT_SLACK_SECONDS
    late = [
        operation
        for operation, expected in expectations(run)
        if operation.status and operation.seconds > bound and expected.allowed != {0}
    ]
    late = [operation for operation in late if not _silenced(run, operation)]
    canary = shared(run, Canary)
    stalled = {operation.op for operation in late if canary.stalled_unexplained(operation)}
    late = [operation for operation in late if operation.op not in stalled]
    excused = f"{len(stalled)} answers came after the deadline, but the canary stalled as well, though by no fault."
    unknowns = [excused] if stalled else []
    if not late:
        return [], unknowns
    slowest = max(operation.seconds for operation in late)
    said = f"{len(late)} answers came after the deadline of {run.limits.request_deadline_seconds:g} s"
    summary = f"{said}; the slowest took {slowest:.2f} s."
    return [Finding(Promise.FALLBACK, summary, event_ids(late), late[0].invoked)], unknowns


def _silenced(run: Run, operation: Operation) -> bool:
    """Tell whether the operation overlapped a fault that stops the service itself."""
    return any(
        window.radius.service is not ServiceState.UP
        and window.injecting <= operation.completed
        and operation.invoked <= (window.probed if window.probed is not None else run.end)
        for window in run.windows
    )


def _first_queued(run: Run, window: FaultWindow, month: Month) -> Finding | None:
    """The first 202 of the month comes within the deadline of the bite, or of the first write after it."""
    if not reaches(window, month) or window.injected is None or _mixed(run, window, month):
        return None
    healing = window.healing if window.healing is not None else run.end
    writes = _writes_into(window, run.seen_in(month))
    after_bite = [operation for operation in writes if window.injected <= operation.invoked < healing]
    if not after_bite:
        return None
    opening = min(operation.invoked for operation in after_bite)
    bound = opening + run.limits.request_deadline_seconds + CLIENT_SLACK_SECONDS
    if bound >= healing or any(op.status == QUEUED and op.completed <= bound for op in writes):
        return None
    every = _writes_into(window, run.under_way(window.injected, bound, months=(month,)))
    tried = [operation for operation in every if window.injected <= operation.invoked <= bound]
    deadline = run.limits.request_deadline_seconds
    said = f"No event of {month} was queued (202) within {deadline:g} s of the bite of {window.name}."
    return Finding(Promise.FALLBACK, said, event_ids(tried), window.injected)


def _writes_into(window: FaultWindow, among: Iterable[Operation]) -> list[Operation]:
    return [
        operation
        for operation in among
        if operation.kind is ev.OpKind.WRITE
        and window.radius.covers(operation.event_date)
        and operation.completed >= window.injecting
    ]


def _mixed(run: Run, window: FaultWindow, month: Month) -> bool:
    """Tell whether another fault overlaps that takes the queue or the service away."""
    return any(
        other.fault != window.fault
        and reaches(other, month)
        and (other.radius.dlq is not Dlq.YES or other.radius.service is not ServiceState.UP)
        and other.injecting <= (window.healing if window.healing is not None else run.end)
        and (other.probed is None or other.probed >= window.injecting)
        for other in run.windows
    )


def _median(run: Run) -> tuple[list[Finding], tuple[str, ...], dict[str, float]]:
    """The median 202 with an open breaker takes at most 3 times the median healthy 201 of the same run."""
    healthy, median_201 = run.usual_201
    queued = [operation for window in run.windows if queues(window) for operation in open_breaker(run, window)]
    if healthy < MIN_LATENCY_SAMPLES or len(queued) < MIN_LATENCY_SAMPLES:
        counts = f"{healthy} healthy 201 of {MIN_LATENCY_SAMPLES}, {len(queued)} queued 202 of {MIN_LATENCY_SAMPLES}"
        return [], (f"The latency of queueing was not judged: {counts}.",), {}
    median_202 = quantile([operation.seconds for operation in queued], 0.5)
    bound = max(MEDIAN_RATIO * median_201, median_201 + LATENCY_MARGIN_SECONDS)
    facts = {"median_202_seconds": median_202, COMPARED_WITH: median_201, BOUND: bound}
    if median_202 <= bound:
        return [], (), facts
    said = f"The median 202 takes {median_202:.3f} s, the median healthy 201 {median_201:.3f} s; bound {bound:.3f} s"
    canary = shared(run, Canary)
    begin, end = min(op.invoked for op in queued), max(op.completed for op in queued)
    if any(canary.around(month, begin, end) is Calm.STALLED for month in run.months if not _reached(run, month)):
        return [], (f"{said}; but the canary stalled as well.",), facts
    slow = [operation for operation in queued if operation.seconds > bound]
    finding = Finding(Promise.FALLBACK, f"{said}.", event_ids(slow), begin, comparative=True)
    return [finding], (), facts


def _slow(run: Run, facts: dict[str, float]) -> list[Finding]:
    """Beside other runs a machine is too noisy for a ratio of 3, and yet a 202 does not wait for a time-out."""
    healthy, median_201 = run.usual_201
    findings: list[Finding] = []
    canary = shared(run, Canary)
    for window in run.windows:
        queued = open_breaker(run, window) if queues(window) else []
        if len(queued) < SLOW_SAMPLES or healthy < SLOW_SAMPLES:
            continue
        median_202 = quantile([op.seconds for op in queued], 0.5)
        facts[f"median_202_{window.fault}_{window.name}_seconds"] = median_202
        bound = max(SLOW_RATIO * median_201, SLOW_SECONDS)
        begin, end = min(op.invoked for op in queued), max(op.completed for op in queued)
        months = [month for month in run.months if not _reached(run, month)]
        if median_202 <= bound or any(canary.around(month, begin, end) is Calm.STALLED for month in months):
            continue
        said = f"While {window.name} was on the median 202 takes {median_202:.2f} s, the median healthy 201"
        summary = f"{said} {median_201:.3f} s: each seems to wait for a time-out before it is queued."
        findings.append(Finding(Promise.FALLBACK, summary, event_ids(op for op in queued if op.seconds > bound), begin))
    return findings


def _alone(operation: Operation) -> bool:
    """Tell whether it is a first send with a request of its own: a batch takes the time of all its items."""
    return operation.kind is ev.OpKind.WRITE and not operation.batch


def _reached(run: Run, month: Month) -> bool:
    return any(reaches(window, month) for window in run.windows)


def open_breaker(run: Run, window: FaultWindow) -> list[Operation]:
    """Writes answered 202 that were invoked after their month's first five in the window, and before its heal."""
    healing = window.healing if window.healing is not None else run.end
    found: list[Operation] = []
    for month in run.months:
        answers = sorted(
            (
                operation
                for operation in run.seen_in(month)
                if operation.status == QUEUED
                and _alone(operation)
                and window.radius.covers(operation.event_date)
                and window.injecting <= operation.completed < healing
            ),
            key=lambda operation: operation.completed,
        )
        if len(answers) > OPENING_ANSWERS:
            opened = answers[OPENING_ANSWERS - 1].completed
            found += [operation for operation in answers if operation.invoked >= opened]
    return found
