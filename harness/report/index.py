"""``index.html``: one page a suite, the way into the pages of its runs.

Light on purpose: no script, no chart; the pages it links to have them.
"""

from __future__ import annotations

import os
from pathlib import Path

from ..results import RunResult, SuiteResult
from . import summary as text
from .base import SUITE_REPORTERS, write_text
from .html import document
from .markup import Content, badge, joined, table, tag


class IndexReporter:
    """Writes ``index.html``."""

    name = "index"

    def write(self, suite: SuiteResult, folder: Path) -> Path:
        """Write it; raises OSError."""
        return write_text(folder / "index.html", suite_page(suite, folder))


SUITE_REPORTERS.register(IndexReporter.name)(IndexReporter())


def suite_page(suite: SuiteResult, folder: Path) -> str:
    """Return the page; its links lead from ``folder`` to the runs' own pages."""
    heads = [text.headline(result).word for result in suite.runs]
    counts = ", ".join(f"{heads.count(word)} {word}" for word in dict.fromkeys(heads)) or "no scenario was run"
    head = text.suite_headline(suite)
    titles = ("scenario", "verdict", *text.CLOCK_NAMES, "time", "claim")
    numbers = frozenset(range(2, len(titles) - 1))
    body = joined(
        [
            badge(head),
            tag("h1", f"Suite {suite.suite}"),
            tag("p", f"{counts} · took {text.seconds_text(suite.seconds)}, {suite.jobs} at a time", class_="muted"),
            table(titles, [_row(result, folder) for result in suite.runs], numbers),
            *(
                tag("p", f"{'Unknown' if owed else 'Not reached'}: {said}", class_="muted")
                for said, owed in text.reached_lines(suite)
            ),
            *(tag("p", f"Skipped: {one.scenario.name} {one.reason}", class_="muted") for one in suite.skipped),
        ]
    )
    return document(f"{head.symbol} {head.word} · {suite.suite}", tag("main", body))


def _row(result: RunResult, folder: Path) -> list[Content]:
    name: Content = result.scenario.name
    if result.begun:
        target = Path(os.path.relpath(result.folder / "report.html", folder)).as_posix()
        name = tag("a", result.scenario.name, href=target)
    cells = (*text.clock_cells(result.clocks), text.seconds_text(result.seconds), result.scenario.claim)
    return [name, badge(text.headline(result), small=True), *cells]
