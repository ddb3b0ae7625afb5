"""``datastorage_events_total`` against the answers that the client counted, within what the outside can know."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .. import events as ev
from ..checking import Finding
from ..rundata import Operation
from ..values import Promise
from ._common import SCRAPE_SLACK_SECONDS, event_ids
from ._scraped import Scraped

EVENTS = "datastorage_events_total"
PROBE_WRITES = "probe-writes"
_OUTCOMES = ("created", "queued", "duplicate", "rejected", "unavailable")


@dataclass(frozen=True)
class _Interval:
    """How many answers surely lie between two scrapes, and how many may."""

    surely: int
    at_most: int


def count_findings(scraped: Scraped) -> tuple[list[Finding], list[str]]:
    """Compare the growth of each outcome with the answers; nothing is said after a restart or a lost answer."""
    run = scraped.run
    lost = any(operation.type is ev.Completion.INFO for operation in run.operations)
    if scraped.restarted or lost or len(scraped.scrapes) < 2:
        return [], []
    first, last = scraped.scrapes[0], scraped.scrapes[-1]
    grown: dict[str, float] = {}
    for outcome in _OUTCOMES:
        end = last.get(EVENTS, outcome=outcome)
        if end is None:
            return [Finding(Promise.TRUTH, f"Series {EVENTS} is missing for outcome {outcome}.", (), last.t)], []
        grown[outcome] = end - (first.get(EVENTS, outcome=outcome) or 0.0)
    probes = sum(int(note.text) for note in run.of_kind(ev.Note) if note.topic == PROBE_WRITES and note.text.isdigit())
    return [
        Finding(Promise.TRUTH, said, event_ids(_between(scraped, accepted)[1]), last.t)
        for said, accepted in _disagreements(scraped, grown, probes)
    ], []


def _between(scraped: Scraped, accepted: Callable[[Operation], bool]) -> tuple[_Interval, list[Operation]]:
    start, end = scraped.scrapes[0].t, scraped.scrapes[-1].t
    slack = SCRAPE_SLACK_SECONDS
    matching = [operation for operation in scraped.run.operations if accepted(operation)]
    surely = [op for op in matching if op.invoked >= start + slack and op.completed <= end - slack]
    may = [op for op in matching if op.completed >= start - slack and op.invoked <= end + slack]
    return _Interval(len(surely), len(may)), may


def _disagreements(
    scraped: Scraped, grown: dict[str, float], probes: int
) -> list[tuple[str, Callable[[Operation], bool]]]:
    """Outcomes outside their interval.

    A second request with an identity may be counted as created, queued or duplicate, as the service saw it, and
    so may a first one whose ambiguous commit was tried again; so lower bounds hold for sums with ``duplicate``.
    """

    def first_send(status: int) -> Callable[[Operation], bool]:
        return lambda op: op.status == status and op.kind is ev.OpKind.WRITE

    def answered(*statuses: int) -> Callable[[Operation], bool]:
        return lambda op: op.status in statuses

    duplicate = grown["duplicate"]
    accepted = grown["created"] + grown["queued"] + duplicate
    rules: list[tuple[str, float, float, Callable[[Operation], bool], Callable[[Operation], bool], int]] = [
        ("created", grown["created"], duplicate, first_send(201), answered(201), probes),
        ("queued", grown["queued"], duplicate, first_send(202), answered(202), 0),
        ("duplicate", duplicate, 0.0, lambda op: False, answered(201, 202), 0),
        ("created, queued and duplicate", accepted, 0.0, answered(201, 202), answered(201, 202), probes),
        ("rejected", grown["rejected"], 0.0, answered(400, 409, 413), answered(400, 409, 413), 0),
        ("unavailable", grown["unavailable"], 0.0, answered(503), answered(503), 0),
    ]
    wrong: list[tuple[str, Callable[[Operation], bool]]] = []
    for outcome, value, spare, demanded, possible, widening in rules:
        least, most = _between(scraped, demanded)[0].surely, _between(scraped, possible)[0].at_most + widening
        if not (least - spare <= value <= most):
            said = f"{EVENTS}{{outcome={outcome}}} grew by {value:g}; the answers allow {least} to {most}."
            wrong.append((said, possible))
    return wrong
