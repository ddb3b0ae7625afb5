"""What a timeline shows of the faults: shaded windows, and their marks with a name each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from ..rundata import FaultWindow, Run
from .faultnames import window_name

COLOUR = "#e5484d"
_NEAR_SHARE = 0.03
"""Marks of one kind closer than this share of the run have one label."""
_TITLES_NEAR_SHARE = 0.2
_NAMES_IN_LABEL = 4
_MARKS_NAMED = 40
"""So many labels of marks; the others are dotted lines only, and in the table of faults."""


@dataclass(frozen=True)
class Shading:
    """Plotly's shapes and annotations, behind and above the lanes."""

    shapes: list[dict[str, Any]]
    labels: list[dict[str, Any]]


def shading(run: Run, end: float) -> Shading:
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
        prefix = f"[{window.fault}] " if len(run.windows) > 1 else ""
        marks += [(t, prefix + name) for t, name in _marks(window)]
        doubt = "" if window.confirmed is not None else " (not confirmed)"
        titles.append((window.injecting, f"{window_name(window, run)}{doubt}"))
    shapes += [_rule(t) for t, _ in marks]
    named = _merged(sorted(titles), end * _TITLES_NEAR_SHARE)
    labels = [_label(t, f"<b>{escape(name)}</b>", end, 52) for t, name in named]
    for level, (t, name) in enumerate(_merged(sorted(marks), end * _NEAR_SHARE)[:_MARKS_NAMED]):
        labels.append(_label(t, name, end, 20 + 16 * (level % 2)))
    return Shading(shapes, labels)


def _marks(window: FaultWindow) -> list[tuple[float, str]]:
    marks = [
        (window.injecting, "inject"),
        (window.confirmed, "confirm"),
        (window.healing, "heal"),
        (window.probed, "probe"),
    ]
    return [(t, name) for t, name in marks if t is not None]


def _merged(marks: Sequence[tuple[float, str]], distance: float) -> list[tuple[float, str]]:
    """Have marks that lie too close together for a label each share that of the first."""
    merged: list[tuple[float, float, list[str]]] = []
    for t, name in marks:
        if merged and t - merged[-1][1] < distance:
            first, _, names = merged.pop()
            merged.append((first, t, [*names, name]))
        else:
            merged.append((t, t, [name]))
    return [(t, _listed(names)) for t, _, names in merged]


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _NAMES_IN_LABEL
    return ", ".join(names[:_NAMES_IN_LABEL]) + (f" +{more}" if more > 0 else "")


def _band(start: float, stop: float, opacity: float) -> dict[str, Any]:
    span = {"x0": round(start, 3), "x1": round(stop, 3), "y0": 0, "y1": 1}
    colour = f"rgba(229,72,77,{opacity})"
    axes = {"type": "rect", "xref": "x", "yref": "paper", "layer": "below"}
    return {**axes, **span, "fillcolor": colour, "line": {"width": 0}}


def _rule(t: float) -> dict[str, Any]:
    span = {"x0": round(t, 3), "x1": round(t, 3), "y0": 0, "y1": 1}
    line = {"color": COLOUR, "width": 1, "dash": "dot"}
    return {"type": "line", "xref": "x", "yref": "paper", **span, "line": line}


def _label(t: float, text: str, end: float, shift: int) -> dict[str, Any]:
    side = "right" if t > 0.85 * end else "left"
    place = {"xref": "x", "yref": "paper", "x": round(t, 3), "y": 1, "xanchor": side, "yanchor": "bottom"}
    return {**place, "yshift": shift, "text": text, "showarrow": False, "font": {"size": 11}}
