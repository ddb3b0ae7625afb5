"""The whole story of one event, in the order of time: ``harness explain``.

Pure: from a run, and the findings of its stored verdict, to typed lines and a conclusion.  What it concludes is told
from the same evidence as the checkers have; whether a promise is broken is theirs to say.
"""

from __future__ import annotations

import heapq
import math
import operator
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from .. import events as ev
from ..checkers._noticed import STATUS
from ..checkers._series import parse_series
from ..checkers._stored import Stored
from ..errors import UsageError
from ..oracle import Oracle
from ..rundata import FaultWindow, Operation, Run
from ..values import Month
from . import storylines as lines
from .changes import Change, changes
from .conclusion import conclude, sides
from .jsonfile import NamedFinding
from .summary import Stories, Story, changes_of

NEAR_SECONDS = 1.0
"""Samples and log lines are told from this long before the first send until this long after the last thing known."""
LOG_LINES_SHOWN = 40
"""Log lines of a story, the first ones; the run's log has all."""
_NAMED = 5
_NEAREST = 3
_NUMBERED = re.compile(r"(?:operation|op)\s*#?(\d+)\Z")
_BARE = re.compile(r"[0-9a-f]{32}\Z")
_MONTH_NAMED = re.compile(r"\d{4}_\d{2}")


@dataclass(frozen=True)
class EventStory:
    """What became of one event: its lines in the order of time, what names it, and the conclusion in a sentence."""

    run: str
    event_id: str
    lines: tuple[lines.StoryLine, ...]
    conclusion: str
    findings: tuple[NamedFinding, ...] = ()
    judged: bool = True
    """False when no stored verdict could be read."""
    omitted_log_lines: int = 0


def resolve(run: Run, asked: str) -> str:
    """Find the event that a user means: an id in any case, its beginning, or ``operation 12``.

    Raises :class:`UsageError` for none, with the nearest ids, and for several, which it lists.
    """
    stories, text = Stories(run), " ".join(asked.lower().split())
    numbered = _NUMBERED.match(text)
    if numbered is not None:
        return _by_number(run, stories, int(numbered[1]))
    text = text.strip("{}").removeprefix("urn:uuid:")
    if _BARE.match(text):
        text = "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
    if text in stories.ids:
        return text
    matches = sorted(known for known in stories.ids if text and known.startswith(text))
    if len(matches) == 1:
        return matches[0]
    if matches:
        more = f" and {len(matches) - _NAMED} more" if len(matches) > _NAMED else ""
        raise UsageError(f"{asked!r} could be {', '.join(matches[:_NAMED])}{more}; give more of the id.")
    near = heapq.nlargest(_NEAREST, sorted(stories.ids), key=lambda known: sum(map(operator.eq, known, text)))
    hint = f"the nearest ids are {', '.join(near)}" if near else "it sent none"
    raise UsageError(
        f"The run {run.started.run} knows no event {asked!r}; {hint}. Give an event id, the beginning of one, "
        "or `operation N`."
    )


def _by_number(run: Run, stories: Stories, number: int) -> str:
    if number not in run.by_op:
        known = run.by_op.keys()
        has = f"it has those from {min(known)} to {max(known)}" if known else "it sent nothing"
        raise UsageError(f"The run {run.started.run} has no operation {number}; {has}.")
    return stories.key_of(f"operation {number}")


def tell(run: Run, event_id: str, findings: Sequence[NamedFinding] = (), *, judged: bool = True) -> EventStory:
    """Tell the story of an event that :func:`resolve` found; ``findings`` are all of the stored verdict."""
    return tell_all(run, (event_id,), findings, judged=judged)[0]


def tell_all(
    run: Run, event_ids: Sequence[str], findings: Sequence[NamedFinding] = (), *, judged: bool = True
) -> tuple[EventStory, ...]:
    """Tell the stories of several events, in their order; what they share is worked out once."""
    shared = _Shared(run)
    keys = [shared.stories.key_of(event_id) for event_id in event_ids]
    naming: dict[str, list[NamedFinding]] = {key: [] for key in keys}
    for one in findings:
        # A finding may name a million events, of which these are a few.
        for key in dict.fromkeys(map(shared.stories.key_of, one.finding.event_ids)):
            if key in naming:
                naming[key].append(one)
    return tuple(_Teller(shared, shared.stories.of(key)).told(tuple(naming[key]), judged=judged) for key in keys)


class _Shared:
    """What the stories of one run have in common."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.stories = Stories(run)
        self.stored = Stored(run)
        self.oracle = Oracle(run)

    @cached_property
    def statuses(self) -> Sequence[tuple[float, Sequence[tuple[str, str]]]]:
        """When the metrics were read, and the month and status of each partition that they showed."""
        samples = (sample for sample in self.run.of_kind(ev.MetricsSample) if not sample.error)
        return [(sample.t, list(_shown(sample))) for sample in samples]


class _Teller:
    """Collects the lines of one event."""

    def __init__(self, shared: _Shared, story: Story) -> None:
        self._shared = shared
        self._run = shared.run
        self._stored = shared.stored
        self._story = story
        self._operations = self._story.operations
        self._dates = story.dates
        self._months = {Month.of(day).label for day in self._dates}
        self._start, self._end = self._span()

    def told(self, findings: tuple[NamedFinding, ...], *, judged: bool) -> EventStory:
        logged, omitted = self._logged()
        told = [
            *self._requests(),
            *self._faults(),
            *self._service(),
            *self._statuses(),
            *self._depths(),
            *logged,
            *self._places(),
        ]
        ordered = sorted(told, key=lambda line: math.inf if line.t is None else line.t)
        conclusion = conclude(self._run, self._stored, self._story, len(findings), judged=judged)
        return EventStory(
            self._run.started.run, self._story.event_id, tuple(ordered), conclusion, findings, judged, omitted
        )

    def _span(self) -> tuple[float, float]:
        """From just before the first send to just after the event was stored, or to the end of the run."""
        start = min((operation.invoked for operation in self._operations), default=0.0)
        stored = [self._stored.recorded_at(row) for row in self._story.rows]
        known = [t for t in stored if t is not None]
        answers = [operation.completed for operation in self._operations if math.isfinite(operation.completed)]
        whole = self._story.rows and len(known) == len(stored) and not self._story.queued and not self._story.destroyed
        end = max([*known, *answers], default=self._run.end) if whole else self._run.end
        return start - NEAR_SECONDS, end + NEAR_SECONDS

    def _requests(self) -> Iterator[lines.StoryLine]:
        for operation in self._operations:
            yield lines.Sent(
                t=operation.invoked,
                op=operation.op,
                op_kind=operation.kind,
                writer=operation.writer,
                of=operation.of,
                event_date=operation.event_date,
                content=operation.content,
            )
            expected = self._shared.oracle.expect(operation)
            yield lines.Answered(
                t=operation.completed if math.isfinite(operation.completed) else None,
                op=operation.op,
                status=operation.status,
                outcome=operation.outcome,
                partition=operation.partition,
                error=operation.error,
                seconds=operation.seconds,
                allowed=tuple(sorted(expected.allowed, reverse=True)),
                strict=expected.strict,
                phase=expected.phase,
                under=tuple(f"{window.name} ({side.value})" for window, side in sides(self._run, operation)),
            )

    def _faults(self) -> Iterator[lines.StoryLine]:
        windows = {window.fault: window for window in self._run.windows}
        for mark in self._run.of_kind(ev.FaultMark):
            window = windows.get(mark.fault)
            reach = self._reach(window) if window is not None else ""
            yield lines.FaultMarked(
                t=mark.t, fault=mark.fault, name=mark.name, step=mark.step, detail=mark.detail, reach=reach
            )

    def _reach(self, window: FaultWindow) -> str:
        """Say what the fault means for the event's date."""
        radii = [radius for day in self._dates if (radius := window.radius.on(day)) is not None]
        if not radii:
            return "not on this event's date"
        radius = radii[0]
        parts = [f"write {radius.write}", *([f"by {radius.delay_ms:g} ms"] if radius.delay_ms else [])]
        parts += [f"dlq {radius.dlq}", f"service {radius.service}"]
        return f"on this event's date: {', '.join(parts)}"

    def _service(self) -> Iterator[lines.StoryLine]:
        for mark in self._run.of_kind(ev.ServiceMark):
            if self._start <= mark.t <= self._end:
                yield lines.ServiceSeen(t=mark.t, what=mark.what)

    def _statuses(self) -> Iterator[lines.StoryLine]:
        """What the metrics showed first near the event's life, and each change of it."""
        last: dict[str, str] = {}
        for t, statuses in self._shared.statuses:
            if not self._start <= t <= self._end:
                continue
            for month, status in statuses:
                before = last.get(month, "")
                if month in self._months and status != before:
                    yield lines.StatusSeen(t=t, month=month, status=status, before=before)
                last[month] = status

    def _depths(self) -> Iterator[lines.StoryLine]:
        """The turns of the month's queue: the first event in it, the longest it was, and empty again."""
        for month in sorted(self._months):
            peak: ev.DlqSample | None = None
            for sample in self._run.of_kind(ev.DlqSample):
                depth = sample.partitions.get(month, 0)
                if sample.depth < 0 or not self._start <= sample.t <= self._end:
                    continue
                if depth and peak is None:
                    yield lines.DepthSeen(t=sample.t, month=month, depth=depth, what="first seen")
                if depth and (peak is None or depth > peak.partitions[month]):
                    peak = sample
                elif not depth and peak is not None:
                    yield from _peak(peak, month)
                    yield lines.DepthSeen(t=sample.t, month=month, depth=0, what="empty again")
                    peak = None
            if peak is not None:
                yield from _peak(peak, month)

    def _logged(self) -> tuple[list[lines.StoryLine], int]:
        """Lines near the event's life that name it, its month, or no month at all though they warn."""
        told: list[lines.StoryLine] = [
            lines.Logged(t=line.t, level=line.level, message=line.message, suppressed=line.suppressed)
            for line in self._run.of_kind(ev.LogLine)
            if self._start <= line.t <= self._end and self._concerns(line)
        ]
        return told[:LOG_LINES_SHOWN], max(0, len(told) - LOG_LINES_SHOWN)

    def _concerns(self, line: ev.LogLine) -> bool:
        if self._story.event_id in line.message.lower():
            return True
        named = set(_MONTH_NAMED.findall(line.message))
        return bool(named & self._months) if named else line.level.upper() in ("WARNING", "ERROR", "CRITICAL")

    def _places(self) -> Iterator[lines.StoryLine]:
        story, final = self._story, self._run.final
        for row in story.rows:
            yield lines.RowFound(
                t=self._stored.recorded_at(row),
                month=row.month,
                event_date=row.event_date,
                recorded_at=row.recorded_at,
                changes=changes_of(_of_date(self._operations, row), [row]),
            )
        names = {window.fault: window.name for window in self._run.windows}
        for record in story.destroyed:
            name = names.get(record.fault, "a fault")
            yield lines.DestroyedBy(t=record.t, fault=record.fault, name=name, restored=record.restored)
        for entry in story.queued:
            yield lines.QueueFound(
                t=None if final is None else final.t,
                state=entry.state,
                reason=entry.reason,
                event_date=entry.event_date,
                changes=_queued_changes(self._operations, entry),
            )
        yield lines.FinallyRead(t=None if final is None else final.t, ending=story.ending)


def _of_date(operations: Iterable[Operation], row: ev.TableRow | ev.DlqRow) -> list[Operation]:
    return [operation for operation in operations if operation.event_date == row.event_date]


def _queued_changes(operations: Iterable[Operation], entry: ev.DlqRow) -> tuple[Change, ...]:
    """An entry may owe its content to any request of its identity: the nearest is what it is compared with."""
    compared = (changes(operation.content, entry.content) for operation in _of_date(operations, entry))
    return min(compared, key=len, default=())


def _shown(sample: ev.MetricsSample) -> Iterator[tuple[str, str]]:
    for text, value in sample.series.items():
        if value == 1 and text.startswith(f"{STATUS}{{"):
            labels = dict(parse_series(text)[1])
            if "partition" in labels:
                yield labels["partition"], labels.get("status", "")


def _peak(sample: ev.DlqSample, month: str) -> Iterator[lines.StoryLine]:
    yield lines.DepthSeen(t=sample.t, month=month, depth=sample.partitions[month], what="the longest")
