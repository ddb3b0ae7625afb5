"""What is attached while a run goes on: nothing made anew, no default, the months ahead there, new ones made in time.

Between two samples nobody looked, and a fault's own statements attach and detach as well; so what changed is the
service's doing only where no fault that reaches the month was injected or healed between the two.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from .. import events as ev
from ..blast import Write
from ..checking import Finding
from ..oracle import CREATED, QUEUED
from ..rundata import FaultWindow, Operation, Run
from ..values import FAULTS_DEFAULT, Month, Promise
from ._common import Canary, between_lives, epoch, event_ids, in_flight, reaches, recovery_edge, shared

DEFAULT = "default"
MAKING_SLACK_SECONDS = 2.0
"""What making a month may take beyond the interval of the maintenance loop."""
CLOCK_SLACK_SECONDS = 60.0
"""How far the service's clock may be behind when a month begins."""


@dataclass(frozen=True)
class Looks:
    """The readable samples of the catalog, in order, each with the time of the one before it."""

    run: Run
    samples: tuple[ev.PartitionsSample, ...]

    @classmethod
    def of(cls, run: Run) -> Looks:
        """Collect them."""
        found = [sample for sample in run.of_kind(ev.PartitionsSample) if not sample.error]
        return cls(run, tuple(sorted(found, key=lambda sample: sample.t)))

    def pairs(self) -> Iterator[tuple[float, ev.PartitionsSample]]:
        """Each sample with the time since which nobody had looked."""
        since = -math.inf
        for sample in self.samples:
            yield since, sample
            since = sample.t

    def acted(self, since: float, until: float, month: Month | None) -> bool:
        """Tell whether a fault that reaches the month (any fault for None) may have changed the catalog meanwhile."""
        return any(
            any(start <= until and end >= since for start, end in _statements(window))
            for window in self.run.windows
            if month is None or reaches(window, month)
        )


def _statements(window: FaultWindow) -> Sequence[tuple[float, float]]:
    """When the fault's own statements ran: its injection and its heal; without the later mark they never ended."""
    healing = window.healing if window.healing is not None else math.inf
    injected = window.confirmed if window.confirmed is not None else healing
    probed = window.probed if window.probed is not None else math.inf
    return ((window.injecting, injected), (healing, probed))


def attached_findings(run: Run) -> list[Finding]:
    """Judge the whole series of samples, and the locks that were seen."""
    looks = Looks.of(run)
    return [*_remade(looks), *_defaults(looks), *_ahead(looks), *_made_late(looks), *_locking(run)]


def _remade(looks: Looks) -> Iterator[Finding]:
    """A month once attached comes back only as the table it was, or by the heal of the fault that took it away."""
    known: dict[str, set[int]] = defaultdict(set)
    for since, sample in looks.pairs():
        for child in sample.children:
            other = known[child.month] and child.oid not in known[child.month] and child.month not in ("", DEFAULT)
            if other and not looks.acted(since, sample.t + sample.seconds, Month.parse(child.month)):
                said = f"{child.month} was once attached, and was made anew as {child.name}: its rows are shadowed."
                yield Finding(Promise.CONSERVATION, said, _of_month(looks.run, child.month, sample.t), sample.t)
        for child in sample.children:
            known[child.month].add(child.oid)


def _defaults(looks: Looks) -> Iterator[Finding]:
    """A default is the service's doing, also while a fault acts: a fault's own is known by its name."""
    for since, sample in looks.pairs():
        for child in sample.children:
            if child.month == DEFAULT:
                of_a_fault = child.name.endswith(FAULTS_DEFAULT)
                if not of_a_fault or not looks.acted(since, sample.t + sample.seconds, None):
                    said = f"{child.name} was attached as a default partition while the run went on."
                    taken = in_flight(looks.run, sample.t, sample.t + sample.seconds)
                    yield Finding(Promise.CONSERVATION, said, taken, sample.t)
                # Told once, or a fault's own; the final read tells of one that stayed.
                return


def _ahead(looks: Looks) -> Iterator[Finding]:
    """The present month and those that are due ahead are there, except while a fault reaches them.

    Honest: a service that has only just been started, whose loop makes them one by one.
    """
    began, run = epoch(looks.run), looks.run
    started = min((mark.t for mark in run.of_kind(ev.ServiceMark) if mark.what == "started"), default=-math.inf)
    made_by = started + run.limits.partition_check_seconds + MAKING_SLACK_SECONDS
    if began is None:
        return
    day = (datetime.fromtimestamp(began, UTC) - timedelta(seconds=CLOCK_SLACK_SECONDS)).date()
    for number in range(looks.run.limits.partitions_ahead_months + 1):
        month = Month.of(day).plus(number)
        faults = [window for window in looks.run.windows if reaches(window, month)]
        missing = [
            sample
            for sample in looks.samples
            if sample.t > made_by
            and month.label not in {child.month for child in sample.children}
            and not any(
                window.injecting <= sample.t + sample.seconds and sample.t <= recovery_edge(window, looks.run)
                for window in faults
            )
        ]
        if len(missing) > 1:
            ahead = looks.run.limits.partitions_ahead_months
            said = f"{month} was not attached in {len(missing)} of {len(looks.samples)} looks at the catalog"
            summary = f"{said}, though the present month and {ahead} more are due ahead of time."
            yield Finding(Promise.ISOLATION, summary, _of_month(looks.run, month.label, looks.run.end), missing[0].t)


def _made_late(looks: Looks) -> Iterator[Finding]:
    """A month that was never attached is made within the loop's interval of the first event that asks for it."""
    run = looks.run
    if not looks.samples:
        return
    there = {child.month for child in looks.samples[0].children}
    for month in run.months:
        asked = _first_asked(run, month)
        if month.label in there or asked is None or asked.status == CREATED:
            continue  # A first event that was stored at once says that the month was there, before anybody looked.
        allowed = run.limits.partition_check_seconds + MAKING_SLACK_SECONDS
        due = _undisturbed(run, month, asked.completed, allowed) + allowed
        late = [sample for sample in looks.samples if sample.t > due]
        if not late or month.label in {child.month for child in late[0].children}:
            continue
        canary = shared(run, Canary)
        if any(canary.stalled_unexplained(op) for op in run.under_way(asked.completed, due)):
            continue
        said = f"{month}, asked for at {asked.completed:.1f} s and never attached before, was not there at"
        summary = f"{said} {late[0].t:.1f} s; {allowed:g} s are allowed from when nothing was in its way."
        yield Finding(Promise.FALLBACK, summary, _of_month(run, month.label, late[0].t), late[0].t)


def _first_asked(run: Run, month: Month) -> Operation | None:
    asked = [op for op in run.seen_in(month) if op.acknowledged]
    return min(asked, key=lambda op: op.completed, default=None)


def _undisturbed(run: Run, month: Month, since: float, seconds: float) -> float:
    """The first moment from ``since`` on that is followed by ``seconds`` without a fault in the way of the making.

    A fault of one other month is in nobody's way; one of the whole database, of the service, or that lets no write into
    this month is, until it is forgotten.
    """
    for window in sorted(run.windows, key=lambda each: each.injecting):
        hinders = window.radius.whole_database or window.radius.write is not Write.PARTIAL
        if hinders and reaches(window, month) and window.injecting <= since + seconds:
            since = max(since, recovery_edge(window, run))
    return since


def _locking(run: Run) -> Iterator[Finding]:
    """Creation never holds, or waits for, the whole table; what a service does before it serves is left to it."""
    seen = [
        sample
        for sample in run.of_kind(ev.ConnectionSample)
        if sample.locking_parent and not between_lives(run, sample.t)
    ]
    if seen:
        said = f"A connection of the service's role locked the whole table exclusively in {len(seen)} samples"
        summary = f"{said}, which stops every month; a partition is made as a table of its own and then attached."
        yield Finding(Promise.ISOLATION, summary, in_flight(run, seen[0].t, seen[-1].t), seen[0].t)


def _of_month(run: Run, label: str, until: float) -> tuple[str, ...]:
    """The accepted events of a month up to some moment: those that the finding is about."""
    return event_ids(
        op
        for op in run.under_way(until=until, months=(Month.parse(label),), statuses=(CREATED, QUEUED))
        if op.completed <= until
    )
