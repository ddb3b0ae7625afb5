"""Promise 8, readiness: ``GET /health/ready`` is 200 while some write can be accepted, and names what is ill."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .. import events as ev
from ..blast import Dlq, ServiceState, Write
from ..checking import CHECKERS, CONDENSABLE, CheckResult, Finding, Needs
from ..errors import UsageError
from ..oracle import QUEUED, UNAVAILABLE
from ..rundata import FaultWindow, Run
from ..values import Month, Promise
from ._common import (
    SCRAPE_SLACK_SECONDS,
    between_lives,
    in_flight,
    nothing_sent,
    reaches,
    recovery_edge,
    shared,
)
from ._noticed import NOTICE_SLACK_SECONDS, OPENING_ANSWERS, due_at, noticing_times
from ._queue_truth import declared_capacity
from ._scraped import Scraped

NAME = "readiness"
READY, NOT_READY = 200, 503
SILENT_IN_A_ROW = 3
"""So many questions running that nobody answered, while events were, are no hiccup of the network."""
_QUEUE, _DATABASE, _PARTITION = "dlq", "database", "partition "


@CHECKERS.register(NAME)
def readiness(run: Run) -> CheckResult:
    """Judge every answer of ``/health/ready``: its status, and that it names what is ill and nothing else."""
    empty = nothing_sent(NAME, run)
    if empty is not None:
        return empty
    book = _Book(run)
    if not any(answer.status for answer in book.answers):
        said = "No answer of /health/ready was seen, so readiness was not judged."
        return CheckResult(NAME, unknowns=(said,))
    findings = [
        *_each(book, _status),
        *_each(book, _names_too_much),
        *_each(book, _names_too_little),
        *_silent(book),
    ]
    facts = {
        "ready_answers": float(sum(answer.status > 0 for answer in book.answers)),
        "not_ready_answers": float(sum(answer.status == NOT_READY for answer in book.answers)),
    }
    return CheckResult(NAME, tuple(findings), facts=facts)


@CONDENSABLE.register(NAME)
def _needs(run: Run) -> Needs:
    return Needs(cuts=tuple(noticing_times(shared(run, Scraped))))


@dataclass(frozen=True)
class _Answer:
    """One question and what came of it; it was answered by ``end`` at the latest."""

    t: float
    end: float
    status: int
    degraded: tuple[str, ...]


class _Book:
    """The answers of a run, and the facts that the rules ask for."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.scraped = shared(run, Scraped)
        self._turned_away: dict[tuple[int, tuple[int, ...]], float] = {}
        samples = run.of_kind(ev.ReadySample)
        ends = [*(sample.t for sample in samples[1:]), run.end][: len(samples)]
        self.answers = [
            _Answer(each.t, each.t + each.seconds if each.seconds else max(each.t, end), each.status, each.degraded)
            for each, end in zip(samples, ends, strict=True)
        ]

    def turned_away(self, window: FaultWindow, statuses: tuple[int, ...]) -> float:
        """When the confirmed fault had had a breaker's worth of events of one month answered so; infinite for never."""
        key = (window.fault, statuses)
        if key not in self._turned_away:
            bites = window.confirmed or 0.0
            times: dict[Month, list[float]] = {}
            for op in self.run.seen:
                if op.status in statuses and bites < op.invoked:
                    times.setdefault(op.month, []).append(op.completed)
            enough = [sorted(found)[OPENING_ANSWERS - 1] for found in times.values() if len(found) >= OPENING_ANSWERS]
            self._turned_away[key] = min(enough, default=float("inf"))
        return self._turned_away[key]

    def near(self, answer: _Answer) -> list[FaultWindow]:
        """Faults that are on, at an edge or within their recovery at some moment of the answer."""
        return [
            window
            for window in self.run.windows
            if window.injecting - SCRAPE_SLACK_SECONDS <= answer.end
            and answer.t <= recovery_edge(window, self.run) + SCRAPE_SLACK_SECONDS
        ]

    def starting(self, answer: _Answer) -> bool:
        """Tell whether a process of the service ends, or has only just begun, about the answer."""
        born = any(
            seen - SCRAPE_SLACK_SECONDS <= answer.end and answer.t <= seen + self.run.limits.recovery_seconds
            for seen in self.scraped.boundaries
        )
        down = [mark.t for mark in self.run.of_kind(ev.ServiceMark) if mark.what == "down"]
        ending = any(at - SCRAPE_SLACK_SECONDS <= answer.end and answer.t <= at + SCRAPE_SLACK_SECONDS for at in down)
        return born or ending or between_lives(self.run, answer.t) or between_lives(self.run, answer.end)


Rule = Callable[[_Book, _Answer, list[FaultWindow]], Iterator[str]]


def _each(book: _Book, rule: Rule) -> list[Finding]:
    """One finding for all answers that break a rule in the same way; a service that comes or goes is not asked."""
    seen: dict[str, list[float]] = {}
    for answer in book.answers:
        if answer.status and not book.starting(answer):
            near = book.near(answer)
            if all(window.radius.service is ServiceState.UP for window in near):
                for said in rule(book, answer, near):
                    seen.setdefault(said, []).append(answer.t)
    return [
        Finding(
            Promise.TRUTH,
            f"/health/ready {said} ({len(times)} of {len(book.answers)} answers, first at {times[0]:.1f} s).",
            in_flight(book.run, times[0], times[0]),
            times[0],
        )
        for said, times in seen.items()
    ]


def _status(book: _Book, answer: _Answer, near: list[FaultWindow]) -> Iterator[str]:
    """Ready while the queue or any month takes a write.

    Honest 503: about a fault of the queue while one of the database is about as well, unless a month that none reaches
    has its events created beside the answer.  A fault of one month, or of the whole database alone, leaves the queue;
    one of the queue alone leaves the table.  Ready is nobody who has turned events away for long while both are gone.
    """
    if answer.status == READY:
        gone = _nowhere(book, answer, near)
        if gone:
            yield f"answered {READY} while {gone} let no event be stored or queued"
        return
    if answer.status != NOT_READY:
        yield f"answered {answer.status}"
        return
    no_queue = [window for window in near if window.radius.dlq is not Dlq.YES]
    no_table = [window for window in near if window.radius.write is not Write.YES]
    stalled = any(book.scraped.stalled(month, answer.t) for month in book.run.months)
    if not no_queue and not (stalled and not near):
        what = near[0].name if near else "no fault"
        yield f"answered {NOT_READY} although the queue took events ({what} was on or just over)"
    elif no_queue and not no_table and not stalled:
        yield f"answered {NOT_READY} although the table took events (only {no_queue[0].name} was on or just over)"
    elif no_queue and _spared(book, answer, no_table):
        yield f"answered {NOT_READY} although the table took events of months that {no_table[0].name} does not reach"


def _nowhere(book: _Book, answer: _Answer, near: list[FaultWindow]) -> str:
    """Name the faults that have left an event nowhere to go for so long that anybody must have noticed; else empty."""

    def on(window: FaultWindow) -> bool:
        healing = window.healing if window.healing is not None else book.run.end
        return window.confirmed is not None and window.confirmed < answer.t and answer.end < healing

    table = [w for w in near if w.radius.whole_database and w.radius.write is Write.NO and w.radius.dates is None]
    queue = [w for w in near if w.radius.dlq is Dlq.NO and _met(book, answer, w, UNAVAILABLE)]
    looked = answer.t - book.run.limits.partition_check_seconds - NOTICE_SLACK_SECONDS
    for one in table:
        for other in queue:
            if on(one) and on(other) and book.turned_away(other, (UNAVAILABLE,)) < looked:
                return f"{one.name} and {other.name}"
    return ""


def _names_too_much(book: _Book, answer: _Answer, near: list[FaultWindow]) -> Iterator[str]:
    """What is named is ill.

    Honest: a month beside which the canary stalls, or one of whose writes stalled lately, any month and the database
    while a fault may still show in them, a queue that is full where the scenario makes it small.
    """
    for name in answer.degraded:
        month = _month(name)
        if month is not None and not _excused(book, answer, month):
            yield f"names {name} although no fault, nor an edge of one, is near it"
        whole = [window for window in near if window.radius.whole_database or len(near) > 1]
        stalled = any(book.scraped.stalled(each, answer.t) for each in book.run.months)
        if name == _DATABASE and not near and not stalled:
            yield "names the database although no fault is near"
        elif name == _DATABASE and not whole and near and _spared(book, answer, near) and not stalled:
            yield f"names the database while only {near[0].name} is on"
        small = declared_capacity(book.run) is not None
        if name == _QUEUE and all(window.radius.dlq is Dlq.YES for window in near) and not small:
            yield "names the queue although no fault of it is near"


def _month(name: str) -> Month | None:
    if not name.startswith(_PARTITION):
        return None
    try:
        return Month.parse(name.removeprefix(_PARTITION))
    except UsageError:
        return None


def _excused(book: _Book, answer: _Answer, month: Month) -> bool:
    scraped = book.scraped
    times = (answer.t, answer.end)
    known = month in book.run.months
    return any(
        scraped.disturbed(month, t) or scraped.stalled(month, t) or scraped.stalled_lately(month, t) or not known
        for t in times
    )


def _spared(book: _Book, answer: _Answer, near: list[FaultWindow]) -> bool:
    """Tell whether a calm month that none of these faults reaches had an event created beside the answer."""
    return any(
        op.status == 201
        and not book.scraped.stalled(op.month, answer.t)
        and not any(reaches(window, op.month) for window in near)
        and answer.t - 1.0 <= op.invoked
        and op.completed <= answer.end + 1.0
        for op in book.run.under_way(answer.t - 1.0, answer.end + 1.0, statuses=(201,))
    )


def _names_too_little(book: _Book, answer: _Answer, near: list[FaultWindow]) -> Iterator[str]:
    """What is ill is named, once its fault must have been noticed, until its heal begins.

    Honest: a month that no event met and the maintenance loop had no time to see; a database fault that shows as ill
    months; a queue fault that no event has met.
    """
    for window in near:
        healing = window.healing if window.healing is not None else book.run.end
        if window.confirmed is None or not window.confirmed < answer.t or answer.end >= healing - SCRAPE_SLACK_SECONDS:
            continue
        if window.radius.write is Write.NO and window.radius.whole_database and _met(book, answer, window):
            if not answer.degraded:
                yield f"names nothing while {window.name} lets no event be stored"
        elif window.radius.write is Write.NO and not window.radius.whole_database:
            for month in book.run.months:
                named = f"{_PARTITION}{month}" in answer.degraded or _DATABASE in answer.degraded
                if reaches(window, month) and not named and _due(book, window, month, answer):
                    yield f"does not name {month} while {window.name} is on"
        if window.radius.dlq is Dlq.NO and _QUEUE not in answer.degraded and _met(book, answer, window, UNAVAILABLE):
            yield f"does not name the queue while {window.name} is on"


def _due(book: _Book, window: FaultWindow, month: Month, answer: _Answer) -> bool:
    due = due_at(book.scraped, window, month, answer.t)
    return answer.t > due and not book.scraped.whole_database_ill(answer.t)


def _met(book: _Book, answer: _Answer, window: FaultWindow, *statuses: int) -> bool:
    """Tell whether so many events were turned away by the fault, so early, that it must show in the answer."""
    return book.turned_away(window, statuses or (QUEUED, UNAVAILABLE)) + NOTICE_SLACK_SECONDS < answer.t


def _silent(book: _Book) -> Iterator[Finding]:
    """A service that answers events answers this question as well, whatever database and queue do.

    Honest: a process that is paused, ends or begins, one short of descriptors or memory, and a machine so busy that
    events go unanswered, too.
    """
    row: list[_Answer] = []
    for answer in book.answers:
        near = book.near(answer)
        excused = book.starting(answer) or any(window.radius.service is not ServiceState.UP for window in near)
        row = [*row, answer] if not answer.status and not excused else []
        if len(row) < SILENT_IN_A_ROW:
            continue
        begin, end = row[0].t, row[-1].end
        answered = [
            op for op in book.run.under_way(begin, end) if op.status and begin <= op.invoked and op.completed <= end
        ]
        if len(answered) >= SILENT_IN_A_ROW:
            said = f"/health/ready gave no answer from {begin:.1f} s to {end:.1f} s, though events were answered."
            yield Finding(Promise.TRUTH, said, in_flight(book.run, begin, end), begin)
            return
