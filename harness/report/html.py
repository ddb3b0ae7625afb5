"""``report.html``: one self-contained page a run, verdict first.

The page loads nothing: style, script, data and plotly.js are inside it, and a content security policy holds
the browser to that.  plotly.js is kept gzipped, which makes a page about 2 MB instead of 5.
"""

from __future__ import annotations

import base64
import gzip
import importlib
import json
from collections.abc import Iterable, Sequence
from functools import cache
from importlib import resources
from pathlib import Path

from ..checking import Finding
from ..results import RunResult
from ..rundata import FaultWindow, Run
from . import summary as text
from .base import REPORTERS, write_text
from .markup import Markup, badge, folded, for_script, items, joined, section, table, tag
from .sections import answers_section, details_sections
from .timeline import Timeline, build_timeline

_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline' 'unsafe-eval'; "
    "img-src data: blob:; worker-src blob:; form-action 'none'; base-uri 'none'"
)


class HtmlReporter:
    """Writes ``report.html``."""

    name = "html"

    def write(self, result: RunResult, run: Run | None, folder: Path) -> Path:
        """Write it; raises OSError."""
        return write_text(folder / "report.html", page(result, run))


REPORTERS.register(HtmlReporter.name)(HtmlReporter())


def page(result: RunResult, run: Run | None) -> str:
    """Return the whole page; without a run only what set-up left to tell."""
    timeline = None
    if run is not None and run.sent:
        concerned = frozenset(event_id for finding in result.findings for event_id in finding.event_ids)
        timeline = build_timeline(run, concerned)
    body = joined(
        [
            _header(result, run),
            _navigation(result, run),
            section("setup", "Why it could not be run", *_setup(result)),
            section("findings", "Broken promises", *_findings(result, run)),
            section("unknown", "What could not be decided", items(text.unknown_reasons(result))),
            section("clocks", "Faults and their four clocks", *_clocks(result, run)),
            section("timeline", "Timeline", *_timeline(timeline, run)),
            *((answers_section(run),) if run is not None else ()),
            *details_sections(result, run),
        ]
    )
    skip = tag("a", "Skip to the timeline", href="#timeline", class_="skip")
    head = text.headline(result)
    title = f"{head.symbol} {head.word} · {result.scenario.name}"
    return document(title, joined([skip, tag("main", body), Markup("\n"), _scripts(timeline)]))


def document(title: str, body: Markup) -> str:
    """Return a whole document around ``body``, with the style and the policy that nothing is loaded."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f"{tag('title', title)}<style>{_asset('page.css')}</style></head>\n<body>{body}</body></html>\n"
    )


def _header(result: RunResult, run: Run | None) -> Markup:
    facts = [f"run {result.run}", f"seed {result.seed}", text.took_text(result, run)]
    if run is not None:
        facts.insert(0, f"started {text.moment_text(run.started.started_at)}")
        facts.append(f"{run.sent} operations on target {run.started.target}")
    proves = ", ".join(result.scenario.requirements) or "no requirement"
    parts = [
        badge(text.headline(result)),
        tag("h1", result.scenario.name),
        tag("p", result.scenario.claim, class_="claim"),
        tag("p", f"A PASS proves: {proves}", class_="muted"),
        tag("p", " · ".join(facts), class_="muted"),
    ]
    if result.repeat_command:
        parts += [tag("p", "Repeat it with:"), tag("pre", tag("code", result.repeat_command), tabindex="0")]
    return tag("header", joined(parts))


def _navigation(result: RunResult, run: Run | None) -> Markup:
    links = [("findings", f"Findings ({len(result.findings)})")] if result.findings else []
    if text.unknown_reasons(result):
        links.append(("unknown", "Unknown"))
    if result.clocks or (run is not None and run.windows):
        links.append(("clocks", "Clocks"))
    if run is not None and run.sent:
        links += [("timeline", "Timeline"), ("answers", "Answers")]
    links.append(("checks", "Checks"))
    if run is not None:
        links += [("environment", "Environment"), ("log", "Log")]
    entries = (tag("li", tag("a", title, href=f"#{anchor}")) for anchor, title in links)
    return tag("nav", tag("ul", joined(entries)), aria_label="Parts of this page")


def _setup(result: RunResult) -> Iterable[Markup]:
    if result.setup_error:
        yield tag("pre", text.masked(result.setup_error), tabindex="0")


def _findings(result: RunResult, run: Run | None) -> Iterable[Markup]:
    stories = text.Stories(run) if run is not None and result.findings else None
    for promise, findings in text.by_promise(result.findings):
        yield tag("h3", text.promise_title(promise).capitalize())
        for finding in findings:
            yield tag("div", joined(_finding(finding, stories, result.folder)), class_="finding")


def _finding(finding: Finding, stories: text.Stories | None, folder: Path) -> Iterable[Markup]:
    when = f" (at {finding.t:.3f} s)" if finding.t is not None else ""
    yield tag("p", tag("strong", finding.summary + when))
    count = len(finding.event_ids)
    if not count:
        return
    title = f"{'All ' if count > 1 else ''}{count} event id{'s' if count != 1 else ''}"
    yield folded(title, tag("pre", "\n".join(finding.event_ids), tabindex="0"), is_open=count <= 3)
    command = tag("code", text.explain_command(folder, finding.event_ids[0]))
    yield tag("p", joined(["The whole story of the first: ", command]))
    if stories is None:
        return
    told = [_story(stories.of(event_id)) for event_id in finding.event_ids[: text.STORIES_SHOWN]]
    rest = count - len(told)
    if rest > 0:
        more = f"{rest} more: harness explain tells the story of each."
        told.append(tag("p", more, class_="muted"))
    yield folded("What happened to them", joined(told), is_open=count <= 3)


def _story(story: text.Story) -> Markup:
    operations = joined(tag("li", text.operation_text(operation)) for operation in story.operations)
    steps = tag("ol", operations) if operations else tag("p", "No operation of this run sent it.")
    end = tag("p", joined([tag("strong", "At the end: "), story.ending]))
    changed = Markup("")
    if story.changes:
        title = tag("p", tag("strong", "Changed, from sent to stored:"))
        changed = joined([title, items(tag("code", str(change)) for change in story.changes)])
    return tag("div", joined([tag("code", story.event_id), steps, end, changed]), class_="story")


def _clocks(result: RunResult, run: Run | None) -> Iterable[Markup]:
    if result.clocks:
        rows = [
            (clocks.fault, *(text.seconds_text(value) for value in text.clock_values(clocks)))
            for clocks in result.clocks
        ]
        yield table(("fault", *text.CLOCK_NAMES), rows, frozenset({1, 2, 3, 4}))
        yield tag(
            "p",
            "Detect: from the bite to the first sign that the service noticed. Fallback: to the first 202. "
            "Recover: from the first successful probe after heal to the first 201 of the slowest month. "
            "Drain: to an empty DLQ.",
            class_="muted",
        )
    if run is not None and run.windows:
        titles = ("fault", "months", "write", "inject", "confirmed", "heal", "healed", "probe", "evidence")
        yield table(titles, [_window_row(window) for window in run.windows], frozenset({3, 4, 5, 6, 7}))


def _window_row(window: FaultWindow) -> Sequence[str]:
    months = window.radius.months
    reach = "all" if months is None else ", ".join(sorted(month.label for month in months))
    times = (window.injecting, window.confirmed, window.healing, window.healed, window.probed)
    tries = f"(healed by try {len(window.failed_heals) + 1}; before: {'; '.join(window.failed_heals)})"
    again = tries if window.failed_heals and window.probed is not None else ""
    evidence = " ".join(part for part in (window.evidence, window.problem, again) if part) or text.NONE
    title = f"{window.fault} {window.name}"
    return (title, reach, window.radius.write.value, *(text.seconds_text(t) for t in times), evidence)


_ZOOM = (
    ("all", "Whole run"),
    ("in", "Zoom in"),
    ("out", "Zoom out"),
    ("left", "◀ Earlier"),
    ("right", "Later ▶"),
)


def _timeline(timeline: Timeline | None, run: Run | None) -> Iterable[Markup]:
    if timeline is None or run is None:
        return
    if timeline.shown < timeline.total and run.condensed is not None:
        yield tag(
            "p",
            f"Shows {timeline.shown} of {timeline.total} operations: of the clean ones the first, the last and the "
            "slowest of each month, between any two times that a rule asks for. The tables count every operation.",
        )
    elif timeline.shown < timeline.total:
        yield tag(
            "p",
            f"Shows {timeline.shown} of {timeline.total} operations, sampled evenly per month and answer; "
            "the slowest and those that a finding names are all there. The tables count every operation.",
        )
    buttons = [tag("button", title, type="button", data_action=action) for action, title in _ZOOM]
    for window in run.windows:
        stop = window.probed or window.healed or run.end
        margin = 0.1 * (stop - window.injecting) + 0.5
        span = {"data_from": f"{window.injecting - margin:.3f}", "data_to": f"{stop + margin:.3f}"}
        buttons.append(tag("button", f"Fault {window.fault}: {window.name}", type="button", **span))
    label = "Zoom of the timeline"
    yield Markup(f'<div class="zoom" role="group" aria-label="{label}" hidden>{joined(buttons)}</div>')
    yield tag(
        "p",
        "Each point is one request at the time it was sent. Red ground: a fault is active, dotted lines are "
        "its marks; the dashed line is the request deadline.",
        class_="muted",
    )
    without = "The chart needs JavaScript; the table below has its figures."
    yield tag("p", without, id="chart-state", role="status")
    label = "Timeline of requests by month; the table below has its figures"
    yield tag("div", tag("div", "", id="chart"), class_="scroll", tabindex="0", role="region", aria_label=label)


def _scripts(timeline: Timeline | None) -> Markup:
    if timeline is None:
        return Markup("")
    figure = for_script(json.dumps(timeline.figure, separators=(",", ":"), allow_nan=False))
    return Markup(
        f'<script type="application/json" id="figure">{figure}</script>\n'
        f'<script type="text/plain" id="plotly">{_packed_plotly()}</script>\n'
        f"<script>{_asset('page.js')}</script>\n"
    )


@cache
def _asset(name: str) -> str:
    return resources.files(__package__).joinpath("assets", name).read_text(encoding="utf-8")


@cache
def _packed_plotly() -> str:
    """Return plotly.js gzipped as base64; imported late and once, since only a page needs it."""
    source: str = importlib.import_module("plotly.offline").get_plotlyjs()
    return base64.b64encode(gzip.compress(source.encode(), mtime=0)).decode()
