"""The pool was really exhausted, and every event was created nevertheless (promises 2, 8 and 9)."""

from __future__ import annotations

from collections.abc import Iterator

from .. import events as ev
from ..checking import CHECKERS, CheckResult, Finding
from ..rundata import Run
from ..values import Promise
from ._common import LOG_SLACK_SECONDS, Calm, Canary, event_ids, nothing_sent, shared
from ._pool_series import IN_USE, WAIT
from ._scraped import Scraped
from ._series import Scrape

NAME = "exhaustion"
MIN_SCRAPES = 6
"""Fewer scrapes while the fault was on do not show a state of the pool, but moments of it."""
TIMEOUT_MARGIN = 1.25
"""A wait that times out ends a little after its time-out; a bucket from here on shows that it was not bounded."""


@CHECKERS.register(NAME)
def exhaustion(run: Run) -> CheckResult:
    """Prove the exhaustion, while the fault was on, by gauge, waits and backends; unproved, the run says nothing."""
    empty = nothing_sent(NAME, run)
    if empty is not None:
        return empty
    if not run.reads.metrics:
        return CheckResult(NAME, not_checked="metrics")
    scraped = shared(run, Scraped)
    limit = run.limits.db_pool_max
    spans = _during(run)
    scrapes = [scrape for scrape in scraped.scrapes if _inside(spans, scrape.t, scrape.end)]
    in_use = max((scrape.get(IN_USE) or 0.0 for scrape in scrapes), default=0.0)
    samples = [sample.backends for sample in run.of_kind(ev.ConnectionSample) if _inside(spans, sample.t, sample.t)]
    backends = max(samples, default=-1)
    waited, _ = _waits(scrapes, run.limits.acquire_timeout_seconds)
    _, too_long = _waits(scraped.scrapes, run.limits.acquire_timeout_seconds)
    few = f"Only {len(scrapes)} scrapes show the time between confirmation and heal; {MIN_SCRAPES} are needed."
    unknowns = [
        reason
        for reached, reason in (
            (len(scrapes) >= MIN_SCRAPES, few),
            (in_use >= limit, f"In-use connections reached {in_use:g} of {limit}: the pool was not exhausted."),
            (
                backends >= limit or not run.reads.sql,
                f"pg_stat_activity showed {backends} of {limit} connections: the pool was not full.",
            ),
            (waited > 0, "No acquisition waited longer than the smallest bucket: nobody queued for a connection."),
        )
        if not reached
    ]
    findings = list(_answers(run, unknowns))
    if too_long > 0:
        bound = run.limits.acquire_timeout_seconds
        findings.append(
            Finding(Promise.BOUNDS, f"{too_long:g} waits were longer than the acquire time-out of {bound:g} s.")
        )
    if not unknowns and run.reads.logs:
        findings += _lines(run, spans, unknowns)
    facts = {"max_in_use": in_use, "max_backends": float(backends), "waits": waited, "scrapes": float(len(scrapes))}
    return CheckResult(NAME, tuple(findings), tuple(unknowns), facts=facts)


def _during(run: Run) -> list[tuple[float, float]]:
    """The times in which a confirmed fault was on: what happened elsewhere proves nothing about it."""
    return [
        (window.confirmed, window.healing if window.healing is not None else run.end)
        for window in run.windows
        if window.confirmed is not None
    ]


def _inside(spans: list[tuple[float, float]], start: float, end: float) -> bool:
    return any(first <= start and end <= last for first, last in spans)


def _waits(scrapes: list[Scrape], timeout_seconds: float) -> tuple[float, float]:
    """How many acquisitions waited at all, and how many longer than the time-out, from first to last scrape."""
    if not scrapes:
        return 0.0, 0.0
    last, first = _above(scrapes[-1], timeout_seconds), _above(scrapes[0], timeout_seconds)
    return max(0.0, last[0] - first[0]), max(0.0, last[1] - first[1])


def _above(scrape: Scrape, timeout_seconds: float) -> tuple[float, float]:
    count = scrape.get(f"{WAIT}_count") or 0.0
    buckets = sorted((float(labels.get("le", "inf")), value) for labels, value in scrape.each(f"{WAIT}_bucket"))
    if not buckets:
        return 0.0, 0.0
    bound = next(value for le, value in [*buckets, (float("inf"), count)] if le >= timeout_seconds * TIMEOUT_MARGIN)
    return count - buckets[0][1], count - bound


def _answers(run: Run, unknowns: list[str]) -> Iterator[Finding]:
    """An exhausted pool makes writers wait; it queues or refuses nobody."""
    canary = shared(run, Canary)
    wrong = [op for op in run.operations if op.kind is ev.OpKind.WRITE and op.status != 201]
    stalled = [op for op in wrong if canary.around(op.month, op.invoked, op.completed) is Calm.STALLED]
    if stalled:
        unknowns.append(f"{len(stalled)} events were not created while the canary's own inserts stalled.")
    for status in sorted({op.status for op in wrong}):
        found = [op for op in wrong if op.status == status and op not in stalled]
        if found:
            promise = Promise.BOUNDS if status == 0 else Promise.HONEST_STATUS
            said = f"{len(found)} events got {status or 'no answer'} instead of 201 while the pool was exhausted."
            yield Finding(promise, said, event_ids(found), found[0].invoked)


def _lines(run: Run, spans: list[tuple[float, float]], unknowns: list[str]) -> Iterator[Finding]:
    limit = run.limits.db_pool_max
    lines = run.of_kind(ev.LogLine)
    slack = LOG_SLACK_SECONDS
    # A line's mapped time may be off by the slack, so it has only to touch the span.
    messages = {line.message for line in lines if _inside(spans, line.t + slack, line.t - slack)}
    if not lines:
        unknowns.append("The log lines of the service were not read, so its words about the pool were not judged.")
        return
    wanted = (f"Connection pool exhausted ({limit}/{limit} in use)", "Request queued, waiting for available connection")
    for message in wanted:
        if message not in messages:
            yield Finding(Promise.TRUTH, f"No line {message!r} although the pool was exhausted.")
