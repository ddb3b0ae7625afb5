"""Operations in the lanes of a timeline: one point each or, of a long run, one mark for those that are alike.

A mark stands for the operations of one month and status that began in one span of time: its height is their median,
its bar reaches up to their 99th percentile, its size grows with their number.  No span reaches over a mark of a fault.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from ..rundata import Operation, Run, Tally
from ..values import Month
from .lanes import Lane
from .summary import Answer, answer_of, latency_text

MAX_OPERATIONS = 20_000
"""Up to so many operations of a run are drawn as a point each; the page says what it draws instead."""
SLOWEST_DRAWN = 100
"""Of a longer run so many of each month and status, the slowest, are points of their own beside the marks."""
_SPANS = 240
_SPANS_OF_FAULT = 40
_SPANS_OF_ALL_FAULTS = 400
_MOST_MARKS = 4_000
_SHORTEST_SPAN_SECONDS = 0.05
_SHORTEST_SECONDS = 1e-4
_THICK_RINGS = 50
_SVG_LIMIT = 6_000
"""Up to here points are drawn as SVG, which works everywhere; above, WebGL is needed to stay quick."""

# Colours after Okabe and Ito, told apart by the colour-blind and on light and dark ground alike.
MARKERS: dict[Answer, tuple[str, str]] = {
    Answer.CREATED: ("#009e73", "circle"),
    Answer.QUEUED: ("#e69f00", "diamond"),
    Answer.REJECTED: ("#cc79a7", "square"),
    Answer.CONFLICT: ("#3b8fd4", "pentagon"),
    Answer.UNAVAILABLE: ("#d55e00", "triangle-down"),
    Answer.OTHER: ("#a05a2c", "star"),
    Answer.NONE: ("#888888", "x"),
}
_HOVER = "%{x:.3f} s · %{y:.4f} s<br>ANSWER · MONTH<br>%{text}<extra></extra>"
_TALLY_HOVER = "ANSWER · MONTH<br>%{text}<extra></extra>"

_Groups = Mapping[tuple[Month, Answer], Sequence[Operation]]


@dataclass(frozen=True)
class Drawn:
    """What is drawn of a run's operations: points and marks by month and answer."""

    points: _Groups
    tallies: Sequence[Tally]
    begins: Sequence[float]
    """When each span of the tallies begins."""

    @property
    def single(self) -> int:
        """How many operations have a point of their own."""
        return sum(len(group) for group in self.points.values())

    @property
    def kind(self) -> str:
        """The type of trace that stays quick for so many elements; a mark has a bar as well."""
        return "scattergl" if self.single + 2 * len(self.tallies) > _SVG_LIMIT else "scatter"

    def range_of(self, run: Run) -> tuple[float, float]:
        """The shortest and the longest latency that is drawn, in seconds."""
        values = [height(run, each) for group in self.points.values() for each in group]
        values += [_at_least(seconds) for one in self.tallies for seconds in (one.median_seconds, one.p99_seconds)]
        return min(values, default=0.001), max(values, default=1.0)


def drawn_of(run: Run, named: Iterable[Operation]) -> Drawn:
    """Choose what is drawn; operations of ``named`` have a point of their own in any case."""
    long = run.condensed is not None or run.sent > MAX_OPERATIONS
    some = run.slowest(SLOWEST_DRAWN) if long else run.operations
    chosen = {(each.op, each.invoked): each for each in itertools.chain(some, named)}
    groups: dict[tuple[Month, Answer], list[Operation]] = defaultdict(list)
    for operation in sorted(chosen.values(), key=lambda each: each.invoked):
        groups[operation.month, answer_of(operation)].append(operation)
    if not long:
        return Drawn(groups, (), ())
    begins = spans(run)
    # Those that have a point each are not counted in marks of their own a second time.
    few = _few(groups, tallies := run.tallied(begins))
    return Drawn(groups, [one for one in tallies if (one.month, one.status) not in few], begins)


def _few(
    groups: Mapping[tuple[Month, Answer], Sequence[Operation]], tallies: Iterable[Tally]
) -> set[tuple[Month, int]]:
    """Months and statuses of which each operation has a point of its own."""
    counts: dict[tuple[Month, int], int] = defaultdict(int)
    for one in tallies:
        counts[one.month, one.status] += one.count
    pointed: dict[tuple[Month, int], int] = defaultdict(int)
    for each in itertools.chain.from_iterable(groups.values()):
        pointed[each.month, each.status] += 1
    return {key for key, count in counts.items() if pointed[key] >= count}


def spans(run: Run) -> list[float]:
    """When spans begin: even ones from mark to mark of the faults, and finer ones while a fault is on."""
    end = max(run.end, _SHORTEST_SPAN_SECONDS)
    even = end / min(_SPANS, max(60, _MOST_MARKS // max(1, 3 * len(run.months))))
    finer = max(1, min(_SPANS_OF_FAULT, _SPANS_OF_ALL_FAULTS // max(1, len(run.windows))))
    cuts: dict[float, float] = {0.0: even}
    for window in run.windows:
        marks = [window.injecting, window.confirmed, window.healing, window.healed, window.probed]
        known = [mark for mark in marks if mark is not None and 0 < mark < end]
        # A fault that nobody saw end is on until the run ends, however near to each other its first marks are.
        stop = end if window.probed is None else min(window.probed, end)
        width = (stop - min(known, default=stop)) / finer
        cuts |= dict.fromkeys(known, min(even, max(width, _SHORTEST_SPAN_SECONDS)))
        if window.probed is not None and window.probed in cuts:
            cuts[window.probed] = even
    return _divided(cuts, end)


def _divided(cuts: Mapping[float, float], end: float) -> list[float]:
    """Divide the time between any two cuts evenly, into spans of about the width that the first one asks for."""
    begins: list[float] = []
    for start, stop in itertools.pairwise([*sorted(cuts), end]):
        pieces = max(1, math.ceil((stop - start) / cuts[start] - 1e-9))
        begins += [start + (stop - start) * piece / pieces for piece in range(pieces)]
    return begins


def height(run: Run, operation: Operation) -> float:
    """The latency of a point in seconds; of what nobody answered the time until the run ended."""
    seconds = operation.seconds if math.isfinite(operation.seconds) else run.end - operation.invoked
    return _at_least(seconds)


def _at_least(seconds: float) -> float:
    return round(max(seconds, _SHORTEST_SECONDS), 5)


def operation_traces(run: Run, drawn: Drawn, lanes: Mapping[Month, Lane]) -> Iterable[dict[str, Any]]:
    """One trace for the marks and one for the points of each month and answer; an answer is once in the legend."""
    named: set[Answer] = set()
    marks: dict[tuple[Month, Answer], list[Tally]] = defaultdict(list)
    for one in drawn.tallies:
        marks[one.month, answer_of(one)].append(one)
    for month, lane in lanes.items():
        for answer in Answer:
            several, single = marks.get((month, answer), []), drawn.points.get((month, answer), [])
            for trace in (_marks(several, drawn.begins, run.end), _points(run, single)):
                if trace is None:
                    continue
                colour, symbol = MARKERS[answer]
                trace["marker"] |= {"color": colour, "symbol": symbol}
                trace["hovertemplate"] = trace["hovertemplate"].replace("ANSWER", answer).replace("MONTH", month.label)
                yield {
                    **trace,
                    "type": drawn.kind,
                    "mode": "markers",
                    "name": answer.value,
                    "legendgroup": answer.value,
                    "showlegend": answer not in named,
                    "xaxis": "x",
                    "yaxis": lane.axis,
                }
                named.add(answer)


def _points(run: Run, group: Sequence[Operation]) -> dict[str, Any] | None:
    if not group:
        return None
    return {
        "x": [round(operation.invoked, 4) for operation in group],
        "y": [height(run, operation) for operation in group],
        "text": [f"{each.kind} · op {each.op} · {escape(each.event_id or 'no id')}" for each in group],
        "hovertemplate": _HOVER,
        "marker": {"size": 6, "opacity": 0.75},
    }


def _marks(group: Sequence[Tally], begins: Sequence[float], end: float) -> dict[str, Any] | None:
    if not group:
        return None
    stops = [*begins[1:], max(end, begins[-1])]
    middles = [_at_least(one.median_seconds) for one in group]
    colour = MARKERS[answer_of(group[0])][0]
    return {
        "x": [round((begins[one.span] + stops[one.span]) / 2, 4) for one in group],
        "y": middles,
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [round(_at_least(one.p99_seconds) - y, 5) for one, y in zip(group, middles, strict=True)],
            "arrayminus": [0] * len(group),
            "color": colour,
            "thickness": 1,
            "width": 0,
        },
        "text": [_tally_text(one, begins[one.span], stops[one.span]) for one in group],
        "hovertemplate": _TALLY_HOVER,
        "marker": {"size": [_size(one.count) for one in group], "opacity": 0.75},
    }


def _size(count: int) -> int:
    return min(16, 5 + round(2 * math.log10(count)))


def _tally_text(one: Tally, start: float, stop: float) -> str:
    named = f"status {one.status}: " if answer_of(one) is Answer.OTHER else ""
    times = f"median {latency_text(one.median_seconds)}, p99 {latency_text(one.p99_seconds)}"
    slowest = f"slowest {latency_text(one.slowest_seconds)}"
    return f"{named}{one.count} sent from {start:.2f} to {stop:.2f} s<br>{times}, {slowest}"


def ring_traces(run: Run, named: Collection[Operation], lanes: Mapping[Month, Lane]) -> Iterable[dict[str, Any]]:
    """A ring around each point that a finding names."""
    first = True
    for month, lane in lanes.items():
        group = [each for each in named if each.month == month]
        if not group:
            continue
        # Thick rings of many hide the answers within them.
        ring = {"width": 2 if len(group) <= _THICK_RINGS else 1}
        yield {
            "type": "scatter",
            "mode": "markers",
            "name": "named by a finding",
            "legendgroup": "finding",
            "showlegend": first,
            "x": [round(operation.invoked, 4) for operation in group],
            "y": [height(run, operation) for operation in group],
            "hoverinfo": "skip",
            "marker": {"color": "#e5484d", "symbol": "circle-open", "size": 12, "line": ring},
            "xaxis": "x",
            "yaxis": lane.axis,
        }
        first = False


def rates(drawn: Drawn, end: float) -> Mapping[Answer, Sequence[tuple[float, float | None]]]:
    """Requests a second of each answer, all months together, by span; empty where each operation has a point."""
    if not drawn.begins:
        return {}
    stops = [*drawn.begins[1:], max(end, drawn.begins[-1])]
    counts: dict[Answer, list[int]] = {}
    for answer, span, count in _counted(drawn):
        counts.setdefault(answer, [0] * len(stops))[span] += count
    widths = [stop - start for start, stop in zip(drawn.begins, stops, strict=True)]
    return {
        answer: [
            (start, count / width if width > 0 else None)
            for start, width, count in zip(drawn.begins, widths, counts[answer], strict=True)
        ]
        for answer in Answer
        if answer in counts
    }


def _counted(drawn: Drawn) -> Iterable[tuple[Answer, int, int]]:
    marked = {(one.month, one.status) for one in drawn.tallies}
    yield from ((answer_of(one), one.span, one.count) for one in drawn.tallies)
    for (month, answer), group in drawn.points.items():
        for each in group:
            if (month, each.status) not in marked:
                yield answer, max(0, bisect.bisect_right(drawn.begins, each.invoked) - 1), 1
