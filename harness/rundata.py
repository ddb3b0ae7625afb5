"""A run's history, indexed for judging: operations joined from invoke and completion, fault windows, samples.

Pure: built from records that are already in memory, so that checkers can be fed hand-made histories.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import Protocol, TypeVar

from . import events as ev
from .blast import BlastRadius, Dlq, Edge, ServiceState, Write
from .errors import HistoryError
from .targets.model import Limits, Reads
from .values import Month

R = TypeVar("R")


@dataclass(frozen=True)
class Operation:
    """One request from invoke to completion.  ``completed`` is infinite when the run ended before it."""

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

    @property
    def problem(self) -> str:
        """Why the fault was not confirmed, which no heal mends, and why it is not healed; empty for neither."""
        told = [f"{ev.FaultStep.NOT_CONFIRMED}: {self.refusal}"] if self.refusal else []
        if self.failed_heals and self.probed is None:
            told.append(f"{ev.FaultStep.HEAL_FAILED}: {self.failed_heals[-1]}")
        return "; ".join(told)


@dataclass(frozen=True, kw_only=True)
class Folded:
    """Clean operations that no rule can tell apart: same kind, status and month, same side of every time that counts.

    ``like`` is one of them, to be asked about what they share.  ``seconds`` are their latencies, ascending, and only
    where the scenario has latencies judged.
    """

    like: Operation
    count: int
    seconds: tuple[float, ...] = ()


class Archive(Protocol):
    """What was folded, to be looked up again when a finding has to name it."""

    def operations(
        self, months: Collection[Month] | None, statuses: Collection[int] | None, since: float, until: float
    ) -> tuple[Operation, ...]:
        """Find operations, kept ones too, in the order of the history and without their contents."""

    def row_ids(self, month: str) -> tuple[str, ...]:
        """Event ids of all rows that lie in the partition of ``month``, in the order of the history."""

    def records_of(self, event_ids: Collection[str]) -> Sequence[ev.Record]:
        """Every invocation, completion and row of some events, in the order of the history."""


@dataclass(frozen=True, kw_only=True)
class Condensed:
    """What a condensed run knows of all that it does not hold itself (docs/decisions/history.md).

    Each folded write was acknowledged, and is stored once, in its month, with the content that was sent.
    """

    groups: tuple[Folded, ...] = ()
    seen: tuple[Operation, ...] = ()
    """The kept operations, and among them the first, last and slowest of each group, in the order of the history."""
    writers: Mapping[Month, int] = field(default_factory=dict)
    """How many writers of the load wrote into each month."""
    rows: int = 0
    """Rows of folded writes."""
    end: float = 0.0
    archive: Archive | None = field(default=None, repr=False, compare=False)


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
        """How many writers of the load wrote into each month; negative ones are the harness's own probes."""
        if self.condensed is not None:
            return self.condensed.writers
        ids: dict[Month, set[int]] = defaultdict(set)
        for operation in self.operations:
            if operation.writer >= 0:
                ids[operation.month].add(operation.writer)
        return {month: len(found) for month, found in ids.items()}

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
        return tuple(sorted({operation.month for operation in self.seen}))

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
        reads=Reads(**json.loads(started.reads_json)),
        operations=tuple(operations_of(records)),
        windows=tuple(_windows(records)),
        records=records,
    )


def operations_of(records: Sequence[ev.Record]) -> Iterable[Operation]:
    """Join invocations with completions, in the order of the invocations."""
    completions = {record.op: record for record in records if isinstance(record, ev.Complete)}
    for record in records:
        if not isinstance(record, ev.Invoke):
            continue
        sent = (record.op, record.kind, record.writer, record.event_id, record.event_date, record.content, record.t)
        end = completions.get(record.op)
        if end is None:
            yield Operation(*sent, of=record.of)
        else:
            ended = (end.t, end.type, end.status, end.outcome, end.partition, end.error)
            yield Operation(*sent, *ended, of=record.of)


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
            return dataclasses.replace(window, healed=mark.t)
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
