"""``datastorage_events_total`` against the answers that the client counted, within what the outside can know."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .. import events as ev
from ..checking import Finding
from ..rundata import Operation
from ..values import Promise
from ._common import SCRAPE_SLACK_SECONDS, event_ids
from ._scraped import Scraped
from ._series import Scrape

EVENTS = "datastorage_events_total"
PROBE_WRITES = "probe-writes"
_OUTCOMES = ("created", "queued", "duplicate", "rejected", "unavailable")


@dataclass(frozen=True)
class Interval:
    """How many answers surely lie between two scrapes, and how many may."""

    surely: int
    at_most: int


@dataclass(frozen=True)
class Life:
    """The first and the last scrape of one life of the process, and what lies between them."""

    scraped: Scraped
    first: Scrape
    last: Scrape

    def between(self, accepted: Callable[[Operation], bool]) -> Interval:
        """Count the accepted operations; the answer of a scrape describes some moment while it was under way."""
        matching = [(operation, count) for operation, count in self.scraped.run.weighed if accepted(operation)]
        begin, end = self.first.end + SCRAPE_SLACK_SECONDS, self.last.t - SCRAPE_SLACK_SECONDS
        surely = sum(count for op, count in matching if op.invoked >= begin and op.completed <= end)
        return Interval(surely, sum(count for op, count in matching if self._may_fall_into(op)))

    def named(self, accepted: Callable[[Operation], bool]) -> tuple[str, ...]:
        """Ids of the accepted operations that the life may have counted."""
        return event_ids(op for op in self.scraped.run.under_way() if accepted(op) and self._may_fall_into(op))

    def waited(self, accepted: Callable[[Operation], bool]) -> float:
        """How long, in seconds, clients waited together for the accepted operations that the life may have counted."""
        run = self.scraped.run
        waited = math.fsum(op.seconds for op in run.operations if accepted(op) and self._may_fall_into(op))
        groups = (one for one in run.groups if accepted(one.like) and self._may_fall_into(one.like))
        return waited + math.fsum(group.waited_seconds for group in groups)

    @property
    def unanswered(self) -> int:
        """Operations that the service may have counted as anything, since nobody heard its answer."""
        return sum(op.type is ev.Completion.INFO and self._may_fall_into(op) for op in self.scraped.run.operations)

    def _may_fall_into(self, op: Operation) -> bool:
        known = op.completed
        if op.type is ev.Completion.INFO:  # The service may have gone on after the client had given up.
            known = max(known, op.invoked) + self.scraped.run.limits.request_deadline_seconds
        return known >= self.first.t - SCRAPE_SLACK_SECONDS and op.invoked <= self.last.end + SCRAPE_SLACK_SECONDS


def compared_times(scraped: Scraped) -> Iterator[float]:
    """The times between which answers are counted."""
    for scrapes in scraped.lives():
        yield from (scrapes[0].t - SCRAPE_SLACK_SECONDS, scrapes[0].end + SCRAPE_SLACK_SECONDS)
        yield from (scrapes[-1].t - SCRAPE_SLACK_SECONDS, scrapes[-1].end + SCRAPE_SLACK_SECONDS)


def lives(scraped: Scraped) -> list[Life]:
    """The lives of the process that two scrapes show: of one alone no growth can be told."""
    return [Life(scraped, scrapes[0], scrapes[-1]) for scrapes in scraped.lives() if len(scrapes) > 1]


def count_findings(scraped: Scraped) -> tuple[list[Finding], dict[str, float]]:
    """Compare the growth of each outcome, in each life of the process, with the answers; facts say what was not."""
    run = scraped.run
    probes = sum(int(note.text) for note in run.of_kind(ev.Note) if note.topic == PROBE_WRITES and note.text.isdigit())
    findings: list[Finding] = []
    judged = lives(scraped)
    for life in judged:
        grown: dict[str, float] = {}
        for outcome in _OUTCOMES:
            end = life.last.get(EVENTS, outcome=outcome)
            if end is None:
                said = f"Series {EVENTS} is missing for outcome {outcome}."
                return [*findings, Finding(Promise.TRUTH, said, (), life.last.t)], {}
            grown[outcome] = end - (life.first.get(EVENTS, outcome=outcome) or 0.0)
        findings += [
            Finding(Promise.TRUTH, said, life.named(accepted), life.last.t)
            for said, accepted in _disagreements(life, grown, probes)
        ]
    not_judged = len(scraped.boundaries) + 1 - len(judged)
    return findings, {"events_total_not_judged": float(not_judged)} if not_judged else {}


def _disagreements(life: Life, grown: dict[str, float], probes: int) -> list[tuple[str, Callable[[Operation], bool]]]:
    """Outcomes outside their interval.

    A second request with an identity may be counted as created, queued or duplicate, as the service saw it, and
    so may a first one whose ambiguous commit was tried again; so lower bounds hold for sums with ``duplicate``.
    What nobody heard answered may be counted anywhere, or nowhere.
    """

    def first_send(status: int) -> Callable[[Operation], bool]:
        return lambda op: op.status == status and op.kind is ev.OpKind.WRITE

    def answered(*statuses: int) -> Callable[[Operation], bool]:
        return lambda op: op.status in statuses

    duplicate, unanswered = grown["duplicate"], life.unanswered
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
        least, most = life.between(demanded).surely, life.between(possible).at_most + widening + unanswered
        if not (least - spare <= value <= most):
            said = f"{EVENTS}{{outcome={outcome}}} grew by {value:g}; the answers allow {least} to {most}."
            wrong.append((said, possible))
    return wrong
