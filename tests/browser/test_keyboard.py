"""The pages by keyboard alone: skipped into, zoomed, followed to an event's story and back, filtered, chosen from."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench._browser import Browser, Page
from harness.report import base
from harness.report.html import page
from tests.browser.looking import FOCUSED, LOST, RANGE, drawn, enter, failed_run, settle, shown, tab_to
from tests.unit import report_samples as samples
from tests.unit.report_suites import page_of, ran


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a failed run's page."""
    return base.write_text(tmp_path_factory.mktemp("failed") / "run.html", page(*failed_run())).as_uri()


@pytest.fixture
def opened(browser: Browser, failed: str) -> Page:
    """That page, opened anew."""
    return drawn(browser, failed)


def test_the_first_key_leads_past_everything_to_the_timeline_and_its_buttons_zoom(opened: Page) -> None:
    opened.press("Tab", 9)
    assert opened.evaluate(f"{FOCUSED}.className") == "skip"
    assert opened.evaluate(f"{FOCUSED}.getBoundingClientRect().x") >= 0
    enter(opened)
    assert opened.evaluate(f"{FOCUSED}.id") == "timeline"
    opened.press("Tab", 9)
    assert opened.evaluate(f"{FOCUSED}.dataset.action") == "all"
    whole = opened.evaluate(RANGE)
    tab_to(opened, ".zoom [data-action=in]")
    enter(opened)
    zoomed = opened.evaluate(RANGE)
    assert zoomed[1] - zoomed[0] == pytest.approx((whole[1] - whole[0]) / 2)
    tab_to(opened, ".zoom [data-action=right]")
    enter(opened)
    assert opened.evaluate(RANGE)[0] > zoomed[0]
    assert opened.complaints() == []


def test_a_finding_is_opened_and_followed_to_the_story_of_its_event_and_back(opened: Page) -> None:
    tab_to(opened, "#finding-1 summary")
    assert not opened.evaluate("document.querySelector('#finding-1 details').open")
    enter(opened)
    assert opened.evaluate("document.querySelector('#finding-1 details').open")
    tab_to(opened, "#finding-1 .ids a[href='#event-1']")
    enter(opened)
    story = "document.getElementById('event-1')"
    assert opened.evaluate(f"{story}.open")
    assert opened.evaluate(f"{story}.dataset.event") == LOST
    assert opened.evaluate(f"{FOCUSED} === {story}.querySelector('summary')")
    tab_to(opened, "#event-1 a[href='#finding-1']")
    enter(opened)
    assert opened.evaluate(f"{FOCUSED}.id") == "finding-1"


def test_from_a_finding_to_its_time_and_on_from_there(opened: Page) -> None:
    tab_to(opened, "#finding-1 button.zooms")
    enter(opened)
    assert opened.evaluate(RANGE) == pytest.approx([3.0, 7.0])
    assert opened.evaluate(f"{FOCUSED}.id") == "timeline"
    opened.press("Tab", 9)
    assert opened.evaluate(f"{FOCUSED}.dataset.action") == "all"


def test_the_logs_are_searched_chosen_from_and_shown_whole_again(opened: Page) -> None:
    form = "form[data-for=log-lines]"
    everything = shown(opened, "#log-lines")
    tab_to(opened, f"{form} input[type=search]")
    opened.call("Input.insertText", text="failed partition")
    assert shown(opened, "#log-lines") == 1
    tab_to(opened, f"{form} button[type=reset]")
    enter(opened)
    assert shown(opened, "#log-lines") == everything


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a suite's page, which has no chart."""
    folder = tmp_path_factory.mktemp("suite")
    runs = (ran(folder, samples.PASSED, name="first"), ran(folder, samples.lost(), name="second"))
    page_of(folder, samples.suite_of(*runs))
    return (folder / "20251205-103000-suite-cccc" / "index.html").as_uri()


def test_the_scenarios_are_filtered_by_a_menu_and_by_words(browser: Browser, suite: str) -> None:
    opened = browser.open(suite)
    form = "form[data-for=runs-table]"
    tab_to(opened, f"{form} select[name=verdict]")
    opened.press("ArrowDown", 40)
    assert opened.evaluate(f"{FOCUSED}.value") == "PASS"
    assert shown(opened, "#runs-table") == 1
    tab_to(opened, f"{form} button[type=reset]")
    enter(opened)
    assert shown(opened, "#runs-table") == 2
    again = browser.open(suite)
    tab_to(again, f"{form} input[type=search]")
    again.call("Input.insertText", text="second")
    assert shown(again, "#runs-table") == 1
    assert again.evaluate(f"document.querySelector('{form} .count').textContent") == "1 of 2 scenarios shown"


def test_what_the_timeline_shows_is_chosen_by_name(opened: Page) -> None:
    tab_to(opened, ".names summary")
    enter(opened)
    tab_to(opened, ".names button")
    name = opened.evaluate(f"{FOCUSED}.textContent")
    visible = f"document.getElementById('chart').data.filter((one) => one.name === '{name}').map((one) => one.visible)"
    pressed = f"{FOCUSED}.getAttribute('aria-pressed')"
    assert opened.evaluate(pressed) == "true"
    enter(opened)
    assert set(opened.evaluate(visible)) == {"legendonly"}
    assert opened.evaluate(pressed) == "false"
    enter(opened)
    assert set(opened.evaluate(visible)) == {True}
    assert opened.evaluate(pressed) == "true"
    assert opened.complaints() == []


def test_a_part_that_scrolls_is_a_stop_of_the_keyboard_and_one_that_has_room_is_none(
    browser: Browser, failed: str
) -> None:
    def stops(look: str) -> list[int]:
        """The four clocks, the marks, the chart: 0 for a stop, -1 for none."""
        opened = drawn(browser, failed, look)
        settle(opened)
        parts = "document.querySelectorAll('#clocks .scroll, #timeline > .scroll')"
        found: list[int] = opened.evaluate(f"[...{parts}].map((one) => one.tabIndex)")
        return found

    roomy, narrow = stops("light"), stops("phone")
    assert (roomy[0], roomy[2]) == (-1, -1)
    assert narrow[1:] == [0, 0]


COPIED = """
new Promise((done) => {
  const button = document.querySelector("button[data-copy]");
  new MutationObserver(() => done(button.textContent)).observe(button, { childList: true });
  button.focus();
})
"""


@pytest.mark.parametrize(("setting", "said"), [("granted", "Copied"), ("denied", "Selected")])
def test_the_command_that_repeats_a_run_is_copied_or_else_selected_to_be_copied(
    browser: Browser, failed: str, setting: str, said: str, tmp_path: Path
) -> None:
    opened = drawn(browser, failed)
    for name in ("clipboard-read", "clipboard-write"):
        browser.call("Browser.setPermission", permission={"name": name}, setting=setting)
    command = samples.result_of().repeat_command
    opened.evaluate(f"window.copied = {COPIED}; 0")
    enter(opened)
    assert opened.evaluate("window.copied") == said
    taken = "navigator.clipboard.readText()" if setting == "granted" else "getSelection().toString()"
    assert opened.evaluate(taken) == command
