"""The parts of a page about faults in time: their clocks and marks, the timeline, and what happened meanwhile."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..results import RunResult
from ..rundata import FaultWindow, Run
from . import summary as text
from .faultnames import clock_names, window_name
from .happenings import Happening, happening_rows
from .lanes import POINTS_DRAWN
from .markup import Markup, chart_area, folded, joined, raw_tag, table, tag
from .points import SLOWEST_DRAWN
from .timeline import Timeline

HAPPENINGS_LISTED = 300
_ZOOM = (
    ("all", "Whole run"),
    ("in", "Zoom in"),
    ("out", "Zoom out"),
    ("left", "◀ Earlier"),
    ("right", "Later ▶"),
)
_FAULT_BUTTONS = 12


def clock_parts(result: RunResult, run: Run | None) -> Iterable[Markup]:
    """The four clocks of each fault, and when each of its marks was."""
    if result.clocks:
        clock_rows = [
            (name, *(text.seconds_text(value) for value in text.clock_values(clocks)))
            for name, clocks in zip(clock_names(result.clocks), result.clocks, strict=True)
        ]
        heads = ("fault", *text.CLOCK_NAMES)
        yield table(heads, clock_rows, frozenset({1, 2, 3, 4}), caption="The four clocks of each fault", heads=True)
        yield tag(
            "p",
            "Detect: from the bite to the first sign that the service noticed. Fallback: to the first 202. "
            "Recover: from the first successful probe after heal to the first 201 of the slowest month. "
            "Drain: to an empty DLQ. A dash: it never came.",
            class_="muted",
        )
    if run is not None and run.windows:
        titles = ("fault", "months", "write", "inject", "confirmed", "heal", "healed", "probe", "evidence")
        rows = [_window_row(window, window_name(window, run)) for window in run.windows]
        yield table(titles, rows, frozenset({3, 4, 5, 6, 7}), caption="When each fault was on", heads=True)


def _window_row(window: FaultWindow, title: str) -> tuple[str, ...]:
    months = window.radius.months
    reach = "all" if months is None else ", ".join(sorted(month.label for month in months))
    times = (window.injecting, window.confirmed, window.healing, window.healed, window.probed)
    tries = f"(healed by try {len(window.failed_heals) + 1}; before: {'; '.join(window.failed_heals)})"
    again = tries if window.failed_heals and window.probed is not None else ""
    evidence = " ".join(part for part in (window.evidence, window.problem, again) if part) or text.NONE
    return (title, reach, window.radius.write.value, *(text.seconds_text(t) for t in times), evidence)


def timeline_parts(timeline: Timeline | None, run: Run | None, happened: Sequence[Happening]) -> Iterable[Markup]:
    """What the chart shows, its buttons, the place where it is drawn, and its lowest lane as a table."""
    if timeline is None or run is None:
        return
    if timeline.aggregated:
        yield tag("p", _aggregated_text(timeline))
    if timeline.thinned:
        said = f"Lines of more than {POINTS_DRAWN:,} samples keep the highest, the lowest and a gap of each span."
        yield tag("p", said, class_="muted")
    yield _buttons(run)
    said = (
        "Each point is one request at the time it was sent; colour and symbol tell its answer, its height how long. "
        "Red ground: a fault is active, dotted lines are its marks; the dashed line is the request deadline. "
    )
    # The chart itself zooms by a drag only where a drag does not scroll the page.
    mouse = tag("span", "Drag to zoom, double-click for the whole run; a ", class_="mouse")
    touch = tag("span", "The buttons zoom; a ", class_="touch")
    last = "click on a name below hides or shows it, a click on a point whose story is told here leads to that."
    yield tag("p", joined([said, mouse, touch, last]), class_="muted")
    named = tag("div", "", role="group", aria_label="What the timeline shows")
    yield raw_tag("div", folded("Hide or show by name", named), "hidden", class_="names")
    yield chart_area("chart", "Timeline of requests by month", "the tables below have its figures")
    if happened:
        yield folded(f"What happened to service and database ({len(happened)})", joined(_happened(happened)))


def _aggregated_text(timeline: Timeline) -> str:
    return (
        f"All {timeline.total:,} requests are in this chart, most of them in marks: one for those of a month and "
        "answer that were sent within a span of time, which is shorter while a fault is on. A mark is at their median "
        "latency, its bar reaches to their 99th percentile, and it is larger the more they are; point at it for the "
        f"numbers. The {SLOWEST_DRAWN} slowest of each month and answer, rare answers, and what findings name "
        f"({timeline.drawn.single:,} requests) have a point of their own."
    )


def _buttons(run: Run) -> Markup:
    buttons = [tag("button", title, type="button", data_action=action) for action, title in _ZOOM]
    for window in run.windows[:_FAULT_BUTTONS]:
        stop = window.probed or window.healed or run.end
        margin = 0.1 * (stop - window.injecting) + 0.5
        span = {"data_from": f"{window.injecting - margin:.3f}", "data_to": f"{stop + margin:.3f}"}
        buttons.append(tag("button", f"Fault: {window_name(window, run)}", type="button", **span))
    label = "Zoom of the timeline"
    return raw_tag("div", joined(buttons), "hidden", class_="zoom", role="group", aria_label=label)


def _happened(happened: Sequence[Happening]) -> Iterable[Markup]:
    titles = ("when", "who", "sort", "what")
    rows = happening_rows(happened[:HAPPENINGS_LISTED])
    yield table(titles, rows, frozenset({0}), caption="What happened to service and database")
    more = len(happened) - HAPPENINGS_LISTED
    if more > 0:
        yield tag("p", f"{more} more are in the chart and in the logs.", class_="muted")
