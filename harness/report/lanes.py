"""Lanes of a chart: rows that share one x axis, each with a y axis and a title of its own, as plotly's JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

GAP = 26
"""Pixels between two lanes: room for a title."""
POINTS_DRAWN = 4_000
"""Points of a line at most; of a longer one those that say most."""
_KEPT_OF_PIECE = 6
Points = Sequence[tuple[float, float | None]]


@dataclass(frozen=True)
class Lane:
    """One row: its plotly axis, its share of the height, and its title."""

    axis: str
    bottom: float
    top: float
    title: str

    @property
    def layout_key(self) -> str:
        """``yaxis`` or ``yaxis3``."""
        return "yaxis" + self.axis[1:]

    @property
    def domain(self) -> dict[str, Any]:
        """What every axis of a lane has."""
        return {"domain": [self.bottom, self.top], "anchor": "x", "zeroline": False}

    @property
    def heading(self) -> dict[str, Any]:
        """The title, as an annotation above the lane."""
        where = {"xref": "paper", "yref": "paper", "x": 0, "y": self.top, "xanchor": "left", "yanchor": "bottom"}
        return {**where, "text": f"<b>{self.title}</b>", "showarrow": False, "font": {"size": 12}}


def stacked(rows: Sequence[tuple[str, int]]) -> list[Lane]:
    """Put lanes below one another, given their titles and their heights in pixels."""
    height = height_of(rows)
    lanes, top = [], float(height)
    for index, (title, size) in enumerate(rows):
        bottom = max(0.0, top - size)
        lanes.append(Lane("y" if index == 0 else f"y{index + 1}", bottom / height, top / height, title))
        top = bottom - GAP
    return lanes


def height_of(rows: Sequence[tuple[str, int]]) -> int:
    """Pixels of all lanes and the gaps between them."""
    return sum(size for _, size in rows) + GAP * (len(rows) - 1)


def stepped_line(name: str, colour: str, lane: Lane, points: Points, *, dash: str = "solid") -> dict[str, Any]:
    """A line that keeps each value until the next; None, and what is no number, is a gap.

    Of one with more than :data:`POINTS_DRAWN` points the highest and the lowest stay.
    """
    # Prometheus may say NaN, which JSON cannot: a gap.
    drawn = thinned([(t, _rounded(value)) for t, value in points])
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": [round(t, 3) for t, _ in drawn],
        "y": [value for _, value in drawn],
        "line": {"color": colour, "shape": "hv", "width": 2, "dash": dash},
        "hovertemplate": f"%{{x:.2f}} s · %{{y}}<br>{name}<extra></extra>",
        "xaxis": "x",
        "yaxis": lane.axis,
    }


def thinned(points: Points) -> Points:
    """Of each piece of a line that is too long: how it begins and ends, its highest and lowest value, and its gap."""
    if len(points) <= POINTS_DRAWN:
        return points
    size = math.ceil(len(points) * _KEPT_OF_PIECE / POINTS_DRAWN)
    kept: list[tuple[float, float | None]] = []
    for start in range(0, len(points), size):
        piece = points[start : start + size]
        known = {index: value for index, (_, value) in enumerate(piece) if value is not None}
        gaps = [index for index, (_, value) in enumerate(piece) if value is None]
        ends = [min(known, key=known.__getitem__), max(known, key=known.__getitem__)] if known else []
        kept += [piece[index] for index in sorted({0, len(piece) - 1, *ends, *gaps[:1], *gaps[-1:]})]
    return kept


def empty_line(lane: Lane) -> dict[str, Any]:
    """A line without a point: of a lane that has none plotly would know no axis, and fail where that is named."""
    where = {"x": [], "y": [], "xaxis": "x", "yaxis": lane.axis}
    return {"type": "scatter", "mode": "lines", "name": f"nothing in {lane.title}", "showlegend": False, **where}


def _rounded(value: float | None) -> float | None:
    return round(value, 4) if value is not None and math.isfinite(value) else None
