"""What several checkers need of a run: its expectations, its scenario's wishes, its canary, its process lives."""

from __future__ import annotations

import bisect
import enum
import json
import threading
import typing
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from .. import events as ev
from ..blast import Dlq, Edge, ServiceState, Write
from ..checking import CheckResult
from ..oracle import Expectation, Oracle
from ..rundata import FaultWindow, Folded, Operation, Run
from ..values import Month
from ._standstill import standstills

CLIENT_SLACK_SECONDS = 0.25
"""What the client's own scheduling may add to a measured latency."""
SCRAPE_SLACK_SECONDS = 0.3
"""How far what a scrape describes may lie outside the time between its question and its answer."""
LOG_SLACK_SECONDS = 0.5
"""How far a log line's mapped time may lie from the run's clock."""
LATENCY_MARGIN_SECONDS = 0.050
"""A latency over its ratio counts only when it is more than this over as well."""
NO_PARTITION = "23514"
"""PostgreSQL's answer to a row that no partition takes, and to one that breaks a check."""
MIN_LATENCY_SAMPLES = 2000
"""Below this a quantile of a noisy machine says nothing."""

R = typing.TypeVar("R")
Judged = tuple[Operation, Expectation]
Weighed = tuple[Operation, Expectation, int]
"""An operation, what the oracle says of it, and how many operations it stands for."""


class _LastRun(threading.local):
    """What was worked out of the run that this thread judged last: its checkers ask for the same, one by one.

    Not of the run of any thread: a suite judges several at a time, and one must never be judged by another's events.
    """

    def __init__(self) -> None:
        self.run: Run | None = None
        self.parts: dict[Callable[[Run], object], object] = {}


_LAST = _LastRun()


def shared(run: Run, build: Callable[[Run], R]) -> R:
    """What ``build`` makes of the run, made once for all its checkers; nobody may change it."""
    if _LAST.run is not run:
        _LAST.run, _LAST.parts = run, {}
    if build not in _LAST.parts:
        _LAST.parts[build] = build(run)
    # The key is the function that made the value.
    return typing.cast("R", _LAST.parts[build])


def forget() -> None:
    """Let go of the run that this thread judged last, which takes megabytes."""
    _LAST.run, _LAST.parts = None, {}


def expectations(run: Run) -> tuple[Judged, ...]:
    """Every operation of the run with what the oracle says of it; of a condensed run, every one that was kept."""
    return shared(run, _expectations)


def _expectations(run: Run) -> tuple[Judged, ...]:
    oracle = Oracle(run)
    return tuple((operation, oracle.expect(operation)) for operation in run.operations)


def folded_expectations(run: Run) -> tuple[tuple[Folded, Expectation], ...]:
    """Every folded group with what the oracle says of each of its operations, which all answered what is allowed."""
    return shared(run, _folded_expectations)


def _folded_expectations(run: Run) -> tuple[tuple[Folded, Expectation], ...]:
    oracle = Oracle(run)
    return tuple((group, oracle.expect(group.like)) for group in run.groups)


def weighed_expectations(run: Run) -> Iterator[Weighed]:
    """Count by these: each operation of the run is in exactly one of them."""
    yield from ((operation, expected, 1) for operation, expected in expectations(run))
    yield from ((group.like, expected, group.count) for group, expected in folded_expectations(run))


def nothing_sent(checker: str, run: Run) -> CheckResult | None:
    """Return the UNKNOWN result of a run without operations, None when there is something to judge."""
    if any(operation.writer >= 0 for operation in run.seen):
        return None  # Negative writers are the harness's own, which try the service before the load begins.
    return CheckResult(checker, unknowns=("No operation was sent, so nothing was judged.",))


def event_ids(operations: Iterable[Operation]) -> tuple[str, ...]:
    """Event ids in order, each once; an operation without an id of its own is named by its number."""
    return tuple(dict.fromkeys(operation.event_id or f"operation {operation.op}" for operation in operations))


def in_flight(run: Run, start: float, end: float) -> tuple[str, ...]:
    """Ids of the events that were under way at some moment of [start, end], to name with what is no event's own."""
    return event_ids(run.under_way(start, end))


@dataclass(frozen=True)
class Wishes:
    """What the scenario asks of the checkers, read from its JSON; a missing key means the default."""

    judge_latency: bool = False
    min_strict_events: int = 200
    strict_phases: tuple[str, ...] | None = None
    months: tuple[Month, ...] | None = None
    """Months that the load is to write, late ones too; None when the scenario does not say."""
    late_months: frozenset[Month] = frozenset()
    """Months that the load joined only once the faults were on: they owe nothing before."""
    faults: int = 0
    """How many faults the schedule names."""
    poison: bool = False
    """True when the load was to send events that only the database can refuse."""


def wishes(run: Run) -> Wishes:
    """Read the wishes; a scenario that is no JSON object wishes nothing."""
    try:
        data = json.loads(run.started.scenario_json)
    except ValueError:
        data = None
    if not isinstance(data, dict):
        return Wishes()
    schedule = data.get("schedule") or []
    if isinstance(schedule, dict):
        schedule = schedule.get("faults") or []
    phases, load = data.get("strict_phases"), data.get("load")
    return Wishes(
        judge_latency=data.get("judge_latency") is True,
        min_strict_events=int(data.get("min_strict_events", 200)),
        strict_phases=None if phases is None else tuple(str(phase) for phase in phases),
        months=_all_months(data),
        late_months=frozenset(_months(data, "late_months") or ()),
        faults=len(schedule),
        poison=isinstance(load, dict) and bool(load.get("poison_share")),
    )


def _months(scenario: dict[str, object], key: str) -> tuple[Month, ...] | None:
    load = scenario.get("load")
    labels = load.get(key) if isinstance(load, dict) else None
    return None if labels is None else tuple(Month.parse(str(label)) for label in labels)


def _all_months(scenario: dict[str, object]) -> tuple[Month, ...] | None:
    months = _months(scenario, "months")
    return None if months is None else (*months, *(_months(scenario, "late_months") or ()))


STALL_SHARE = 0.25
"""An insert of the harness that takes this share of the smallest time-out stalls.

Well below the time-out itself, since a service that keeps a stalling month to a share of its pool gives up sooner.
"""


class Calm(enum.Enum):
    """What the canary says of a month around some moment."""

    CALM = "calm"
    STALLED = "stalled"
    UNSEEN = "unseen"


class Canary:
    """The harness's own inserts: did the database itself stall?

    A stall opens a breaker, which then stays open for a while, so a stall excuses what follows it within the
    recovery time as well; excused means UNKNOWN, never PASS.  A machine that stood still is a stall of every month.
    """

    def __init__(self, run: Run) -> None:
        """Index the samples by month."""
        self._bound = run.limits.smallest_timeout_seconds * STALL_SHARE
        self._memory = run.limits.recovery_seconds
        self._spans: dict[str, list[float]] = {}
        self._stalls: dict[str, list[tuple[float, float]]] = {}
        self._standstills = shared(run, standstills)
        self._unexplained: list[tuple[float, float]] = [*self._standstills]
        self._missing: dict[str, list[tuple[float, float]]] = {}
        self._maintained = run.limits.partition_check_seconds + self._memory
        self._patience = run.limits.request_deadline_seconds + run.limits.recovery_seconds
        for sample in run.of_kind(ev.CanarySample):
            self._spans.setdefault(sample.month, []).append(sample.t)
            if sample.seconds < self._bound and not sample.sqlstate:
                continue
            span = (sample.t - sample.seconds, sample.t + sample.seconds)
            explained = stops_canary(run, Month.parse(sample.month), *span)
            if sample.sqlstate == NO_PARTITION and not explained:
                self._missing.setdefault(sample.month, []).append(span)
                continue
            self._stalls.setdefault(sample.month, []).append(span)
            if not explained:
                self._unexplained.append(span)
        for times in self._spans.values():
            times.sort()

    def around(self, month: Month, start: float, end: float) -> Calm:
        """Judge the month over [start, end], with 0.2 s either side."""
        stalls = (*self._standstills, *self._stalls.get(month.label, ()))
        if _meets(stalls, start - self._memory, end + 0.2):
            return Calm.STALLED
        # That a month is missing which no fault took away is no stall, but what the service has to see to; unless the
        # database stalled when it was to be made.
        missing = _meets(self._missing.get(month.label, []), start - self._memory, end + 0.2)
        if missing and _meets(self._unexplained, start - self._maintained, end + 0.2):
            return Calm.STALLED
        times = self._spans.get(month.label, [])
        index = bisect.bisect_left(times, start - 0.2)
        seen = index < len(times) and times[index] <= end + 0.2
        return Calm.CALM if seen else Calm.UNSEEN

    def stalled_between(self, month: Month, start: float, end: float) -> bool:
        """Tell whether the month's canary stalled in [start, end] itself, as a fault that was over by then did not."""
        return _meets((*self._standstills, *self._stalls.get(month.label, ())), start, end + 0.2)

    def stalled_unexplained(self, operation: Operation) -> bool:
        """Tell whether some month's canary stalled beside the operation although no fault stopped that month."""
        start, end = operation.invoked, min(operation.completed, operation.invoked + self._patience)
        return _meets(self._unexplained, start - 0.2, end + 0.2)


def _meets(spans: Iterable[tuple[float, float]], start: float, end: float) -> bool:
    return any(first <= end and last >= start for first, last in spans)


def stops_canary(run: Run, month: Month, start: float, end: float) -> bool:
    """Tell whether a fault, or an edge of one, is reason enough for a canary of the month to fail in [start, end]."""
    return any(
        (window.radius.edge is Edge.RESTART or (reaches(window, month) and window.radius.write is not Write.YES))
        and window.injecting <= end
        and start <= recovery_edge(window, run)
        for window in run.windows
    )


def silenced(run: Run, t: float) -> bool:
    """Tell whether a fault may, at ``t``, keep the service, its queue or the whole database from being looked at."""
    taken = any(
        (
            window.radius.service is not ServiceState.UP
            or window.radius.dlq is not Dlq.YES
            or (window.radius.whole_database and window.radius.write in (Write.NO, Write.PARTIAL))
        )
        and window.injecting <= t <= recovery_edge(window, run)
        for window in run.windows
    )
    return taken or between_lives(run, t)


def unseen(run: Run, what: str, samples: Iterable[tuple[float, bool]]) -> str:
    """Say why samples (time, whether it could be read) prove nothing, "" when enough of them do.

    Only for what the target declares that it can be asked: to have looked and seen nothing is no pass.
    """
    found = list(samples)
    if not found:
        return f"The history holds no {what}, although the target declares that it can be asked."
    judged = [readable for t, readable in found if not silenced(run, t)]
    failed = judged.count(False)
    if 2 * failed > len(judged):
        return f"{failed} of {len(judged)} {what} outside the faults could not be read."
    return ""


def epoch(run: Run) -> float | None:
    """Unix seconds of the run's 0; None when the record does not say."""
    try:
        moment = datetime.fromisoformat(run.started.started_at)
    except ValueError:
        return None
    return None if moment.tzinfo is None else moment.timestamp()


def recovery_edge(window: FaultWindow, run: Run) -> float:
    """When the fault must have been forgotten; infinite while no probe showed the repair."""
    return float("inf") if window.probed is None else window.probed + run.limits.recovery_seconds


def covering(run: Run, month: Month) -> list[FaultWindow]:
    """Windows whose radius reaches some day of the month."""
    return [window for window in run.windows if reaches(window, month)]


def reaches(window: FaultWindow, month: Month) -> bool:
    """Tell whether the radius holds some day of the month."""
    radius = window.radius
    if radius.months is not None and month not in radius.months:
        return False
    return radius.dates is None or (radius.dates[0] < month.end and radius.dates[1] > month.first_day)


def restarts(run: Run) -> list[float]:
    """Times at which a new process of the service was seen, after its first start."""
    return [mark.t for mark in run.of_kind(ev.ServiceMark) if mark.what in ("started", "restarted")][1:]


def between_lives(run: Run, t: float) -> bool:
    """Tell whether the service was being replaced around ``t``: from the fault that ends it to the mark of it."""
    return any(begun <= t <= seen for begun, seen in shared(run, _replacements))


def _replacements(run: Run) -> list[tuple[float, float]]:
    return [
        (max((window.injecting for window in run.windows if window.injecting <= seen), default=seen), seen)
        for seen in restarts(run)
    ]


def life_of(boundaries: Sequence[float], t: float) -> int:
    """Number the process life that a moment lies in."""
    return bisect.bisect_right(boundaries, t)


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which ``share`` of the values lie; raises ValueError for none.

    Where ``share`` of them is a whole number it is the next larger one, as :func:`harness.noise.nearest_rank` is not:
    of a hundred the p99 is the largest.  The bounds of the checkers were measured with this one, planted defects and
    control, so they go on with it; pages and comparisons have the other.
    """
    if not values:
        raise ValueError("no values, no quantile")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
