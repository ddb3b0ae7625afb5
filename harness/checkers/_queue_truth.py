"""What the outside knows of the queue at any moment: how many events surely wait in it, and how many may."""

from __future__ import annotations

import bisect
import heapq
import json
import math
import statistics
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from .. import events as ev
from ..blast import Dlq, ServiceState
from ..oracle import CREATED, NO_ANSWER, QUEUED
from ..rundata import FaultWindow, Operation, Run
from ..values import Month
from ._common import SCRAPE_SLACK_SECONDS, between_lives, epoch, recovery_edge, restarts, shared
from ._stored import Stored, moment_of

SLOWEST_DRAIN_PER_SECOND = 200.0
"""A drain may take this long in proportion to what was queued, beyond the recovery time."""


@dataclass(frozen=True)
class Bounds:
    """How many events surely wait, and how many may."""

    surely: int
    at_most: int


@dataclass
class _Waiting:
    """The events of one month (or of all), as sorted times: answered 202, stored, asked, gone, known to be answered."""

    sure: list[tuple[float, float]] = field(default_factory=list)
    may: list[tuple[float, float, float]] = field(default_factory=list)

    def settle(self) -> None:
        self.sure.sort()
        self.may.sort()
        self.answered = [start for start, _ in self.sure]
        self.stored = sorted(end for _, end in self.sure)
        self.asked = [asked for asked, _, _ in self.may]
        self.gone = sorted(gone for _, gone, _ in self.may)
        self.known = sorted(known for _, _, known in self.may)

    def bounds(self, start: float, end: float) -> Bounds:
        """Bounds for some moment of [start, end].

        An event surely waits all the while that lies between its 202 and the beginning of the transaction that stored
        it; one that was never surely queued, or may have left long ago, only may.
        """
        surely = bisect.bisect_right(self.answered, start) - bisect.bisect_left(self.stored, end)
        at_most = bisect.bisect_right(self.asked, end) - bisect.bisect_left(self.gone, start)
        return Bounds(max(0, surely), at_most)

    def queued_between(self, start: float, end: float) -> int:
        """How many events may have been put into the queue at some moment of [start, end]."""
        return max(0, bisect.bisect_right(self.asked, end) - bisect.bisect_left(self.known, start))


class QueueTruth:
    """The queue of a run by what was answered and by when the database says that each event was stored.

    It tolerates what is honest: an event in table and queue at once (an ambiguous commit, a re-send that was stored
    while the first waits), unanswered requests that may have been queued, dead letters of an unknown moment, a database
    clock beside the run's own, and a drain in proportion to the backlog.
    """

    def __init__(self, run: Run) -> None:
        """Place every event that was or may have been queued."""
        self.run = run
        self._boundaries = restarts(run)
        self._stored = shared(run, Stored)
        self._touched = {event_id.lower() for record in run.of_kind(ev.Destroyed) for event_id in record.event_ids}
        self._emptied = sorted(window.injecting for window in run.windows if window.radius.dlq is Dlq.DESTROYED)
        self._doubt = [_doubtful(window, run) for window in run.windows if _hides_queue(window)]
        self._held_up = sorted((window.injecting, recovery_edge(window, run)) for window in run.windows)
        self.clock_ahead_seconds = self._database_clock()
        """How far the database's clock is ahead of the run's."""
        self.all = _Waiting()
        self.months: dict[str, _Waiting] = {}
        queued = sum(operation.status == QUEUED for operation in run.seen)
        self.drain_seconds = run.limits.recovery_seconds + queued / SLOWEST_DRAIN_PER_SECOND
        """From being stored, with no fault about, to having left the queue."""
        for operation in run.seen:
            self._place(operation)
        for waiting in (self.all, *self.months.values()):
            waiting.settle()

    def month(self, label: str) -> _Waiting:
        """What waited of a month; nothing for one that nobody wrote into."""
        found = self.months.get(label)
        if found is None:
            found = self.months[label] = _Waiting()
            found.settle()
        return found

    def doubtful(self, start: float, end: float | None = None) -> bool:
        """Tell whether a fault of queue or service, or a process that just began, may hide the queue in the time."""
        end = start if end is None else end
        if any(begun <= end and start <= over for begun, over in self._doubt):
            return True
        if any(seen - SCRAPE_SLACK_SECONDS <= end and start <= self._opened(seen) for seen in self._boundaries):
            return True
        return between_lives(self.run, start) or between_lives(self.run, end)

    def _opened(self, born: float) -> float:
        """When a process that began at a time must have its queue open and told."""
        return born + self.run.limits.recovery_seconds

    def stored_at(self, operation: Operation) -> float:
        """When, on the run's clock, the transaction began that stored the event; infinite for no row, NaN: unknown."""
        began, identity = epoch(self.run), self._stored.identity(operation)
        if not self._stored.table_read or began is None or identity[0] in self._touched:
            return math.nan
        if operation.op in self._stored.folded:
            return self._stored.folded[operation.op] - began - self.clock_ahead_seconds
        rows = self._stored.rows.get(identity, [])
        times = [moment_of(row.recorded_at) for row in rows]
        known = [moment for moment in times if moment is not None]
        if len(known) < len(rows):
            return math.nan
        return min(known) - began - self.clock_ahead_seconds if known else math.inf

    def gone(self, operation: Operation, stored: float) -> float:
        """When the event must have left the queue; infinite when nothing says that it did."""
        leaves = math.inf
        if not math.isnan(stored) and not math.isinf(stored):
            leaves = max(stored, _known(operation, self.run)) + self.drain_seconds
            for begun, over in self._held_up:
                if begun <= leaves and over >= stored:
                    leaves = max(leaves, over + self.drain_seconds)
        final = self.run.final
        if final is not None and final.dlq and not self._pending(operation):
            leaves = min(leaves, final.t - 2 * SCRAPE_SLACK_SECONDS)
        return max(leaves, operation.invoked)

    def _place(self, operation: Operation) -> None:
        unsure = operation.type is ev.Completion.INFO and operation.status not in (CREATED, QUEUED)
        if operation.kind is ev.OpKind.INVALID or not (operation.status == QUEUED or unsure):
            return
        stored = self.stored_at(operation)
        month = self.months.setdefault(operation.month.label, _Waiting())
        entry = (operation.invoked, self.gone(operation, stored), _known(operation, self.run))
        month.may.append(entry)
        self.all.may.append(entry)
        if operation.status == QUEUED and operation.kind is ev.OpKind.WRITE and operation.completed <= stored:
            if math.isinf(stored) and not self._pending(operation):
                return  # Dead, or lost: when it left the queue nobody knows.
            emptied = next((at for at in self._emptied if at >= operation.completed), math.inf)
            month.sure.append((operation.completed, min(stored, emptied)))
            self.all.sure.append((operation.completed, min(stored, emptied)))

    def sent_once(self, month: Month) -> list[Operation]:
        """Operations of the month that were answered 202 and whose identity no other request carried."""
        return [op for op in self._sent_once if op.month == month]

    def poisoned(self) -> dict[str, list[str]]:
        """Final dead letters by month whose event is not in the table either: no other content won over them."""
        found: dict[str, list[str]] = {}
        if not self._stored.table_read:
            return found
        for (event_id, day), rows in self._stored.queued.items():
            if any(row.state == "dead" for row in rows) and not self._stored.rows.get((event_id, day)):
                found.setdefault(Month.of(day).label, []).append(rows[0].event_id)
        return found

    @cached_property
    def _sent_once(self) -> list[Operation]:
        times = Counter(self._stored.identity(op) for op in self.run.seen if op.kind is not ev.OpKind.INVALID)
        return [op for op in self.run.seen if op.status == QUEUED and times[self._stored.identity(op)] == 1]

    def _pending(self, operation: Operation) -> bool:
        rows = self._stored.queued.get(self._stored.identity(operation), [])
        return any(row.state == "pending" for row in rows)

    def _database_clock(self) -> float:
        """How far the database's clock is ahead of the run's: rows of direct writes begin just before their answer."""
        began = epoch(self.run)
        if began is None:
            return 0.0
        after: list[float] = []
        for operation in self.run.operations:
            if operation.status == CREATED and operation.kind is ev.OpKind.WRITE:
                rows = self._stored.rows.get(self._stored.identity(operation), [])
                after += [at - began - operation.completed for row in rows if (at := moment_of(row.recorded_at))]
        archive = self.run.condensed.archive if self.run.condensed is not None else None
        if archive is not None:
            return archive.median_delay(began, after) or 0.0
        return statistics.median(after) if after else 0.0

    def folded_stored(self, month: Month, start: float, end: float) -> bool:
        """Tell whether an event of the month that was folded, and sent before ``end``, was stored between the two."""
        archive, began = self.run.condensed.archive if self.run.condensed is not None else None, epoch(self.run)
        if archive is None or began is None or not self._stored.table_read:
            return False
        return archive.rows_begun(month, start, end, began=began, skew=self.clock_ahead_seconds)

    def oldest(self, spans: Iterable[tuple[float, float]]) -> list[tuple[float | None, float | None]]:
        """For rising spans: when the oldest event was answered that surely waits, and asked that may; None: none."""
        found: list[tuple[float | None, float | None]] = []
        surely, possibly = _Earliest(self.all.sure), _Earliest([(asked, gone) for asked, gone, _ in self.all.may])
        for start, end in spans:
            found.append((surely.at(start, end), possibly.at(end, start)))
        return found


class _Earliest:
    """The earliest start among spans that have begun and not ended, for moments that only rise."""

    def __init__(self, spans: list[tuple[float, float]]) -> None:
        self._spans = spans
        self._next = 0
        self._heap: list[tuple[float, float]] = []

    def at(self, begun: float, lasting: float) -> float | None:
        """Of the spans that had begun by one moment and had not ended at another."""
        while self._next < len(self._spans) and self._spans[self._next][0] <= begun:
            heapq.heappush(self._heap, self._spans[self._next])
            self._next += 1
        while self._heap and self._heap[0][1] < lasting:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None


def _known(operation: Operation, run: Run) -> float:
    """When the service had surely done with the request: after its deadline, if nobody heard the answer."""
    if operation.type is not ev.Completion.INFO and operation.status != NO_ANSWER:
        return operation.completed
    ended = operation.invoked if math.isinf(operation.completed) else operation.completed
    return ended + run.limits.request_deadline_seconds


def _hides_queue(window: FaultWindow) -> bool:
    return window.radius.dlq is not Dlq.YES or window.radius.service is not ServiceState.UP


def _doubtful(window: FaultWindow, run: Run) -> tuple[float, float]:
    return window.injecting - SCRAPE_SLACK_SECONDS, recovery_edge(window, run) + SCRAPE_SLACK_SECONDS


def declared_capacity(run: Run) -> int | None:
    """``DLQ_MAX_EVENTS``, where the scenario itself sets it; else it is the target's own affair."""
    try:
        data = json.loads(run.started.scenario_json)
        return int(data["service_environment"]["DLQ_MAX_EVENTS"])
    except (ValueError, KeyError, TypeError):
        return None


@dataclass(frozen=True)
class Asked:
    """One readable answer of ``GET /api/v1/dlq`` and when it was there at the latest."""

    sample: ev.DlqSample
    end: float


def answers(run: Run) -> list[Asked]:
    """The readable samples; one that does not tell how long it took was answered before the next was asked for."""
    samples = run.of_kind(ev.DlqSample)
    found = []
    for index, sample in enumerate(samples):
        end = sample.t + sample.seconds
        if not sample.seconds:
            end = samples[index + 1].t if index + 1 < len(samples) else run.end
        if sample.depth >= 0:
            found.append(Asked(sample, max(sample.t, end)))
    return found
