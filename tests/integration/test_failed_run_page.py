"""A run that really fails, of a service that is broken on purpose, and its page as its reader uses it in Chromium."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench._browser import DESK, PHONE, Page
from harness.report.latest import FOLDER
from harness.selftest.catalogue import DEFAULT_CATALOGUE, load_catalogue
from tests.browser.looking import LOOKS, NAMELESS, RANGE, a_browser, drawn, pictured, settle
from tests.integration.commands import ROOT, harness, open_place, quick_options

DEFECT = "drain-deletes-on-failure"


@pytest.fixture
def place() -> Iterator[Path]:
    with open_place("failed-page-test-") as path:
        yield path


def played(place: Path) -> Path:
    """Play the defect under a detached December; return the folder of the run that counts."""
    catalogue = load_catalogue(ROOT / DEFAULT_CATALOGUE)
    target = catalogue.write_target(catalogue.get(DEFECT), place)
    done = harness(place, "run", *quick_options(place), "--target", str(target), "--seed", "3")
    assert done.returncode == 1, done.stdout[-3000:] + done.stderr
    (told,) = json.loads((place / "r" / FOLDER / "suite.json").read_text())["runs"]
    return place / "r" / str(told["folder"])


def lost(folder: Path) -> dict[str, Any]:
    """The finding that events are lost, as the result has it."""
    checks = json.loads((folder / "result.json").read_text())["checks"]
    found: dict[str, Any] = next(
        one for check in checks if check["checker"] == "conservation" for one in check["findings"] if one["event_ids"]
    )
    return found


def followed(opened: Page, finding: dict[str, Any]) -> None:
    """Go from the finding to the story of its first event, to that one's time, and back."""
    event_id = finding["event_ids"][0]
    (number,) = opened.evaluate(
        "[...document.querySelectorAll('.finding')].filter((one) => one.querySelector('strong').textContent"
        f".startsWith({json.dumps(finding['summary'])})).map((one) => one.id.replace('finding-', ''))"
    )
    if not opened.evaluate(f"document.querySelector('#finding-{number} details').open"):
        opened.click(f"#finding-{number} summary")
    link = f"#finding-{number} .ids li:first-child a"
    assert opened.evaluate(f"document.querySelector('{link}').textContent") == event_id
    story = opened.evaluate(f"document.querySelector('{link}').hash")
    opened.click(link)
    settle(opened)
    assert opened.evaluate("location.hash") == story
    told = f"document.querySelector('{story}')"
    assert opened.evaluate(f"[{told}.open, {told}.dataset.event]") == [True, event_id]
    text = opened.evaluate(f"{told}.textContent")
    for said in ("202 queued", "detach-partition", "LOST: neither in the table nor in the queue"):
        assert said in text
    whole = opened.evaluate(RANGE)
    button = f"document.querySelector('{story} button.zooms')"
    span = [float(opened.evaluate(f"{button}.dataset.{edge}")) for edge in ("from", "to")]
    opened.click(f"{story} button.zooms")
    settle(opened)
    begin, end = opened.evaluate(RANGE)
    assert [begin, end] == pytest.approx(span)
    answered = re.search(r"Answered 202 at ([\d.]+) s", text)
    assert answered is not None
    # The span of an event that is among the first begins with a margin before the run.
    assert begin < float(answered[1]) < end < whole[1]
    assert end - begin < whole[1] - whole[0]
    opened.click(f"{story} a[href='#finding-{number}']")
    assert opened.evaluate("location.hash") == f"#finding-{number}"


def test_the_page_of_a_failed_run_leads_from_a_finding_to_what_became_of_its_event(place: Path, tmp_path: Path) -> None:
    with a_browser(tmp_path) as browser:
        folder = played(place)
        address = (folder / "report.html").resolve().as_uri()
        finding = lost(folder)
        for look in LOOKS:
            opened = drawn(browser, address, look)
            pictured(opened, f"failed-{look}")
            assert opened.evaluate("document.title").startswith("✗ FAIL")
            width = (PHONE if look == "phone" else DESK)[0]
            assert opened.evaluate("document.documentElement.scrollWidth") <= width
            assert opened.evaluate(NAMELESS) == []
            followed(opened, finding)
            assert opened.complaints() == []
