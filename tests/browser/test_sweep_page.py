"""The page of a sweep in a real Chromium: both plots drawn without a complaint, in every look and width."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench._browser import DESK, PHONE, Browser
from harness.report import base
from harness.sweep import page, shown
from harness.sweep.answer import answers_of
from harness.sweep.measuring import Point
from tests.browser.looking import LOOKS, NAMELESS, drawn, pictured
from tests.unit.sweep_samples import ask, figures

SLOWED = "under latency"
CHARTS = ("chart-0", "chart-1")


def result() -> shown.Result:
    """Five sizes in two conditions, one of them with nothing to count, and their runs."""
    sizes = (5, 10, 25, 50)
    found = [figures(size, p99=0.4 / size, wait=0.1 / size) for size in sizes]
    found += [figures(size, p99=2.0 / size, wait=0.4 / size, condition=SLOWED) for size in sizes]
    found.append(figures(90, problem="only 12 direct writes were measured; 2000 are needed"))
    name = "20260131-093000-sweep-pool-{}-1a2b"
    points = [Point(size=size, round=1, run=name.format(size), verdict="PASS") for size in (*sizes, 90)]
    return shown.Result(
        name="sweep-20260131-093000-pool-1a2b",
        question=ask(sizes=(*sizes, 90)),
        points=tuple(points),
        figures=tuple(found),
        answers=answers_of(found, 25, 97),
    )


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where the page is."""
    return base.write_text(tmp_path_factory.mktemp("sweep") / "pool.html", page.page(result())).as_uri()


@pytest.mark.parametrize("look", LOOKS)
def test_the_page_is_drawn_without_a_complaint_and_only_its_parts_scroll_sideways(
    browser: Browser, address: str, look: str
) -> None:
    opened = drawn(browser, address, look)
    pictured(opened, f"sweep-{look}")
    assert opened.complaints() == []
    assert [one for one in opened.requested() if not one.startswith(("data:", "blob:"))] == [address]
    for chart in CHARTS:
        assert opened.evaluate(f"document.querySelectorAll('#{chart} .scatterlayer .trace').length") == 5
    width = (PHONE if look == "phone" else DESK)[0]
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    assert opened.evaluate(NAMELESS) == []
    assert set(opened.evaluate("[...document.querySelectorAll('.chart-state')].map((one) => one.textContent)")) == {""}


def test_both_plots_are_as_light_or_dark_as_the_page(browser: Browser, address: str) -> None:
    inks = [
        {drawn(browser, address, look).evaluate(f"document.getElementById('{chart}').layout.font.color")}
        for look in ("light", "dark")
        for chart in CHARTS
    ]
    assert inks[0] == inks[1] != inks[2] == inks[3]


def test_a_sweep_of_which_nothing_was_played_has_a_page_without_a_complaint(browser: Browser, tmp_path: Path) -> None:
    empty = replace(result(), points=(), figures=(), answers=())
    opened = browser.open(base.write_text(tmp_path / "pool.html", page.page(empty)).as_uri())
    assert opened.evaluate("document.querySelector('h1').textContent").startswith("Should we raise")
    assert opened.evaluate("document.querySelectorAll('.chart-state').length") == 0
    assert opened.complaints() == []
