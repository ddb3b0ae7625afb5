"""Histories made by Hypothesis: a run as an honest service leaves it, of any mix of requests and faults, then spoilt.

``histories()`` gives a :class:`Generated`: the history, and by name what was done to it.  Without spoils it is honest,
though what samplers see of faults that overlap, or that hit some days of a month, is told only roughly; that of
``simple_plans()`` is told exactly.  Times lie on a grid, so that ties and times equal to a fault's marks do occur.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from harness import events as ev
from harness.blast import BlastRadius, Dlq, Edge, ServiceState, Write
from harness.values import Month

from ..unit.histories import MONTHS, History
from .observations import Plan, observed, recorded
from .spoils import SECONDS, SPOILS

STEP_SECONDS = 0.5
"""The grid on which requests begin."""


@dataclass(frozen=True)
class Generated:
    """A history with the names of the spoils that were applied to it, in their order."""

    history: History
    spoils: tuple[str, ...]


def radii() -> st.SearchStrategy[BlastRadius]:
    """Radii of one month, or of the whole database."""
    return st.builds(
        BlastRadius,
        months=st.sampled_from([None, frozenset(MONTHS[:1]), frozenset(MONTHS[1:])]),
        write=st.sampled_from([Write.NO, Write.NO, Write.PARTIAL, Write.YES]),
        dlq=st.sampled_from([Dlq.YES, Dlq.YES, Dlq.NO]),
        service=st.sampled_from([ServiceState.UP] * 3 + [ServiceState.DOWN]),
        dates=st.sampled_from([None, None, (MONTHS[0].first_day, MONTHS[0].first_day.replace(day=12))]),
        edge=st.sampled_from(Edge),
    )


def simple_plans() -> st.SearchStrategy[Plan]:
    """Plans with no fault, or one of the first month for some seconds: honest in everything that a checker looks at."""
    radii_of_month = st.builds(
        BlastRadius,
        months=st.just(frozenset(MONTHS[:1])),
        write=st.sampled_from([Write.NO, Write.PARTIAL, Write.YES]),
        dlq=st.sampled_from([Dlq.YES, Dlq.NO]),
        edge=st.sampled_from(Edge),
    )
    times = st.integers(4, 22).map(float)
    spans = st.tuples(radii_of_month, times, times).map(lambda one: (one[0], min(one[1:]), max(one[1:]) + 3.0))
    return _plans(st.lists(spans, max_size=1).map(tuple), times)


def plans() -> st.SearchStrategy[Plan]:
    """Plans with no fault, one or two."""
    times = st.integers(4, 24).map(float)
    spans = st.tuples(radii(), times, times).map(lambda one: (one[0], min(one[1:]), max(one[1:]) + 1.0))
    return _plans(st.lists(spans, max_size=2).map(tuple), times)


def _plans(
    faults: st.SearchStrategy[tuple[tuple[BlastRadius, float, float], ...]], times: st.SearchStrategy[float]
) -> st.SearchStrategy[Plan]:
    return st.builds(
        Plan,
        faults=faults,
        every=st.integers(3, 40),
        restarted_at=st.one_of(st.none(), times),
        recorded=st.booleans(),
        judge_latency=st.booleans(),
    )


def honest(plan: Plan) -> History:
    """Play a plan as an honest service would."""
    history = History(
        min_strict_events=3, schedule=[{"fault": "x"}] * len(plan.faults), judge_latency=plan.judge_latency
    )
    history.add(ev.ServiceMark(-1.0, "started", 7))
    _traffic(history, plan)
    for number, (radius, begin, end) in enumerate(plan.faults):
        marks: dict[str, Any] = {"injecting": begin, "injected": begin + 0.1, "confirmed": begin + 0.2}
        marks |= {"healing": end, "healed": end + 0.1, "probed": end + 0.2}
        history.fault(radius, number=number, **marks)
        history.add(ev.PhaseMark(begin, "during"), ev.PhaseMark(end, "after"))
    if plan.restarted_at is not None:
        history.add(ev.ServiceMark(plan.restarted_at, "restarted", 8))
    observed(history, plan)
    if plan.recorded:
        recorded(history, plan, -0.004)
    for month in MONTHS:
        bounds = f"FOR VALUES FROM ('{month.first_day}') TO ('{month.end}')"
        history.add(ev.PartitionRow(f"audit_events_{month}", month.label, bounds))
    history.add(ev.FinalRead(float(SECONDS), True, True))
    return history


def _met(plan: Plan, t: float, number: int, month: Month) -> int:
    """What an honest service answers a write at ``t``."""
    day = month.first_day.replace(day=1 + number % 28)
    for radius, begin, end in plan.faults:
        met = radius.on(day)
        if begin < t < end and met is not None and met.service is ServiceState.DOWN:
            return 0
        if begin < t < end and met is not None and met.write is Write.NO:
            return 202 if met.dlq is Dlq.YES else 503
    return 201


def _traffic(history: History, plan: Plan) -> None:
    created: dict[Month, int] = {}
    for step in range(int((SECONDS - 2) / STEP_SECONDS)):
        for writer, month in enumerate(MONTHS):
            t = step * STEP_SECONDS + 0.05
            number = history.next_op
            status = _write(history, plan, t, month, writer=writer, anonymous=number % 5 == 3)
            if status == 201 and number % 5 != 3:
                created[month] = number
            if number % plan.every == 0:
                _second_look(history, plan, t + 0.2, month, created.get(month))
            if step % plan.every == 2:
                _batch(history, plan, t + 0.1, month, batch=2 * step + writer + 1)


def _write(history: History, plan: Plan, t: float, month: Month, **about: Any) -> int:
    number = history.next_op
    status = _met(plan, t, number, month)
    # Some take as long as others do, so that two of one month end at once.
    took = 0.01 if number % 7 else 0.01 + STEP_SECONDS
    history.op(t, month, status, took=about.pop("took", took), outcome="not_stored" if status == 503 else "", **about)
    if status in (201, 202):
        history.row(number)
    return status


def _batch(history: History, plan: Plan, t: float, month: Month, batch: int) -> None:
    """Three events share a request."""
    found = [_write(history, plan, t, month, writer=5, batch=batch, took=0.02, anonymous=odd) for odd in (False, True)]
    history.add(ev.BatchEnd(t + 0.02, batch, 207 if any(found) else 0))


def _second_look(history: History, plan: Plan, t: float, month: Month, earlier: int | None) -> None:
    """A re-send, a contradiction, an invalid request or poison, by turns, where a healthy month answers it."""
    number = history.next_op
    if earlier is None or _met(plan, t, earlier, month) != 201:
        return
    if number % 4 == 0:
        history.op(t, month, 201, kind=ev.OpKind.RESEND, of=earlier)
    elif number % 4 == 1:
        changed = {"event_action": "contradicted"}
        history.op(t, month, 409, kind=ev.OpKind.CONFLICT, of=earlier, changes=changed)
    elif number % 4 == 2:
        history.op(t, month, 400, kind=ev.OpKind.INVALID, changes={"event_outcome": "perhaps"})
    else:
        history.op(t, month, 400, kind=ev.OpKind.POISON)


@st.composite
def histories(draw: st.DrawFn, most_spoils: int = 4) -> Generated:
    """Honest histories, spoilt up to so many times."""
    history = honest(draw(plans()))
    names = draw(st.lists(st.sampled_from(sorted(SPOILS)), max_size=most_spoils))
    for name in names:
        SPOILS[name](history, draw(st.integers(0, 500)))
    return Generated(history, tuple(names))
