"""The pages in a real Chromium: drawn without a complaint, zoomed, filtered, and followed by links.

With a folder in ``HARNESS_SCREENSHOTS`` pictures of each page in light, dark and phone width are left there.
"""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest

from bench._browser import DESK, PHONE, Browser, Page
from harness.report import base, points
from harness.report.html import page
from harness.results import Clocks
from tests.browser.looking import LOOKS, LOST, NAMELESS, RANGE, a_browser, drawn, failed_run, pictured, shown
from tests.unit import report_samples as samples
from tests.unit.report_suites import earlier, page_of, ran


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Addresses of a failed run's page, of a long run's, and of a suite's that has runs before it."""
    folder = tmp_path_factory.mktemp("pages")
    written = {"run": base.write_text(folder / "run.html", page(*failed_run()))}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(points, "MAX_OPERATIONS", 500)
        patch.setattr(points, "_SVG_LIMIT", 10)
        long = samples.sample_run(operations_per_second=200)
        written["long"] = base.write_text(folder / "long.html", page(samples.result_of(samples.lost()), long))
    earlier(folder, "PASS", "FAIL", "PASS", "PASS", "PASS", "PASS")
    earlier(folder, "PASS", "PASS", name="other")
    slow = (Clocks("detach-partition", 2.0, 0.2, 0.3, 3.0),)
    pool = ran(folder, samples.UNDECIDED, name="open")
    suite = samples.suite_of(
        ran(folder, samples.PASSED, name="other"),
        ran(folder, samples.lost(), samples.NOT_CHECKED, clocks=slow),
        dataclasses.replace(pool, scenario=dataclasses.replace(pool.scenario, requirements=("R-POOL-1",))),
    )
    page_of(folder, suite)
    written["suite"] = folder / "20251205-103000-suite-cccc" / "index.html"
    return {name: path.as_uri() for name, path in written.items()}


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("name", ["run", "long", "suite"])
def test_a_page_is_drawn_without_a_complaint_and_asks_for_nothing(
    browser: Browser, pages: dict[str, str], name: str, look: str
) -> None:
    opened = drawn(browser, pages[name], look)
    pictured(opened, f"{name}-{look}")
    assert opened.complaints() == []
    assert [one for one in opened.requested() if not one.startswith(("data:", "blob:"))] == [pages[name]]
    assert opened.evaluate("document.querySelectorAll('#chart .main-svg').length") > 0
    # Only tables and the chart scroll sideways, never the page.
    width = (PHONE if look == "phone" else DESK)[0]
    assert opened.evaluate("document.documentElement.scrollWidth") <= width


def test_a_page_that_is_dark_has_a_dark_chart_and_changes_with_the_system(
    browser: Browser, pages: dict[str, str]
) -> None:
    opened = drawn(browser, pages["run"], "dark")
    ink = "document.getElementById('chart').layout.font.color"
    dark = opened.evaluate(ink)
    assert opened.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 22, 26)"
    changed = "new Promise((done) => document.getElementById('chart').on('plotly_relayout', done))"
    opened.evaluate(f"window.changed = {changed}; 0")
    opened.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "light"}])
    opened.evaluate("window.changed.then(() => 0)")
    assert opened.evaluate(ink) != dark


def plot(opened: Page) -> list[float]:
    """Left, top, width and height of the first lane in the window."""
    box: list[float] = opened.evaluate(
        "(() => { const lane = document.querySelector('#chart .nsewdrag'); lane.scrollIntoView({block: 'center'}); "
        "const box = lane.getBoundingClientRect(); return [box.x, box.y, box.width, box.height]; })()"
    )
    return box


def test_the_timeline_zooms_by_a_drag_and_by_its_buttons(browser: Browser, pages: dict[str, str]) -> None:
    opened = drawn(browser, pages["run"])
    whole = opened.evaluate(RANGE)
    left, top, width, height = plot(opened)
    opened.evaluate(
        "window.zoomed = new Promise((done) => document.getElementById('chart').on('plotly_relayout', done)); 0"
    )
    opened.drag((left + 0.3 * width, top + height / 2), (left + 0.6 * width, top + height / 2))
    opened.evaluate("window.zoomed.then(() => 0)")
    zoomed = opened.evaluate(RANGE)
    span = whole[1] - whole[0]
    assert zoomed == pytest.approx([whole[0] + 0.3 * span, whole[0] + 0.6 * span], abs=0.02 * span)
    opened.click("[data-action=in]")
    assert opened.evaluate(f"{RANGE}[1] - {RANGE}[0]") == pytest.approx((zoomed[1] - zoomed[0]) / 2)
    opened.click("[data-action=right]")
    assert opened.evaluate(RANGE)[0] > zoomed[0]
    opened.click("[data-action=all]")
    assert opened.evaluate(RANGE) == pytest.approx(whole)
    opened.click(".zoom [data-from]")
    assert opened.evaluate(RANGE)[0] == pytest.approx(4.0 - 0.1 * (samples.PROBED_AT - 4.0) - 0.5)


def test_a_finding_leads_to_its_events_and_their_stories(browser: Browser, pages: dict[str, str]) -> None:
    opened = drawn(browser, pages["run"])
    opened.click("#finding-1 summary")
    opened.click("#finding-1 .ids a[href='#event-1']")
    assert opened.evaluate("location.hash") == "#event-1"
    opened.evaluate("new Promise((done) => setTimeout(done))")
    story = "document.getElementById('event-1')"
    assert opened.evaluate(f"{story}.open")
    assert opened.evaluate(f"{story}.dataset.event") == LOST
    assert "LOST: neither in the table nor in the queue" in opened.evaluate(f"{story}.textContent")
    assert opened.evaluate(f"document.activeElement === {story}.querySelector('summary')")
    assert -1 < opened.evaluate(f"{story}.getBoundingClientRect().y") < DESK[1]
    opened.click("#event-1 a[href='#finding-1']")
    assert opened.evaluate("location.hash") == "#finding-1"
    opened.click("#event-1 button.zooms")
    assert opened.evaluate(RANGE)[0] == pytest.approx(301 / 60 - 1.0, abs=0.01)


def test_a_point_of_the_timeline_leads_to_the_story_of_its_event(browser: Browser, pages: dict[str, str]) -> None:
    opened = drawn(browser, pages["run"])
    opened.click("#finding-1 button.zooms")
    plot(opened)
    x, y = opened.evaluate(f"""(() => {{
      const chart = document.getElementById("chart");
      for (const trace of chart._fullData) {{
        const index = (trace.text || []).findIndex((text) => String(text).endsWith("{LOST}"));
        if (index < 0) continue;
        const layout = chart._fullLayout, box = chart.getBoundingClientRect();
        const xaxis = layout.xaxis, yaxis = layout[trace.yaxis.replace("y", "yaxis")];
        return [box.x + xaxis._offset + xaxis.d2p(trace.x[index]), box.y + yaxis._offset + yaxis.d2p(trace.y[index])];
      }}
    }})()""")
    opened.evaluate("window.over = new Promise((done) => document.getElementById('chart').on('plotly_hover', done)); 0")
    opened.call("Input.dispatchMouseEvent", type="mouseMoved", x=x - 1, y=y - 1)
    opened.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    opened.evaluate("window.over.then(() => 0)")
    for kind in ("mousePressed", "mouseReleased"):
        opened.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
    assert opened.evaluate("location.hash") == "#event-1"


def chosen(opened: Page, form: str, menu: str, value: str) -> None:
    found = json.dumps(f"{form} select[name={menu}]")
    opened.evaluate(
        f"(() => {{ const menu = document.querySelector({found}); menu.value = {json.dumps(value)}; "
        "menu.dispatchEvent(new Event('change', {bubbles: true})); })()"
    )


def test_the_logs_are_searched_and_filtered(browser: Browser, pages: dict[str, str]) -> None:
    opened = drawn(browser, pages["run"])
    form = "form[data-for=log-lines]"
    everything = shown(opened, "#log-lines")
    opened.click(f"{form} input[type=search]")
    opened.call("Input.insertText", text="FAILED partition")
    assert shown(opened, "#log-lines") == 1
    said = f"document.querySelector('{form} .count').textContent"
    assert opened.evaluate(said) == f"1 of {everything} lines shown"
    opened.click(f"{form} button[type=reset]")
    opened.evaluate("new Promise((done) => setTimeout(done))")
    assert shown(opened, "#log-lines") == everything
    chosen(opened, form, "level", "2")
    assert shown(opened, "#log-lines") == 2
    chosen(opened, form, "part", "harness")
    assert shown(opened, "#log-lines") == 1
    opened.click(f"{form} input[type=search]")
    opened.press("Enter", 13)
    assert shown(opened, "#log-lines") == 1
    assert opened.complaints() == []


def test_the_scenarios_of_a_suite_are_filtered_and_the_trend_of_one_is_chosen(
    browser: Browser, pages: dict[str, str]
) -> None:
    opened = drawn(browser, pages["suite"])
    form = "form[data-for=runs-table]"
    assert shown(opened, "#runs-table") == 3
    chosen(opened, form, "verdict", "FAIL")
    assert shown(opened, "#runs-table") == 1
    chosen(opened, form, "verdict", "")
    chosen(opened, form, "requirements", "R-POOL-1")
    assert shown(opened, "#runs-table") == 1
    chosen(opened, form, "requirements", "R-DLQ-2")
    assert shown(opened, "#runs-table") == 2
    visible = "document.getElementById('chart').data.filter((trace) => trace.visible).map((trace) => trace.meta)"
    # The one that became slower comes first.
    assert opened.evaluate(visible) == ["t1"] * 4
    opened.evaluate(
        "(() => { const menu = document.getElementById('trend-of'); menu.value = 't0'; "
        "menu.dispatchEvent(new Event('change')); })()"
    )
    assert opened.evaluate(visible) == ["t0"] * 4


@pytest.mark.parametrize("name", ["run", "suite"])
def test_everything_that_can_be_focused_has_a_name(browser: Browser, pages: dict[str, str], name: str) -> None:
    assert drawn(browser, pages[name]).evaluate(NAMELESS) == []


def test_paper_has_all_of_a_page_and_the_screen_is_as_before(browser: Browser, pages: dict[str, str]) -> None:
    opened = drawn(browser, pages["run"], "dark")
    folded = "document.querySelectorAll('details:not([open])').length"
    before = opened.evaluate(folded)
    assert before > 0
    opened.evaluate(
        "window.printed = []; addEventListener('beforeprint', () => window.printed.push("
        "document.querySelectorAll('details:not([open])').length)); 0"
    )
    paper = opened.pdf()
    assert paper.startswith(b"%PDF")
    folder = os.environ.get("HARNESS_SCREENSHOTS")
    if folder:
        (Path(folder) / "run.pdf").write_bytes(paper)
    assert opened.evaluate("window.printed") == [0]
    assert opened.evaluate(folded) == before
    assert opened.complaints() == []


def test_a_browser_without_webgl_draws_many_points_all_the_same(pages: dict[str, str], tmp_path: Path) -> None:
    with a_browser(tmp_path, "--disable-3d-apis") as bare:
        opened = drawn(bare, pages["long"])
        assert not opened.evaluate("!!document.createElement('canvas').getContext('webgl')")
        kinds = set(opened.evaluate("document.getElementById('chart').data.map((trace) => trace.type)"))
        assert kinds == {"scatter"}
        assert opened.evaluate("document.querySelectorAll('#chart .points path.point').length") > 100
        assert opened.complaints() == []
