"""What happened to service and database while a run went on: started, ended, killed, cut off, not ready.

Of the service the history tells, of the database its log, and the harness's own look at its catalog.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from html import escape
from typing import Any

from .. import events as ev
from ..rundata import Run
from .lanes import Lane
from .logs import Entry, Part
from .summary import NONE

TOGETHER_SECONDS = 0.5
"""Equal things that happen within this time of each other are one, which is counted."""


class Sort(enum.Enum):
    """What something means for who it happened to; value: name, colour and symbol of the chart."""

    UP = ("came up", "#009e73", "triangle-up")
    DOWN = ("went down", "#e69f00", "triangle-down")
    DIED = ("died", "#d55e00", "x")
    CUT = ("connections ended", "#cc79a7", "cross")
    CHANGED = ("changed state", "#3b8fd4", "square-open")


@dataclass(frozen=True, kw_only=True)
class Happening:
    """One thing that happened, ``count`` times from ``t`` to ``until`` (seconds of the run)."""

    t: float
    who: Part
    sort: Sort
    text: str
    until: float
    count: int = 1

    @property
    def told(self) -> str:
        """The text, and how often."""
        return f"{self.text} ({self.count} times until {self.until:.2f} s)" if self.count > 1 else self.text


_MARKS = {
    "started": (Sort.UP, "started"),
    "restarted": (Sort.UP, "started anew"),
    "down": (Sort.DOWN, "ended by a fault"),
    "ended": (Sort.DIED, "ended by itself"),
}
_SAID: tuple[tuple[re.Pattern[str], Sort, str], ...] = tuple(
    (re.compile(pattern), sort, text)
    for pattern, sort, text in (
        (r"database system is ready to accept", Sort.UP, "ready for connections"),
        (r"received (\w+) shutdown request", Sort.DOWN, r"told to shut down (\1)"),
        (r"database system is shut down", Sort.DOWN, "shut down"),
        (r"was terminated by signal (\d+)", Sort.DIED, r"a process was killed by signal \1"),
        (r"terminating any other active server processes", Sort.DIED, "ends all its processes, since one crashed"),
        (r"was interrupted; last known up|not properly shut down", Sort.CHANGED, "recovers from a crash"),
        (r"terminating connection", Sort.CUT, "connections terminated"),
        (r"received SIGHUP", Sort.CHANGED, "reads its settings again"),
    )
)


def happenings(run: Run, entries: Iterable[Entry]) -> list[Happening]:
    """Everything that happened, in the order of time."""
    found = [*_of_service(run), *_of_readiness(run), *_of_database(entries), *_of_catalog(run)]
    merged: list[Happening] = []
    latest: dict[tuple[Part, str], int] = {}
    for one in sorted(found, key=lambda each: each.t):
        key = (one.who, one.text)
        place = latest.get(key)
        if place is not None and one.t - merged[place].until <= TOGETHER_SECONDS:
            before = merged[place]
            merged[place] = replace(before, count=before.count + one.count, until=max(before.until, one.until))
        else:
            latest[key] = len(merged)
            merged.append(one)
    return merged


def _of_service(run: Run) -> Iterator[Happening]:
    for mark in run.of_kind(ev.ServiceMark):
        sort, text = _MARKS.get(mark.what, (Sort.CHANGED, mark.what))
        process = f" (process {mark.pid})" if mark.pid else ""
        yield Happening(t=mark.t, who=Part.SERVICE, sort=sort, text=f"{text}{process}", until=mark.t)


def _of_readiness(run: Run) -> Iterator[Happening]:
    last: tuple[int, tuple[str, ...]] | None = None
    for sample in run.of_kind(ev.ReadySample):
        now = (sample.status, sample.degraded)
        if last is not None and now != last:
            yield Happening(t=sample.t, who=Part.SERVICE, sort=Sort.CHANGED, text=_ready_text(sample), until=sample.t)
        last = now


def _ready_text(sample: ev.ReadySample) -> str:
    if not sample.status:
        return "does not say whether it is ready"
    named = f", degraded: {', '.join(sample.degraded)}" if sample.degraded else ""
    return f"{'ready' if sample.status == 200 else f'not ready ({sample.status})'}{named}"


def _of_database(entries: Iterable[Entry]) -> Iterator[Happening]:
    for entry in entries:
        if entry.part is not Part.DATABASE or entry.t is None:
            continue
        until = entry.until if entry.until is not None else entry.t
        if entry.label == "PANIC":
            text = f"PANIC: {entry.message}"
            yield Happening(t=entry.t, who=entry.part, sort=Sort.DIED, text=text, until=until, count=entry.count)
            continue
        for pattern, sort, template in _SAID:
            match = pattern.search(entry.message)
            if match is not None:
                text = match.expand(template)
                yield Happening(t=entry.t, who=entry.part, sort=sort, text=text, until=until, count=entry.count)
                break


def _of_catalog(run: Run) -> Iterator[Happening]:
    """A server that is paused or cut off writes no line; that its catalog cannot be read is seen from outside."""
    answered: bool | None = None
    for sample in run.of_kind(ev.ConnectionSample):
        now = sample.backends >= 0
        if answered is not None and now != answered:
            sort, text = (Sort.UP, "answers again") if now else (Sort.DOWN, "does not answer the harness")
            yield Happening(t=sample.t, who=Part.DATABASE, sort=sort, text=text, until=sample.t)
        answered = now


_ROWS = (Part.SERVICE, Part.DATABASE)


def happening_traces(found: Iterable[Happening], lane: Lane) -> Iterable[dict[str, Any]]:
    """One trace for each sort: a symbol in the row of who it happened to."""
    found = list(found)
    for sort in Sort:
        group = [one for one in found if one.sort is sort]
        if not group:
            continue
        name, colour, symbol = sort.value
        yield {
            "type": "scatter",
            "mode": "markers",
            "name": name,
            "x": [round(one.t, 3) for one in group],
            "y": [one.who.value for one in group],
            "text": [escape(one.told) for one in group],
            "hovertemplate": "%{x:.3f} s · %{y}<br>%{text}<extra></extra>",
            "marker": {"color": colour, "symbol": symbol, "size": 10, "line": {"width": 1, "color": colour}},
            "xaxis": "x",
            "yaxis": lane.axis,
        }


def happening_axis() -> dict[str, Any]:
    """A row for the service, and one for the database below it."""
    rows = [row.value for row in reversed(_ROWS)]
    return {
        "type": "category",
        "categoryorder": "array",
        "categoryarray": rows,
        "range": [-0.6, 1.6],
        "fixedrange": True,
    }


def happening_rows(found: Iterable[Happening]) -> list[tuple[str, str, str, str]]:
    """Rows of the table that says the same: when, who, what sort of thing, what."""
    return [(f"{one.t:.3f} s", one.who.value, one.sort.value[0], one.told or NONE) for one in found]
