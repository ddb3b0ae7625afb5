"""The parts of a page about broken promises: each finding with its events, and the whole story of each of these."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ..checking import Finding
from ..results import RunResult
from . import storylines as lines
from . import summary as text
from .concerned import FINDINGS_SHOWN, IDS_LISTED, Told
from .markup import Content, Markup, folded, joined, raw_tag, separated, tag
from .story import EventStory
from .telling import style_of, when_text

_AROUND_SECONDS = 2.0
_OPEN_IDS = 3
_BAD = "✗ "


def finding_anchors(result: RunResult) -> dict[int, str]:
    """The anchor of each finding that the page shows, by the identity of the object."""
    shown = [finding for _, group in text.by_promise(result.findings) for finding in group][:FINDINGS_SHOWN]
    return {id(finding): f"finding-{number}" for number, finding in enumerate(shown, 1)}


def finding_parts(result: RunResult, told: Told) -> Iterable[Markup]:
    """Each broken promise with its findings, by promise."""
    anchors = finding_anchors(result)
    checkers = {id(finding): check.checker for check in result.checks for finding in check.findings}
    for promise, findings in text.by_promise(result.findings):
        shown = [finding for finding in findings if id(finding) in anchors]
        if shown:
            yield tag("h3", text.promise_title(promise).capitalize())
        for finding in shown:
            body = joined(_finding(finding, checkers[id(finding)], told, result.folder))
            yield tag("div", body, class_="finding", id=anchors[id(finding)])
    more = len(result.findings) - len(anchors)
    if more > 0:
        yield tag("p", f"{more} more findings are in result.json.", class_="muted")


def _finding(finding: Finding, checker: str, told: Told, folder: Path) -> Iterable[Markup]:
    when = f" (at {finding.t:.3f} s)" if finding.t is not None else ""
    yield tag("p", tag("strong", finding.summary + when))
    count = len(finding.event_ids)
    about: list[Content] = [f"Found by the checker {checker}."]
    if finding.t is not None:
        about.append(zoom_button(finding.t - _AROUND_SECONDS, finding.t + _AROUND_SECONDS, "Show in the timeline"))
    yield tag("p", separated(about, " "), class_="muted")
    if not count:
        return
    listed = finding.event_ids[:IDS_LISTED]
    title = f"All {count} event ids" if 1 < count == len(listed) else f"{len(listed)} of {count} event ids"
    rows = joined(tag("li", _id(event_id, told)) for event_id in listed)
    yield folded(title if count > 1 else "1 event id", tag("ul", rows, class_="ids"), is_open=count <= _OPEN_IDS)
    if count > len(listed):
        yield tag("p", f"The other {count - len(listed)} are in result.json.", class_="muted")
    command = tag("code", text.explain_command(folder, finding.event_ids[0]))
    yield tag("p", joined(["The whole story of the first, also of any other: ", command]))


def _id(event_id: str, told: Told) -> Markup:
    anchor = told.anchor_of(event_id)
    return tag("a", tag("code", event_id), href=f"#{anchor}") if anchor else tag("code", event_id)


def zoom_button(since: float, until: float, title: str) -> Markup:
    """A button that shows a span of the run in the timeline; hidden until a script has drawn that."""
    span = {"data_from": f"{since:.3f}", "data_to": f"{until:.3f}"}
    return raw_tag("button", title, "hidden", type="button", class_="zooms", **span)


def story_parts(result: RunResult, told: Told) -> Iterable[Markup]:
    """The whole story of each event that is told, as ``harness explain`` prints it."""
    if not told.stories:
        return
    count = len(told.stories)
    if told.untold:
        said = (
            f"The stories of {count} of the events that findings name, the first ones of each; {told.untold} have none "
            "here. harness explain tells the story of any event."
        )
    else:
        said = (
            f"The whole {'story of the event' if count == 1 else f'stories of the {count} events'} that findings name."
        )
    yield tag("p", said, class_="muted")
    anchors = finding_anchors(result)
    for anchor, story in told.stories:
        yield _story(anchor, story, anchors, is_open=count <= _OPEN_IDS)


def _story(anchor: str, story: EventStory, anchors: dict[int, str], *, is_open: bool) -> Markup:
    title = joined([tag("code", story.event_id), f" {story.conclusion}"])
    body = joined(_told(story, anchors))
    return folded(title, body, is_open=is_open, id=anchor, class_="story", data_event=story.event_id)


def _told(story: EventStory, anchors: dict[int, str]) -> Iterable[Markup]:
    links: list[Content] = []
    for named in story.findings:
        anchor = anchors.get(id(named.finding), "")
        link = f"{named.checker}: {named.finding.summary}"
        links.append(tag("a", link, href=f"#{anchor}") if anchor else link)
    if links:
        yield tag("p", joined(["Named by ", separated(links, "; ")]))
    times = [line.t for line in story.lines if isinstance(line, lines.Sent | lines.Answered) and line.t is not None]
    if times:
        yield tag("p", zoom_button(min(times) - 1.0, max(times) + 1.0, "Show its requests in the timeline"))
    rows = joined(tag("tr", joined(_line(line))) for line in story.lines)
    head = tag("tr", joined(tag("th", title, scope="col") for title in ("seconds", "what", "details")))
    caption = tag("caption", f"What happened to {story.event_id}, in the order of time", class_="unseen")
    drawn = tag("table", joined([caption, tag("thead", head), tag("tbody", rows)]), class_="told")
    yield tag("div", drawn, class_="scroll", tabindex="0", role="region", aria_label=f"Story of {story.event_id}")
    if story.omitted_log_lines:
        yield tag("p", f"{story.omitted_log_lines} more log lines near it are in service.log.", class_="muted")
    yield tag("p", joined([tag("strong", "Conclusion: "), story.conclusion]))


def _line(line: lines.StoryLine) -> Iterable[Markup]:
    style = style_of(line)
    # Not by colour alone: what is wrong begins with a cross.
    mark = _BAD if isinstance(line, lines.Answered) and style == "fail" else ""
    yield tag("td", when_text(line), class_="number")
    yield tag("td", line.kind)
    yield tag("td", f"{mark}{line.text}", class_=style or "plain")
