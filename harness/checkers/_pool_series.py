"""The pool's series: sizes among themselves and against ``pg_stat_activity``, acquisitions, broken connections."""

from __future__ import annotations

import bisect
from collections.abc import Iterator

from .. import events as ev
from ..blast import Edge, ServiceState, Write
from ..checking import Finding
from ..oracle import QUEUED, UNAVAILABLE
from ..rundata import FaultWindow, Run, is_created
from ..values import Promise
from ._common import SCRAPE_SLACK_SECONDS, Calm, event_ids, life_of, recovery_edge
from ._counted import Life, lives
from ._scraped import Scraped
from ._series import Scrape

OPEN = "datastorage_db_connections_open"
IN_USE = "datastorage_db_connections_in_use"
IDLE = "datastorage_db_connections_idle"
MAX_OPEN = "datastorage_db_max_open_connections"
WAIT = "datastorage_db_connection_wait_duration_seconds"
ERRORS = "datastorage_db_connection_errors_total"
NEAR_SECONDS = 1.0
"""Samples of connections this near a scrape are held against it."""
PASSING_CONNECTIONS = 2
"""So many may just be opened or closed: one side knows of them and the other not yet."""
LASTING_SCRAPES = 4
"""A difference counts from so many scrapes running."""
BACKGROUND_JOBS = 8
"""Connections that maintenance, probes and drains may hold at a time, beside those of requests."""
GONE_SAMPLES = 3
"""So many samples without any connection of the service are no moment between two."""
_REFUSED = ("08001", "08006")
"""What the harness's own insert gets while nobody listens."""


def sizes(scraped: Scraped, scrape: Scrape) -> Iterator[tuple[Promise, str]]:
    """Open is in use plus idle, and never more than the maximum that the target declares."""
    limit = scraped.run.limits.db_pool_max
    is_open, in_use, idle, most = (scrape.get(name) for name in (OPEN, IN_USE, IDLE, MAX_OPEN))
    if most is not None and most != limit:
        promise = Promise.BOUNDS if most > limit else Promise.TRUTH
        yield promise, f"{MAX_OPEN} is {most:g}, but the pool's maximum is {limit}"
    if is_open is not None and in_use is not None and idle is not None and is_open != in_use + idle:
        yield Promise.TRUTH, f"open connections {is_open:g} are not in use {in_use:g} plus idle {idle:g}"
    for name, value in ((OPEN, is_open), (IN_USE, in_use)):
        if value is not None and value > limit:
            yield Promise.BOUNDS, f"{name} is {value:g}, more than the maximum of {limit}"


def pool_findings(scraped: Scraped) -> list[Finding]:
    """Judge the pool's series against what else was seen."""
    return [
        *_against_backends(scraped),
        *_against_requests(scraped),
        *[finding for life in lives(scraped) for finding in _acquisitions(life)],
        *_errors_in_peace(scraped),
        *_errors_when_cut(scraped),
    ]


def _cuts(window: FaultWindow) -> bool:
    """Tell whether a fault may make and break connections, or let them outlive their clients."""
    radius = window.radius
    sudden = radius.edge in (Edge.RESTART, Edge.FLAPPING)
    return radius.outlives_clients or sudden or radius.whole_database or radius.service is not ServiceState.UP


def _cut_about(run: Run, t: float) -> bool:
    return any(
        _cuts(window) and window.injecting - NEAR_SECONDS <= t <= recovery_edge(window, run) + NEAR_SECONDS
        for window in run.windows
    )


def _against_backends(scraped: Scraped) -> Iterator[Finding]:
    """Open connections are those that the database lists, and the sockets that the process holds.

    Honest: a connection that is just being opened or closed; faults that cut connections or let them outlive their
    clients, to the end of the recovery; several processes with one role, whose own sockets then tell.
    """
    samples = scraped.run.of_kind(ev.ConnectionSample)
    times = [sample.t for sample in samples]
    row: list[tuple[Scrape, float, int]] = []
    for scrape in scraped.scrapes:
        value = scrape.get(OPEN)
        begin = bisect.bisect_left(times, scrape.t - NEAR_SECONDS)
        near = samples[begin : bisect.bisect_right(times, scrape.end + NEAR_SECONDS)]
        backends = [sample.backends for sample in near if sample.backends >= 0]
        sockets = [sample.sockets for sample in near if sample.sockets >= 0]
        row = [] if value is None or _cut_about(scraped.run, scrape.t) else row
        if value is None or len(backends) < GONE_SAMPLES or _cut_about(scraped.run, scrape.t):
            continue
        least = min(backends) if not sockets else min(*backends, *sockets)
        if value > max(backends) + PASSING_CONNECTIONS or value < least - PASSING_CONNECTIONS:
            row.append((scrape, value, max(backends) if value > max(backends) else least))
        else:
            row = []
        if len(row) == LASTING_SCRAPES:
            first, shown, seen = row[0]
            said = (
                f"{OPEN} is {shown:g} in {LASTING_SCRAPES} scrapes running, but the database lists {seen} connections."
            )
            yield Finding(Promise.TRUTH, said, (), first.t)
            return


def _against_requests(scraped: Scraped) -> Iterator[Finding]:
    """No more connections are in use than requests and background jobs can hold.

    Honest: a request that nobody waits for any more, which may go on to its deadline; a query that reads every month
    on a connection of its own; whatever hangs about a fault or while a write stalls.
    """
    run = scraped.run
    spans = [(scrape.t - SCRAPE_SLACK_SECONDS, scrape.end + SCRAPE_SLACK_SECONDS) for scrape in scraped.scrapes]
    queries, months = run.of_kind(ev.QuerySample), months_of_query(run)
    for scrape, span, at_once in zip(scraped.scrapes, spans, scraped.at_once(spans), strict=True):
        value = scrape.get(IN_USE)
        if value is None or value <= at_once + BACKGROUND_JOBS:
            continue
        reading = sum(1 for query in queries if query.t <= span[1] and _read_until(run, query) >= span[0])
        most = at_once + BACKGROUND_JOBS + reading * months
        if value <= most or any(scraped.disturbed(month, scrape.t) for month in run.months):
            continue
        if not any(scraped.write_stalled(month, scrape.t) for month in run.months):
            said = f"{IN_USE} is {value:g} while requests and background jobs can hold {most} at most."
            yield Finding(Promise.TRUTH, said, (), scrape.t)
            return


def months_of_query(run: Run) -> int:
    """How many connections one query may hold, if it reads every month on one of its own."""
    return max(len(run.of_kind(ev.PartitionRow)), len(run.months))


def _read_until(run: Run, query: ev.QuerySample) -> float:
    """When a query was over; one that was not answered may have gone on to its deadline."""
    return query.t + query.seconds + (0.0 if query.status else run.limits.request_deadline_seconds)


def _acquisitions(life: Life) -> Iterator[Finding]:
    """Acquisitions grow at least by the direct writes of the busiest writer, whose requests follow each other.

    Honest: requests of several writers that share one acquisition, and one statement.
    """
    grown = (life.last.get(f"{WAIT}_count") or 0.0) - (life.first.get(f"{WAIT}_count") or 0.0)
    begin, end = life.first.end + SCRAPE_SLACK_SECONDS, life.last.t - SCRAPE_SLACK_SECONDS
    busiest = life.scraped.run.busiest_writer(begin, end)
    if busiest is None:
        return
    writer, most = busiest
    if grown < most:
        said = f"{WAIT}_count grew by {grown:g}, but one writer alone had {most} events stored, one after the other."
        # The items of a batch may share one acquisition.
        written = (
            op
            for op in life.scraped.run.under_way(begin, end)
            if op.writer == writer and is_created(op) and not op.batch and op.invoked >= begin and op.completed <= end
        )
        yield Finding(Promise.TRUTH, said, event_ids(written), life.last.t)


def _errors_in_peace(scraped: Scraped) -> Iterator[Finding]:
    """Before the first fault no connection breaks and no connect fails.

    Honest: afterwards, since a pool may find a broken connection long after it was cut; a database that stalls.
    """
    run = scraped.run
    until = min((window.injecting for window in run.windows), default=float("inf"))
    life = [scrape for scrape in scraped.scrapes if scrape.end < until - SCRAPE_SLACK_SECONDS]
    life = [scrape for scrape in life if life_of(scraped.boundaries, scrape.t) == 0]
    if len(life) < 2:
        return
    grown = (life[-1].get(ERRORS) or 0.0) - (life[0].get(ERRORS) or 0.0)
    # The connection that was given up when a time-out ran out may count at any moment between the two scrapes.
    stalled = any(scraped.canary.around(month, life[0].t, life[-1].t) is Calm.STALLED for month in run.months)
    if grown > 0 and not stalled:
        said = f"{ERRORS} grew by {grown:g} before any fault."
        yield Finding(Promise.TRUTH, said, (), life[-1].t)


def _errors_when_cut(scraped: Scraped) -> Iterator[Finding]:
    """A service whose connections are gone, and that is asked to write, has found one broken or failed to connect.

    Honest: connections that hang and live; a fault during which nobody wrote; a process that began meanwhile.
    """
    run = scraped.run
    for window in run.windows:
        if window.radius.write is not Write.NO or not window.radius.whole_database or not _gone(run, window):
            continue
        confirmed, healing = window.confirmed or 0.0, window.healing or run.end
        asked = [
            op
            for op in run.seen
            if confirmed < op.invoked and op.completed < healing and op.status in (QUEUED, UNAVAILABLE)
        ]
        before = [scrape for scrape in scraped.scrapes if scrape.end < window.injecting - SCRAPE_SLACK_SECONDS]
        after = [scrape for scrape in scraped.scrapes if healing < scrape.t]
        if not asked or not before or not after:
            continue
        first, last = before[-1], after[0]
        one_life = life_of(scraped.boundaries, first.t) == life_of(scraped.boundaries, last.t)
        if one_life and (last.get(ERRORS) or 0.0) <= (first.get(ERRORS) or 0.0):
            said = f"{ERRORS} did not grow although {window.name} cut every connection and events came."
            yield Finding(Promise.TRUTH, said, event_ids(asked), last.t)


def _gone(run: Run, window: FaultWindow) -> bool:
    """Tell whether the database showed no connection of the service, or did not even let the harness connect."""
    if window.confirmed is None or window.radius.service is not ServiceState.UP:
        return False
    start, end = window.confirmed, window.healing if window.healing is not None else run.end
    none_left = sum(1 for sample in run.of_kind(ev.ConnectionSample) if start < sample.t < end and sample.backends == 0)
    refused = [
        sample.t for sample in run.of_kind(ev.CanarySample) if start < sample.t < end and sample.sqlstate in _REFUSED
    ]
    return none_left >= GONE_SAMPLES or len(refused) >= GONE_SAMPLES
