"""An operation, and what is known of millions of them that were folded because nothing about them can matter.

:mod:`harness.rundata` makes a run of them.
"""

from __future__ import annotations

import bisect
import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import Protocol

from . import events as ev
from .noise import nearest_rank
from .values import Month


@dataclass(frozen=True)
class Operation:
    """One event's request from invoke to completion.  ``completed`` is infinite when the run ended before it.

    ``event_id`` is the one sent or, of an ``anonymous`` event, the one that the service answered; empty while neither
    is known.  ``batch`` is the number of the request that it shared with others, 0 for none.
    """

    op: int
    kind: ev.OpKind
    writer: int
    event_id: str
    event_date: date
    content: str
    invoked: float
    completed: float = math.inf
    type: ev.Completion = ev.Completion.INFO
    status: int = 0
    outcome: str = ""
    partition: str = ""
    error: str = ""
    of: int | None = None
    batch: int = 0
    flaw: str = ""
    anonymous: bool = False

    @cached_property
    def month(self) -> Month:
        """The month of the event."""
        return Month.of(self.event_date)

    @property
    def identity(self) -> tuple[str, date]:
        """What makes two requests the same event."""
        return (self.event_id, self.event_date)

    @property
    def seconds(self) -> float:
        """Latency; infinite when unanswered at the end of the run."""
        return self.completed - self.invoked

    @property
    def acknowledged(self) -> bool:
        """Answered 201 or 202: the service owns the event from then on."""
        return self.status in (201, 202)


def is_created(operation: Operation) -> bool:
    """Tell whether it is a first send that was answered 201."""
    return operation.status == 201 and operation.kind is ev.OpKind.WRITE


def over_at(operation: Operation, end: float, patience: float) -> float:
    """When the service had surely done with a request: after its patience, if nobody heard the answer."""
    if operation.type is ev.Completion.INFO:
        return min(operation.completed, end) + patience
    return operation.completed


def operations_of(records: Sequence[ev.Record]) -> Iterable[Operation]:
    """Join invocations with completions, in the order of the invocations."""
    completions = {record.op: record for record in records if isinstance(record, ev.Complete)}
    for record in records:
        if not isinstance(record, ev.Invoke):
            continue
        anonymous = not record.event_id
        end = completions.get(record.op)
        event_id = end.answered_id if anonymous and end is not None else record.event_id
        sent = (record.op, record.kind, record.writer, event_id, record.event_date, record.content, record.t)
        if end is None:
            yield Operation(*sent, of=record.of, batch=record.batch, anonymous=anonymous)
        else:
            ended = (end.t, end.type, end.status, end.outcome, end.partition, end.error)
            yield Operation(*sent, *ended, record.of, record.batch, end.flaw, anonymous)


@dataclass(frozen=True, kw_only=True)
class Folded:
    """Clean operations that no rule can tell apart: same kind, status and month, same side of every time that counts.

    ``like`` is one of them, to be asked about what they share.  ``seconds`` are their latencies, ascending, and only
    where the scenario has latencies judged.
    """

    like: Operation
    count: int
    seconds: tuple[float, ...] = ()
    waited_seconds: float = 0.0
    """The sum of their latencies."""


@dataclass(frozen=True, kw_only=True)
class Tally:
    """Operations of one month and status that began within one span of the run, and how long they took.

    What nobody had answered when the run ended took until then.  Quantiles are by nearest rank.
    """

    month: Month
    status: int
    span: int
    """The number of the span, from 0 on."""
    count: int
    median_seconds: float
    p99_seconds: float
    slowest_seconds: float


def tally(operations: Iterable[Operation], begins: Sequence[float], end: float) -> list[Tally]:
    """Count operations as :meth:`harness.rundata.Run.tallied` does; ``end`` is that of the run."""
    took: dict[tuple[Month, int, int], list[float]] = defaultdict(list)
    for op in operations:
        span = max(0, bisect.bisect_right(begins, op.invoked) - 1)
        took[op.month, op.status, span].append(min(op.completed, end) - op.invoked)
    return [_tally(*key, sorted(seconds)) for key, seconds in sorted(took.items())]


def _tally(month: Month, status: int, span: int, seconds: Sequence[float]) -> Tally:
    median, p99 = (nearest_rank(seconds, share) for share in (0.5, 0.99))
    return Tally(
        month=month,
        status=status,
        span=span,
        count=len(seconds),
        median_seconds=median,
        p99_seconds=p99,
        slowest_seconds=seconds[-1],
    )


def slowest_of(operations: Iterable[Operation], count: int, end: float) -> list[Operation]:
    """Find operations as :meth:`harness.rundata.Run.slowest` does; ``end`` is that of the run."""
    alike: dict[tuple[Month, int], list[tuple[float, int, Operation]]] = defaultdict(list)
    for place, op in enumerate(operations):
        alike[op.month, op.status].append((op.invoked - min(op.completed, end), place, op))
    # Places differ, so that operations themselves are never compared.
    found = (one for group in alike.values() for one in sorted(group)[:count])
    return [op for _, op in sorted((place, op) for _, place, op in found)]


class Archive(Protocol):
    """All of a condensed run, to be asked for what folding loses: names, and what is known of all operations at once.

    Each method says what the method of :class:`Run` with the same purpose works out of a whole run.
    """

    def operations(
        self, months: Collection[Month] | None, statuses: Collection[int] | None, since: float, until: float
    ) -> tuple[Operation, ...]:
        """Find operations, kept ones too, in the order of the history and without their contents."""

    def row_ids(self, month: str) -> tuple[str, ...]:
        """Event ids of all rows that lie in the partition of ``month``, in the order of the history."""

    def records_of(self, event_ids: Collection[str]) -> Sequence[ev.Record]:
        """Every invocation, completion and row of some events (ids in lower case), in the order of the history."""

    def begun_by(self, times: Sequence[float]) -> list[int]:
        """See :meth:`Run.begun_by`."""

    def over_before(self, times: Sequence[float], end: float, patience: float) -> list[int]:
        """See :meth:`Run.over_before`."""

    def moved(self, longest: float) -> list[float]:
        """Times of invocations and completions, enough of them to show every gap of ``longest`` and more."""

    def created_times(self, month: Month, since: float, until: float, longest: float) -> list[float]:
        """See :meth:`Run.created_times`."""

    def first_created(self, month: Month, count: int) -> list[Operation]:
        """See :meth:`Run.first_created`."""

    def slow_spans(self, seconds: float) -> list[tuple[Month, float, float]]:
        """Spans of the operations that took so long, by month and beginning."""

    def usual_201(self, until: float) -> tuple[int, float]:
        """See :attr:`Run.usual_201`."""

    def busiest_writer(self, since: float, until: float) -> tuple[int, int] | None:
        """See :meth:`Run.busiest_writer`."""

    def tallied(self, begins: Sequence[float], end: float) -> list[Tally]:
        """See :meth:`Run.tallied`; ``end`` is that of the run."""

    def slowest(self, count: int, end: float) -> list[Operation]:
        """See :meth:`Run.slowest`; ``end`` is that of the run."""

    def median_delay(self, began: float, kept: Sequence[float]) -> float | None:
        """The median of these figures and, of each folded direct write, the time of its row less that of its answer.

        ``began`` is the run's 0 in Unix seconds, by which the times of rows become seconds of the run.
        """

    def rows_begun(self, month: Month, since: float, until: float, *, began: float, skew: float) -> bool:
        """Tell whether a folded event of the month, sent before ``until``, was stored between the two.

        ``skew``: how far (seconds) the database's clock is ahead of the run's.
        """


@dataclass(frozen=True, kw_only=True)
class Condensed:
    """What a condensed run knows of all that it does not hold itself (docs/decisions/history.md).

    Each folded write was acknowledged, and is stored once, in its month, with the content that was sent.
    """

    groups: tuple[Folded, ...] = ()
    seen: tuple[Operation, ...] = ()
    """The kept operations, and among them what rules look for, in the order of the history: of each group the first,
    last and slowest, every 202 with all other requests of its event, and every 409."""
    stored: Mapping[int, float] = field(default_factory=dict)
    """By number, when (Unix seconds) the row of each 202 that was folded was stored."""
    writers: Mapping[Month, int] = field(default_factory=dict)
    """How many events of each month may be under way at once."""
    began: Mapping[int, float] = field(default_factory=dict)
    """When each writer began."""
    rows: int = 0
    """Rows of folded writes."""
    end: float = 0.0
    archive: Archive | None = field(default=None, repr=False, compare=False)
