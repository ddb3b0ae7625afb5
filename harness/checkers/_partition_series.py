"""The S4 series: status, last write and write failures of each month, against faults and answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .. import events as ev
from ..blast import Edge, Write
from ..checking import Finding, Needs
from ..oracle import CONFLICT, CREATED, NO_ANSWER, QUEUED, REJECTED
from ..rundata import FaultWindow, Operation, Run
from ..values import Month, Promise
from ._common import SCRAPE_SLACK_SECONDS, covering, event_ids, recovery_edge
from ._counted import lives
from ._last_write import LAST_WRITE, last_write_faults, last_write_findings
from ._noticed import NOTICE_SLACK_SECONDS, STATES, STATUS, healthy, noticed, noticing_times
from ._queue_series import DEPTH, DRAIN_FAILURES, DRAINED
from ._scraped import Scraped
from ._series import Scrape

FAILURES = "datastorage_partition_write_failures_total"
_OF_EACH = (FAILURES, DEPTH, DRAINED, DRAIN_FAILURES)
"""Series of each known month; its status and its last write are looked at more closely."""
_LOOP_MAY_NOTICE = ("detach", "drop", "prevent")
"""Faults of these names the maintenance loop can see in the catalog before any live write fails."""


def partition_findings(scraped: Scraped) -> tuple[list[Finding], list[str]]:
    """Judge the series of every month that was written."""
    findings: list[Finding] = []
    unknowns: list[str] = []
    for month in scraped.run.months:
        findings += _series(scraped, month)
        noticed(scraped, month, findings, unknowns)
        _healthy_in_peace(scraped, month, findings, unknowns)
        _recovered(scraped, month, findings, unknowns)
        findings += _failures(scraped, month)
    findings += _failures_of_nobody(scraped)
    findings += [*_one_status(scraped), *_attached(scraped), *last_write_findings(scraped), *_depth(scraped)]
    return findings, unknowns


def needs(scraped: Scraped) -> Needs:
    """What these rules need of a condensed run."""
    windows, slack = scraped.run.windows, SCRAPE_SLACK_SECONDS
    marks = [mark for one in windows for mark in (one.injecting, one.confirmed, one.healing) if mark is not None]
    return Needs(
        cuts=(*marks, *noticing_times(scraped)),
        moments=tuple(scrape.t - slack for scrape in scraped.scrapes),
        asked=tuple(scrape.end + slack for scrape in scraped.scrapes),
    )


def _series(scraped: Scraped, month: Month) -> Iterator[Finding]:
    """From a month's first direct write on its series exist, one status is 1, and its last write is known."""
    seen: dict[str, tuple[float, Operation]] = {}
    for scrape in scraped.scrapes:
        written = scraped.created_before(month, scrape.t)
        if written is None:
            continue
        for said in (*_status_faults(scrape, month), *last_write_faults(scraped, scrape, month, written)):
            seen.setdefault(said, (scrape.t, written))
        for name in _OF_EACH:
            if scrape.get(name, partition=month.label) is None:
                seen.setdefault(f"series {name} is missing for {month}", (scrape.t, written))
    for said, (t, written) in seen.items():
        yield Finding(Promise.TRUTH, f"{said[0].upper()}{said[1:]}.", (written.event_id,), t)


def _status_faults(scrape: Scrape, month: Month) -> Iterator[str]:
    values = [scrape.get(STATUS, partition=month.label, status=state) for state in STATES]
    if None in values:
        missing = ", ".join(state for state, value in zip(STATES, values, strict=True) if value is None)
        yield f"series {STATUS} is missing for {month} ({missing})"
    elif sorted(value or 0.0 for value in values) != [0.0, 0.0, 1.0]:
        shown = ", ".join(f"{state} {value:g}" for state, value in zip(STATES, values, strict=True) if value)
        yield f"not exactly one status of {month} is 1 ({shown or 'all are 0'})"


def _one_status(scraped: Scraped) -> Iterator[Finding]:
    """Of every partition that is shown, whoever writes into it, exactly one known status is 1."""
    wrong: dict[str, tuple[float, str]] = {}
    for scrape in scraped.scrapes:
        shown: dict[str, list[tuple[str, float]]] = {}
        for labels, value in scrape.each(STATUS):
            shown.setdefault(labels.get("partition", ""), []).append((labels.get("status", ""), value))
        for label, states in shown.items():
            odd = sorted(value for _, value in states) != [0.0, 0.0, 1.0] or {state for state, _ in states} != {*STATES}
            if odd and label not in {month.label for month in scraped.run.months}:
                said = ", ".join(f"{state} {value:g}" for state, value in sorted(states))
                wrong.setdefault(label, (scrape.t, said))
    for label, (t, said) in wrong.items():
        yield Finding(Promise.TRUTH, f"Not exactly one status of {label} is 1: {said}.", (), t)


def _attached(scraped: Scraped) -> Iterator[Finding]:
    """The last scrape shows every partition that the catalog has, written or not: missing is not zero.

    Honest: one that a fault, whose recovery is not over, has only just given back.
    """
    run, last = scraped.run, scraped.scrapes[-1]
    edges = [recovery_edge(window, run) for window in run.windows]
    looked = run.limits.partition_check_seconds + NOTICE_SLACK_SECONDS
    if run.final is None or last.t < run.final.t or any(last.t < edge + looked for edge in edges):
        return
    for label in sorted({row.month for row in run.of_kind(ev.PartitionRow) if row.month}):
        names = (*_OF_EACH, LAST_WRITE)
        missing = [name for name in names if last.get(name, partition=label) is None]
        missing += [STATUS] if last.get(STATUS, partition=label, status="healthy") is None else []
        if missing:
            said = f"At the end series are missing for {label}, whose partition is attached: {', '.join(missing)}."
            yield Finding(Promise.TRUTH, said, (), last.t)


def _healthy_in_peace(scraped: Scraped, month: Month, findings: list[Finding], unknowns: list[str]) -> None:
    """Away from faults and their edges a month that was written is healthy."""
    wrong: list[float] = []
    stalled: list[float] = []
    created: dict[str, None] = {}
    for scrape in scraped.scrapes:
        written = scraped.created_before(month, scrape.t)
        if written is None or healthy(scrape, month) is not False or scraped.disturbed(month, scrape.t):
            continue
        # Degraded says that some writes stall, and the client saw one that did: a starved machine is one reason.  How
        # long a service calls the month so afterwards is its choice, within the time that recovery may take.
        degraded = scrape.get(STATUS, partition=month.label, status="degraded") == 1
        if degraded and scraped.stalled_lately(month, scrape.t):
            continue
        (stalled if scraped.stalled(month, scrape.t) else wrong).append(scrape.t)
        if wrong[-1:] == [scrape.t]:
            created[written.event_id] = None
    if wrong:
        said = f"{month} is not shown healthy in {len(wrong)} scrapes although no fault, nor an edge of one, is near."
        findings.append(Finding(Promise.TRUTH, said, tuple(created), wrong[0]))
    if stalled:
        unknowns.append(f"{month} was not shown healthy in {len(stalled)} scrapes, but the canary stalled as well.")


def _recovered(scraped: Scraped, month: Month, findings: list[Finding], unknowns: list[str]) -> None:
    """The last scrape after the repair shows the month healthy again."""
    run = scraped.run
    windows = covering(run, month)
    if not windows or any(window.probed is None for window in windows):
        return
    last = scraped.scrapes[-1]
    accepted = [op for op in run.seen_in(month) if op.acknowledged]
    if healthy(last, month) is not False or not accepted:
        return
    edge = max(recovery_edge(window, run) for window in windows)
    if last.t <= edge + SCRAPE_SLACK_SECONDS:
        unknowns.append(f"The last scrape shows {month} not healthy, but lies before the end of its recovery time.")
    elif scraped.created_before(month, last.t) is None and not scraped.stalled(month, last.t):
        said = f"{month} is still not shown healthy {last.t - edge:.1f} s after its recovery time."
        findings.append(Finding(Promise.TRUTH, said, event_ids(accepted[-1:]), last.t))


def _failures(scraped: Scraped, month: Month) -> Iterator[Finding]:
    """Write failures grow only by events that were not simply created, and grow when live writes met the fault.

    Honest: re-sends and conflicts of a covered month, which may have been tried before the queue told their state.
    What was sent into an outage of the whole database failed for no partition's fault.
    """
    run = scraped.run
    windows = covering(run, month)
    outages = [(w.confirmed, w.healing) for w in run.windows if w.confirmed is not None and _takes_the_database(w)]
    for life in lives(scraped):
        value = life.last.get(FAILURES, partition=month.label)
        grown = (value or 0.0) - (life.first.get(FAILURES, partition=month.label) or 0.0)

        def failing(op: Operation) -> bool:
            lost = any(since < op.invoked and op.completed < (until or run.end) for since, until in outages)
            return op.month == month and not lost and _may_have_failed(op, bool(windows))

        failed = life.between(failing)
        if grown > failed.at_most:
            where = "a month that no fault covered" if not windows else "covered months"
            said = f"{FAILURES} of {month} grew by {grown:g}, at most {failed.at_most} can have failed ({where})."
            yield Finding(Promise.TRUTH, said, life.named(failing), life.last.t)
        if value is not None and grown == 0 and not scraped.restarted and windows:
            yield from _unnoticed(scraped, month, windows[0])


def _takes_the_database(window: FaultWindow) -> bool:
    """Tell whether nobody reaches the database: neither a write nor a read of any month."""
    radius = window.radius
    return radius.whole_database and radius.write is Write.NO and not radius.read and radius.dates is None


def _failures_of_nobody(scraped: Scraped) -> Iterator[Finding]:
    """A month that nobody wrote into has no failed write."""
    written = {month.label for month in scraped.run.months}
    for life in lives(scraped):
        for labels, value in life.last.each(FAILURES):
            label = labels.get("partition", "")
            grown = value - (life.first.get(FAILURES, partition=label) or 0.0)
            if label not in written and grown > 0:
                said = f"{FAILURES} of {label} grew by {grown:g}, although no event of that month was sent."
                yield Finding(Promise.TRUTH, said, (), life.last.t)


def _unnoticed(scraped: Scraped, month: Month, window: FaultWindow) -> Iterator[Finding]:
    """Events that met a fault which only a failed live write can tell must have been counted."""
    met = _met(scraped.run, window, scraped.run.seen_in(month))
    before = scraped.scrapes[0].t < window.injecting
    if met and before and scraped.scrapes[-1].t > met[0].completed + SCRAPE_SLACK_SECONDS:
        said = f"{FAILURES} of {month} did not grow although live writes met {window.name}."
        yield Finding(Promise.TRUTH, said, event_ids(met), met[0].completed)


def _may_have_failed(operation: Operation, covered: bool) -> bool:
    if operation.kind in (ev.OpKind.RESEND, ev.OpKind.CONFLICT) and covered:
        return True
    return operation.status not in (CREATED, REJECTED, CONFLICT) or operation.status == NO_ANSWER


def _met(run: Run, window: FaultWindow, operations: Sequence[Operation]) -> list[Operation]:
    """Events queued while the first fault of the month was on, where only a failed live write could tell."""
    noticed_otherwise = any(name in window.name for name in _LOOP_MAY_NOTICE) or "23514" in window.evidence
    # A restart of the database opens breakers, whose probes then meet the damage before any event does.
    restarted = window.radius.edge is Edge.RESTART
    narrow = window.radius.write is Write.NO and not window.radius.whole_database and not restarted
    if noticed_otherwise or not narrow or window.confirmed is None or len(run.windows) > 1:
        return []
    healing = window.healing if window.healing is not None else run.end
    return [
        operation
        for operation in operations
        if operation.status == QUEUED
        and operation.kind is ev.OpKind.WRITE
        and window.radius.covers(operation.event_date)
        and window.confirmed < operation.invoked
        and operation.completed < healing
    ]


def _depth(scraped: Scraped) -> Iterator[Finding]:
    """Once the queue was seen empty and nothing was queued since, the depth series sum to 0."""
    last = scraped.scrapes[-1]
    shown = last.total(DEPTH)
    empty = [sample.t for sample in scraped.run.of_kind(ev.DlqSample) if sample.depth == 0]
    queued = [op.invoked for op in scraped.run.seen if op.status in (QUEUED, NO_ANSWER)]
    queued += [op.completed for op in scraped.run.seen if op.status in (QUEUED, NO_ANSWER)]
    settled = max(queued, default=0.0)
    seen_empty = any(settled < t <= last.t - SCRAPE_SLACK_SECONDS for t in empty)
    if seen_empty and shown:
        yield Finding(Promise.TRUTH, f"{DEPTH} sums to {shown:g} although the queue is empty.", (), last.t)
