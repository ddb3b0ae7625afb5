"""Moments in which nothing of the harness moved: the whole machine stood still, as a laptop or a virtual machine may.

Afterwards time-outs have run out that nobody caused: a service that then breaks off its statements and queues their
events is honest.  No canary tells of it, since its inserts stood still as well, or were not under way just then.
"""

from __future__ import annotations

import typing
from collections.abc import Sequence
from itertools import pairwise

from .. import events as ev
from ..rundata import Run

Span = tuple[float, float]
_Moving = (
    ev.Invoke | ev.Complete | ev.CanarySample | ev.ConnectionSample | ev.MetricsSample | ev.DlqSample | ev.ReadySample
)
_MOVING: tuple[type[_Moving], ...] = typing.get_args(_Moving)


def standstills(run: Run) -> tuple[Span, ...]:
    """Spans of half the smallest time-out or longer in which no sampler and no client did anything.

    Several samplers that wait for different parts make a record ten times a second while the load goes on; where the
    canary cannot be used, too little is recorded to tell.
    """
    if not run.of_kind(ev.CanarySample):
        return ()
    least = run.limits.smallest_timeout_seconds / 2
    times = sorted(record.t for kind in _MOVING for record in run.of_kind(kind))
    spans = _gaps(times, least)
    if spans and run.condensed is not None and run.condensed.archive is not None:
        # Of the clients' own records most were folded.
        spans = _gaps(sorted([*times, *run.condensed.archive.moved(least)]), least)
    return spans


def _gaps(times: Sequence[float], least: float) -> tuple[Span, ...]:
    return tuple((before, after) for before, after in pairwise(times) if after - before >= least)
