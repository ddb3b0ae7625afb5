"""``datastorage_partition_last_write_timestamp``: no older than the last 201, no younger than any possible write."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Iterator

from .. import events as ev
from ..blast import Write
from ..checking import Finding
from ..oracle import CREATED, QUEUED
from ..rundata import FaultWindow, Operation
from ..values import Month, Promise
from ._common import SCRAPE_SLACK_SECONDS, event_ids, life_of, reaches
from ._scraped import Scraped
from ._series import Scrape

LAST_WRITE = "datastorage_partition_last_write_timestamp"
CLOCK_SLACK_SECONDS = 5.0
"""How far the service's wall clock and the run's clock may have drifted apart."""
SETTLED_SECONDS = 1.0
"""From this after its confirmation on, what was under way when a fault bit has come back."""


def last_write_faults(scraped: Scraped, scrape: Scrape, month: Month, written: Operation) -> Iterator[str]:
    """What is wrong with the month's last write, given a write that was answered 201 before the scrape."""
    value = scrape.get(LAST_WRITE, partition=month.label)
    if value is None:
        yield f"series {LAST_WRITE} is missing for {month}"
    elif value == 0:
        yield f"{LAST_WRITE} of {month} is 0 although a write was answered 201"
    elif scraped.epoch is not None and scraped.clock_was_true(scrape.end):
        if value < scraped.epoch + written.invoked - CLOCK_SLACK_SECONDS:
            yield f"{LAST_WRITE} of {month} is older than a write that was answered 201"
        elif value > scraped.epoch + scrape.end + CLOCK_SLACK_SECONDS:
            yield f"{LAST_WRITE} of {month} lies in the future"


def last_write_findings(scraped: Scraped) -> Iterator[Finding]:
    """Judge the series of every partition that is shown, also of those that nobody wrote into."""
    labels = {labels.get("partition", "") for scrape in scraped.scrapes for labels, _ in scrape.each(LAST_WRITE)}
    for label in sorted(labels):
        yield from _too_young(scraped, label)
    for month in scraped.run.months:
        for window in scraped.run.windows:
            yield from _moving(scraped, month, window)


def _too_young(scraped: Scraped, label: str) -> Iterator[Finding]:
    """The last write is no younger than the last request, or drain, that can have written.

    Honest: drained events, until the queue is surely empty; unanswered requests; clocks some seconds apart; what a
    shifted clock dated.
    """
    asked, latest = _writing(scraped, label)
    waiting = scraped.queue.month(label)
    for scrape in scraped.scrapes:
        value = scrape.get(LAST_WRITE, partition=label)
        if not value or scraped.epoch is None or not scraped.clock_was_true(scrape.end):
            continue
        start, end = scrape.t - SCRAPE_SLACK_SECONDS, scrape.end + SCRAPE_SLACK_SECONDS
        if waiting.bounds(start, end).at_most or scraped.queue.doubtful(start, end):
            continue
        index = bisect.bisect_right(asked, end)
        possible = min(end, latest[index - 1]) if index else 0.0
        if value > scraped.epoch + possible + CLOCK_SLACK_SECONDS:
            after = value - scraped.epoch - possible
            said = f"{LAST_WRITE} of {label} is {after:.1f} s after anything that can have been written."
            yield Finding(Promise.TRUTH, said, (), scrape.t)
            return


def _writing(scraped: Scraped, label: str) -> tuple[list[float], list[float]]:
    """When the month's writes were asked for, and until when they, or any before them, may have been committed."""
    found: list[tuple[float, float]] = []
    for op in scraped.run.seen:
        unsure = op.type is ev.Completion.INFO
        if op.month.label != label or not (op.status in (CREATED, QUEUED) or unsure):
            continue
        until = op.completed
        if op.status != CREATED:
            stored = scraped.queue.stored_at(op)
            until = max(scraped.queue.gone(op, stored), until if math.isfinite(until) else 0.0)
        found.append((op.invoked, until))
    found.sort()
    return [asked for asked, _ in found], list(itertools.accumulate((until for _, until in found), max))


def _moving(scraped: Scraped, month: Month, window: FaultWindow) -> Iterator[Finding]:
    """While nothing can be written into the month its last write does not move.

    Honest: a fault that takes only part of the month, one that something got past after all, and what was still under
    way when it bit.
    """
    stops = window.radius.write is Write.NO and window.radius.dates is None and reaches(window, month)
    if not stops or window.confirmed is None:
        return
    healing = window.healing if window.healing is not None else scraped.run.end
    operations = [op for op in scraped.run.seen_in(month) if op.invoked < healing]
    if any(_got_past(scraped, op, window.confirmed, healing) for op in operations):
        return
    if scraped.queue.folded_stored(month, window.confirmed, healing):
        return
    shown: dict[int, tuple[float, float]] = {}
    for scrape in scraped.scrapes:
        value = scrape.get(LAST_WRITE, partition=month.label)
        inside = window.confirmed + SETTLED_SECONDS < scrape.t and scrape.end < healing - SCRAPE_SLACK_SECONDS
        if value is None or not inside:
            continue
        first, _ = shown.setdefault(life_of(scraped.boundaries, scrape.t), (value, scrape.t))
        if value != first:
            said = (
                f"{LAST_WRITE} of {month} moves by {value - first:.1f} s while {window.name} lets nothing be written."
            )
            every = scraped.run.under_way(window.confirmed, healing, months=(month,))
            tried = [op for op in every if window.confirmed < op.completed and op.invoked < healing]
            yield Finding(Promise.TRUTH, said, event_ids(tried), scrape.t)
            return


def _got_past(scraped: Scraped, operation: Operation, confirmed: float, healing: float) -> bool:
    """Tell whether the event was answered 201, or stored, while the fault was on."""
    if operation.status == CREATED and confirmed < operation.completed and operation.invoked < healing:
        return operation.kind is ev.OpKind.WRITE
    return confirmed < scraped.queue.stored_at(operation) < healing
