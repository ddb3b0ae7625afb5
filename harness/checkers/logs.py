"""Promise 8, words: the log lines of failed writes and of the fallback tell what happened, when, and to whom."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator

from .. import events as ev
from ..blast import Edge, Write
from ..checking import CHECKERS, CONDENSABLE, CheckResult, Finding, Needs
from ..oracle import CREATED, QUEUED
from ..rundata import FaultWindow, Operation, Run
from ..values import Month, Promise
from ._common import (
    LOG_SLACK_SECONDS,
    covering,
    event_ids,
    life_of,
    nothing_sent,
    reaches,
    recovery_edge,
    restarts,
    shared,
)
from ._lines import ACTIVATED_LINE, ENDED_LINE, FAILED_LINE, FLUSH_SECONDS, REPEAT_SECONDS, line_findings
from ._partition_series import FAILURES
from ._scraped import Scraped

NAME = "logs"


@CHECKERS.register(NAME)
def logs(run: Run) -> CheckResult:
    """Judge activated, ended and failed lines of every month that was written."""
    empty = nothing_sent(NAME, run)
    if empty is not None:
        return empty
    if not run.reads.logs:
        return CheckResult(NAME, not_checked="logs")
    if not run.of_kind(ev.LogLine):
        said = "The history holds no log line, although the target declares that its log can be read."
        return CheckResult(NAME, unknowns=(said,))
    book = _Book(run)
    findings: list[Finding] = []
    unknowns: list[str] = []
    facts: dict[str, float] = {}
    for month in run.months:
        findings += [*_activated(book, month), *_ended(book, month), *_unfounded(book, month)]
        findings += [*_counted(book, month), *_pairs(book, month)]
        failed = _occurrences(book.failed(month))
        if failed:
            facts[f"failed_writes_logged_{month}"] = float(failed)
    findings += line_findings(book.scraped)
    not_json = sum(line.level == "RAW" for line in run.of_kind(ev.LogLine))
    if not_json:
        facts["lines_not_json"] = float(not_json)
    return CheckResult(NAME, tuple(findings), tuple(unknowns), facts=facts)


class _Book:
    """The lines of a run by message."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.scraped = shared(run, Scraped)
        self.boundaries = restarts(run)
        self._lines: dict[str, list[ev.LogLine]] = {}
        for line in sorted(run.of_kind(ev.LogLine), key=lambda each: each.t):
            self._lines.setdefault(line.message, []).append(line)

    def activated(self, month: Month) -> list[ev.LogLine]:
        return self._lines.get(f"{ACTIVATED_LINE}{month}", [])

    def last_activations(self) -> Iterator[ev.LogLine]:
        """The last line of each month that tells of a fallback."""
        yield from (lines[-1] for message, lines in self._lines.items() if message.startswith(ACTIVATED_LINE))

    def place(self, month: Month, t: float) -> str:
        """Say where away from every edge a line lies; empty at an edge, and where writes may succeed now and then."""
        near = [
            window
            for window in self.run.windows
            if (reaches(window, month) or window.radius.edge is not Edge.MONTHS)
            and window.injecting - LOG_SLACK_SECONDS <= t <= recovery_edge(window, self.run) + LOG_SLACK_SECONDS
        ]
        if not near:
            return "" if self.scraped.stalled(month, t) else "away from every fault"
        for window in near:
            start, end = window.confirmed, window.healing if window.healing is not None else self.run.end
            on = start is not None and start < t < end and reaches(window, month)
            if not on or window.radius.write is not Write.NO or window.radius.dates is not None:
                return ""
        return f"while {near[0].name} (fault {near[0].fault}) was on"

    def ended(self, month: Month) -> list[ev.LogLine]:
        return self._lines.get(f"{ENDED_LINE}{month}", [])

    def failed(self, month: Month) -> list[ev.LogLine]:
        return self._lines.get(f"{FAILED_LINE}{month}", [])

    def queued(self, month: Month) -> list[Operation]:
        """Operations of the month that were answered 202, by completion."""
        return _by_completion(op for op in self.run.seen_in(month) if op.status == QUEUED)

    def named(self, month: Month, start: float = float("-inf"), end: float = float("inf")) -> tuple[str, ...]:
        """Ids of all operations of the month answered 202 that began and ended in [start, end], by completion."""
        every = self.run.under_way(start, end, months=(month,), statuses=(QUEUED,))
        return event_ids(_by_completion(op for op in every if start <= op.invoked and op.completed <= end))


@CONDENSABLE.register(NAME)
def _needs(run: Run) -> Needs:
    """Episodes end with the first write after the last activation, unless that came too late to be flushed."""
    book = _Book(run)
    cuts = [*book.boundaries, run.end - FLUSH_SECONDS]
    for window in run.windows:
        cuts += [mark for mark in (window.injecting, window.healing, window.probed) if mark is not None]
    cuts += [line.t for line in book.last_activations()]
    return Needs(cuts=tuple(cuts))


def _by_completion(operations: Iterable[Operation]) -> list[Operation]:
    return sorted(operations, key=lambda op: op.completed)


def _occurrences(lines: Iterable[ev.LogLine]) -> int:
    return sum(1 + line.suppressed for line in lines)


def _stops_writes(window: FaultWindow, month: Month) -> bool:
    return window.radius.write is Write.NO and reaches(window, month) and window.confirmed is not None


def _activated(book: _Book, month: Month) -> Iterator[Finding]:
    """Once an episode: at least once for a window with 202s, and not more often than there are episodes."""
    lines = book.activated(month)
    for window in book.run.windows:
        if not _stops_writes(window, month):
            continue
        healing = window.healing if window.healing is not None else book.run.end
        queued = [op for op in book.queued(month) if window.injecting <= op.invoked and op.completed <= healing]
        if not queued or any(_already_queueing(book, window, other, month) for other in book.run.windows):
            continue
        # The episode begins with its first queued event, and the line with the episode.
        start, end = window.injecting - LOG_SLACK_SECONDS, queued[0].completed + FLUSH_SECONDS + LOG_SLACK_SECONDS
        if _going_on(book, month, start, queued[0].completed):
            continue
        if not any(start <= line.t <= end for line in lines):
            late = [line.t for line in lines if line.t > end]
            when = f" before {late[0]:.1f} s" if late else ""
            said = f"No line '{ACTIVATED_LINE}{month}'{when} although {window.name} had events queued"
            yield Finding(Promise.TRUTH, f"{said} from {queued[0].completed:.1f} s on.", event_ids(queued), end)
    yield from _too_often(book, month)


def _going_on(book: _Book, month: Month, start: float, until: float) -> bool:
    """Tell whether an episode that a stall began just before has not ended: its breaker stays open for a while."""
    earliest = start - book.run.limits.recovery_seconds
    begun = max((line.t for line in book.activated(month) if earliest <= line.t < start), default=None)
    return begun is not None and not any(begun <= line.t <= until for line in book.ended(month))


def _too_often(book: _Book, month: Month) -> Iterator[Finding]:
    """While no write can succeed no episode can end, and in peace none begins but by a stall.

    At an edge episodes may honestly begin and end again and again, as the database comes and goes.
    """
    times: dict[tuple[str, int], list[float]] = {}
    for line in book.activated(month):
        place = book.place(month, line.t)
        if place:
            count = times.setdefault((place, life_of(book.boundaries, line.t)), [])
            count += [line.t] * (1 + line.suppressed)
    for (place, _), found in times.items():
        if len(found) > 1:
            said = f"'DLQ fallback activated for partition {month}' came {len(found)} times {place}, once is due."
            yield Finding(Promise.TRUTH, said, book.named(month), found[-1])


def _already_queueing(book: _Book, window: FaultWindow, other: FaultWindow, month: Month) -> bool:
    """Tell whether an earlier fault's episode may have been going on when this one began."""
    earlier = other.fault != window.fault and reaches(other, month) and other.injecting <= window.injecting
    return earlier and window.injecting <= recovery_edge(other, book.run)


def _ended(book: _Book, month: Month) -> Iterator[Finding]:
    """The last activated episode ends after the repair, at the first write into the month."""
    lines = book.activated(month)
    windows = [window for window in book.run.windows if _stops_writes(window, month)]
    if not lines or not windows or any(window.probed is None for window in windows):
        return
    opened = lines[-1].t
    # A line that follows another so soon may close a storm: what it tells of happened at some time since the other.
    storm = len(lines) > 1 and opened - lines[-2].t <= FLUSH_SECONDS + REPEAT_SECONDS
    begun = lines[-2].t if storm and _occurrences(book.ended(month)) >= _occurrences(lines) else opened
    written = [
        operation
        for operation in book.run.seen_in(month)
        if operation.status == CREATED
        and operation.kind is ev.OpKind.WRITE
        and operation.invoked >= max(opened, max(window.probed or 0.0 for window in windows))
        and operation.completed <= book.run.end - FLUSH_SECONDS
    ]
    same_life = life_of(book.boundaries, opened) == life_of(book.boundaries, book.run.end)
    if not written or not same_life:
        return
    ended = [line.t for line in book.ended(month) if line.t >= begun - LOG_SLACK_SECONDS]
    resumed = min(operation.completed for operation in written)
    if not ended:
        said = f"No line '{ENDED_LINE}{month}' although direct writes had resumed."
        yield Finding(Promise.TRUTH, said, event_ids(written[:1]), resumed)
    elif min(ended) > resumed + FLUSH_SECONDS + LOG_SLACK_SECONDS:
        late = min(ended) - resumed
        said = f"The line '{ENDED_LINE}{month}' came {late:.1f} s after direct writes had resumed."
        yield Finding(Promise.TRUTH, said, event_ids(written[:1]), resumed)


def _pairs(book: _Book, month: Month) -> Iterator[Finding]:
    """As many fallbacks end as were activated, but for the one that goes on; none ends that had not begun.

    Honest: an episode that a killed process began and the next one ends, or never tells of again; lines of a storm that
    the log still kept back when it was read.
    """
    activated, ended = book.activated(month), book.ended(month)
    begun, over = _occurrences(activated), _occurrences(ended)
    early = bool(ended and activated) and ended[0].t < activated[0].t - LOG_SLACK_SECONDS
    if over > begun + len(book.boundaries) or (early and not book.boundaries):
        said = f"'{ENDED_LINE}{month}' came {over} times, but only {begun} fallbacks had been activated."
        yield Finding(Promise.TRUTH, said, (), ended[0].t)
    last = max((line.t for line in (*activated, *ended)), default=0.0)
    goes_on = bool(activated) and (not ended or ended[-1].t - activated[-1].t < REPEAT_SECONDS)
    if begun > over + goes_on and not book.boundaries and last + FLUSH_SECONDS < book.run.end:
        said = f"'{ACTIVATED_LINE}{month}' came {begun} times, but {over} fallbacks ended."
        yield Finding(Promise.TRUTH, said, (), activated[-1].t)


def _unfounded(book: _Book, month: Month) -> Iterator[Finding]:
    """No line speaks of trouble in a month that no fault covered, or before the first fault that covers it."""
    begins = min((window.injecting for window in covering(book.run, month)), default=float("inf"))
    answered = [op.invoked for op in book.run.seen_in(month) if op.status not in (CREATED, 400, 409)]
    first_trouble = min(answered, default=float("inf"))
    earliest = min(begins, first_trouble) - LOG_SLACK_SECONDS
    for lines in (book.activated(month), book.failed(month)):
        early = [line for line in lines if line.t < earliest]
        if early:
            when = "which no fault covered" if begins == float("inf") else "before its first fault"
            said = f"{len(early)} x line '{early[0].message}' for a month {when}, while all its events were created."
            yield Finding(Promise.TRUTH, said, (), early[0].t)


def _counted(book: _Book, month: Month) -> Iterator[Finding]:
    """Lines plus suppressed are the occurrences that the counter of failed writes counts.

    Honest: what the closing line of a storm, for which the run ended too early, had still to tell.
    """
    scraped = book.scraped
    told = [scrape for scrape in scraped.scrapes if scrape.end <= book.run.end - FLUSH_SECONDS]
    known = [s for s in told if s.get(FAILURES, partition=month.label) is not None]
    if scraped.restarted or len(known) < 2:
        return
    first, last = known[0], known[-1]
    value = (last.get(FAILURES, partition=month.label) or 0.0) - (first.get(FAILURES, partition=month.label) or 0.0)
    lines = book.failed(month)
    times = [line.t for line in lines]
    occurrences = [1 + line.suppressed for line in lines]
    begin = bisect.bisect_left(times, first.t + FLUSH_SECONDS)
    end = bisect.bisect_left(times, last.t - FLUSH_SECONDS)
    surely = sum(occurrences[begin:end])
    at_most = sum(occurrences[bisect.bisect_left(times, first.t - FLUSH_SECONDS) :])
    if not surely <= value <= at_most:
        bounds = f"{surely}" if surely == at_most else f"{surely} to {at_most}"
        said = f"'Failed to write to partition audit_events_{month}' is logged {bounds} times, counted {value:g} times."
        yield Finding(Promise.TRUTH, said, (), last.t)
