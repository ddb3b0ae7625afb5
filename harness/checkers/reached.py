"""Which of the states that matter a run reached: facts without judgement, which a whole suite adds up.

A promise is kept easily by a service that is never brought into the state in which it is hard to keep.  Each state is
told by what the outside can see: a run that cannot see it (its target lets nobody look) says nothing of it.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Mapping
from functools import cached_property

from .. import events as ev
from ..blast import ServiceState
from ..checking import CHECKERS, CONDENSABLE, REACHED_PREFIX, SOMETIMES, CheckResult, nothing_more
from ..oracle import CREATED, NO_ANSWER, QUEUED, UNAVAILABLE
from ..rundata import Operation, Run
from ._common import nothing_sent, restarts, shared
from ._pool_series import IN_USE
from ._stored import Stored
from .fallback import open_breaker, queues

NAME = "reached"
SHORTEST_AMBIGUITY_SECONDS = 0.03
"""A shorter request says nothing of whether its row was stored in its first half."""


class _Seen:
    """A run, and what several states are told by."""

    def __init__(self, run: Run) -> None:
        self.run = run

    @cached_property
    def drained_at(self) -> Mapping[int, float]:
        """By number, when each first send that was answered 202 was stored, as far as that is known."""
        times = ((op.op, self._stored.stored_at(op)) for op in self.sent(QUEUED))
        return {op: at for op, at in times if at is not None}

    def sent(self, *statuses: int, kind: ev.OpKind = ev.OpKind.WRITE) -> list[Operation]:
        """Operations of one kind with one of these answers."""
        return [op for op in self.run.seen if op.kind is kind and op.status in statuses]

    def stored_at(self, operation: Operation) -> float | None:
        """When the row of an operation was stored, None where that is not known."""
        return self._stored.stored_at(operation)

    def is_dead(self, operation: Operation) -> bool:
        """Tell whether the final read of the queue lists the operation's event as a dead letter."""
        return any(row.state == "dead" for row in self._stored.queued.get(self._stored.identity(operation), ()))

    @cached_property
    def _stored(self) -> Stored:
        return shared(self.run, Stored)


State = Callable[[_Seen], bool | None]
"""Tells whether a run reached the state; None where nobody can see it."""

_STATES: dict[str, State] = {}


def _state(name: str, sentence: str) -> Callable[[State], State]:
    """Register a state with the sentence that a report shows; raises UsageError for a name that is taken."""
    SOMETIMES.register(name)(sentence)

    def add(state: State) -> State:
        _STATES[name] = state
        return state

    return add


@CHECKERS.register(NAME)
def reached(run: Run) -> CheckResult:
    """Tell which states were reached, one fact each: 1 or 0, and none for a state that nobody can see."""
    empty = nothing_sent(NAME, run)
    if empty is not None:
        return empty
    seen = _Seen(run)
    told = {name: state(seen) for name, state in _STATES.items()}
    return CheckResult(
        NAME, facts={f"{REACHED_PREFIX}{name}": float(was) for name, was in told.items() if was is not None}
    )


CONDENSABLE.register(NAME)(nothing_more)


@_state("pool_exhausted", "every connection of the pool was in use")
def _pool_exhausted(seen: _Seen) -> bool | None:
    if not seen.run.reads.metrics:
        return None
    samples = seen.run.of_kind(ev.MetricsSample)
    return any(sample.series.get(IN_USE, 0.0) >= seen.run.limits.db_pool_max for sample in samples)


@_state("breaker_open", "a month's events were queued at once, without another try that waits")
def _breaker_open(seen: _Seen) -> bool:
    quick = seen.run.limits.lock_timeout_seconds / 4
    return any(
        op.seconds < quick for window in seen.run.windows if queues(window) for op in open_breaker(seen.run, window)
    )


@_state("half_open_probe", "a month was still spared after its repair, until the service itself found it well")
def _half_open_probe(seen: _Seen) -> bool:
    for window in seen.run.windows:
        if window.healed is None or window.probed is None or not queues(window):
            continue
        until = window.probed + seen.run.limits.recovery_seconds
        spared = [op for op in seen.sent(QUEUED) if window.radius.covers(op.event_date)]
        late = {op.month: op.completed for op in spared if window.healed <= op.invoked <= until}
        if any(op.month in late and late[op.month] <= op.completed <= until for op in seen.sent(CREATED)):
            return True
    return False


@_state("drain_during_load", "queued events were stored while the load went on")
def _drain_during_load(seen: _Seen) -> bool | None:
    if not seen.run.reads.sql:
        return None
    live = sorted(op.completed for op in seen.sent(CREATED) if op.writer >= 0)
    times = seen.drained_at.values()
    return any(0 < bisect.bisect_left(live, at) < len(live) for at in times)


@_state("ambiguous_commit", "an event was stored although its answer did not say so")
def _ambiguous_commit(seen: _Seen) -> bool | None:
    if not seen.run.reads.sql:
        return None
    queued = [op for op in seen.sent(QUEUED) if op.seconds >= SHORTEST_AMBIGUITY_SECONDS]
    if any(seen.drained_at.get(op.op, op.completed) < op.invoked + op.seconds / 2 for op in queued):
        return True
    unsure = [op for op in seen.sent(NO_ANSWER, UNAVAILABLE) if op.outcome != "not_stored"]
    return any((at := seen.stored_at(op)) is not None and at < op.completed for op in unsure)


@_state("dead_letter", "an event became a dead letter")
def _dead_letter(seen: _Seen) -> bool | None:
    if not seen.run.reads.dlq:
        return None
    return any(row.state == "dead" for row in seen.run.of_kind(ev.DlqRow))


@_state("resend_while_queued", "an event was sent again while it was queued")
def _resend_while_queued(seen: _Seen) -> bool | None:
    if not seen.run.reads.sql:
        return None
    return any(
        op.of is not None and seen.drained_at.get(op.of, 0.0) > op.completed
        for op in seen.sent(QUEUED, kind=ev.OpKind.RESEND)
    )


@_state("conflict_on_drain", "a contradicting event was queued, and found to be one only by the drain")
def _conflict_on_drain(seen: _Seen) -> bool | None:
    if not seen.run.reads.dlq:
        return None
    return any(seen.is_dead(op) for op in seen.sent(QUEUED, kind=ev.OpKind.CONFLICT))


@_state("restart_with_backlog", "the service was started anew with events in its queue")
def _restart_with_backlog(seen: _Seen) -> bool | None:
    if not seen.run.reads.sql:
        return None
    ended = [window.injecting for window in seen.run.windows if window.radius.service is ServiceState.DOWN]
    began = restarts(seen.run)
    queued = seen.sent(QUEUED)
    return any(
        op.completed < end and seen.drained_at.get(op.op, 0.0) > new
        for end in ended
        for new in began
        if new >= end
        for op in queued
    )
