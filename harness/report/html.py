"""``report.html``: one self-contained page a run, verdict first.

The page loads nothing: style, script, data and plotly.js are inside it, and a content security policy holds
the browser to that.  plotly.js is kept gzipped, which makes a page about 2 MB instead of 5.  Whatever grows with a run
is bounded, and the page says what it leaves out, so that a page of a million events opens as quickly.
"""

from __future__ import annotations

import base64
import gzip
import importlib
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from ..results import RunResult
from ..rundata import Run
from . import summary as text
from .base import REPORTERS, write_text
from .concerned import Told, named_operations, told_stories
from .faultparts import clock_parts, timeline_parts
from .findingparts import finding_parts, story_parts
from .happenings import Happening, happenings
from .logparts import log_parts
from .logs import Logs, read_logs
from .markup import Content, Markup, badge, for_script, items, joined, navigation, raw_tag, section, tag
from .sections import answers_section, details_sections, gauges_section
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
    logs = read_logs(run, result.folder)
    happened = happenings(run, logs.entries) if run is not None else []
    timeline = None
    if run is not None and run.sent:
        timeline = build_timeline(run, named_operations(run, result.findings), happened)
    body = joined([_header(result, run), *_sections(result, run, timeline, logs, happened)])
    skip = tag("a", "Skip to the timeline", href="#timeline", class_="skip") if timeline is not None else ""
    head = text.headline(result)
    title = f"{head.symbol} {head.word} · {result.scenario.name}"
    scripts = chart_scripts({"chart": timeline.figure}, "timeline.js") if timeline is not None else page_scripts()
    return document(title, joined([skip, tag("main", body), Markup("\n"), scripts]))


def _sections(
    result: RunResult, run: Run | None, timeline: Timeline | None, logs: Logs, happened: Sequence[Happening]
) -> Iterable[Markup]:
    told = told_stories(result, run)
    parts = [
        section("setup", "Why it could not be run", *_setup(result)),
        section("findings", "Broken promises", *finding_parts(result, told)),
        section("unknown", "What could not be decided", items(text.unknown_reasons(result))),
        section("clocks", "Faults and their four clocks", *clock_parts(result, run)),
        section("timeline", "Timeline", *timeline_parts(timeline, run, happened)),
        section("stories", "Stories of the events concerned", *story_parts(result, told)),
        *((answers_section(result, run), gauges_section(run)) if run is not None else ()),
        *details_sections(result, run),
        section("log", "Logs", *log_parts(logs, run)),
    ]
    yield navigation(_links(result, told), parts)
    yield from parts


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
        facts.append(f"{run.sent:,} operations on target {run.started.target}")
    proves = ", ".join(result.scenario.requirements) or "no requirement"
    parts: list[Content] = [
        badge(text.headline(result)),
        tag("h1", result.scenario.name),
        tag("p", result.scenario.claim, class_="claim"),
        tag("p", f"A PASS proves: {proves}", class_="muted"),
        tag("p", " · ".join(facts), class_="muted"),
    ]
    if result.repeat_command:
        copy = raw_tag("button", "Copy the command", "hidden", type="button", aria_live="polite", data_copy="repeat")
        parts += [tag("p", joined(["Repeat it with: ", copy]))]
        parts += [tag("pre", tag("code", result.repeat_command, id="repeat"), tabindex="0")]
    return tag("header", joined(parts))


_LINKS = (
    ("unknown", "Unknown"),
    ("clocks", "Clocks"),
    ("timeline", "Timeline"),
    ("stories", "Stories"),
    ("answers", "Answers"),
    ("gauges", "Queue and pool"),
    ("checks", "Checks"),
    ("not-checked", "Not checked"),
    ("environment", "Environment"),
    ("log", "Logs"),
)


def _links(result: RunResult, told: Told) -> Iterable[tuple[str, str]]:
    yield "findings", f"Findings ({len(result.findings)})"
    for anchor, title in _LINKS:
        yield anchor, f"{title} ({len(told.stories)})" if anchor == "stories" else title


def _setup(result: RunResult) -> Iterable[Markup]:
    if result.setup_error:
        yield tag("pre", text.masked(result.setup_error), tabindex="0")


def page_scripts() -> Markup:
    """Return what a page without a chart needs: its filters, its copy buttons, and to be printed whole."""
    return Markup(f"<script>{_asset('page.js')}</script>\n")


def chart_scripts(figures: Mapping[str, dict[str, Any]], script: str = "") -> Markup:
    """Return plotly.js, the figures by the names of their places, and what draws them, besides :func:`page_scripts`.

    ``script`` is the file that does so and gives them what only that page has; without one they are only drawn.
    """
    data = for_script(json.dumps(figures, separators=(",", ":"), allow_nan=False))
    draws = _asset(script) if script else "drawCharts();"
    return Markup(
        f"{page_scripts()}"
        f'<script type="application/json" id="figures">{data}</script>\n'
        f'<script type="text/plain" id="plotly">{packed_plotly()}</script>\n'
        f"<script>{_asset('chart.js')}\n{draws}</script>\n"
    )


@cache
def _asset(name: str) -> str:
    return resources.files(__package__).joinpath("assets", name).read_text(encoding="utf-8")


@cache
def packed_plotly() -> str:
    """Return plotly.js gzipped as base64; imported late and once, since only a page needs it."""
    source: str = importlib.import_module("plotly.offline").get_plotlyjs()
    return base64.b64encode(gzip.compress(source.encode(), mtime=0)).decode()
