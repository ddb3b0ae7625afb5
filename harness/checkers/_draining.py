"""The drain after a repair: when it begins, how long it takes for its backlog, and who waits beside it."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass

from .. import events as ev
from ..blast import Dlq, ServiceState
from ..checking import Finding, Needs
from ..oracle import CREATED, QUEUED
from ..rundata import FaultWindow, Operation, Run
from ..values import Month, Phase, Promise
from ._common import (
    Canary,
    event_ids,
    expectations,
    folded_expectations,
    in_flight,
    quantile,
    reaches,
    shared,
    wishes,
)
from ._standstill import hangs, met
from ._stored import Stored

BEGIN_SLACK_SECONDS = 0.5
SLOWEST_EVENTS_PER_SECOND = 200.0
"""A drain may take so long in proportion to its backlog, beyond the scenario's own deadline."""
USUAL_DEADLINE_SECONDS = 20.0
STARVED_SECONDS = 3.0
"""Without one event created for so long, while one waits all the time, live writes starve."""
STARVED_RATIO = 10.0
STARVED_FLOOR_SECONDS = 0.5
MIN_LIVE_SAMPLES = 200


@dataclass(frozen=True)
class Drain:
    """The drain of one repair: of ``backlog`` events, begun at the probe and over by ``ended`` (None: not seen).

    Another fault came at ``disturbed``, infinite for never: what is so from then on may be its doing.
    """

    window: FaultWindow
    healing: float
    probed: float
    backlog: int
    ended: float | None
    disturbed: float = math.inf

    @property
    def seconds(self) -> float | None:
        """From the probe to the first look that found the queue empty."""
        return None if self.ended is None else self.ended - self.probed


def drains(run: Run) -> list[Drain]:
    """The drains that can be timed: of repairs after which no other fault was on, with a queue that can be read."""
    found: list[Drain] = []
    samples = [sample for sample in run.of_kind(ev.DlqSample) if sample.depth >= 0]
    for window in run.windows:
        if window.probed is None or window.healing is None or _overlapped(run, window, window.probed):
            continue
        begun = [sample for sample in samples if window.healing <= sample.t]
        # What was queued before the heal; the first look may come when a part is drained already.
        last_before = [sample for sample in samples if sample.t < window.healing][-1:]
        backlog = max((sample.depth for sample in [*last_before, *begun[:1]]), default=0)
        empty = [sample for sample in begun if sample.t >= window.probed and sample.depth == 0]
        if backlog:
            ended = empty[0].t if empty else None
            found.append(Drain(window, window.healing, window.probed, backlog, ended, _next_fault(run, window.probed)))
    return found


def _next_fault(run: Run, probed: float) -> float:
    return min((other.injecting for other in run.windows if other.injecting > probed), default=math.inf)


def _overlapped(run: Run, window: FaultWindow, probed: float) -> bool:
    """Tell whether another fault was on, or came, while this one's drain went on: its clock is another."""
    until = probed + run.limits.recovery_seconds
    return any(
        other.fault != window.fault and other.injecting <= until and (other.probed or math.inf) > probed
        for other in run.windows
    )


def drain_findings(run: Run) -> tuple[list[Finding], dict[str, float]]:
    """Judge begin, end and live traffic of every drain; the facts are its backlog, seconds and events a second."""
    findings: list[Finding] = []
    facts: dict[str, float] = {}
    stored = shared(run, Stored)
    for drain in drains(run):
        key = f"{drain.window.fault}_{drain.window.name}"
        facts[f"backlog_{key}_events"] = float(drain.backlog)
        if drain.seconds:
            facts[f"drained_{key}_events_per_second"] = drain.backlog / drain.seconds
        findings += [*_began_late(run, drain, stored), *_took_long(run, drain), *_starved(run, drain)]
    return findings, facts


def _began_late(run: Run, drain: Drain, stored: Stored) -> Iterator[Finding]:
    """The first queued event is stored within the recovery time of the probe, by the row's own time."""
    if drain.window.radius.service is not ServiceState.UP or drain.window.radius.dlq is not Dlq.YES:
        return  # Where the queue itself was hurt, or the process, nothing says which events it could still give back.
    queued = _kept_back(run, drain.window)
    times = [at for op in queued if (at := stored.stored_at(op)) is not None and at >= drain.healing]
    bound = drain.probed + run.limits.recovery_seconds + BEGIN_SLACK_SECONDS
    if drain.disturbed <= bound:
        return
    if not times or len(times) < len(queued) / 2 or min(times) <= bound or _database_stalled(run, drain, bound):
        return
    said = f"The drain of {drain.backlog} events began {min(times) - drain.probed:.1f} s after {drain.window.name}"
    summary = f"{said} was repaired; {run.limits.recovery_seconds:g} s are allowed."
    yield Finding(Promise.RECOVERY, summary, event_ids(queued), drain.probed)


def _kept_back(run: Run, window: FaultWindow) -> list[Operation]:
    healing = window.healing if window.healing is not None else run.end
    return [
        op
        for op in run.seen
        if op.kind is ev.OpKind.WRITE
        and op.status == QUEUED
        and window.radius.covers(op.event_date)
        and window.injecting <= op.invoked
        and op.completed < healing
    ]


def _took_long(run: Run, drain: Drain) -> Iterator[Finding]:
    """The queue is empty after a time in proportion to the backlog; a run that ended before says nothing here."""
    allowed = _deadline(run) + drain.backlog / SLOWEST_EVENTS_PER_SECOND
    bound = drain.probed + allowed
    until = drain.ended if drain.ended is not None else run.final.t if run.final is not None else drain.probed
    if min(until, drain.disturbed) <= bound or _database_stalled(run, drain, bound):
        return
    state = "over" if drain.ended is not None else "not over"
    said = f"The drain of {drain.backlog} events was {state} {until - drain.probed:.1f} s after the repair of"
    summary = f"{said} {drain.window.name}; {allowed:.1f} s are allowed."
    yield Finding(Promise.RECOVERY, summary, event_ids(_kept_back(run, drain.window)), drain.probed)


def _deadline(run: Run) -> float:
    try:
        return float(json.loads(run.started.scenario_json)["recovery_deadline_seconds"])
    except (ValueError, KeyError, TypeError):
        return USUAL_DEADLINE_SECONDS


def _database_stalled(run: Run, drain: Drain, until: float) -> bool:
    """Tell whether the canary of some month stalled between the probe and the moment that is judged.

    What it met before is the fault's doing, which nearly always stopped the canary as well.
    """
    canary = shared(run, Canary)
    return any(canary.stalled_between(month, drain.probed, until) for month in run.months)


def _starved(run: Run, drain: Drain) -> Iterator[Finding]:
    """While the queue drains live writes go on: none waits long without another one of its month being created.

    The months that the fault hurt have the recovery time to take writes again.  A breaker may still queue for a while;
    its 202s wait for nobody.
    """
    ended = _undisturbed_end(run, drain)
    for month in run.months:
        begin = drain.probed + (run.limits.recovery_seconds if reaches(drain.window, month) else 0.0)
        waited = _starving(run, month, begin, ended)
        if waited and not _database_stalled(run, drain, ended):
            longest = max(min(op.completed, ended) - max(op.invoked, begin) for op in waited)
            said = f"While {drain.backlog} events drained no event of {month} was created for {longest:.1f} s"
            summary = f"{said}, although its writers waited."
            yield Finding(Promise.RECOVERY, summary, event_ids(waited), waited[0].invoked)
    if wishes(run).judge_latency:
        yield from _slow(run, drain, ended)


def _undisturbed_end(run: Run, drain: Drain) -> float:
    return min(run.end if drain.ended is None else drain.ended, drain.disturbed)


def _starving(run: Run, month: Month, start: float, end: float) -> list[Operation]:
    """Writes that waited, inside [start, end], for long and saw none of their month created meanwhile."""
    live = (op for op in run.seen_in(month) if op.kind is ev.OpKind.WRITE and op.writer >= 0)
    writes = [op for op in live if op.seconds > STARVED_SECONDS]
    if not writes:
        return []
    marks = [start, *run.created_times(month, start, end, STARVED_SECONDS), end]
    gaps = [(one, two) for one, two in itertools.pairwise(marks) if two - one > STARVED_SECONDS]
    return [
        op
        for op in writes
        for first, last in gaps
        if min(op.completed, last) - max(op.invoked, first) > STARVED_SECONDS and op.status != QUEUED
    ]


def _slow(run: Run, drain: Drain, ended: float) -> Iterator[Finding]:
    """Where latency is judged, the p99 beside the drain stays within ten times that of the control phase."""
    hung = shared(run, hangs)
    before = [
        op.seconds
        for op, expected in expectations(run)
        if expected.phase is Phase.BEFORE and _live(op) and not met(hung, op)
    ]
    for group, expected in folded_expectations(run):
        before += group.seconds if expected.phase is Phase.BEFORE and _live(group.like) else ()
    beside = [op.seconds for op in run.operations if _beside(op, drain, ended) and not met(hung, op)]
    for group in run.groups:
        beside += group.seconds if _beside(group.like, drain, ended) else ()
    if min(len(before), len(beside)) < MIN_LIVE_SAMPLES or _database_stalled(run, drain, ended):
        return
    slow, usual = quantile(beside, 0.99), quantile(before, 0.99)
    bound = max(STARVED_RATIO * usual, STARVED_FLOOR_SECONDS)
    if slow > bound:
        said = f"Beside the drain of {drain.backlog} events the p99 of a 201 is {slow:.2f} s, {usual:.2f} s before"
        every = run.under_way(drain.probed, ended)
        slower = (op for op in every if _beside(op, drain, ended) and op.seconds > bound and not met(hung, op))
        ids = event_ids(slower)
        yield Finding(Promise.RECOVERY, f"{said}; bound {bound:.2f} s.", ids, drain.probed, comparative=True)


def _beside(operation: Operation, drain: Drain, ended: float) -> bool:
    return drain.probed <= operation.invoked and operation.completed <= ended and _live(operation)


def drain_needs(run: Run) -> Needs:
    """What these rules need of a condensed run."""
    spans = tuple((one.probed, _undisturbed_end(run, one)) for one in drains(run))
    cuts = (*(t for span in spans for t in span), *shared(run, hangs)) if wishes(run).judge_latency else ()
    return Needs(cuts=cuts, stalls=spans, stall_seconds=STARVED_SECONDS)


def _live(operation: Operation) -> bool:
    return operation.status == CREATED and operation.kind is ev.OpKind.WRITE and operation.writer >= 0


def ended_at_start(run: Run) -> Iterator[Finding]:
    """A service that ended by itself when it was started again, whether or not another try brought it up."""
    for mark in run.of_kind(ev.ServiceMark):
        begun = [window for window in run.windows if window.injecting <= mark.t]
        if mark.what != "ended" or not begun:
            continue
        last = max(begun, key=lambda window: window.injecting)
        why = last.refusal or (last.failed_heals[-1] if last.failed_heals else "")
        said = f"The service ended by itself when it was started again after {last.name}. {why}".strip()
        yield Finding(Promise.RECOVERY, said, in_flight(run, last.injecting, mark.t), mark.t)
        return


def not_back(run: Run, window: FaultWindow) -> Finding | None:
    """A service that a fault ended or restarted, and that nobody heard of again although its start was tried.

    Only where the harness itself played on to its final reads: a run that was broken off waited for nobody.  A service
    that begins to answer before the end, however late, is judged by its answers.
    """
    if window.radius.service is not ServiceState.DOWN or window.probed is not None or window.healing is None:
        return None
    if run.final is None or any(note.topic in ("abort", "harness", "load") for note in run.of_kind(ev.Note)):
        return None
    answered = [op.completed for op in run.seen if op.status]
    answered += [sample.t for sample in run.of_kind(ev.ReadySample) if sample.status]
    silent_since = max((t for t in answered if t <= run.end), default=0.0)
    asked = [sample.t for sample in run.of_kind(ev.ReadySample) if sample.t > max(silent_since, window.healing)]
    if silent_since > window.healing or not asked or asked[-1] - window.healing < run.limits.recovery_seconds:
        return None
    said = f"The service did not come back after {window.name}: it has answered nothing since {silent_since:.1f} s"
    ids = event_ids(op for op in run.under_way(silent_since) if op.invoked >= silent_since)
    return Finding(Promise.RECOVERY, f"{said}. {window.problem}", ids, window.injecting)
