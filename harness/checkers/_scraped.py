"""What the metrics checker knows of a run: scrapes by process life, and which months had to be healthy when."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

from .. import events as ev
from ..blast import Edge, Write
from ..rundata import FaultWindow, Operation, Run
from ..values import Month
from ._common import (
    SCRAPE_SLACK_SECONDS,
    Calm,
    Canary,
    between_lives,
    epoch,
    life_of,
    reaches,
    recovery_edge,
    restarts,
    shared,
)
from ._queue_truth import QueueTruth
from ._series import Scrape

STALLED_WRITE_SECONDS = 0.2
"""From this on a service may say that writes of a month stall; healthy ones take some milliseconds."""


class Scraped:
    """The successful scrapes of a run, with the facts that the rules ask for again and again."""

    def __init__(self, run: Run) -> None:
        """Index scrapes, process lives and the first 201 of each month in each life."""
        self.run = run
        self.asked = len(run.of_kind(ev.MetricsSample))
        self.scrapes = [
            Scrape(sample)
            for sample in run.of_kind(ev.MetricsSample)
            if not sample.error and not between_lives(run, sample.t)
        ]
        self.boundaries = restarts(run)
        self.canary = shared(run, Canary)
        self.due_times: dict[tuple[int, Month, int], float] = {}
        """By fault, month and life: see :func:`harness.checkers._noticed.due_at`."""
        self._created: dict[tuple[Month, int], tuple[list[float], list[Operation]]] = {}
        for operation in sorted(run.seen, key=lambda each: each.completed):
            if operation.status == 201 and operation.kind is ev.OpKind.WRITE:
                life = life_of(self.boundaries, operation.invoked)
                if life == life_of(self.boundaries, operation.completed):
                    times, written = self._created.setdefault((operation.month, life), ([], []))
                    times.append(operation.completed)
                    written.append(operation)

    @property
    def restarted(self) -> bool:
        """True when the service process did not live through the whole run."""
        return bool(self.boundaries)

    def lives(self) -> Iterator[list[Scrape]]:
        """The scrapes of each process life, in order."""
        by_life: dict[int, list[Scrape]] = {}
        for scrape in self.scrapes:
            by_life.setdefault(life_of(self.boundaries, scrape.t), []).append(scrape)
        yield from by_life.values()

    def created_before(self, month: Month, t: float) -> Operation | None:
        """The last direct write of the month that surely came before a scrape at ``t``, in the same life."""
        times, written = self._created.get((month, life_of(self.boundaries, t)), ([], []))
        index = bisect.bisect_left(times, t - SCRAPE_SLACK_SECONDS)
        return written[index - 1] if index else None

    def disturbed(self, month: Month, t: float) -> bool:
        """Tell whether a fault, or an edge of one, may honestly show in the month's status at ``t``."""
        return any(self._disturbs(window, month, t) for window in self.run.windows)

    def _disturbs(self, window: FaultWindow, month: Month, t: float) -> bool:
        if t + self._answering(t) < window.injecting - SCRAPE_SLACK_SECONDS:
            return False
        if t > recovery_edge(window, self.run) + SCRAPE_SLACK_SECONDS:
            return False
        if reaches(window, month):
            return True
        if window.confirmed is None or window.healing is None or t >= window.healing:
            return True
        settling = self.run.limits.lock_timeout_seconds + 0.5 + SCRAPE_SLACK_SECONDS
        if window.radius.edge is not Edge.MONTHS and self._troubled(month, window.injecting, t):
            settling += self.run.limits.recovery_seconds
        return t <= window.confirmed + settling

    def _troubled(self, month: Month, start: float, end: float) -> bool:
        """Tell whether an event of the month got no 201: its breaker may then be open for a while."""
        return any(start <= op.completed and op.invoked <= end for op in self._not_created.get(month, ()))

    @cached_property
    def _not_created(self) -> Mapping[Month, list[Operation]]:
        found: dict[Month, list[Operation]] = {}
        for operation in self.run.seen:
            if operation.status not in (201, 400, 409):
                found.setdefault(operation.month, []).append(operation)
        return found

    def whole_database_ill(self, t: float) -> bool:
        """Tell whether a fault of all months' writes may be on at ``t``: any status is honest then."""
        return any(
            window.radius.whole_database
            and window.radius.write is not Write.YES
            and window.injecting <= t <= recovery_edge(window, self.run) + 1.0
            for window in self.run.windows
        )

    def stalled(self, month: Month, t: float) -> bool:
        """Tell whether the canary says that the database itself stalled."""
        return self.canary.around(month, t, t) is Calm.STALLED

    def write_stalled(self, month: Month, t: float) -> bool:
        """Tell whether a write of the month took so long about ``t`` that a service may call it stalled."""
        return self.stall_within(month, t - SCRAPE_SLACK_SECONDS, t + self._answering(t) + SCRAPE_SLACK_SECONDS)

    def stalled_lately(self, month: Month, t: float) -> bool:
        """Tell whether a write of the month stalls about ``t``, or did within the recovery time before it."""
        end = t + self._answering(t) + SCRAPE_SLACK_SECONDS
        return self.stall_within(month, t - self.run.limits.recovery_seconds, end)

    def stall_within(self, month: Month, start: float, end: float) -> bool:
        """Tell whether a write of the month, under way in the time, took so long that it may count as stalled."""
        starts, ends = self._slow.get(month, ([], []))
        index = bisect.bisect_right(starts, end) - 1
        return index >= 0 and ends[index] >= start

    @cached_property
    def _slow(self) -> Mapping[Month, tuple[list[float], list[float]]]:
        return self.run.slow_spans(STALLED_WRITE_SECONDS)

    def at_once(self, spans: Sequence[tuple[float, float]]) -> list[int]:
        """How many requests, for each rising span, may have been under way at some moment of it.

        One that nobody heard answered may go on to its deadline.
        """
        begun = self.run.begun_by([end for _, end in spans])
        patience = self.run.limits.request_deadline_seconds
        over = self.run.over_before([start for start, _ in spans], end=self.run.end, patience=patience)
        return [most - done for most, done in zip(begun, over, strict=True)]

    def _answering(self, t: float) -> float:
        """How long the scrape asked at ``t`` was under way."""
        return self._seconds.get(t, 0.0)

    @cached_property
    def _seconds(self) -> dict[float, float]:
        return {scrape.t: scrape.sample.seconds for scrape in self.scrapes}

    def clock_was_true(self, t: float) -> bool:
        """Tell whether no fault had shifted the service's clock by ``t``: what it dated since then says nothing."""
        return all(window.radius.true_clock or t < window.injecting for window in self.run.windows)

    @cached_property
    def queue(self) -> QueueTruth:
        """What the outside knows of the queue."""
        return shared(self.run, QueueTruth)

    @cached_property
    def epoch(self) -> float | None:
        """Unix seconds of the run's 0; None when the record does not say."""
        return epoch(self.run)
