"""``datastorage_request_duration_seconds``: every request once, by route and status, and histograms that add up."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from .. import events as ev
from ..checking import Finding
from ..rundata import Operation
from ..values import Promise
from ._common import CLIENT_SLACK_SECONDS, SCRAPE_SLACK_SECONDS
from ._counted import PROBE_WRITES, Life, lives
from ._queue_truth import answers
from ._scraped import Scraped
from ._series import Scrape, histogram_faults, sum_faults

REQUESTS = "datastorage_request_duration_seconds"
EVENTS_ROUTE = "/api/v1/audit/events"
READY_ROUTE, QUEUE_ROUTE, METRICS_ROUTE = "/health/ready", "/api/v1/dlq", "/metrics"
_ONLY_WRITES = (201, 202, 409)
"""Statuses that only a write gets: of the others somebody's query may have had some."""


def served_findings(scraped: Scraped) -> list[Finding]:
    """Judge the counts of all routes that the harness asked, and each histogram by itself."""
    findings: list[Finding] = []
    for life in lives(scraped):
        findings += _writes(scraped, life)
        findings += _controls(scraped, life)
        findings += _durations(scraped, life)
    return [*findings, *_adding_up(scraped)]


def _count(scrape: Scrape, part: str, route: str, status: int) -> float:
    """The histogram's count or sum for a route, whatever a service puts before its path: ``POST /path``."""
    return sum(
        value
        for labels, value in scrape.each(f"{REQUESTS}_{part}")
        if labels.get("status") == str(status) and (labels.get("route", "").split() or [""])[-1].rstrip("/") == route
    )


def _growth(life: Life, part: str, route: str, status: int) -> float:
    return _count(life.last, part, route, status) - _count(life.first, part, route, status)


def _status(status: int) -> Callable[[Operation], bool]:
    # The items of a batch share a request on a route of its own.
    return lambda op: op.status == status and not op.batch


def _writes(scraped: Scraped, life: Life) -> Iterator[Finding]:
    """Requests to write, by status, are those that the client saw answered so.

    Honest: requests that nobody heard answered may count as anything, and trial writes of the harness count, too.
    """
    run = scraped.run
    probes = sum(int(note.text) for note in run.of_kind(ev.Note) if note.topic == PROBE_WRITES and note.text.isdigit())
    for status in sorted({op.status for op, _ in run.weighed if op.status and not op.batch}):
        known = life.between(_status(status))
        grown = _growth(life, "count", EVENTS_ROUTE, status)
        most = known.at_most + life.unanswered + probes if status in _ONLY_WRITES else math.inf
        if not known.surely <= grown <= most:
            allowed = f"at least {known.surely}" if math.isinf(most) else f"{known.surely} to {most:g}"
            said = f"{REQUESTS}_count of {EVENTS_ROUTE} with {status} grew by {grown:g}; the answers allow {allowed}."
            yield Finding(Promise.TRUTH, said, life.named(_status(status)), life.last.t)


def _controls(scraped: Scraped, life: Life) -> Iterator[Finding]:
    """The harness's own questions are counted at least; somebody else may have asked as well."""
    run = scraped.run
    ready = run.of_kind(ev.ReadySample)
    asked: list[tuple[str, int, float, float]] = []
    for index, sample in enumerate(ready):
        after = ready[index + 1].t if index + 1 < len(ready) else run.end
        asked.append((READY_ROUTE, sample.status, sample.t, sample.t + sample.seconds if sample.seconds else after))
    asked += [(QUEUE_ROUTE, 200, one.sample.t, one.end) for one in answers(run)]
    asked += [(METRICS_ROUTE, 200, scrape.t, scrape.end) for scrape in scraped.scrapes]
    begin, end = life.first.end + SCRAPE_SLACK_SECONDS, life.last.t - SCRAPE_SLACK_SECONDS
    least: dict[tuple[str, int], int] = {}
    for route, status, start, done in asked:
        if status and start >= begin and done <= end:
            least[route, status] = least.get((route, status), 0) + 1
    for (route, status), count in least.items():
        grown = _growth(life, "count", route, status)
        if grown < count:
            said = f"{REQUESTS}_count of {route} with {status} grew by {grown:g}, but {count} were answered."
            yield Finding(Promise.TRUTH, said, (), life.last.t)


def _durations(scraped: Scraped, life: Life) -> Iterator[Finding]:
    """Requests to write took no longer, together, than the client waited for them.

    Honest: a starved machine that hands on an answer before it looks at the clock; requests that nobody heard answered
    may have taken any time, so nothing is said beside them.
    """
    if life.unanswered:
        return
    for status in _ONLY_WRITES:
        known, waited = life.between(_status(status)), life.waited(_status(status))
        grown = _growth(life, "sum", EVENTS_ROUTE, status)
        slack = CLIENT_SLACK_SECONDS * (known.at_most + 1)
        if known.at_most and _growth(life, "count", EVENTS_ROUTE, status) <= known.at_most and grown > waited + slack:
            said = (
                f"{REQUESTS}_sum of {EVENTS_ROUTE} with {status} grew by {grown:.1f} s; clients waited {waited:.1f} s."
            )
            yield Finding(Promise.TRUTH, said, life.named(_status(status))[:1], life.last.t)


def _adding_up(scraped: Scraped) -> Iterator[Finding]:
    """Each request histogram has rising buckets whose last is its count, and, at the end, a sum that they allow."""
    broken: dict[str, float] = {}
    for scrape in scraped.scrapes:
        for said in (
            *histogram_faults(scrape, REQUESTS),
            *(sum_faults(scrape, REQUESTS) if scrape is scraped.scrapes[-1] else ()),
        ):
            broken.setdefault(said, scrape.t)
    for said, t in broken.items():
        yield Finding(Promise.TRUTH, f"{said}.", (), t)
