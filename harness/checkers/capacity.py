"""Promise 9, the queue: never more in it than its capacity, and refused as full only while it may have been full."""

from __future__ import annotations

import bisect
from collections.abc import Sequence

from .. import events as ev
from ..blast import Dlq, ServiceState
from ..checking import CHECKERS, CONDENSABLE, CheckResult, Finding, nothing_more
from ..oracle import UNAVAILABLE
from ..rundata import Operation, Run
from ..values import Promise
from ._common import event_ids, in_flight, nothing_sent, unseen
from ._queue_truth import declared_capacity

NAME = "capacity"
NEAR_SECONDS = 1.0
"""A sample further from an answer says nothing of the queue at that moment."""
FEWEST_EARLY = 5
"""A disk that stalls for a moment may have the queue's file refuse an event or two while there is room."""
_FULL_BY_LOAD = "dlq-full"
"""The one fault of the queue that leaves its file alone: under any other a 503 has a reason that no depth shows."""


@CHECKERS.register(NAME)
def capacity(run: Run) -> CheckResult:
    """Judge each sample of the queue's depth, the final read, and each 503 while only its fullness could be a reason.

    Depth and dead letters are two figures, between which a service may move an event: their sum must be over in two
    samples running, the depth in one.
    """
    empty = nothing_sent(NAME, run)
    if empty is not None:
        return empty
    if not run.reads.dlq:
        return CheckResult(NAME, not_checked="dlq")
    samples = [sample for sample in run.of_kind(ev.DlqSample) if sample.depth >= 0]
    blind = unseen(run, "samples of the queue", [(each.t, each.depth >= 0) for each in run.of_kind(ev.DlqSample)])
    if blind:
        return CheckResult(NAME, unknowns=(blind,))
    facts = {"queue_most_events": float(max((sample.depth + sample.dead for sample in samples), default=0))}
    limit = _capacity(run, samples)
    if limit is None:
        return CheckResult(NAME, facts={**facts, "capacity_not_told": 1.0})
    facts["queue_capacity_events"] = float(limit)
    findings = [*_over(run, samples, limit), *_left_over(run, limit), *_refused_early(run, samples, limit)]
    return CheckResult(NAME, tuple(findings), facts=facts)


CONDENSABLE.register(NAME)(nothing_more)


def _capacity(run: Run, samples: Sequence[ev.DlqSample]) -> int | None:
    """What the scenario set, else what the service says throughout; None when nobody tells."""
    declared = declared_capacity(run)
    if declared is not None:
        return declared
    told = {sample.capacity for sample in samples if sample.capacity > 0}
    return max(told, default=None)


def _over(run: Run, samples: Sequence[ev.DlqSample], limit: int) -> list[Finding]:
    previous = False
    for sample in samples:
        held = sample.depth + sample.dead
        if sample.depth > limit or (held > limit and previous):
            said = f"The queue held {held} events ({sample.dead} of them dead), more than its capacity of {limit}."
            return [Finding(Promise.BOUNDS, said, in_flight(run, sample.t, sample.t + sample.seconds), sample.t)]
        previous = held > limit
    return []


def _left_over(run: Run, limit: int) -> list[Finding]:
    rows = run.of_kind(ev.DlqRow)
    if len(rows) <= limit:
        return []
    said = f"The final read lists {len(rows)} queued events, more than the queue's capacity of {limit}."
    return [Finding(Promise.BOUNDS, said, tuple(row.event_id for row in rows[limit:]))]


def _refused_early(run: Run, samples: Sequence[ev.DlqSample], limit: int) -> list[Finding]:
    """A 503 with room in the queue before, after and in between, whatever was under way beside it."""
    times = [sample.t for sample in samples]
    near: list[tuple[Operation, int, float, float]] = []
    for operation in run.operations:
        if operation.status != UNAVAILABLE or not _only_fullness(run, operation):
            continue
        first = bisect.bisect_right(times, operation.invoked) - 1
        last = bisect.bisect_left(times, operation.completed)
        if first < 0 or last >= len(times):
            continue
        begin, end = times[first], times[last] + samples[last].seconds
        if operation.invoked - begin > NEAR_SECONDS or times[last] - operation.completed > NEAR_SECONDS:
            continue
        most = max(sample.depth + sample.dead for sample in samples[first : last + 1])
        near.append((operation, most, begin, end))
    # Whoever was under way between the samples may have been queued, and drained again, without being seen.
    begun, over = run.begun_by([end for *_, end in near]), run.over_before([begin for *_, begin, _ in near])
    early = [
        (operation, most)
        for (operation, most, _, _), asked, done in zip(near, begun, over, strict=True)
        if most + asked - done < limit
    ]
    if len(early) < FEWEST_EARLY:
        return []
    most = max(held for _, held in early)
    said = f"{len(early)} events were refused with 503 while the queue held at most {most} of {limit}."
    return [Finding(Promise.BOUNDS, said, event_ids(operation for operation, _ in early), early[0][0].invoked)]


def _only_fullness(run: Run, operation: Operation) -> bool:
    """Tell whether a queue that the load fills is the one fault of queue or service beside the operation."""
    beside = [
        window
        for window in run.windows
        if (window.radius.dlq is not Dlq.YES or window.radius.service is not ServiceState.UP)
        and window.injecting <= operation.completed
        and (window.healing is None or operation.invoked < window.healing)
    ]
    return {window.name for window in beside} == {_FULL_BY_LOAD}
