"""Moments in which nothing of the harness moved: the whole machine stood still, as a laptop or a virtual machine may.

Afterwards time-outs have run out that nobody caused: a service that then breaks off its statements and queues their
events is honest.  No canary tells of it, since its inserts stood still as well, or were not under way just then.

A shorter one lets no time-out run out.  It is nevertheless the p99 of a phase when it keeps a hundredth of its requests
waiting, so that what was under way in it is left out of comparisons of latencies.
"""

from __future__ import annotations

import bisect
import typing
from collections.abc import Sequence
from itertools import pairwise

from .. import events as ev
from ..rundata import Operation, Run

Span = tuple[float, float]
_Moving = (
    ev.Invoke | ev.Complete | ev.CanarySample | ev.ConnectionSample | ev.MetricsSample | ev.DlqSample | ev.ReadySample
)
_MOVING: tuple[type[_Moving], ...] = typing.get_args(_Moving)


HANG_SECONDS = 0.25
"""Shorter gaps are found while few write; several samplers make a record ten times a second all the same.

An insert of the canary takes some milliseconds.
"""


def standstills(run: Run) -> tuple[Span, ...]:
    """Spans of half the smallest time-out or longer in which no sampler and no client did anything.

    Several samplers that wait for different parts make a record ten times a second while the load goes on; where the
    canary cannot be used, too little is recorded to tell.
    """
    return _still(run, run.limits.smallest_timeout_seconds / 2)


def hangs(run: Run) -> tuple[float, ...]:
    """Times, ascending, at which the machine hung, or its disk before any fault: what was under way then is no measure.

    Nothing moved for a quarter of a second about each, or an insert of the canary took so long before the first fault.
    Under a fault that may be the fault's doing, or the service's.
    """
    first = min((window.injecting for window in run.windows), default=0.0)
    slow = (one for one in run.of_kind(ev.CanarySample) if one.seconds >= HANG_SECONDS and one.t + one.seconds < first)
    middles = [(before + after) / 2 for before, after in _still(run, HANG_SECONDS)]
    return tuple(sorted([*middles, *(one.t + one.seconds / 2 for one in slow)]))


def met(moments: Sequence[float], operation: Operation) -> bool:
    """Tell whether the operation was under way at one of the ascending moments."""
    index = bisect.bisect_right(moments, operation.invoked)
    return index < len(moments) and moments[index] < operation.completed


def _still(run: Run, least: float) -> tuple[Span, ...]:
    if not run.of_kind(ev.CanarySample):
        return ()
    times = sorted(record.t for kind in _MOVING for record in run.of_kind(kind))
    spans = _gaps(times, least)
    if spans and run.condensed is not None and run.condensed.archive is not None:
        # Of the clients' own records most were folded.
        spans = _gaps(sorted([*times, *run.condensed.archive.moved(least)]), least)
    return spans


def _gaps(times: Sequence[float], least: float) -> tuple[Span, ...]:
    return tuple((before, after) for before, after in pairwise(times) if after - before >= least)
