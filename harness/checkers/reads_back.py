"""Promise 2, seen by a reader: what was answered 201 is found, what is only queued is not, what is missing is said."""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Iterator
from datetime import date

from .. import events as ev
from ..blast import Edge, ServiceState, Write
from ..checking import CHECKERS, CONDENSABLE, CheckResult, Finding, nothing_more
from ..oracle import QUEUED, Side, side_of
from ..rundata import FaultWindow, Operation, Run, is_created
from ..values import Month, Promise
from ._common import CLIENT_SLACK_SECONDS, Calm, Canary, nothing_sent, shared, unseen
from ._content import parse_content
from ._stored import LATE_SECONDS, Stored

NAME = "reads-back"
_NAMED = 10
"""Of the events that a query should have shown so many are named, the last ones."""
_NAMED_SECONDS = 8.0
_Fault = tuple[Promise, str, tuple[str, ...]]
"""A broken promise, what is said of it, and the ids of the events concerned."""


@CHECKERS.register(NAME)
def reads_back(run: Run) -> CheckResult:
    """Judge the queries of the run, each by the faults that were near it and by what was answered before it."""
    empty = nothing_sent(NAME, run)
    if empty is not None:
        return empty
    if not run.reads.query:
        return CheckResult(NAME, not_checked="query")
    samples = run.of_kind(ev.QuerySample)
    blind = unseen(run, "answers to queries", ((sample.t, sample.status > 0) for sample in samples))
    reader = _Reader(run)
    found: dict[tuple[Promise, str], list[tuple[ev.QuerySample, tuple[str, ...]]]] = defaultdict(list)
    for sample in samples:
        for promise, said, ids in reader.faults(sample):
            found[promise, said].append((sample, ids))
    findings = tuple(
        Finding(
            promise,
            f"{len(wrong)} x query {said}.",
            tuple(dict.fromkeys(event_id for _, ids in wrong for event_id in ids)),
            wrong[0][0].t,
        )
        for (promise, said), wrong in found.items()
    )
    facts = {"queries": float(len(samples)), "queries_judged_strictly": float(reader.strict)}
    return CheckResult(NAME, findings, (blind,) if blind else (), facts=facts)


CONDENSABLE.register(NAME)(nothing_more)


class _Reader:
    """What was stored when, by what the client was told and by what the table says at the end."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._canary = shared(run, Canary)
        self._stored = shared(run, Stored)
        self._sends: dict[str, Operation] = {}
        self._first: dict[tuple[Month, int], list[float]] = {}
        self.strict = 0
        # What a fault destroyed may have been gone for a while, also where its heal brought it back.
        self._touched = {event_id.lower() for each in run.of_kind(ev.Destroyed) for event_id in each.event_ids}
        for operation in run.seen:
            if operation.kind is ev.OpKind.WRITE and operation.event_id:
                self._sends[operation.event_id.lower()] = operation

    def faults(self, sample: ev.QuerySample) -> Iterator[_Fault]:
        """What one query shows to be wrong."""
        asked = self._sends.get(sample.event_id)
        month = Month.parse(sample.month) if sample.month else asked.month if asked is not None else None
        if month is None:
            return
        day = asked.event_date if asked is not None else month.first_day
        about = (sample.event_id,) if sample.event_id else ()
        as_operation = _as_operation(sample, day)
        sides = [(window, side_of(window, as_operation, self._run.limits)) for window in self._run.windows]
        stalled = self._canary.stalled_unexplained(as_operation)
        yield from self._answer(sample, sides, about, stalled=stalled)
        if sample.status != 200:
            return
        yield from self._too_early(sample)
        if all(side is Side.OFF for _, side in sides):
            self.strict += 1
            yield from self._in_peace(sample, month, asked)
            return
        kept_quiet = not sample.event_id and not sample.found and month.label not in sample.unavailable
        if kept_quiet and _unreadable(sides) and self._known(month, sample.t, 1):
            said = "shows nothing of a month that cannot be read, and does not list it as unavailable"
            yield Promise.HONEST_STATUS, said, self._last_known(month, sample.t)

    def _answer(
        self, sample: ev.QuerySample, sides: list[tuple[FaultWindow, Side]], about: tuple[str, ...], *, stalled: bool
    ) -> Iterator[_Fault]:
        """Its status, its form and its time."""
        if sample.status not in (0, 200, 503):
            yield Promise.HONEST_STATUS, f"answered {sample.status}", about
        if sample.flaw:
            yield Promise.HONEST_STATUS, f"answered in the wrong form: {sample.flaw}", about
        silent = any(w.radius.service is not ServiceState.UP and side is not Side.OFF for w, side in sides)
        if silent or stalled:
            return
        late = sample.seconds > self._run.limits.request_deadline_seconds + CLIENT_SLACK_SECONDS
        if sample.status and late:
            yield Promise.FALLBACK, "answered after the deadline", about
        if sample.status in (0, 503) and all(side is Side.OFF or _spares(window, side) for window, side in sides):
            said = f"answered {sample.status}" if sample.status else "got no answer"
            yield Promise.HONEST_STATUS, f"{said} although the database could be read", about

    def _too_early(self, sample: ev.QuerySample) -> Iterator[_Fault]:
        """Events that were shown before they were in the table: of the queue, or of a transaction under way.

        By the times of their rows, or because one fault kept them out of a month that could not be read either, from
        before they were sent until after the query was answered: no clock has to be right for that.
        """
        answered = sample.t + sample.seconds
        early = []
        for event_id in sample.found:
            operation = self._sends.get(event_id)
            if operation is None:
                continue
            at = self._stored.stored_at(operation)
            if (at is not None and at > answered + LATE_SECONDS) or self._kept_out(sample, operation):
                early.append(event_id)
        if early:
            yield Promise.HONEST_STATUS, "shows events that were only queued, before they were stored", tuple(early)

    def _kept_out(self, sample: ev.QuerySample, operation: Operation) -> bool:
        if operation.status != QUEUED:
            return False
        day, limits = operation.event_date, self._run.limits
        asked = _as_operation(sample, day)
        return any(
            (met := window.radius.on(day)) is not None
            and met.write is Write.NO
            and not met.read
            and side_of(window, operation, limits) is Side.ON
            and side_of(window, asked, limits) is Side.ON
            for window in self._run.windows
        )

    def _in_peace(self, sample: ev.QuerySample, month: Month, asked: Operation | None) -> Iterator[_Fault]:
        """No fault is near the month: it is readable, and what was answered 201 before is there."""
        if month.label in sample.unavailable:
            if self._canary.around(month, sample.t, sample.t + sample.seconds) is Calm.CALM:
                ids = (sample.event_id,) if sample.event_id else self._last_known(month, sample.t)
                yield Promise.HONEST_STATUS, "lists a month as unavailable that no fault is near", ids
            return
        if sample.event_id:
            created = asked is not None and asked.status == 201 and asked.completed < sample.t
            if created and sample.event_id not in sample.found and sample.event_id not in self._touched:
                yield Promise.HONEST_STATUS, "does not find an event that was answered 201 before", (sample.event_id,)
            yield from _other_content(sample, asked)
            return
        known, shown = self._known(month, sample.t, sample.limit + 1), len(sample.found)
        if shown > sample.limit:
            yield Promise.HONEST_STATUS, "shows more events than its limit", sample.found
        if shown < min(known, sample.limit):
            said = f"of a month shows fewer events than its limit of {sample.limit} and than were answered 201 before"
            yield Promise.HONEST_STATUS, said, self._last_known(month, sample.t)
        if sample.truncated != (shown >= sample.limit) and (sample.truncated or known > sample.limit):
            said = f"says truncated {str(sample.truncated).lower()}, which its events and its limit belie"
            yield Promise.HONEST_STATUS, said, sample.found

    def _known(self, month: Month, t: float, most: int) -> int:
        """How many events of the month were answered 201 before ``t``; of so many on it does not matter."""
        if (month, most) not in self._first:
            first = self._run.first_created(month, most + len(self._touched))
            times = [operation.completed for operation in first if operation.event_id.lower() not in self._touched]
            self._first[month, most] = times[:most]
        return bisect.bisect_left(self._first[month, most], t)

    def _last_known(self, month: Month, t: float) -> tuple[str, ...]:
        """The last of these events, to be named."""
        begun = min(self._run.began.values(), default=t)
        span = _NAMED_SECONDS
        while True:
            known = [
                operation
                for operation in self._run.under_way(t - span, t, months=(month,), statuses=(201,))
                if is_created(operation)
                and operation.event_id
                and operation.invoked >= t - span
                and operation.completed < t
                and operation.event_id.lower() not in self._touched
            ]
            if len(known) >= _NAMED or t - span <= begun:
                return tuple(operation.event_id for operation in known[-_NAMED:])
            span *= 4


def _other_content(sample: ev.QuerySample, asked: Operation | None) -> Iterator[_Fault]:
    # Of a condensed run it has no content here, where it was compared by its digest already.
    if asked is None or not asked.content or not sample.content:
        return
    fields = parse_content(asked.content).differing(parse_content(sample.content))
    if fields:
        yield Promise.CONSERVATION, f"shows an event with other content: {', '.join(fields)}", (sample.event_id,)


def _as_operation(sample: ev.QuerySample, day: date) -> Operation:
    """The query as something that ran at its time, which the oracle can place."""
    return Operation(
        0, ev.OpKind.WRITE, 0, sample.event_id, day, "", invoked=sample.t, completed=sample.t + sample.seconds
    )


def _spares(window: FaultWindow, side: Side) -> bool:
    """Tell whether a query is to be answered 200 beside this fault: one of months, away from its edges."""
    radius = window.radius
    broad = radius.whole_database or radius.edge in (Edge.RESTART, Edge.FLAPPING)
    return side is Side.ON and not broad and radius.service is ServiceState.UP


def _unreadable(sides: list[tuple[FaultWindow, Side]]) -> bool:
    """Tell whether the month asked for surely cannot be read, while the others can."""
    steady = all(side is Side.OFF or _spares(window, side) for window, side in sides)
    return steady and any(
        side is Side.ON and not w.radius.read and w.radius.write is Write.NO and w.radius.dates is None
        for w, side in sides
    )
