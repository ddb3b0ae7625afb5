"""``index.html``: one page a suite, the way into the pages of its runs.

Verdict first, then the scenarios, requirement by requirement, what was not checked, and how it compares with the
runs before, whose chart is there only if there are such runs: the library that draws it weighs 2 MB.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..results import SuiteResult
from . import summary as text
from .base import SUITE_REPORTERS, write_text
from .html import chart_scripts, document, page_scripts
from .markup import Markup, address, badge, joined, navigation, section, tag
from .suiteparts import broken_parts, requirement_parts, run_parts, unchecked_parts
from .trendparts import trend_figure, trend_parts
from .trends import Trend, trends


class IndexReporter:
    """Writes ``index.html``."""

    name = "index"

    def write(self, suite: SuiteResult, folder: Path) -> Path:
        """Write it; raises OSError."""
        return write_text(folder / "index.html", suite_page(suite, folder))


SUITE_REPORTERS.register(IndexReporter.name)(IndexReporter())

_LINKS = (
    ("scenarios", "Scenarios"),
    ("broken", "Broken promises"),
    ("requirements", "Requirements"),
    ("unchecked", "Not checked"),
    ("trends", "Trends"),
)


def suite_page(suite: SuiteResult, folder: Path) -> str:
    """Return the page; its links lead from ``folder`` to the runs' own pages."""
    reports = suite.runs[0].folder.parent if suite.runs else folder.parent
    compared = trends(suite, reports)
    figure = trend_figure(compared)
    base = address(reports, folder)
    parts = [
        section("broken", "Broken promises", *broken_parts(suite, folder)),
        section("scenarios", "Scenarios", *run_parts(suite, folder)),
        section("requirements", "Scenarios and requirements", *requirement_parts(suite, folder)),
        section("unchecked", "What was not checked, and why", *unchecked_parts(suite, folder)),
        section("trends", "Against earlier runs", *_trends(compared, base, charted=figure is not None)),
    ]
    head = text.suite_headline(suite)
    skip = tag("a", "Skip to the scenarios", href="#scenarios", class_="skip")
    body = joined([_header(suite), navigation(_LINKS, parts), *parts])
    scripts = page_scripts() if figure is None else chart_scripts({"chart": figure}, "trends.js")
    title = f"{head.symbol} {head.word} · {suite.suite}"
    return document(title, joined([skip, tag("main", body), Markup("\n"), scripts]))


def _trends(compared: Sequence[Trend], base: str, *, charted: bool) -> Sequence[Markup]:
    return list(trend_parts(compared, base, charted=charted)) if compared else []


def _header(suite: SuiteResult) -> Markup:
    heads = [text.headline(result).word for result in suite.runs]
    counts = ", ".join(f"{heads.count(word)} {word}" for word in dict.fromkeys(heads)) or "no scenario was run"
    skipped = f", {len(suite.skipped)} SKIPPED" if suite.skipped else ""
    took = f"took {text.seconds_text(suite.seconds)}, {suite.jobs} at a time"
    parts = [
        badge(text.suite_headline(suite)),
        tag("h1", f"Suite {suite.suite}"),
        tag("p", f"{counts}{skipped} · {took}", class_="muted"),
    ]
    return tag("header", joined(parts))
