"""Page: a sweep as one self-contained page, answer first, with a plot a condition and the table of its figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..report.html import chart_scripts, document, page_scripts
from ..report.markup import Markup, badge, chart_area, items, joined, section, table, tag
from ..report.summary import FAIL, PASS, UNKNOWN, Headline, shown_path
from .answer import RULE, Advice
from .measuring import SHARES, Figures
from .shown import TITLES, Result, cells, numbers

_HEADS = {
    Advice.RAISE: Headline("RAISE", "↑", PASS.css),
    Advice.KEEP: Headline("KEEP", "=", PASS.css),
    Advice.CANNOT_TELL: Headline("CANNOT TELL", UNKNOWN.symbol, UNKNOWN.css),
}
# After Okabe and Ito, as the other charts; the dashes tell them apart without colour.
_LINES = {0.5: ("#009e73", "dot"), 0.95: ("#3b8fd4", "dash"), 0.99: ("#d55e00", "solid")}
_WAIT = ("#cc79a7", "dashdot")
_CPU = ("#888888", "longdash")
# Of a logarithmic axis plotly itself writes the 2 of 200 as a small 2.
_TICKS = [digit * 10**power for power in range(5) for digit in (1, 2, 5)]
_HEIGHT, _PANEL_GAP = 560, 0.08


def page(result: Result) -> str:
    """Return the whole page."""
    question = result.question
    rounds = f"{question.rounds} round{'' if question.rounds == 1 else 's'}"
    figures = {condition: figure(result.of(condition), question.present) for condition in result.conditions}
    body = joined(
        [
            tag("h1", "Should we raise the maximum of the connection pool?"),
            *(_answer(result, number) for number in range(len(result.answers))),
            tag("p", RULE, class_="muted"),
            tag(
                "p",
                f"{result.name} · {question.users} users · {rounds} · present maximum {question.present} · "
                f"target {shown_path(Path(question.target))} · seed {question.seed}",
                class_="muted",
            ),
            section("broken", "Broken promises", items(result.broken)),
            *(_condition(result, condition, f"chart-{number}") for number, condition in enumerate(result.conditions)),
            section("runs", "Runs", _runs(result)),
        ]
    )
    drawn = {f"chart-{number}": figures[name] for number, name in enumerate(result.conditions)}
    scripts = chart_scripts(drawn) if drawn else page_scripts()
    return document("Sweep of the connection pool", joined([tag("main", body), Markup("\n"), scripts]))


def _answer(result: Result, number: int) -> Markup:
    one = result.answers[number]
    head = FAIL if result.broken else _HEADS[one.advice]
    return tag("p", joined([badge(head), f" {one.condition}: {one.sentence}"]), class_="claim")


def _condition(result: Result, condition: str, chart: str) -> Markup:
    figures = result.of(condition)
    rows = [cells(one, result.question.present) for one in figures]
    problems = [f"{one.size}: {one.problem}" for one in figures if one.problem]
    label = f"Latency, waits and CPU by pool size, {condition}"
    return section(
        chart.replace("chart", "condition"),
        condition[0].upper() + condition[1:],
        chart_area(chart, label, "the table below has its figures"),
        table(TITLES, rows, frozenset(numbers()), caption=f"Figures by pool size, {condition}", heads=True),
        items(problems),
    )


def _runs(result: Result) -> Markup:
    rows = []
    for point in result.points:
        link = tag("a", point.run, href=f"runs/{point.run}/report.html")
        rows.append((str(point.size), str(point.round), point.verdict, link, point.problem or "–"))
    titles = ("pool", "round", "verdict", "run", "why it does not count")
    return table(titles, rows, frozenset({0, 1}), caption="Runs of the sweep", heads=True)


def figure(figures: Sequence[Figures], present: int) -> dict[str, Any]:
    """Return the plot of one condition as plotly's JSON: latency above, waits in the middle, CPU below, by size."""
    shown = [one for one in figures if one.writes]
    sizes = [one.size for one in shown]
    traces = [_quantiles(shown, share) for share in SHARES]
    waits = [_milliseconds(one.mean_wait_seconds) for one in shown]
    traces.append(_trace("mean wait for a connection", sizes, waits, _WAIT, "y2", "ms"))
    busy = [None if one.cpu is None else round(one.cpu.machine_share * 100, 1) for one in shown]
    traces.append(_trace("CPU of the machine", sizes, busy, _CPU, "y3", "%"))
    share = (1 - 2 * _PANEL_GAP) / 4
    axes = {
        "yaxis": {
            "domain": [1 - 2 * share, 1],
            "title": {"text": "latency, ms"},
            "type": "log",
            "tickvals": _TICKS,
            "anchor": "x",
        },
        "yaxis2": {
            "domain": [share + _PANEL_GAP, 2 * share + _PANEL_GAP],
            "title": {"text": "wait, ms"},
            "anchor": "x",
        },
        "yaxis3": {"domain": [0, share], "title": {"text": "CPU, %"}, "range": [0, 105], "anchor": "x"},
    }
    return {
        "data": traces,
        "layout": {
            "height": _HEIGHT,
            # Room for plotly's buttons above the label of the present maximum, which they would cover on a phone.
            "margin": {"l": 64, "r": 16, "t": 56, "b": 88},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": "#888888", "activecolor": "#3b8fd4"},
            "hovermode": "x unified",
            "legend": {"orientation": "h", "y": -0.16},
            "xaxis": {"title": {"text": "connections of the pool"}, "tickvals": sizes, "anchor": "y3"},
            "shapes": [_rule(present)],
            "annotations": [_label(present)],
            **axes,
        },
    }


def _quantiles(shown: Sequence[Figures], share: float) -> dict[str, Any]:
    found = [one.quantiles.get(share) for one in shown]
    values = [_milliseconds(one.value if one else None) for one in found]
    trace = _trace(f"p{share * 100:g}", [one.size for one in shown], values, _LINES[share], "y", "ms")
    trace["error_y"] = {
        "type": "data",
        "symmetric": False,
        "array": [_beyond(one.high - one.value) if one else 0 for one in found],
        "arrayminus": [_beyond(one.value - one.low) if one else 0 for one in found],
    }
    return trace


def _beyond(seconds: float) -> float:
    """An arm of an error bar, in milliseconds; one without an end is not drawn."""
    return round(seconds * 1000, 3) if math.isfinite(seconds) else 0.0


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None or not math.isfinite(seconds) else round(max(seconds, 1e-5) * 1000, 3)


def _trace(
    name: str, x: Sequence[int], y: Sequence[float | None], look: tuple[str, str], axis: str, unit: str
) -> dict[str, Any]:
    colour, dash = look
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": name,
        "x": list(x),
        "y": list(y),
        "line": {"color": colour, "dash": dash, "width": 2},
        "hovertemplate": f"%{{y}} {unit}<extra>{name}</extra>",
        "xaxis": "x",
        "yaxis": axis,
    }


def _rule(present: int) -> dict[str, Any]:
    line = {"color": "#888888", "width": 1, "dash": "dot"}
    return {
        "type": "line",
        "xref": "x",
        "yref": "paper",
        "x0": present,
        "x1": present,
        "y0": 0,
        "y1": 1,
        "line": line,
    }


def _label(present: int) -> dict[str, Any]:
    place = {"xref": "x", "yref": "paper", "x": present, "y": 1, "xanchor": "left", "yanchor": "bottom"}
    return {**place, "text": f"present maximum {present}", "showarrow": False, "font": {"size": 11}}
