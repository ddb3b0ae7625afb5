"""The part of a suite's page about earlier runs: a table of all scenarios, and a chart of one at a time."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any
from urllib.parse import quote

from . import summary as text
from .faultnames import clock_names
from .lanes import height_of, stacked
from .markup import Content, Markup, chart_area, joined, raw_tag, separated, table, tag, unseen
from .trends import ENOUGH_RUNS, Clock, Past, Trend, began_text, seconds_of

_SYMBOLS = {head.word: head.symbol for head in (text.PASS, text.FAIL, text.UNKNOWN, text.SETUP)}
_CLASSES = {head.word: head.css for head in (text.PASS, text.FAIL, text.UNKNOWN, text.SETUP)}
_MARKERS = {
    "PASS": ("#009e73", "circle"),
    "FAIL": ("#d55e00", "x"),
    "UNKNOWN": ("#e69f00", "diamond"),
    "SETUP": ("#cc79a7", "square"),
}
_LANE, _TOP, _BOTTOM = 110, 40, 90


def trend_parts(trends: Sequence[Trend], base: str, *, charted: bool) -> Iterable[Markup]:
    """The table, the menu and the place of the chart; a sentence when there is no earlier run.

    ``base`` leads from the page to the folder of the runs.
    """
    known = [trend for trend in trends if trend.past]
    if not known:
        said = "There is no earlier run of these scenarios on this target beside this suite, so nothing is compared."
        yield tag("p", said, class_="muted")
        return
    yield tag(
        "p",
        "Earlier runs of the same scenario on the same target that are stored beside this suite, oldest first. Of each "
        "clock: now, and in brackets the median, the smallest and the largest of those that passed with the same load "
        f"and faults. ▲: well above all of at least {ENOUGH_RUNS} of them. ∅: it never came, though it did in each of "
        "them.",
        class_="muted",
    )
    titles = ("scenario", "before", "now", "fault", *text.CLOCK_NAMES)
    rows = [row for trend in known for row in _rows(trend, base)]
    yield table(titles, rows, frozenset(range(4, 8)), caption="Verdicts and clocks against earlier runs", heads=True)
    without = [trend.result.scenario.name for trend in trends if not trend.past]
    if without:
        yield tag("p", f"Without an earlier run: {', '.join(without)}.", class_="muted")
    if charted:
        yield from _chart_parts(known)


def _rows(trend: Trend, base: str) -> Iterable[Sequence[Content]]:
    head = text.headline(trend.result)
    now: list[Content] = [_verdict(head.word)]
    if trend.turned:
        now.append(f" ({trend.turned})")
    before = separated((_link(one, base) for one in trend.past), " ")
    faults = trend.result.clocks
    if not faults:
        yield [trend.result.scenario.name, before, joined(now), text.NONE, *[text.NONE] * len(text.CLOCK_NAMES)]
    for index, fault in enumerate(clock_names(faults)):
        named: list[Content] = [trend.result.scenario.name, before, joined(now)] if index == 0 else ["", "", ""]
        yield [*named, fault, *map(_clock, trend.clocks(index))]


def _verdict(word: str) -> Markup:
    shown = joined([_SYMBOLS.get(word, "·"), unseen(f" {word}")])
    return tag("span", shown, class_=_CLASSES.get(word, "dim"), title=word)


def _link(one: Past, base: str) -> Markup:
    """A symbol that leads to the earlier run's page, and says its verdict and time to who points at it or hears it."""
    said = {"class_": _CLASSES.get(one.verdict, "dim"), "title": f"{one.verdict}, {one.began}"}
    shown = joined([_SYMBOLS.get(one.verdict, "·"), unseen(f" {said['title']}")])
    if not one.has_page:
        return tag("span", shown, **said)
    return tag("a", shown, href=f"{base}/{quote(one.folder)}/report.html", **said)


def _clock(clock: Clock) -> Content:
    now: Content = text.seconds_text(clock.now)
    if not clock.before:
        return now
    low, high = min(clock.before), max(clock.before)
    span = f"({text.seconds_text(clock.median)}; {text.seconds_text(low)} to {text.seconds_text(high)})"
    if clock.slower:
        now = tag("strong", joined(["▲ ", unseen("slower: "), now]))
    elif clock.missing:
        now = tag("strong", joined(["∅ ", unseen("never came: "), now]))
    return joined([now, " ", tag("span", span, class_="before")])


@dataclass(frozen=True)
class _Choice:
    """One fault of one scenario, which the chart shows by its key."""

    key: str
    title: str
    trend: Trend
    index: int


def _choices(trends: Iterable[Trend]) -> list[_Choice]:
    found: list[_Choice] = []
    for trend in trends:
        if not trend.past:
            continue
        for index, fault in enumerate(clock_names(trend.result.clocks)):
            title = f"{trend.result.scenario.name}: {fault}"
            found.append(_Choice(f"t{len(found)}", title, trend, index))
    # What became slower is looked at first.
    return sorted(found, key=lambda one: not any(clock.slower for clock in one.trend.clocks(one.index)))


def _chart_parts(trends: Iterable[Trend]) -> Iterable[Markup]:
    options = joined(tag("option", one.title, value=one.key) for one in _choices(trends))
    menu = tag("select", options, id="trend-of")
    yield raw_tag("p", tag("label", joined(["Clocks over time of ", menu])), "hidden")
    yield chart_area("chart", "Clocks of one scenario over its runs", "the table above has its figures")


def trend_figure(trends: Iterable[Trend]) -> dict[str, Any] | None:
    """The chart as plotly's JSON: four lanes, and a trace for each clock of each choice; None for nothing to show."""
    choices = _choices(trends)
    if not choices:
        return None
    rows = [(f"{name} (seconds)", _LANE) for name in text.CLOCK_NAMES]
    lanes = stacked(rows)
    axes = {lane.layout_key: {**lane.domain, "rangemode": "tozero", "nticks": 4} for lane in lanes}
    layout = {
        "height": height_of(rows) + _TOP + _BOTTOM,
        "margin": {"l": 56, "r": 16, "t": _TOP, "b": _BOTTOM},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "hovermode": "closest",
        "showlegend": False,
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": "#888888", "activecolor": "#3b8fd4"},
        "xaxis": {"type": "category", "anchor": lanes[-1].axis, "tickangle": -30, "automargin": True},
        "annotations": [lane.heading for lane in lanes],
        **axes,
    }
    pairs = itertools.product(choices, enumerate(lanes))
    data = [_trace(one, place, lane.axis, one is choices[0]) for one, (place, lane) in pairs]
    return {"data": data, "layout": layout}


def _trace(choice: _Choice, place: int, axis: str, visible: bool) -> dict[str, Any]:
    result = choice.trend.result
    mine = result.clocks[choice.index]
    runs = [(one.began, one.verdict, seconds_of(one, choice.index, mine)) for one in choice.trend.past]
    runs.append((f"{began_text(result.folder.name)} (now)", text.headline(result).word, text.clock_values(mine)))
    values = [seconds[place] if seconds else None for _, _, seconds in runs]
    marks = [_MARKERS.get(verdict, ("#888888", "circle-open")) for _, verdict, _ in runs]
    name = text.CLOCK_NAMES[place]
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": name,
        "meta": choice.key,
        "visible": visible,
        "x": [began for began, _, _ in runs],
        "y": [None if value is None else round(value, 4) for value in values],
        "text": [escape(verdict) for _, verdict, _ in runs],
        "hovertemplate": f"%{{x}}<br>{name} %{{y:.3f}} s · %{{text}}<extra></extra>",
        "line": {"color": "#888888", "width": 1},
        "marker": {"color": [colour for colour, _ in marks], "symbol": [symbol for _, symbol in marks], "size": 9},
        "xaxis": "x",
        "yaxis": axis,
    }
