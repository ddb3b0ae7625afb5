"""The status series of a month that takes no write: soon not healthy, and at some moment unavailable."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from .. import events as ev
from ..blast import Write
from ..checking import Finding
from ..oracle import QUEUED, UNAVAILABLE
from ..rundata import FaultWindow, Operation
from ..values import Month, Promise
from ._common import event_ids, life_of, reaches
from ._scraped import Scraped
from ._series import Scrape

STATUS = "datastorage_partition_status"
STATES = ("healthy", "degraded", "unavailable")
OPENING_ANSWERS = 5
"""The breaker of a month is open from its fifth event that was turned away on."""
SHOWN_SECONDS = 0.5
"""Within this an open breaker shows in the status."""
NOTICE_SLACK_SECONDS = 1.5
"""What the maintenance loop may take beyond its interval."""
_MAY_STAY_DEGRADED = "lock"
"""In the names of faults that make writes stall, which the contract lets a service call degraded."""


def healthy(scrape: Scrape, month: Month) -> bool | None:
    """Tell whether the month is shown healthy; None when its status is not shown."""
    value = scrape.get(STATUS, partition=month.label, status="healthy")
    return None if value is None else value == 1


def noticed(scraped: Scraped, month: Month, findings: list[Finding], unknowns: list[str]) -> None:
    """Judge the month under each fault that stops its writes, but not the whole database's.

    A fault that comes again and again, and not always for long enough, has to be seen once.
    """
    doubts: dict[str, list[str]] = {}
    for window in scraped.run.windows:
        narrow = window.radius.write is Write.NO and not window.radius.whole_database
        if narrow and window.confirmed is not None and reaches(window, month):
            doubt: list[str] = []
            _under(scraped, window, month, findings, doubt)
            doubts.setdefault(window.name, []).append("".join(doubt))
    unknowns += [said[0] for said in doubts.values() if all(said)]


def _under(scraped: Scraped, window: FaultWindow, month: Month, findings: list[Finding], unknowns: list[str]) -> None:
    writes = _writes(scraped, window, scraped.run.seen_in(month))
    healing = _healing(scraped, window)
    within = [scrape for scrape in scraped.scrapes if window.injecting <= scrape.t and scrape.end < healing]
    if not writes or (within and all(scraped.whole_database_ill(scrape.t) for scrape in within)):
        return
    judged = [scrape for scrape in within if _due(scraped, window, month, scrape)]
    if not judged and window.radius.dates is None:
        said = f"No scrape shows {month} between the moment when {window.name} must have been noticed and its heal"
        unknowns.append(f"{said}, so its status under the fault was not judged.")
    wrong = [scrape for scrape in judged if healthy(scrape, month)]
    if wrong:
        after = wrong[0].t - (window.confirmed or 0.0)
        said = f"{month} is shown healthy {after:.1f} s after {window.name} was confirmed."
        findings.append(Finding(Promise.TRUTH, said, _named(scraped, window, month), wrong[0].t))
    shown = [value for scrape in within if (value := _unavailable(scrape, month)) is not None]
    stalls = _MAY_STAY_DEGRADED in window.name or window.radius.dates is not None
    if judged and shown and not any(shown) and not stalls and not wrong:
        said = f"{month} is never shown unavailable while {window.name} was on, though none of its writes can succeed."
        findings.append(Finding(Promise.TRUTH, said, _named(scraped, window, month), judged[0].t))


def _unavailable(scrape: Scrape, month: Month) -> float | None:
    return scrape.get(STATUS, partition=month.label, status="unavailable")


def _healing(scraped: Scraped, window: FaultWindow) -> float:
    return window.healing if window.healing is not None else scraped.run.end


def _named(scraped: Scraped, window: FaultWindow, month: Month) -> tuple[str, ...]:
    """Ids of all first sends into the fault that were answered before its heal."""
    every = scraped.run.under_way(window.injecting, _healing(scraped, window), months=(month,))
    return event_ids(_writes(scraped, window, every))


def _writes(scraped: Scraped, window: FaultWindow, among: Sequence[Operation]) -> list[Operation]:
    """First sends into the fault that were answered before its heal, by completion."""
    found = [
        operation
        for operation in among
        if operation.kind is ev.OpKind.WRITE
        and window.radius.covers(operation.event_date)
        and window.injecting <= operation.invoked
        and operation.completed < _healing(scraped, window)
    ]
    return sorted(found, key=lambda operation: operation.completed)


def noticing_times(scraped: Scraped) -> Iterator[float]:
    """The times with which writes into a fault are compared."""
    yield from scraped.boundaries
    for window in scraped.run.windows:
        yield from (window.injecting, _healing(scraped, window))
        for begin in (window.confirmed or 0.0, *scraped.boundaries):
            yield from (begin, begin + scraped.run.limits.partition_check_seconds + NOTICE_SLACK_SECONDS)


def _requests(operations: Iterable[Operation]) -> list[Operation]:
    """One operation a request: the events of a batch meet the fault together, as one failure."""
    return list({operation.batch or -operation.op: operation for operation in operations}.values())


def _due(scraped: Scraped, window: FaultWindow, month: Month, scrape: Scrape) -> bool:
    """Tell whether the fault must show in this scrape."""
    return not scraped.whole_database_ill(scrape.t) and scrape.t > due_at(scraped, window, month, scrape.t)


def due_at(scraped: Scraped, window: FaultWindow, month: Month, t: float) -> float:
    """From when on the process that lives at ``t`` must show that the month takes no write; infinite for never."""
    key = (window.fault, month, life_of(scraped.boundaries, t))
    if key not in scraped.due_times:
        scraped.due_times[key] = _due_at(scraped, window, _writes(scraped, window, scraped.run.seen_in(month)), key[2])
    return scraped.due_times[key]


def _due_at(scraped: Scraped, window: FaultWindow, writes: list[Operation], life: int) -> float:
    """By an open breaker, or by what the maintenance loop saw."""
    born = scraped.boundaries[life - 1] if life else 0.0
    begin = max(window.confirmed or 0.0, born)
    mine = [operation for operation in writes if operation.invoked >= born]
    looked = begin + scraped.run.limits.partition_check_seconds + NOTICE_SLACK_SECONDS
    due = looked if any(op.invoked >= begin and op.completed <= looked for op in mine) else float("inf")
    away = _requests(operation for operation in mine if operation.status in (QUEUED, UNAVAILABLE))
    if len(away) >= OPENING_ANSWERS and window.radius.dates is None:
        due = min(due, away[OPENING_ANSWERS - 1].completed + SHOWN_SECONDS)
    return max(due, begin)
