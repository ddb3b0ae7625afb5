"""The queue's series and ``GET /api/v1/dlq``: depth, age, capacity, what drained, what died, as far as is known."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterator
from dataclasses import dataclass

from .. import events as ev
from ..blast import Dlq
from ..checking import Finding
from ..rundata import Run
from ..values import Month, Promise
from ._common import SCRAPE_SLACK_SECONDS, event_ids
from ._queue_truth import Asked, QueueTruth, answers, declared_capacity
from ._scraped import Scraped
from ._series import Scrape

DEPTH = "datastorage_dlq_depth"
AGE = "datastorage_dlq_oldest_age_seconds"
CAPACITY = "datastorage_dlq_capacity"
DRAINED = "datastorage_dlq_drained_total"
DRAIN_FAILURES = "datastorage_dlq_drain_failures_total"
DEAD = "datastorage_dlq_dead_letters"
ENDPOINT = "GET /api/v1/dlq"
AGE_SLACK_SECONDS = 1.0
"""Between the acknowledgement of an event and the moment from which its service counts its age."""


@dataclass(frozen=True)
class _Reading:
    """The depth by month as one source showed it at some moment of [start, end]."""

    source: str
    start: float
    end: float
    by_month: dict[str, float]
    total: float

    @property
    def span(self) -> tuple[float, float]:
        """The time that the figures may be of."""
        return self.start - SCRAPE_SLACK_SECONDS, self.end + SCRAPE_SLACK_SECONDS


def queue_findings(scraped: Scraped) -> list[Finding]:
    """Judge every series of the queue."""
    truth = scraped.queue
    asked = answers(scraped.run)
    readings = [*_gauges(scraped), *_endpoint(asked)]
    return [
        *_depths(truth, readings),
        *_agreeing(truth, scraped, asked),
        *_ages(scraped, truth),
        *_capacity(scraped, asked),
        *_drained(scraped, truth),
        *_drain_failures(scraped, truth),
        *_dead(scraped, asked, truth),
    ]


def _gauges(scraped: Scraped) -> Iterator[_Reading]:
    for scrape in scraped.scrapes:
        total = scrape.total(DEPTH)
        if total is not None:
            by_month = {labels.get("partition", ""): value for labels, value in scrape.each(DEPTH)}
            yield _Reading(DEPTH, scrape.t, scrape.end, by_month, total)


def _endpoint(asked: list[Asked]) -> Iterator[_Reading]:
    for one in asked:
        by_month = {label: float(count) for label, count in one.sample.partitions.items()}
        yield _Reading(ENDPOINT, one.sample.t, one.end, by_month, float(one.sample.depth))


def _depths(truth: QueueTruth, readings: list[_Reading]) -> Iterator[Finding]:
    """Each depth lies between what surely waits and what may.

    Honest: events in table and queue at once, unanswered requests, a queue that a fault hides or that a new process has
    still to open, drains in proportion to the backlog.
    """
    wrong: dict[tuple[str, str, str], list[tuple[float, str]]] = {}
    for reading in readings:
        if truth.doubtful(*reading.span):
            continue
        labels = {*reading.by_month, *(truth.months if reading.source == ENDPOINT else ())}
        shown = [(label, reading.by_month.get(label, 0.0)) for label in sorted(labels)]
        for label, value in [*shown, ("", reading.total)]:
            known = (truth.month(label) if label else truth.all).bounds(*reading.span)
            if not known.surely <= value <= known.at_most:
                side = "more than may wait" if value > known.at_most else "less than surely waits"
                said = f"{value:g} where {known.surely} to {known.at_most} can wait"
                wrong.setdefault((reading.source, label, side), []).append((reading.start, said))
    for (source, label, side), found in wrong.items():
        if not label and any(key[0] == source and key[1] and key[2] == side for key in wrong):
            continue
        of = f" of {label}" if label else ""
        said = f"{source}{of} shows {side} in {len(found)} answers: {found[0][1]}."
        yield Finding(Promise.TRUTH, said, _queued_ids(truth.run, label, found[0][0]), found[0][0])


def _queued_ids(run: Run, label: str, t: float) -> tuple[str, ...]:
    """Events that were answered 202 before a moment, to name with a depth."""
    return event_ids(op for op in run.seen if op.status == 202 and op.completed <= t and label in ("", op.month.label))


def _agreeing(truth: QueueTruth, scraped: Scraped, asked: list[Asked]) -> Iterator[Finding]:
    """The gauge lies between the answers of the endpoint around it, give or take what was queued meanwhile."""
    ends, starts = [one.end for one in asked], [one.sample.t for one in asked]
    wrong: list[tuple[float, str]] = []
    for reading in _gauges(scraped):
        start, end = reading.span
        before = bisect.bisect_left(ends, start) - 1
        after = bisect.bisect_right(starts, end)
        if before >= 0 and not truth.doubtful(starts[before], end):
            most = asked[before].sample.depth + truth.all.queued_between(starts[before] - SCRAPE_SLACK_SECONDS, end)
            if reading.total > most:
                wrong.append((reading.start, f"{reading.total:g} where {ENDPOINT} allows at most {most}"))
        if after < len(asked) and not truth.doubtful(start, ends[after]):
            least = asked[after].sample.depth - truth.all.queued_between(start, ends[after] + SCRAPE_SLACK_SECONDS)
            if reading.total < least:
                wrong.append((reading.start, f"{reading.total:g} where {ENDPOINT} demands at least {least}"))
    if wrong:
        said = f"{DEPTH} and {ENDPOINT} disagree in {len(wrong)} scrapes: {wrong[0][1]}."
        yield Finding(Promise.TRUTH, said, (), wrong[0][0])


def _ages(scraped: Scraped, truth: QueueTruth) -> Iterator[Finding]:
    """The age is 0 without a pending event, else that of the oldest one.

    Honest: whatever a shifted clock makes of it, also after the heal; an age that grows on while the drain that has
    stored the event has still to take it out.
    """
    spans = [(scrape.t - SCRAPE_SLACK_SECONDS, scrape.end + SCRAPE_SLACK_SECONDS) for scrape in scraped.scrapes]
    wrong: dict[str, list[tuple[float, float, float]]] = {}
    for scrape, span, (surely, possibly) in zip(scraped.scrapes, spans, truth.oldest(spans), strict=True):
        value = scrape.get(AGE)
        if value is None or truth.doubtful(*span) or not scraped.clock_was_true(scrape.end):
            continue
        least = 0.0 if surely is None else span[0] - surely - AGE_SLACK_SECONDS
        most = AGE_SLACK_SECONDS if possibly is None else span[1] - possibly + AGE_SLACK_SECONDS
        if value < least:
            wrong.setdefault("younger than the oldest event that waits", []).append((scrape.t, value, least))
        elif value > most:
            wrong.setdefault("older than any event that may wait", []).append((scrape.t, value, most))
    for side, found in wrong.items():
        t, value, bound = found[0]
        said = f"{AGE} is {side} in {len(found)} scrapes: {value:.1f} s, the bound is {bound:.1f} s."
        yield Finding(Promise.TRUTH, said, _queued_ids(truth.run, "", t)[:1], t)


def _capacity(scraped: Scraped, asked: list[Asked]) -> Iterator[Finding]:
    """The capacity is what the scenario sets, never changes, and is what the endpoint says.

    That it is not exceeded is ``capacity``'s, which knows that an event on its way to the dead letters counts twice.
    """
    values = {value for scrape in scraped.scrapes if (value := scrape.get(CAPACITY)) is not None}
    told = {float(one.sample.capacity) for one in asked if one.sample.capacity >= 0}
    declared = declared_capacity(scraped.run)
    shown = ", ".join(f"{value:g}" for value in sorted(values))
    if len(values) > 1:
        yield Finding(Promise.TRUTH, f"{CAPACITY} changes: {shown}.")
    if told and values and told != values:
        said = ", ".join(f"{value:g}" for value in sorted(told))
        yield Finding(Promise.TRUTH, f"{CAPACITY} is {shown}, but {ENDPOINT} says {said}.")
    if declared is not None and values and values != {float(declared)}:
        yield Finding(Promise.TRUTH, f"{CAPACITY} is {shown}, but DLQ_MAX_EVENTS is {declared}.")


def _grown(name: str, first: Scrape, last: Scrape, label: str) -> float | None:
    value = last.get(name, partition=label)
    return None if value is None else value - (first.get(name, partition=label) or 0.0)


def _drained(scraped: Scraped, truth: QueueTruth) -> Iterator[Finding]:
    """In each life as many events drained as surely left the queue for the table, at most as many as may have waited.

    Honest: an event that a re-send or an ambiguous commit stored counts or not; a drain that was killed before it took
    its events out counts them in the next life; while a fault hides the queue, nothing is known.
    """
    for scrapes in scraped.lives():
        first, last = scrapes[0], scrapes[-1]
        hidden = truth.doubtful(first.t, last.end)
        for month in scraped.run.months:
            grown = _grown(DRAINED, first, last, month.label)
            if grown is None:
                continue
            drained = _surely_drained(truth, month, first, last)
            most = truth.month(month.label).bounds(first.t - SCRAPE_SLACK_SECONDS, last.end + SCRAPE_SLACK_SECONDS)
            if grown < len(drained):
                said = f"{DRAINED} of {month} grew by {grown:g}, but {len(drained)} queued events came into the table."
                yield Finding(Promise.TRUTH, said, tuple(drained), last.t)
            elif grown > most.at_most and not hidden:
                said = (
                    f"{DRAINED} of {month} grew by {grown:g}, but at most {most.at_most} events can have been queued."
                )
                yield Finding(Promise.TRUTH, said, _queued_ids(scraped.run, month.label, last.t), last.t)


def _surely_drained(truth: QueueTruth, month: Month, first: Scrape, last: Scrape) -> list[str]:
    """Events of the month sent once, answered 202, and stored afterwards: between the two scrapes, and out by then.

    A dead letter was never stored, however surely it is out.
    """
    found: list[str] = []
    for op in truth.sent_once(month):
        stored = truth.stored_at(op)
        gone = truth.gone(op, stored)
        late = first.end + SCRAPE_SLACK_SECONDS <= stored < math.inf and op.completed <= stored
        if late and gone <= last.t - SCRAPE_SLACK_SECONDS and not truth.doubtful(stored, gone):
            found.append(op.event_id)
    return found


def _drain_failures(scraped: Scraped, truth: QueueTruth) -> Iterator[Finding]:
    """No drain fails in a month for which nothing can have been queued; a poisoned event failed at least once.

    Honest: any number of failed tries of what waits, since nobody outside sees them.
    """
    for scrapes in scraped.lives():
        first, last = scrapes[0], scrapes[-1]
        for labels, _ in last.each(DRAIN_FAILURES):
            label = labels.get("partition", "")
            grown = _grown(DRAIN_FAILURES, first, last, label) or 0.0
            span = (first.t - SCRAPE_SLACK_SECONDS, last.end + SCRAPE_SLACK_SECONDS)
            if grown > 0 and not truth.month(label).bounds(*span).at_most and not truth.doubtful(*span):
                said = (
                    f"{DRAIN_FAILURES} of {label} grew by {grown:g} although none of its events can have been queued."
                )
                yield Finding(Promise.TRUTH, said, (), last.t)
    if scraped.restarted:
        return
    for label, ids in truth.poisoned().items():
        failed = scraped.scrapes[-1].get(DRAIN_FAILURES, partition=label)
        if failed is not None and failed < len(ids):
            said = f"{DRAIN_FAILURES} of {label} is {failed:g}, but {len(ids)} of its events died of failed drains."
            yield Finding(Promise.TRUTH, said, tuple(ids), scraped.scrapes[-1].t)


def _dead(scraped: Scraped, asked: list[Asked], truth: QueueTruth) -> Iterator[Finding]:
    """Dead letters, summed over their reasons, are those that the final read found, and those the endpoint counts.

    Honest: dead letters that were there before the run, which the first scrape shows; a deleted queue.
    """
    run = scraped.run
    last, first = scraped.scrapes[-1], scraped.scrapes[0]
    final = run.final
    shown = last.total(DEAD)
    emptied = any(window.radius.dlq is Dlq.DESTROYED for window in run.windows)
    dead = [row for row in run.of_kind(ev.DlqRow) if row.state == "dead"]
    if final is not None and final.dlq and last.t >= final.t and not emptied and not truth.doubtful(last.t):
        grown = (shown or 0.0) - (first.total(DEAD) or 0.0)
        before_load = first.t < min(begun for writer, begun in run.began.items() if writer >= 0)
        if grown != len(dead) and before_load:
            said = f"{DEAD} grew by {grown:g} to the end, but the queue holds {len(dead)} dead letters."
            yield Finding(Promise.TRUTH, said, tuple(row.event_id for row in dead), last.t)
    wrong = [
        (scrape.t, value, low, high)
        for scrape, low, high in _neighbours(scraped, asked, truth)
        if (value := scrape.total(DEAD) or 0.0) < low or value > high
    ]
    if wrong and not emptied:
        t, value, low, high = wrong[0]
        said = f"{DEAD} sums to {value:g} in {len(wrong)} scrapes where {ENDPOINT} says {low} to {high}."
        yield Finding(Promise.TRUTH, said, (), t)


def _neighbours(scraped: Scraped, asked: list[Asked], truth: QueueTruth) -> Iterator[tuple[Scrape, int, int]]:
    """Scrapes with the dead letters that the endpoint showed before and after: they never become fewer."""
    ends, starts = [one.end for one in asked], [one.sample.t for one in asked]
    for scrape in scraped.scrapes:
        before = bisect.bisect_left(ends, scrape.t - SCRAPE_SLACK_SECONDS) - 1
        after = bisect.bisect_right(starts, scrape.end + SCRAPE_SLACK_SECONDS)
        if before >= 0 and after < len(asked) and not truth.doubtful(starts[before], ends[after]):
            yield scrape, asked[before].sample.dead, asked[after].sample.dead
