"""A run's history, indexed for judging: operations joined from invoke and completion, fault windows, samples.

Pure: built from records that are already in memory, so that checkers can be fed hand-made histories.
"""

from __future__ import annotations

import bisect
import dataclasses
import json
import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import TypeVar

from . import events as ev
from .blast import BlastRadius, Dlq, Edge, ServiceState, Write
from .errors import HistoryError
from .operations import (
    Archive,
    Condensed,
    Folded,
    Operation,
    Tally,
    is_created,
    operations_of,
    over_at,
    slowest_of,
    tally,
)
from .targets.model import Limits, Reads
from .values import Month, Phase

R = TypeVar("R")

__all__ = [
    "Archive",
    "Condensed",
    "FaultWindow",
    "Folded",
    "Operation",
    "Run",
    "Tally",
    "build_run",
    "is_created",
    "operations_of",
    "over_at",
    "radius_from_json",
]


@dataclass(frozen=True)
class FaultWindow:
    """One fault of the run on the clock; a mark that never came is None.

    ``healing`` is the first try to heal, which may have undone a part already, and ``healed`` the one that succeeded.
    ``failed_heals`` are the reasons of those that did not: nothing but a story once a later probe saw health.
    """

    fault: int
    name: str
    radius: BlastRadius
    injecting: float
    injected: float | None = None
    confirmed: float | None = None
    healing: float | None = None
    healed: float | None = None
    probed: float | None = None
    refusal: str = ""
    evidence: str = ""
    failed_heals: tuple[str, ...] = ()
    repair: str = ""
    """What the heal told of itself (:mod:`harness.repairs`); most have nothing to tell."""

    @property
    def problem(self) -> str:
        """Why the fault was not confirmed, which no heal mends, and why it is not healed; empty for neither."""
        told = [f"{ev.FaultStep.NOT_CONFIRMED}: {self.refusal}"] if self.refusal else []
        if self.failed_heals and self.probed is None:
            told.append(f"{ev.FaultStep.HEAL_FAILED}: {self.failed_heals[-1]}")
        return "; ".join(told)


@dataclass(frozen=True)
class Run:
    """Everything that checkers may look at.

    A run of millions of operations is *condensed*: ``operations`` and ``records`` hold only those that may matter by
    themselves, and clean ones are counted in groups.  A checker that is registered as condensable counts with
    :attr:`weighed`, looks for the first or last of some kind in :attr:`seen`, and names events by :meth:`under_way`.
    Any other checker gets the whole run.
    """

    started: ev.RunStarted
    limits: Limits
    reads: Reads
    operations: tuple[Operation, ...]
    windows: tuple[FaultWindow, ...]
    records: Sequence[ev.Record] = field(repr=False)
    condensed: Condensed | None = field(default=None, repr=False)

    @property
    def groups(self) -> tuple[Folded, ...]:
        """Operations that were folded; none unless the run is condensed."""
        return self.condensed.groups if self.condensed is not None else ()

    @property
    def seen(self) -> tuple[Operation, ...]:
        """Operations enough for each "is there one", "when was the first", "how slow the slowest", in order."""
        return self.condensed.seen if self.condensed is not None else self.operations

    def seen_in(self, month: Month) -> Sequence[Operation]:
        """Those of :attr:`seen` that are of the month."""
        return self._seen_by_month.get(month, ())

    @cached_property
    def _seen_by_month(self) -> Mapping[Month, list[Operation]]:
        found: dict[Month, list[Operation]] = defaultdict(list)
        for operation in self.seen:
            found[operation.month].append(operation)
        return dict(found)

    @cached_property
    def weighed(self) -> tuple[tuple[Operation, int], ...]:
        """Operations with how many they stand for: each counts once."""
        return (*((op, 1) for op in self.operations), *((group.like, group.count) for group in self.groups))

    @property
    def sent(self) -> int:
        """How many operations the run had."""
        return len(self.operations) + sum(group.count for group in self.groups)

    @cached_property
    def writers(self) -> Mapping[Month, int]:
        """How many events of each month may be under way at once; the items of a batch may all be."""
        if self.condensed is not None:
            return self.condensed.writers
        most: dict[Month, Counter[int]] = defaultdict(Counter)
        items = Counter((op.month, op.writer, op.batch) for op in self.operations if op.batch)
        for operation in self.operations:
            if operation.writer >= 0:  # The harness's own probes write before the load, not beside it.
                at_once = items.get((operation.month, operation.writer, operation.batch), 1)
                of_month = most[operation.month]
                of_month[operation.writer] = max(of_month[operation.writer], at_once)
        return {month: sum(writers.values()) for month, writers in most.items()}

    @cached_property
    def began(self) -> Mapping[int, float]:
        """When each writer sent its first event; negative ones are the harness's own probes."""
        if self.condensed is not None:
            return self.condensed.began
        began: dict[int, float] = {}
        for operation in self.operations:
            began[operation.writer] = min(began.get(operation.writer, math.inf), operation.invoked)
        return began

    def under_way(
        self,
        since: float = -math.inf,
        until: float = math.inf,
        *,
        months: Collection[Month] | None = None,
        statuses: Collection[int] | None = None,
    ) -> tuple[Operation, ...]:
        """All operations under way at some moment of [since, until], in the order of the history.

        Folded ones come without their contents, for they are asked for to be named.
        """
        if self.condensed is not None and self.condensed.archive is not None:
            return self.condensed.archive.operations(months, statuses, since, until)
        return tuple(
            operation
            for operation in self.operations
            if operation.invoked <= until
            and operation.completed >= since
            and (months is None or operation.month in months)
            and (statuses is None or operation.status in statuses)
        )

    def begun_by(self, times: Sequence[float]) -> list[int]:
        """Count, for each of some rising times, the operations that had been sent by then."""
        if self._archive is not None:
            return self._archive.begun_by(times)
        begun = sorted(op.invoked for op in self.operations)
        return [bisect.bisect_right(begun, t) for t in times]

    def over_before(self, times: Sequence[float], *, end: float = math.inf, patience: float = 0.0) -> list[int]:
        """Count, for each of some rising times, the operations that were over before it.

        What nobody heard answered goes on for ``patience`` (seconds) after its client gave up, or after ``end``.
        """
        if self._archive is not None:
            return self._archive.over_before(times, end, patience)
        over = sorted(over_at(op, end, patience) for op in self.operations)
        return [bisect.bisect_left(over, t) for t in times]

    def created_times(self, month: Month, since: float, until: float, longest: float) -> list[float]:
        """Completions of the load's direct writes of a month between two times, in order.

        Of a condensed run only some of them, but both ends of each gap longer than ``longest`` (seconds).
        """
        if self._archive is not None:
            return self._archive.created_times(month, since, until, longest)
        return sorted(
            op.completed
            for op in self.operations
            if op.month == month and op.writer >= 0 and is_created(op) and since < op.completed < until
        )

    def first_created(self, month: Month, count: int) -> list[Operation]:
        """The first direct writes of a month that were answered 201, so many at most, by completion."""
        if self._archive is not None:
            return self._archive.first_created(month, count)
        found = [op for op in self.operations if op.month == month and op.event_id and is_created(op)]
        return sorted(found, key=lambda op: op.completed)[:count]

    def slow_spans(self, seconds: float) -> Mapping[Month, tuple[list[float], list[float]]]:
        """When, by month, operations were under way that took so long: beginnings and ends of spans, both rising."""
        if self._archive is not None:
            spans = self._archive.slow_spans(seconds)
        else:
            slow = (op for op in self.operations if op.completed - op.invoked >= seconds)
            spans = sorted((op.month, op.invoked, op.completed) for op in slow)
        merged: dict[Month, tuple[list[float], list[float]]] = {}
        for month, start, end in spans:
            starts, ends = merged.setdefault(month, ([], []))
            if ends and start <= ends[-1]:
                ends[-1] = max(ends[-1], end)
            else:
                starts.append(start)
                ends.append(end)
        return merged

    @cached_property
    def usual_201(self) -> tuple[int, float]:
        """How many first sends with a request of their own were answered 201 before the first fault, and their median.

        In seconds, by nearest rank; 0 where there was none.
        """
        marks = [self.phase_start(Phase.DURING), self.phase_start(Phase.AFTER)]
        until = min((mark for mark in marks if mark is not None), default=math.inf)
        if self._archive is not None:
            return self._archive.usual_201(until)
        took = sorted(op.seconds for op in self.operations if is_created(op) and not op.batch and op.completed < until)
        return len(took), took[len(took) // 2] if took else 0.0

    def busiest_writer(self, since: float, until: float) -> tuple[int, int] | None:
        """The writer with the most direct writes, by requests of their own, between two times; and how many."""
        if self._archive is not None:
            return self._archive.busiest_writer(since, until)
        written = Counter(
            op.writer
            for op in self.operations
            if is_created(op) and not op.batch and op.invoked >= since and op.completed <= until
        )
        return written.most_common(1)[0] if written else None

    def tallied(self, begins: Sequence[float]) -> list[Tally]:
        """Count all operations by month, status, and the span that they began in; by month, status and span in order.

        ``begins`` are the rising times at which a span begins and the one before it ends; the first and the last span
        have no other end.
        """
        if self._archive is not None:
            return self._archive.tallied(begins, self.end)
        return tally(self.operations, begins, self.end)

    def slowest(self, count: int) -> list[Operation]:
        """The slowest operations of each month and status, so many at most of each, in the order of the history.

        Those of a condensed run come without their contents.
        """
        if self._archive is not None:
            return self._archive.slowest(count, self.end)
        return slowest_of(self.operations, count, self.end)

    @property
    def _archive(self) -> Archive | None:
        return self.condensed.archive if self.condensed is not None else None

    def sent_as(self, event_ids: Collection[str]) -> dict[str, Operation]:
        """The last operations of these events (ids in lower case), with their contents."""
        if self._archive is not None:
            among: Iterable[Operation] = operations_of(self._archive.records_of(event_ids))
        else:
            among = self.operations
        return {op.event_id.lower(): op for op in among if op.event_id.lower() in event_ids}

    def rows_in(self, month: str) -> tuple[str, ...]:
        """Event ids of all rows of the final read in the partition of ``month``, "" for a default one."""
        if self.condensed is not None and self.condensed.archive is not None:
            return self.condensed.archive.row_ids(month)
        return tuple(row.event_id for row in self.of_kind(ev.TableRow) if row.month == month)

    def of_kind(self, kind: type[R]) -> list[R]:
        """Return the records of one kind in the order of the history."""
        return [record for record in self._by_kind.get(kind, []) if isinstance(record, kind)]

    @cached_property
    def _by_kind(self) -> dict[type, list[ev.Record]]:
        index: dict[type, list[ev.Record]] = defaultdict(list)
        for record in self.records:
            index[type(record)].append(record)
        return index

    @cached_property
    def by_op(self) -> dict[int, Operation]:
        """Operations by number."""
        return {operation.op: operation for operation in self.operations}

    @cached_property
    def months(self) -> tuple[Month, ...]:
        """Months that the workload wrote into, sorted."""
        return tuple(sorted(self._seen_by_month))

    @cached_property
    def end(self) -> float:
        """The time of the last record that has one."""
        if self.condensed is not None:
            return self.condensed.end
        return max((getattr(record, "t", 0.0) for record in self.records), default=0.0)

    @property
    def final(self) -> ev.FinalRead | None:
        """The last final read, None when the run never got there."""
        reads = self.of_kind(ev.FinalRead)
        return reads[-1] if reads else None

    def phase_start(self, phase: str) -> float | None:
        """When the workload entered a phase."""
        return next((mark.t for mark in self.of_kind(ev.PhaseMark) if mark.phase == phase), None)


def build_run(records: Sequence[ev.Record]) -> Run:
    """Index a history.  Raises :class:`HistoryError` when it does not begin with RunStarted."""
    started = next((record for record in records if isinstance(record, ev.RunStarted)), None)
    if started is None:
        raise HistoryError("The history has no RunStarted record, so it is not known what was run; nothing to judge.")
    return Run(
        started=started,
        limits=Limits(**json.loads(started.limits_json)),
        reads=Reads(**{"query": False, **json.loads(started.reads_json)}),
        operations=tuple(operations_of(records)),
        windows=tuple(_windows(records)),
        records=records,
    )


def _windows(records: Iterable[ev.Record]) -> Iterable[FaultWindow]:
    windows: dict[int, FaultWindow] = {}
    for mark in records:
        if not isinstance(mark, ev.FaultMark):
            continue
        if mark.step is ev.FaultStep.INJECTING:
            windows[mark.fault] = FaultWindow(mark.fault, mark.name, radius_from_json(mark.radius_json), mark.t)
        elif mark.fault in windows:
            windows[mark.fault] = _marked(windows[mark.fault], mark)
    return windows.values()


def _marked(window: FaultWindow, mark: ev.FaultMark) -> FaultWindow:
    match mark.step:
        case ev.FaultStep.INJECTED:
            return dataclasses.replace(window, injected=mark.t)
        case ev.FaultStep.CONFIRMED:
            return dataclasses.replace(window, confirmed=mark.t, evidence=mark.detail)
        case ev.FaultStep.HEALING if window.healing is None:
            return dataclasses.replace(window, healing=mark.t)
        case ev.FaultStep.HEALED:
            return dataclasses.replace(window, healed=mark.t, repair=mark.detail)
        case ev.FaultStep.PROBED:
            return dataclasses.replace(window, probed=mark.t)
        case ev.FaultStep.HEAL_FAILED:
            return dataclasses.replace(window, failed_heals=(*window.failed_heals, mark.detail))
        case ev.FaultStep.NOT_CONFIRMED:
            return dataclasses.replace(window, refusal=mark.detail)
    return window


def radius_from_json(text: str) -> BlastRadius:
    """Read what :func:`harness.fault.radius_to_json` wrote."""
    data = json.loads(text)
    months = data["months"]
    dates = data["dates"]
    return BlastRadius(
        months=None if months is None else frozenset(Month.parse(label) for label in months),
        write=Write(data["write"]),
        delay_ms=float(data["delay_ms"]),
        read=bool(data["read"]),
        dlq=Dlq(data["dlq"]),
        service=ServiceState(data["service"]),
        dates=None if dates is None else (date.fromisoformat(dates[0]), date.fromisoformat(dates[1])),
        rest=Write(data.get("rest", Write.YES)),
        edge=Edge(data["edge"]),
        outlives_clients=bool(data["outlives_clients"]),
        true_clock=bool(data.get("true_clock", True)),
    )
