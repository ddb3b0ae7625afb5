"""Timeline: the figure of one run as plotly's own JSON.

One lane a month (latency on a log scale, colour and symbol by answer), the DLQ's depth, the pool, all on one
x axis in seconds; fault windows are shaded and their marks labelled.  The figure is built as plain data and
drawn by plotly.js in the page: plotly's Python classes would cost half a second of import, and the tests put
the figure through them instead.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from .. import events as ev
from ..rundata import FaultWindow, Operation, Run
from ..values import Month
from .summary import Answer, answer_of

MAX_OPERATIONS = 20_000
"""Above this many operations the chart samples; the page says so."""

_SVG_LIMIT = 6_000
"""Up to here points are drawn as SVG, which works everywhere; above, WebGL is needed to stay quick."""

_MIN_PER_STRATUM = 200
_SLOWEST_KEPT = 20
_SHORTEST_SECONDS = 1e-4
_POOL_PREFIX = "datastorage_db_connections_"

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
_LEGEND = {"orientation": "h", "itemsizing": "constant"}
_POOL_COLOURS = ("#3b8fd4", "#009e73", "#e69f00", "#d55e00", "#cc79a7")

_LANE, _DEPTH, _GAP, _TOP, _BOTTOM = 150, 110, 26, 84, 96
"""Heights in pixels: a month's lane, the two lower lanes, the gap between lanes, and the margins."""


@dataclass(frozen=True)
class Timeline:
    """The figure (plotly JSON) and what the page has to say about it."""

    figure: dict[str, Any]
    shown: int
    total: int


@dataclass(frozen=True)
class _Lane:
    """One row of the chart: its plotly axis, its share of the height, and its title."""

    axis: str
    bottom: float
    top: float
    title: str

    @property
    def layout_key(self) -> str:
        """``yaxis`` or ``yaxis3``."""
        return "yaxis" + self.axis[1:]


def build_timeline(run: Run, concerned: Collection[str]) -> Timeline:
    """Build the chart; events in ``concerned`` (those of findings) are never sampled away, and ringed."""
    groups: dict[tuple[Month, Answer], list[Operation]] = defaultdict(list)
    for operation in run.seen:
        groups[operation.month, answer_of(operation)].append(operation)
    total = run.sent
    kept = {key: sample(group, total, concerned) for key, group in groups.items()}
    shown = sum(len(group) for group in kept.values())
    titles = [f"{month} · latency" for month in run.months] + ["DLQ depth", "pool connections"]
    sizes = [_LANE] * len(run.months) + [_DEPTH, _DEPTH]
    lanes = _lanes(titles, sizes)
    kind = "scattergl" if shown > _SVG_LIMIT else "scatter"
    traces = [*_operation_traces(run, kept, lanes, kind), *_concerned_traces(run, kept, lanes, concerned)]
    traces += [*_depth_traces(run, lanes[-2]), *_pool_traces(run, lanes[-1])]
    figure = {"data": traces, "layout": _layout(run, lanes, sum(sizes) + _GAP * (len(sizes) - 1))}
    return Timeline(figure, shown, total)


def sample(group: Sequence[Operation], total: int, concerned: Collection[str]) -> list[Operation]:
    """Thin out one month's operations of one answer, evenly over time, when the run has too many in all.

    Kept whatever the share: the slowest, and those of events that a finding names.
    """
    if total <= MAX_OPERATIONS:
        return list(group)
    wanted = max(_MIN_PER_STRATUM, len(group) * MAX_OPERATIONS // total)
    stride = max(1, math.ceil(len(group) / wanted))
    keep = {operation.op for operation in group[::stride]}
    keep |= {each.op for each in sorted(group, key=lambda each: each.seconds)[-_SLOWEST_KEPT:]}
    return [each for each in group if each.op in keep or each.event_id in concerned]


def _lanes(titles: Sequence[str], sizes: Sequence[int]) -> list[_Lane]:
    height = sum(sizes) + _GAP * (len(sizes) - 1)
    lanes, top = [], float(height)
    for index, (title, size) in enumerate(zip(titles, sizes, strict=True)):
        bottom = max(0.0, top - size)
        lanes.append(_Lane("y" if index == 0 else f"y{index + 1}", bottom / height, top / height, title))
        top = bottom - _GAP
    return lanes


def _latency(run: Run, operation: Operation) -> float:
    seconds = operation.seconds if math.isfinite(operation.seconds) else run.end - operation.invoked
    return round(max(seconds, _SHORTEST_SECONDS), 5)


def _operation_traces(
    run: Run, kept: dict[tuple[Month, Answer], list[Operation]], lanes: Sequence[_Lane], kind: str
) -> Iterable[dict[str, Any]]:
    named: set[Answer] = set()
    for month, lane in zip(run.months, lanes, strict=False):
        for answer in Answer:
            group = kept.get((month, answer), [])
            if not group:
                continue
            colour, symbol = MARKERS[answer]
            yield {
                "type": kind,
                "mode": "markers",
                "name": answer.value,
                "legendgroup": answer.value,
                "showlegend": answer not in named,
                "x": [round(operation.invoked, 4) for operation in group],
                "y": [_latency(run, operation) for operation in group],
                "text": [f"{each.kind} · op {each.op} · {escape(each.event_id)}" for each in group],
                "hovertemplate": _HOVER.replace("ANSWER", answer.value).replace("MONTH", month.label),
                "marker": {"color": colour, "symbol": symbol, "size": 6, "opacity": 0.75},
                "xaxis": "x",
                "yaxis": lane.axis,
            }
            named.add(answer)


def _concerned_traces(
    run: Run,
    kept: dict[tuple[Month, Answer], list[Operation]],
    lanes: Sequence[_Lane],
    concerned: Collection[str],
) -> Iterable[dict[str, Any]]:
    first = True
    for month, lane in zip(run.months, lanes, strict=False):
        some = (each for (of, _), group in kept.items() if of == month for each in group)
        group = [each for each in some if each.event_id in concerned]
        if not group:
            continue
        yield {
            "type": "scatter",
            "mode": "markers",
            "name": "named by a finding",
            "legendgroup": "finding",
            "showlegend": first,
            "x": [round(operation.invoked, 4) for operation in group],
            "y": [_latency(run, operation) for operation in group],
            "hoverinfo": "skip",
            "marker": {"color": "#e5484d", "symbol": "circle-open", "size": 12, "line": {"width": 2}},
            "xaxis": "x",
            "yaxis": lane.axis,
        }
        first = False


_Points = Sequence[tuple[float, float | None]]


def _line(name: str, colour: str, lane: _Lane, points: _Points, dash: str = "solid") -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": [round(t, 3) for t, _ in points],
        # Prometheus may say NaN, which JSON cannot: a gap.
        "y": [value if value is not None and math.isfinite(value) else None for _, value in points],
        "line": {"color": colour, "shape": "hv", "width": 2, "dash": dash},
        "hovertemplate": f"%{{x:.2f}} s · %{{y}}<br>{name}<extra></extra>",
        "xaxis": "x",
        "yaxis": lane.axis,
    }


def _depth_traces(run: Run, lane: _Lane) -> Iterable[dict[str, Any]]:
    samples = run.of_kind(ev.DlqSample)
    if samples:
        # A sample of -1 did not answer: a gap in the line, not a depth.
        depth = [(each.t, each.depth if each.depth >= 0 else None) for each in samples]
        yield _line("DLQ pending", "#e69f00", lane, depth)
    if any(each.dead > 0 for each in samples):
        dead = [(each.t, each.dead if each.depth >= 0 else None) for each in samples]
        yield _line("DLQ dead letters", "#d55e00", lane, dead, "dot")


def _pool_traces(run: Run, lane: _Lane) -> Iterable[dict[str, Any]]:
    samples = run.of_kind(ev.MetricsSample)
    names = sorted({name for each in samples for name in each.series if name.startswith(_POOL_PREFIX)})
    for index, name in enumerate(names):
        colour = _POOL_COLOURS[index % len(_POOL_COLOURS)]
        label = "pool " + name.removeprefix(_POOL_PREFIX).replace("_", " ")
        yield _line(label, colour, lane, [(each.t, each.series.get(name)) for each in samples])
    backends = [(each.t, each.backends) for each in run.of_kind(ev.ConnectionSample) if each.backends >= 0]
    if backends:
        yield _line("backends seen by SQL", "#888888", lane, backends, "dot")


def _layout(run: Run, lanes: Sequence[_Lane], height: int) -> dict[str, Any]:
    end = max(run.end, 0.001)
    latencies = _latency_range(run)
    axes: dict[str, Any] = {}
    for index, lane in enumerate(lanes):
        axis: dict[str, Any] = {"domain": [lane.bottom, lane.top], "anchor": "x", "zeroline": False}
        if index < len(run.months):
            axis |= {"type": "log", "dtick": 1, "tickformat": "~s", "ticksuffix": "s"}
            axis["range"] = latencies
        else:
            axis |= {"rangemode": "tozero", "nticks": 4}
        axes[lane.layout_key] = axis
    shapes, labels = _fault_layout(run, end)
    return {
        "height": height + _TOP + _BOTTOM,
        "margin": {"l": 64, "r": 16, "t": _TOP, "b": _BOTTOM},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "hovermode": "closest",
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": "#888888", "activecolor": "#3b8fd4"},
        "legend": {**_LEGEND, "yref": "container", "y": 0, "yanchor": "bottom", "x": 0},
        "xaxis": {
            "range": [-0.01 * end, 1.01 * end],
            "anchor": lanes[-1].axis,
            "title": {"text": "seconds since the start of the run", "standoff": 6},
            "zeroline": False,
        },
        "shapes": [*shapes, *_deadline_shapes(run, lanes)],
        "annotations": [*(_lane_title(lane) for lane in lanes), *labels],
        **axes,
    }


def _latency_range(run: Run) -> list[float]:
    """One range for all months, so that lanes can be compared by eye."""
    values = [_latency(run, operation) for operation in run.seen] or [0.001, 1.0]
    highest = max(*values, run.limits.request_deadline_seconds)
    return [round(math.log10(min(values)) - 0.15, 3), round(math.log10(highest) + 0.15, 3)]


def _lane_title(lane: _Lane) -> dict[str, Any]:
    where = {"xref": "paper", "yref": "paper", "x": 0, "y": lane.top, "xanchor": "left", "yanchor": "bottom"}
    return {**where, "text": f"<b>{lane.title}</b>", "showarrow": False, "font": {"size": 12}}


def _deadline_shapes(run: Run, lanes: Sequence[_Lane]) -> Iterable[dict[str, Any]]:
    deadline = run.limits.request_deadline_seconds
    for lane in lanes[: len(run.months)]:
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


def _marks(window: FaultWindow) -> list[tuple[float, str]]:
    marks = [
        (window.injecting, "inject"),
        (window.confirmed, "confirm"),
        (window.healing, "heal"),
        (window.probed, "probe"),
    ]
    return [(t, name) for t, name in marks if t is not None]


def _fault_layout(run: Run, end: float) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Shade each window from its injection to its heal, and label its marks; near ones share a label."""
    shapes: list[dict[str, Any]] = []
    marks: list[tuple[float, str]] = []
    titles: list[tuple[float, str]] = []
    for window in run.windows:
        close = window.healed if window.healed is not None else end
        shapes.append(_band(window.injecting, close, 0.10))
        if window.confirmed is not None:
            shapes.append(_band(window.injecting, window.confirmed, 0.16))
        if window.healed is not None and window.probed is not None:
            shapes.append(_band(window.healed, window.probed, 0.06))
        prefix = f"{window.fault} " if len(run.windows) > 1 else ""
        marks += [(t, prefix + name) for t, name in _marks(window)]
        titles.append((window.injecting, prefix + window.name))
    shapes += [_rule(t) for t, _ in marks]
    labels = [_label(t, f"<b>{escape(name)}</b>", end, 52) for t, name in _merged(sorted(titles), end * 0.2)]
    for level, (t, name) in enumerate(_merged(sorted(marks), end * 0.03)):
        labels.append(_label(t, name, end, 20 + 16 * (level % 2)))
    return shapes, labels


def _merged(marks: Sequence[tuple[float, str]], distance: float) -> list[tuple[float, str]]:
    merged: list[tuple[float, str]] = []
    for t, name in marks:
        if merged and t - merged[-1][0] < distance:
            merged[-1] = (merged[-1][0], f"{merged[-1][1]}, {name}")
        else:
            merged.append((t, name))
    return merged


def _band(start: float, stop: float, opacity: float) -> dict[str, Any]:
    span = {"x0": round(start, 3), "x1": round(stop, 3), "y0": 0, "y1": 1}
    colour = f"rgba(229,72,77,{opacity})"
    axes = {"type": "rect", "xref": "x", "yref": "paper", "layer": "below"}
    return {**axes, **span, "fillcolor": colour, "line": {"width": 0}}


def _rule(t: float) -> dict[str, Any]:
    span = {"x0": round(t, 3), "x1": round(t, 3), "y0": 0, "y1": 1}
    line = {"color": "#e5484d", "width": 1, "dash": "dot"}
    return {"type": "line", "xref": "x", "yref": "paper", **span, "line": line}


def _label(t: float, text: str, end: float, shift: int) -> dict[str, Any]:
    side = "right" if t > 0.85 * end else "left"
    place = {"xref": "x", "yref": "paper", "x": round(t, 3), "y": 1, "xanchor": side, "yanchor": "bottom"}
    return {**place, "yshift": shift, "text": text, "showarrow": False, "font": {"size": 11}}
