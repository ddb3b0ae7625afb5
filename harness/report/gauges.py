"""Lanes of what is measured beside the operations: the queue, the pool and who waits for it, requests a second."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from .. import events as ev
from ..rundata import Run
from ..values import Phase
from .lanes import Lane, Points, stepped_line
from .points import MARKERS, Drawn, rates
from .summary import NONE, figure_text

_POOL_PREFIX = "datastorage_db_connections_"
_POOL_MAXIMUM = "datastorage_db_max_open_connections"
_WAITED = "datastorage_db_connection_wait_duration_seconds_sum"
# Each line has a dash of its own too, so that no colour has to be told from another.
_POOL_LINES = (
    ("#3b8fd4", "solid"),
    ("#009e73", "dash"),
    ("#e69f00", "dashdot"),
    ("#cc79a7", "longdash"),
    ("#a05a2c", "longdashdot"),
)
_ANSWER_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot", "2px,6px")


def depth_traces(run: Run, lane: Lane) -> Iterable[dict[str, Any]]:
    """The queue's depth and its dead letters; a sample that did not answer is a gap, not a depth."""
    samples = run.of_kind(ev.DlqSample)
    if samples:
        yield stepped_line("DLQ pending", "#e69f00", lane, [(each.t, _known(each, each.depth)) for each in samples])
    if any(each.dead > 0 for each in samples):
        dead = [(each.t, _known(each, each.dead)) for each in samples]
        yield stepped_line("DLQ dead letters", "#d55e00", lane, dead, dash="dot")


def _known(sample: ev.DlqSample, value: int) -> int | None:
    return value if sample.depth >= 0 else None


def pool_traces(run: Run, lane: Lane) -> Iterable[dict[str, Any]]:
    """The pool as the service shows it, requests that wait for a connection, and connections as SQL lists them."""
    samples = run.of_kind(ev.MetricsSample)
    names = sorted({name for each in samples for name in each.series if name.startswith(_POOL_PREFIX)})
    for name, (colour, dash) in zip(names, itertools.cycle(_POOL_LINES), strict=False):
        label = escape("pool " + name.removeprefix(_POOL_PREFIX).replace("_", " "))
        yield stepped_line(label, colour, lane, [(each.t, each.series.get(name)) for each in samples], dash=dash)
    if any(_POOL_MAXIMUM in each.series for each in samples):
        most = [(each.t, each.series.get(_POOL_MAXIMUM)) for each in samples]
        yield stepped_line("pool maximum", "#888888", lane, most, dash="dash")
    waiting = waiting_requests(samples)
    if waiting:
        yield stepped_line("waiting for a connection", "#d55e00", lane, waiting)
    backends = [(each.t, float(each.backends)) for each in run.of_kind(ev.ConnectionSample) if each.backends >= 0]
    if backends:
        yield stepped_line("connections seen by SQL", "#888888", lane, backends, dash="dot")


def waiting_requests(samples: Sequence[ev.MetricsSample]) -> Points:
    """How many requests waited at once, on average from one scrape to the next, by the waits that ended meanwhile.

    The sum of waits that ended in a second is the number that waited (Little's law), but for waits that reach over a
    scrape.  A counter that begins anew leaves a gap.
    """
    read = [(each.t, each.series[_WAITED]) for each in samples if not each.error and _WAITED in each.series]
    found: list[tuple[float, float | None]] = []
    for (before, waited), (t, now) in itertools.pairwise(read):
        found.append((before, (now - waited) / (t - before) if now >= waited and t > before else None))
    return [*found, (read[-1][0], None)] if found else []


def rate_traces(drawn: Drawn, end: float, lane: Lane) -> Iterable[dict[str, Any]]:
    """Requests a second by answer, of all months together."""
    for index, (answer, points) in enumerate(rates(drawn, end).items()):
        colour, _ = MARKERS[answer]
        line = stepped_line(f"{answer.value} a second", colour, lane, points, dash=_ANSWER_DASHES[index])
        # The legend has the answer already, by its mark; one click hides both.
        yield {**line, "legendgroup": answer.value, "showlegend": False}


GAUGE_TITLES = (
    "phase",
    "most pending in the DLQ",
    "most dead letters",
    "most connections in use",
    "most waiting for one",
    "most seen by SQL",
)


def gauge_rows(run: Run) -> list[tuple[str, ...]]:
    """The largest value of each line by phase, as text: the lower lanes for those who cannot see them."""
    scrapes = run.of_kind(ev.MetricsSample)
    queue = [each for each in run.of_kind(ev.DlqSample) if each.depth >= 0]
    in_use = f"{_POOL_PREFIX}in_use"
    lines: list[Points] = [
        [(each.t, each.depth) for each in queue],
        [(each.t, each.dead) for each in queue],
        [(each.t, each.series.get(in_use)) for each in scrapes],
        waiting_requests(scrapes),
        [(each.t, float(each.backends)) for each in run.of_kind(ev.ConnectionSample) if each.backends >= 0],
    ]
    if not any(lines):
        return []
    starts = [(phase, start) for phase in reversed(Phase) if (start := run.phase_start(phase)) is not None]
    most = {phase: [_most(line, starts, phase) for line in lines] for phase in Phase}
    return [
        (phase.value, *(NONE if value is None else figure_text(round(value, 2)) for value in values))
        for phase, values in most.items()
        if any(value is not None for value in values)
    ]


def _most(line: Points, starts: Sequence[tuple[Phase, float]], phase: Phase) -> float | None:
    known = (value for t, value in line if value is not None and _phase(starts, t) is phase)
    return max((value for value in known if math.isfinite(value)), default=None)


def _phase(starts: Sequence[tuple[Phase, float]], t: float) -> Phase:
    return next((phase for phase, start in starts if t >= start), Phase.BEFORE)
