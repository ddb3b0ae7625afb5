"""The logs of a run as one list: the service's from the history, the others' from the files beside it.

Every text is redacted: by the runner, which knows the secrets, when the run ended, and here once more by what
passwords and tokens look like, since a runner that was killed has redacted nothing.
"""

from __future__ import annotations

import enum
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .. import events as ev
from ..redaction import masked
from ..rundata import Run

LINES_SHOWN = 3_000
CHARACTERS_SHOWN = 1_000_000
"""So much of all logs is in a page at most; what matters least is left out first, and counted."""
READ_BYTES = 8_000_000
"""Of a longer file the beginning and the end are read."""
LINE_CHARACTERS = 600
_NEAR_SECONDS = 2.0
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_POSTGRES = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+) UTC \[\d+\] (?:\S+@\S+ )?([A-Z]+)\d?:  (.*)")
_LOCUST = re.compile(r"\[[^\]]*\] \S+?/(\w+)/\S+: (.*)")
_ADDED = ("DETAIL", "HINT", "CONTEXT", "STATEMENT", "QUERY", "LOCATION")
_PROXY_FIELDS = ("name", "toxic", "method", "url", "error", "err")
_TOGETHER_SECONDS = 1.0
"""Equal lines that follow each other within this time are one line, which is counted."""


class Part(enum.StrEnum):
    """Who wrote a line."""

    SERVICE = "service"
    DATABASE = "database"
    PROXY = "proxy"
    LOAD = "load"
    HARNESS = "harness"


class Level(enum.IntEnum):
    """How bad a line is, whatever its part calls that."""

    DEBUG = 0
    INFO = 1
    WARNING = 2
    ERROR = 3


_LEVELS = {
    "DEBUG": Level.DEBUG,
    "TRACE": Level.DEBUG,
    "WARNING": Level.WARNING,
    "WARN": Level.WARNING,
    "RAW": Level.WARNING,
    "ERROR": Level.ERROR,
    "CRITICAL": Level.ERROR,
    "FATAL": Level.ERROR,
    "PANIC": Level.ERROR,
}
_BAD_STEPS = (ev.FaultStep.NOT_CONFIRMED, ev.FaultStep.HEAL_FAILED)
_FILES = {Part.DATABASE: "postgres.log", Part.PROXY: "toxiproxy.log", Part.LOAD: "locust.log"}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line, or ``count`` equal ones in a row; ``t`` and ``until`` are seconds of the run, None if unknown."""

    t: float | None
    part: Part
    label: str
    """The level, as its part calls it."""
    text: str
    count: int = 1
    until: float | None = None

    @property
    def level(self) -> Level:
        """How bad it is; a level that nobody knows is no more than information."""
        return _LEVELS.get(self.label, Level.INFO)

    @property
    def message(self) -> str:
        """The first line of the text."""
        return self.text.split("\n", 1)[0]


@dataclass(frozen=True)
class Logs:
    """All that was read, in the order of time, and what could not be: a sentence each."""

    entries: tuple[Entry, ...]
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Shown:
    """The lines of a page, and how many of each part and level are not among them."""

    entries: tuple[Entry, ...]
    left_out: Counter[tuple[Part, Level]]


def read_logs(run: Run | None, folder: Path) -> Logs:
    """Read what there is; a file that is missing or cannot be read leaves nothing, or a remark."""
    origin = _moment(run.started.started_at) if run is not None else None
    found: list[Entry] = [] if run is None else [*_of_service(run), *_of_harness(run)]
    remarks: list[str] = []
    for part, name in _FILES.items():
        try:
            lines, skipped = _lines(folder / name)
        except FileNotFoundError:
            continue
        except OSError as error:
            remarks.append(f"{name} could not be read ({error.strerror}).")
            continue
        if skipped:
            remarks.append(f"{name} is long: {skipped:,} bytes in its middle were not read.")
        entries = list(_PARSERS[part](lines))
        if origin is None:
            origin = next((moment for moment, _ in entries if moment is not None), None)
        found += [_placed(entry, moment, origin) for moment, entry in entries]
    return Logs(tuple(sorted(_counted(found), key=_by_time)), tuple(remarks))


def bounded(logs: Logs, windows: Iterable[tuple[float, float]]) -> Shown:
    """Choose what a page shows: warnings first, then what was said near a fault, then the rest, debugging last."""
    spans = [(start - _NEAR_SECONDS, stop + _NEAR_SECONDS) for start, stop in windows]
    ranks: dict[int, list[int]] = {0: [], 1: [], 2: [], 3: []}
    for index, entry in enumerate(logs.entries):
        ranks[_rank(entry, spans)].append(index)
    chosen: set[int] = set()
    room = CHARACTERS_SHOWN
    for indices in ranks.values():
        for index in _from_both_ends(indices):
            room -= len(logs.entries[index].text)
            if len(chosen) == LINES_SHOWN or room < 0:
                break
            chosen.add(index)
    left: Counter[tuple[Part, Level]] = Counter()
    for index, entry in enumerate(logs.entries):
        if index not in chosen:
            left[entry.part, entry.level] += entry.count
    return Shown(tuple(logs.entries[index] for index in sorted(chosen)), left)


def _rank(entry: Entry, spans: Sequence[tuple[float, float]]) -> int:
    if entry.level >= Level.WARNING or entry.part is Part.HARNESS:
        return 0
    if entry.level is Level.DEBUG:
        return 3
    near = entry.t is not None and any(start <= entry.t <= stop for start, stop in spans)
    return 1 if near else 2


def _from_both_ends(indices: Sequence[int]) -> Iterator[int]:
    """The first, the last, the second and so on: how it began and how it ended tells more than the middle."""
    middle = (len(indices) + 1) // 2
    ends = zip(indices[:middle], [*reversed(indices[middle:]), None], strict=False)
    return (index for pair in ends for index in pair if index is not None)


def _of_service(run: Run) -> Iterator[Entry]:
    for line in run.of_kind(ev.LogLine):
        more = f" (+{line.suppressed} suppressed)" if line.suppressed else ""
        fields = f"\n{line.fields}" if line.fields else ""
        yield Entry(t=line.t, part=Part.SERVICE, label=line.level.upper(), text=clean(f"{line.message}{more}{fields}"))


def _of_harness(run: Run) -> Iterator[Entry]:
    def said(t: float, text: str, label: str = "INFO") -> Entry:
        return Entry(t=t, part=Part.HARNESS, label=label, text=clean(text))

    for phase in run.of_kind(ev.PhaseMark):
        yield said(phase.t, f"phase {phase.phase}")
    for mark in run.of_kind(ev.FaultMark):
        detail = f": {mark.detail}" if mark.detail else ""
        label = "ERROR" if mark.step in _BAD_STEPS else "INFO"
        yield said(mark.t, f"fault {mark.fault} {mark.name} {mark.step}{detail}", label)
    for service in run.of_kind(ev.ServiceMark):
        yield said(service.t, f"service {service.what}", "WARNING" if service.what == "ended" else "INFO")
    for note in run.of_kind(ev.Note):
        yield said(note.t, f"{note.topic}: {note.text}", "WARNING")


def clean(text: str) -> str:
    """Redact, cut short, and take out what steers a terminal."""
    hidden = masked(text)
    short = hidden if len(hidden) <= LINE_CHARACTERS else f"{hidden[:LINE_CHARACTERS]}…"
    return _CONTROL.sub("\ufffd", short)


def _lines(path: Path) -> tuple[list[str], int]:
    """The lines of a file, and how many bytes in its middle were skipped."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if size <= READ_BYTES:
            return file.read().decode("utf-8", "replace").splitlines(), 0
        head = file.read(READ_BYTES // 2)
        file.seek(size - READ_BYTES // 2)
        tail = file.read()
    head, tail = head[: head.rfind(b"\n") + 1], tail[tail.find(b"\n") + 1 :]
    return (head + tail).decode("utf-8", "replace").splitlines(), size - len(head) - len(tail)


_Found = tuple[datetime | None, Entry]


def _postgres(lines: Iterable[str]) -> Iterator[_Found]:
    last: _Found | None = None
    for line in lines:
        match = _POSTGRES.match(line)
        if match is not None and match[2] not in _ADDED:
            if last is not None:
                yield last
            moment = _moment(match[1])
            last = moment, Entry(t=None, part=Part.DATABASE, label=match[2], text=clean(match[3]))
        elif last is not None and line.strip():
            added = f"{match[2]}: {match[3]}" if match is not None else line.strip()
            last = last[0], replace(last[1], text=clean(f"{last[1].text}\n{added}"))
        elif line.strip():
            # What the system said before PostgreSQL had a log of its own.
            yield None, Entry(t=None, part=Part.DATABASE, label="RAW", text=clean(line))
    if last is not None:
        yield last


def _toxiproxy(lines: Iterable[str]) -> Iterator[_Found]:
    for line in lines:
        try:
            data: dict[str, Any] = json.loads(line)
            moment = _moment(str(data["time"]))
            fields = " ".join(f"{name}={data[name]}" for name in _PROXY_FIELDS if name in data)
            label, text = str(data["level"]).upper(), f"{data.get('message', '')} {fields}".strip()
        except (ValueError, KeyError, TypeError):
            if line.strip():
                yield None, Entry(t=None, part=Part.PROXY, label="RAW", text=clean(line))
            continue
        yield moment, Entry(t=None, part=Part.PROXY, label=label, text=clean(text or "request"))


def _locust(lines: Iterable[str]) -> Iterator[_Found]:
    """Without times: Locust writes those of the machine's time zone, which the page does not know."""
    for line in lines:
        match = _LOCUST.match(line)
        label, text = (match[1].upper(), match[2]) if match is not None else ("INFO", line)
        if text.strip():
            yield None, Entry(t=None, part=Part.LOAD, label=label, text=clean(text))


_PARSERS: dict[Part, Callable[[Iterable[str]], Iterator[_Found]]] = {
    Part.DATABASE: _postgres,
    Part.PROXY: _toxiproxy,
    Part.LOAD: _locust,
}


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _placed(entry: Entry, moment: datetime | None, origin: datetime | None) -> Entry:
    if moment is None or origin is None:
        return entry
    return replace(entry, t=(moment - origin).total_seconds())


def _counted(entries: Iterable[Entry]) -> list[Entry]:
    """Have equal lines of one part that soon follow each other be one, counted; details are those of the first."""
    found: list[Entry] = []
    latest: dict[Part, int] = {}
    for entry in entries:
        place = latest.get(entry.part)
        if place is not None and _again(found[place], entry):
            found[place] = replace(found[place], count=found[place].count + 1, until=entry.t)
        else:
            latest[entry.part] = len(found)
            found.append(replace(entry, until=entry.t))
    return found


def _again(before: Entry, entry: Entry) -> bool:
    alike = before.text == entry.text or (entry.part is Part.DATABASE and before.message == entry.message)
    if not alike or before.label != entry.label:
        return False
    return before.until is None or entry.t is None or entry.t - before.until <= _TOGETHER_SECONDS


def _by_time(entry: Entry) -> float:
    return float("inf") if entry.t is None else entry.t
