"""Looking at a page as its readers do: opened in some look, its chart drawn, its parts reached by mouse or by keys."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bench._browser import DESK, PHONE, Browser, Page, find_browser
from harness.checking import CheckResult
from harness.results import RunResult
from harness.rundata import Run
from tests.unit import report_samples as samples

LOST = "00000000-0000-4000-8000-000000000302"
_DRAWN = """
new Promise((done) => {
  const look = () => {
    const state = document.documentElement.dataset.chart;
    if (state) done(state); else setTimeout(look, 20);
  };
  look();
})
"""
RANGE = "document.getElementById('chart').layout.xaxis.range.map(Number)"
FOCUSED = "document.activeElement"
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"size": DESK},
    "dark": {"size": DESK, "dark": True},
    "phone": {"size": PHONE, "phone": True},
}
NAMELESS = """
[...document.querySelectorAll("a[href], button, input, select, summary, [tabindex='0']")]
  .filter((one) => !one.closest(".js-plotly-plot") && one.checkVisibility())
  .filter((one) => !(one.getAttribute("aria-label") || one.labels?.[0]?.textContent || one.textContent).trim())
  .map((one) => one.outerHTML)
"""
"""What can be focused and has no name."""
_MOST_TABS = 400


@contextmanager
def a_browser(folder: Path, *flags: str) -> Iterator[Browser]:
    """A browser with its profile in the folder; the test is skipped where there is none."""
    program = find_browser()
    if program is None:
        pytest.skip("no browser on PATH; on Debian: apt-get install chromium")
    with Browser(program, folder, flags) as started:
        yield started


def failed_run() -> tuple[RunResult, Run]:
    """A failed run full of hostile text."""
    check = samples.lost(count=30, hostile=samples.HOSTILE)
    strict = CheckResult("strictness", facts={"strict_during_2025_12": 120.0, "sent_during_2025_12": 150.0})
    result = samples.result_of(check, strict, samples.UNDECIDED, samples.NOT_CHECKED)
    return result, samples.sample_run(hostile=samples.HOSTILE)


def drawn(browser: Browser, address: str, look: str = "light") -> Page:
    """Open a page and wait until its charts are drawn."""
    opened = browser.open(address, **LOOKS[look])
    assert opened.evaluate(_DRAWN) == "drawn", opened.evaluate("document.querySelector('.chart-state').textContent")
    return opened


def pictured(opened: Page, name: str) -> None:
    """Leave a picture of the page where the environment asks for one."""
    folder = os.environ.get("HARNESS_SCREENSHOTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        opened.screenshot(Path(folder) / f"{name}.png")


def shown(opened: Page, listed: str) -> int:
    """How many items of a list a filter shows."""
    count: int = opened.evaluate(f"document.querySelectorAll('{listed} [data-item]:not([hidden])').length")
    return count


def settle(opened: Page) -> None:
    """Let the page do what it put off: timers of no time, and what waits for a frame."""
    opened.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done))))")


def tab_to(opened: Page, selector: str) -> None:
    """Press Tab until the keyboard is at such an element, and see that it shows."""
    at = f"{FOCUSED}.matches({json.dumps(selector)})"
    for _ in range(_MOST_TABS):
        opened.press("Tab", 9)
        if opened.evaluate(at):
            break
    assert opened.evaluate(at), f"no Tab leads to {selector}"
    outline = f"(({{ outlineStyle, outlineWidth }}) => [outlineStyle, outlineWidth])(getComputedStyle({FOCUSED}))"
    assert opened.evaluate(outline) == ["solid", "3px"]


def enter(opened: Page) -> None:
    """Press Enter, and let the page do what follows."""
    opened.press("Enter", 13)
    settle(opened)
