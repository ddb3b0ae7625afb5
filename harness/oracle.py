"""Oracle: from the blast radii active while an operation ran to what it may answer.

One rule judges hand-written and random schedules alike (docs/reference/oracle.md, "What an operation may
answer").  A fault is, for one operation, *off*, *on*, or at an *edge* where the operation may have met either
side; the allowed answers are the union over all combinations of sides.  Overlapping faults intersect: the
worst write state counts, and delays add up.
"""

from __future__ import annotations

import enum
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from .blast import BlastRadius, Dlq, Edge, ServiceState, Write
from .events import OpKind
from .rundata import FaultWindow, Operation, Run
from .targets.model import Limits
from .values import Phase

CREATED, QUEUED, REJECTED, CONFLICT, UNAVAILABLE, NO_ANSWER = 201, 202, 400, 409, 503, 0


class Side(enum.Enum):
    """Where one operation lies with respect to one fault."""

    OFF = "off"
    ON = "on"
    EDGE = "edge"


@dataclass(frozen=True)
class Expectation:
    """What one operation may answer, and whether that is judged strictly (no edge touched it)."""

    allowed: frozenset[int]
    strict: bool
    phase: Phase
    covered: bool
    """True when some fault that was or may have been active covers the event's date."""


_FALLBACKS = {
    Dlq.YES: frozenset({QUEUED}),
    Dlq.PARTIAL: frozenset({QUEUED, UNAVAILABLE}),
    Dlq.NO: frozenset({UNAVAILABLE}),
    Dlq.DESTROYED: frozenset({UNAVAILABLE}),
}
"""What the queue lets a service answer where the table takes nothing; the worst state is the last."""


@dataclass(frozen=True)
class State:
    """The state of one month under the faults that are on: what the table of the oracle is asked with."""

    write: Write = Write.YES
    delay_ms: float = 0.0
    dlq: Dlq = Dlq.YES
    service: ServiceState = ServiceState.UP

    @classmethod
    def under(cls, radii: Sequence[BlastRadius]) -> State:
        """Intersect the radii that cover the month."""
        if not radii:
            return _WHOLE  # Most operations of most runs.
        order = [Write.YES, Write.DELAYED, Write.PARTIAL, Write.NO]
        return cls(
            write=max((radius.write for radius in radii), key=order.index, default=Write.YES),
            delay_ms=sum(radius.delay_ms for radius in radii if radius.write is Write.DELAYED),
            dlq=max((radius.dlq for radius in radii), key=list(_FALLBACKS).index, default=Dlq.YES),
            service=max((radius.service for radius in radii), key=list(ServiceState).index, default=ServiceState.UP),
        )

    @property
    def silent(self) -> bool:
        """True when nobody can answer at all."""
        return self.service in (ServiceState.PAUSED, ServiceState.DOWN)


_WHOLE = State()


def answers_for_write(state: State, limits: Limits, *, writers_fit: bool) -> frozenset[int]:
    """The oracle's table for a valid first send into an attached month."""
    if state.silent:
        return frozenset({NO_ANSWER})
    fallback = _FALLBACKS[state.dlq]
    if state.write is Write.NO:
        return fallback
    if state.write is Write.PARTIAL:
        return fallback | {CREATED}
    if state.write is Write.DELAYED:
        share = state.delay_ms / 1000.0 / limits.smallest_timeout_seconds
        if share >= 2.0:
            return fallback
        if share > 0.5 or not writers_fit:
            return fallback | {CREATED}
    return frozenset({CREATED})


class Oracle:
    """Judges the operations of one run, knowing its fault windows, its limits and its earlier answers."""

    def __init__(self, run: Run) -> None:
        """Index what the rules ask for: windows, first answers by op, concurrent writers by month."""
        self._windows = run.windows
        self._limits = run.limits
        self._by_op = run.by_op
        self._during = run.phase_start(Phase.DURING)
        self._after = run.phase_start(Phase.AFTER)
        self._writers = run.writers
        self._contradictions: dict[int, list[Operation]] = {}
        for operation in run.operations:
            if operation.kind is OpKind.CONFLICT and operation.of is not None:
                self._contradictions.setdefault(operation.of, []).append(operation)

    def expect(self, operation: Operation) -> Expectation:
        """Say what this operation may answer."""
        sides = [(window, side_of(window, operation, self._limits)) for window in self._windows]
        allowed: frozenset[int] = frozenset()
        choices = [_choices(window, side, operation) for window, side in sides]
        for combination in itertools.product(*choices):
            allowed |= self._answers(operation, [radius for radius in combination if radius is not None])
        covered = any(side is not Side.OFF and window.radius.on(operation.event_date) for window, side in sides)
        strict = all(side is not Side.EDGE for _, side in sides)
        return Expectation(allowed, strict, self.phase_of(operation), covered)

    def phase_of(self, operation: Operation) -> Phase:
        """Place an operation by the run's phase marks: an edge belongs to the phase it opens."""
        if self._after is not None and operation.completed >= self._after:
            return Phase.AFTER
        if self._during is not None and operation.completed >= self._during:
            return Phase.DURING
        return Phase.BEFORE

    def _answers(self, operation: Operation, radii: Sequence[BlastRadius]) -> frozenset[int]:
        state = State.under(radii)
        if state.silent:
            return frozenset({NO_ANSWER})
        if state.service is ServiceState.PARTIAL:
            return self._spoken(operation, state) | {NO_ANSWER}
        return self._spoken(operation, state)

    def _spoken(self, operation: Operation, state: State) -> frozenset[int]:
        """What a service that answers may say."""
        if operation.kind is OpKind.INVALID:
            return frozenset({REJECTED})
        fit = self._writers.get(operation.month, 0) <= self._limits.stalling_month_share
        first = answers_for_write(state, self._limits, writers_fit=fit)
        if operation.kind is OpKind.WRITE:
            return first
        if operation.kind is OpKind.POISON:
            # A service that sees it without the database may refuse it everywhere.
            return (first - {CREATED}) | {REJECTED}
        return self._answers_again(operation, state, first)

    def _answers_again(self, operation: Operation, state: State, first: frozenset[int]) -> frozenset[int]:
        """A second request with the identity of an earlier one answers by the present state of that event."""
        original = self._by_op.get(operation.of) if operation.of is not None else None
        settled = original is not None and (
            original.completed < operation.invoked or 0 < original.batch == operation.batch
        )
        stored = settled and original is not None and original.status == CREATED
        if operation.kind is OpKind.RESEND:
            if stored and state.write is Write.YES:
                return frozenset({CREATED})
            contested = frozenset({CONFLICT}) if self._contested(operation) else frozenset()
            return frozenset({CREATED, QUEUED}) | first | contested
        if stored and state.write is Write.YES:
            return frozenset({CONFLICT})
        if settled and original is not None and original.acknowledged:
            return frozenset({CONFLICT, QUEUED}) | (first & {UNAVAILABLE})
        return frozenset({CONFLICT}) | first

    def _contested(self, operation: Operation) -> bool:
        """Tell whether another content of this identity may have been queued while the table could not be asked."""
        rivals = self._contradictions.get(operation.of or 0, [])
        return any(
            r.invoked < operation.completed and r.status in (NO_ANSWER, CREATED, QUEUED, UNAVAILABLE) for r in rivals
        )


def forgotten(begun: float, done: float, limits: Limits) -> float:
    """When the months that a fault does not cover owe 201 again after its statements.

    At once; but statements that went on for as long as a write waits for a lock may have kept it waiting that long,
    and the breakers that opened for it close within the recovery time.
    """
    return done + limits.recovery_seconds if done - begun >= limits.lock_timeout_seconds else done


def side_of(window: FaultWindow, operation: Operation, limits: Limits) -> Side:
    """Place an operation against one fault's marks; unconfirmed and unhealed faults leave only edges."""
    covers = window.radius.on(operation.event_date) is not None
    start, end = operation.invoked, operation.completed
    if end < window.injecting:
        return Side.OFF
    bites = window.confirmed if window.confirmed is not None else math.inf
    heals = window.healing if window.healing is not None else math.inf
    recovered = math.inf if window.probed is None else window.probed + limits.recovery_seconds
    if window.radius.edge is Edge.FLAPPING:
        return Side.OFF if start > recovered else Side.EDGE
    if covers or window.radius.edge is Edge.RESTART:
        if start > recovered:
            return Side.OFF
        if start > bites and end < heals:
            return Side.ON if covers else Side.OFF
        return Side.EDGE
    if window.radius.edge is Edge.DDL:
        healed = window.healed if window.healed is not None else math.inf
        in_inject = start <= forgotten(window.injecting, bites, limits) and end >= window.injecting
        in_heal = start <= forgotten(heals, healed, limits) and end >= heals
        return Side.EDGE if in_inject or in_heal else Side.OFF
    return Side.OFF


def cut_times(run: Run) -> tuple[float, ...]:
    """All times with which the oracle compares an operation: between two of them it expects the same of each.

    What :func:`side_of` and :meth:`Oracle.phase_of` compare has to be in here.
    """
    marks = [run.phase_start(Phase.DURING), run.phase_start(Phase.AFTER)]
    for window in run.windows:
        marks += [window.injecting, window.confirmed, window.healing, window.healed, window.probed]
        if window.probed is not None:
            marks.append(window.probed + run.limits.recovery_seconds)
        if window.confirmed is not None:
            marks.append(forgotten(window.injecting, window.confirmed, run.limits))
        if window.healing is not None and window.healed is not None:
            marks.append(forgotten(window.healing, window.healed, run.limits))
    return tuple(mark for mark in marks if mark is not None)


_DISTURBED = BlastRadius(months=None, write=Write.NO)
"""What a month may meet while statements of the fault run, whatever the fault does afterwards: an honest 202."""


def _choices(window: FaultWindow, side: Side, operation: Operation) -> list[BlastRadius | None]:
    radius = window.radius.on(operation.event_date) or _DISTURBED
    if side is Side.OFF:
        return [None]
    if side is Side.ON:
        return [radius]
    # The locks of DDL stop writes, and a restart breaks connections, by themselves: also for a fault that lets its
    # months be written in between.
    return [None, radius] if window.radius.edge is Edge.MONTHS else [None, radius, _DISTURBED]
