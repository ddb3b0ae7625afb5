"""The story of an event for people (lines of the console) and for programs (JSON)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from datetime import date
from typing import Any

from . import storylines as lines
from .console import Line
from .jsonfile import NamedFinding
from .story import EventStory
from .summary import promise_title

_STYLES = {"fault": "fail", "stored": "pass", "queued": "unknown", "destroyed": "fail", "log": "dim", "status": "dim"}


def story_lines(story: EventStory) -> Iterator[Line]:
    """Yield the story: heading, lines in the order of time, findings, conclusion."""
    yield Line(f"event {story.event_id}", f" of run {story.run}")
    for line in story.lines:
        yield Line(f"{when_text(line):>9} s  {line.kind:<9}", f" {line.text}", style_of(line))
    if story.omitted_log_lines:
        yield Line(f"  {story.omitted_log_lines} more log lines near it are in service.log", "", "dim")
    for named in story.findings:
        yield Line("  finding: ", named_text(named), "fail")
    yield Line("  conclusion: ", story.conclusion)


def when_text(line: lines.StoryLine) -> str:
    """Seconds of the run, a question mark where nobody knows."""
    return "?" if line.t is None else f"{line.t:.3f}"


def named_text(named: NamedFinding) -> str:
    """A finding with the checker that made it, in one line."""
    return f"{named.checker}: {promise_title(named.finding.promise)}: {named.finding.summary}"


def style_of(line: lines.StoryLine) -> str:
    """How a line of a story is set off: ``fail``, ``pass``, ``unknown``, ``dim`` or nothing."""
    if isinstance(line, lines.Answered) and not line.as_allowed:
        return "fail"
    return _STYLES.get(line.kind, "")


def story_to_json(story: EventStory) -> dict[str, Any]:
    """Return the story as JSON: each line with its kind, its fields and its text; times in seconds, null if unknown."""
    return {
        "run": story.run,
        "event_id": story.event_id,
        "judged": story.judged,
        "conclusion": story.conclusion,
        "findings": [
            {
                "checker": named.checker,
                "promise": named.finding.promise.value,
                "summary": named.finding.summary,
                "t": named.finding.t,
            }
            for named in story.findings
        ],
        "omitted_log_lines": story.omitted_log_lines,
        "lines": [{"kind": line.kind, **_plain(dataclasses.asdict(line)), "text": line.text} for line in story.lines],
    }


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
