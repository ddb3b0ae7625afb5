"""The events that findings name, as far as one page can show them: their ids, their requests, their stories."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..checking import Finding
from ..results import RunResult
from ..rundata import Operation, Run
from . import storylines as lines
from .jsonfile import NamedFinding
from .story import EventStory, tell_all

IDS_LISTED = 200
"""Event ids of one finding in the page; ``result.json`` has all."""
STORIES_OF_FINDING = 20
STORIES_TOLD = 60
"""Stories in a page, and of one finding; ``harness explain`` tells any other."""
DRAWN = 1_000
"""Operations of findings that are ringed in the timeline."""
FINDINGS_SHOWN = 200
_NUMBERED = re.compile(r"operation (\d+)\Z")
_KNOWN = (lines.Sent, lines.RowFound, lines.QueueFound, lines.DestroyedBy)


@dataclass(frozen=True)
class Told:
    """The stories of a page, each with its anchor, and how many events of findings have none."""

    stories: tuple[tuple[str, EventStory], ...] = ()
    anchors: dict[str, str] | None = None
    untold: int = 0

    def anchor_of(self, event_id: str) -> str:
        """The anchor of an event's story, by the id that the finding gives it; empty for none."""
        return (self.anchors or {}).get(event_id, "")


def in_turns(findings: Sequence[Finding], each: int, most: int) -> list[str]:
    """Ids of the events that findings name, the first of each finding before the second of any, each id once."""
    turns = itertools.zip_longest(*(finding.event_ids[:each] for finding in findings))
    ids = dict.fromkeys(event_id for turn in turns for event_id in turn if event_id is not None)
    return list(ids)[:most]


def told_stories(result: RunResult, run: Run | None) -> Told:
    """Tell the first events of each finding; those of which the run knows nothing have no story."""
    if run is None or not result.findings:
        return Told()
    named = [NamedFinding(check.checker, finding) for check in result.checks for finding in check.findings]
    ids = in_turns(result.findings, STORIES_OF_FINDING, STORIES_TOLD)
    stories: list[tuple[str, EventStory]] = []
    anchors: dict[str, str] = {}
    known: dict[str, str] = {}
    for event_id, story in zip(ids, tell_all(run, ids, named), strict=True):
        if not any(isinstance(line, _KNOWN) for line in story.lines):
            continue
        if story.event_id not in known:  # A finding may name an event by its id, and another by its operation.
            known[story.event_id] = f"event-{len(stories) + 1}"
            stories.append((known[story.event_id], story))
        anchors[event_id] = known[story.event_id]
    every = set(itertools.chain.from_iterable(finding.event_ids for finding in result.findings))
    return Told(tuple(stories), anchors, len(every) - len(anchors))


def named_operations(run: Run, findings: Sequence[Finding]) -> list[Operation]:
    """The operations of the events that findings name, as far as a chart can show them, in the order of time."""
    ids = in_turns(findings, DRAWN, DRAWN)
    numbers = {int(match[1]) for event_id in ids if (match := _NUMBERED.match(event_id)) is not None}
    wanted = {event_id.lower() for event_id in ids}
    found = [each for each in run.operations if each.event_id.lower() in wanted or each.op in numbers]
    if run.condensed is not None:
        missing = wanted - {each.event_id.lower() for each in found}
        found += run.sent_as(missing).values() if missing else ()
    return sorted(_each_once(found), key=lambda each: each.invoked)


def _each_once(operations: Iterable[Operation]) -> Iterable[Operation]:
    return {(each.op, each.invoked): each for each in operations}.values()
