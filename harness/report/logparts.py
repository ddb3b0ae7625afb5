"""The part of a page that shows the logs of all parts as one list, to be searched and filtered."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..rundata import Run
from .filters import Choice, filter_form
from .logs import Entry, Level, Logs, Part, Shown, bounded
from .markup import Markup, joined, tag
from .summary import NONE

_FILES = "service.log, postgres.log, toxiproxy.log and locust.log, as far as there are such parts"
_SYMBOLS = {Level.WARNING: "! ", Level.ERROR: "✗ "}
_TEXTS = {Level.DEBUG: "debugging", Level.INFO: "information", Level.WARNING: "warnings", Level.ERROR: "errors"}


def log_parts(logs: Logs, run: Run | None) -> Iterable[Markup]:
    """The list with its filter, and what was left out of it."""
    if not logs.entries:
        yield tag("p", "No log line was read.", class_="muted")
        return
    windows = run.windows if run is not None else ()
    end = run.end if run is not None else 0.0
    shown = bounded(logs, [(one.injecting, one.probed if one.probed is not None else end) for one in windows])
    yield tag("p", _said(logs, shown), class_="muted")
    for remark in logs.remarks:
        yield tag("p", remark, class_="muted")
    yield _filter(shown.entries)
    rows = joined(_row(entry) for entry in shown.entries)
    label = "Log lines in the order of time"
    listed = tag("ol", rows, id="log-lines", class_="log")
    yield tag("div", listed, class_="scroll logs", tabindex="0", role="region", aria_label=label)


def _said(logs: Logs, shown: Shown) -> str:
    total = sum(entry.count for entry in logs.entries)
    said = f"{total:,} lines, redacted, with times in seconds of the run. Equal lines in a row are one, and counted."
    if not shown.left_out:
        return said
    kinds = (f"{count:,} of the {part}'s {_TEXTS[level]}" for (part, level), count in sorted(shown.left_out.items()))
    return f"{said} Left out of this page: {', '.join(kinds)}. The whole logs are beside it: {_FILES}."


def _filter(entries: Sequence[Entry]) -> Markup:
    there = {entry.part for entry in entries}
    parts = [("", "all parts"), *((part.value, part.value) for part in Part if part in there)]
    levels = [
        ("", "all levels"),
        (str(int(Level.INFO)), "no debugging"),
        (str(int(Level.WARNING)), "warnings and errors"),
        (str(int(Level.ERROR)), "errors"),
    ]
    choices = [Choice("level", "Level", levels, at_least=True), Choice("part", "From", parts)]
    return filter_form("log-lines", "lines", "Search the logs", choices)


def _row(entry: Entry) -> Markup:
    when = NONE if entry.t is None else f"{entry.t:.3f}"
    until = f" until {entry.until:.3f} s" if entry.until is not None else ""
    again = f" ({entry.count} times{until})" if entry.count > 1 else ""
    cells = [
        tag("span", when, class_="when"),
        tag("span", entry.part.value, class_="part"),
        tag("span", f"{_SYMBOLS.get(entry.level, '')}{entry.label}", class_=f"level l{int(entry.level)}"),
        tag("span", f"{entry.text}{again}", class_="said"),
    ]
    # Spaces between them, for those who copy a line.
    row = joined(part for cell in cells for part in (cell, " "))
    return tag("li", row, data_item="", data_level=str(int(entry.level)), data_part=entry.part.value)
