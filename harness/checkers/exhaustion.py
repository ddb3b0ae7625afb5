"""The pool was really exhausted, and every event was created nevertheless (promises 2, 8 and 9)."""

from __future__ import annotations

from collections.abc import Iterator

from .. import events as ev
from ..checking import CHECKERS, CheckResult, Finding
from ..rundata import Run
from ..values import Promise
from ._common import Calm, Canary, event_ids, nothing_sent
from ._scraped import Scraped
from ._series import Scrape
from .metrics import IN_USE, WAIT

NAME = "exhaustion"
TIMEOUT_MARGIN = 1.25
"""A wait that times out ends a little after its time-out; a bucket from here on shows that it was not bounded."""


@CHECKERS.register(NAME)
def exhaustion(run: Run) -> CheckResult:
    """Prove the exhaustion by gauge, wait histogram and backends; without proof the run says nothing."""
    empty = nothing_sent(NAME, run)
    if empty is not None:
        return empty
    scraped = Scraped(run)
    limit = run.limits.db_pool_max
    in_use = max((scrape.get(IN_USE) or 0.0 for scrape in scraped.scrapes), default=0.0)
    backends = max((sample.backends for sample in run.of_kind(ev.ConnectionSample)), default=-1)
    waited, too_long = _waits(scraped.scrapes, run.limits.acquire_timeout_seconds)
    unknowns = [
        reason
        for reached, reason in (
            (in_use >= limit, f"In-use connections reached {in_use:g} of {limit}: the pool was not exhausted."),
            (backends >= limit, f"pg_stat_activity showed {backends} of {limit} connections: the pool was not full."),
            (waited > 0, "No acquisition waited longer than the smallest bucket: nobody queued for a connection."),
        )
        if not reached
    ]
    findings = list(_answers(run, unknowns))
    if backends > limit:
        findings.append(Finding(Promise.BOUNDS, f"{backends} connections, more than the pool's maximum of {limit}."))
    if too_long > 0:
        bound = run.limits.acquire_timeout_seconds
        findings.append(
            Finding(Promise.BOUNDS, f"{too_long:g} waits were longer than the acquire time-out of {bound:g} s.")
        )
    if not unknowns:
        findings += _lines(run, unknowns)
    facts = {"max_in_use": in_use, "max_backends": float(backends), "waits": waited}
    return CheckResult(NAME, tuple(findings), tuple(unknowns), facts=facts)


def _waits(scrapes: list[Scrape], timeout_seconds: float) -> tuple[float, float]:
    """How many acquisitions waited at all, and how many longer than the time-out, over the whole run."""
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
    canary = Canary(run)
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


def _lines(run: Run, unknowns: list[str]) -> Iterator[Finding]:
    limit = run.limits.db_pool_max
    messages = {line.message for line in run.of_kind(ev.LogLine)}
    if not messages:
        unknowns.append("The log lines of the service were not read, so its words about the pool were not judged.")
        return
    wanted = (f"Connection pool exhausted ({limit}/{limit} in use)", "Request queued, waiting for available connection")
    for message in wanted:
        if message not in messages:
            yield Finding(Promise.TRUTH, f"No line {message!r} although the pool was exhausted.")
