"""Timeline: the figure of one run as plotly's own JSON.

One lane a month (latency on a log scale, colour and symbol by answer), then the DLQ's depth, the pool, and what
happened to service and database, all on one x axis in seconds; fault windows are shaded and their marks labelled.
The figure is built as plain data and drawn by plotly.js in the page: plotly's Python classes would cost half a second
of import, and the tests put the figure through them instead.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .. import events as ev
from ..rundata import Operation, Run
from ..values import Month
from .gauges import depth_traces, pool_traces, rate_traces
from .happenings import Happening, happening_axis, happening_traces
from .lanes import POINTS_DRAWN, Lane, empty_line, height_of, stacked
from .points import Drawn, drawn_of, operation_traces, ring_traces
from .shading import shading

_LEGEND = {"orientation": "h", "itemsizing": "constant"}
_LANE, _LANE_OF_MANY, _MANY_MONTHS, _DEPTH, _EVENTS, _TOP, _BOTTOM = 150, 90, 12, 110, 64, 84, 120
"""Heights in pixels: a month's lane, that of many months and how many are many, the lower lanes, and the margins."""


@dataclass(frozen=True)
class Timeline:
    """The figure (plotly JSON) and what the page has to say about it."""

    figure: dict[str, Any]
    drawn: Drawn
    total: int
    samples: int
    """Samples of what was measured most often."""

    @property
    def aggregated(self) -> bool:
        """Whether marks stand for several operations each."""
        return bool(self.drawn.begins)

    @property
    def thinned(self) -> bool:
        """Whether lines have fewer points than samples were taken."""
        return self.samples > POINTS_DRAWN


@dataclass(frozen=True)
class _Lanes:
    """All lanes, by what they show."""

    months: Mapping[Month, Lane]
    rate: Lane | None
    depth: Lane
    pool: Lane
    happened: Lane
    height: int

    @property
    def all(self) -> list[Lane]:
        rates = [self.rate] if self.rate is not None else []
        return [*self.months.values(), *rates, self.depth, self.pool, self.happened]


def build_timeline(run: Run, named: Sequence[Operation], happened: Sequence[Happening] = ()) -> Timeline:
    """Build the chart; operations of ``named`` (those of findings) have a point of their own and a ring."""
    drawn = drawn_of(run, named)
    lanes = _lanes(run, drawn)
    traces = [*operation_traces(run, drawn, lanes.months), *ring_traces(run, named, lanes.months)]
    if lanes.rate is not None:
        traces += rate_traces(drawn, run.end, lanes.rate)
    traces += [*depth_traces(run, lanes.depth), *pool_traces(run, lanes.pool)]
    traces += happening_traces(happened, lanes.happened)
    used = {trace["yaxis"] for trace in traces}
    traces += [empty_line(lane) for lane in lanes.all if lane.axis not in used]
    counts = (len(run.of_kind(ev.DlqSample)), len(run.of_kind(ev.MetricsSample)), len(run.of_kind(ev.ConnectionSample)))
    return Timeline({"data": traces, "layout": _layout(run, lanes, drawn)}, drawn, run.sent, max(counts))


def _lanes(run: Run, drawn: Drawn) -> _Lanes:
    size = _LANE if len(run.months) <= _MANY_MONTHS else _LANE_OF_MANY
    rows = [(f"{month} · latency", size) for month in run.months]
    if drawn.begins:
        rows.append(("requests a second, all months", _DEPTH))
    rows += [("DLQ depth", _DEPTH), ("pool: connections and waiting requests", _DEPTH)]
    rows.append(("service and database", _EVENTS))
    lanes = stacked(rows)
    months = dict(zip(run.months, lanes, strict=False))
    depth, pool, happened = lanes[-3:]
    rate = lanes[-4] if drawn.begins else None
    return _Lanes(months, rate, depth, pool, happened, height_of(rows))


def _layout(run: Run, lanes: _Lanes, drawn: Drawn) -> dict[str, Any]:
    end = max(run.end, 0.001)
    faults = shading(run, end)
    return {
        "height": lanes.height + _TOP + _BOTTOM,
        "margin": {"l": 72, "r": 16, "t": _TOP, "b": _BOTTOM},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "hovermode": "closest",
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": "#888888", "activecolor": "#3b8fd4"},
        "legend": {**_LEGEND, "yref": "container", "y": 0, "yanchor": "bottom", "x": 0},
        "xaxis": {
            "range": [-0.01 * end, 1.01 * end],
            "anchor": lanes.happened.axis,
            "title": {"text": "seconds since the start of the run", "standoff": 6},
            "zeroline": False,
        },
        "shapes": [*faults.shapes, *_deadlines(run, lanes.months.values())],
        "annotations": [*(lane.heading for lane in lanes.all), *faults.labels],
        **_axes(run, lanes, drawn),
    }


def _axes(run: Run, lanes: _Lanes, drawn: Drawn) -> dict[str, Any]:
    # One range for all months, so that lanes can be compared by eye.
    lowest, highest = drawn.range_of(run)
    highest = max(highest, run.limits.request_deadline_seconds)
    latencies = [round(math.log10(lowest) - 0.15, 3), round(math.log10(highest) + 0.15, 3)]
    latency = {"type": "log", "dtick": 1, "tickformat": "~s", "ticksuffix": "s", "range": latencies}
    axes = {lane.layout_key: {**lane.domain, **latency} for lane in lanes.months.values()}
    figures = {"rangemode": "tozero", "nticks": 4, "fixedrange": True}
    axes |= {lane.layout_key: {**lane.domain, **figures} for lane in (lanes.depth, lanes.pool)}
    if lanes.rate is not None:
        axes[lanes.rate.layout_key] = {**lanes.rate.domain, **figures}
    axes[lanes.happened.layout_key] = {**lanes.happened.domain, **happening_axis()}
    return axes


def _deadlines(run: Run, lanes: Iterable[Lane]) -> Iterable[dict[str, Any]]:
    deadline = run.limits.request_deadline_seconds
    for lane in lanes:
        yield {
            "type": "line",
            "xref": "paper",
            "yref": lane.axis,
            "x0": 0,
            "x1": 1,
            "y0": deadline,
            "y1": deadline,
            "line": {"color": "#888888", "width": 1, "dash": "dash"},
        }
