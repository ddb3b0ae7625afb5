"""The page of a run: verdict first, nothing loaded, everything escaped, bounded, and readable without a script."""

from __future__ import annotations

import dataclasses
import json
import re
from datetime import date
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest

from harness import events as ev
from harness.checking import CheckResult, Finding
from harness.report import base, concerned, findingparts, points
from harness.report.console import detail_lines
from harness.report.html import page
from harness.report.markup import Markup, for_script, tag
from harness.rundata import build_run
from harness.values import Promise
from tests.unit import report_samples as samples
from tests.unit.report_pages import rows

VOID = {"meta", "br", "input"}


class _Reader(HTMLParser):
    """Checks that elements nest, and collects text and loaded addresses."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.scripts = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        for name, value in attrs:
            if name == "id":
                assert value not in self.ids, value
                self.ids.add(value or "")
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "action", "data")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("script", "style"):
            self.text.append(data)


def read(text: str) -> _Reader:
    """Parse a page to its end."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == []
    return reader


@pytest.fixture(scope="module")
def failed() -> str:
    """The page of a failed run full of hostile text."""
    check = samples.lost(count=30, hostile=samples.HOSTILE)
    result = samples.result_of(check, samples.UNDECIDED, samples.NOT_CHECKED)
    return page(result, samples.sample_run(hostile=samples.HOSTILE))


def test_the_page_begins_with_the_verdict_and_tells_each_concerned_event(failed: str) -> None:
    text = "".join(read(failed).text)
    order = [text.index(part) for part in ("FAIL", "december-detached", "A detached month", "harness replay", "Broken")]
    assert order == sorted(order)
    for number in range(302, 332):
        assert f"00000000-0000-4000-8000-{number:012d}" in text
    assert "op 302 by writer 2, write: {}" in text
    assert "op 302: 202 queued in 2025_12 after" in text
    assert "detach-partition [1] confirmed: 23514 no partition found" in text
    assert "final read: not in the table; not in the DLQ" in text
    assert "LOST: neither in the table nor in the queue" in text
    assert "Found by the checker conservation." in text
    assert "The whole story of the first, also of any other: harness explain " in text
    assert "only 120 of 200 events were judged strictly" in text
    assert "needs metrics" in text
    assert "23514 no partition found" in text


def test_a_finding_leads_to_the_story_of_each_event_that_is_told_and_the_story_leads_back(failed: str) -> None:
    reader = read(failed)
    targets = {link.removeprefix("#") for link in reader.links}
    assert targets <= reader.ids
    assert {f"event-{number}" for number in range(1, concerned.STORIES_OF_FINDING + 1)} <= targets
    assert "finding-1" in targets
    text = "".join(reader.text)
    assert "The stories of 20 of the events that findings name, the first ones of each; 10 have none here." in text


def test_an_event_that_the_run_knows_nothing_of_has_no_story() -> None:
    unknown = "ffffffff-0000-4000-8000-000000000000"
    finding = Finding(Promise.TRUTH, "A stranger.", (unknown, "operation 12"))
    reader = read(page(samples.result_of(CheckResult("metrics", findings=(finding,))), samples.sample_run()))
    assert [link for link in reader.links if link.startswith("#event-")] == ["#event-1"]
    text = "".join(reader.text)
    assert unknown in text
    assert "00000000-0000-4000-8000-000000000012 Answered" in text


def test_what_grows_with_the_run_is_bounded_and_said_to_be_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(points, "MAX_OPERATIONS", 500)
    monkeypatch.setattr(concerned, "IDS_LISTED", 5)
    monkeypatch.setattr(concerned, "FINDINGS_SHOWN", 2)
    monkeypatch.setattr(findingparts, "IDS_LISTED", 5)
    monkeypatch.setattr(findingparts, "FINDINGS_SHOWN", 2)
    monkeypatch.setattr(concerned, "STORIES_TOLD", 3)
    findings = (
        *samples.lost(count=7).findings,
        *samples.lost(count=7).findings,
        Finding(Promise.TRUTH, "The last one."),
    )
    text = "".join(read(page(samples.result_of(CheckResult("x", findings=findings)), samples.sample_run())).text)
    assert "5 of 7 event ids" in text
    assert "The other 2 are in result.json." in text
    assert "1 more findings are in result.json." in text
    assert "The last one." not in text
    assert "The stories of 3 of the events" in text
    assert "All 781 requests are in this chart, most of them in marks" in text


def test_a_finding_that_names_very_many_events_makes_no_heavy_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.report.html.packed_plotly", lambda: "")
    few, many = (
        len(page(samples.result_of(CheckResult("x", findings=(finding,))), samples.sample_run()))
        for finding in (
            Finding(Promise.TRUTH, "Many.", tuple(f"{number:036}" for number in range(count)))
            for count in (concerned.IDS_LISTED, 100_000)
        )
    )
    assert many - few < 1_000


def test_operations_judged_strictly_are_told_by_month_and_phase() -> None:
    facts = {"strict_during_2025_12": 224.0, "sent_during_2025_12": 441.0}
    strict = CheckResult("strictness", facts=facts)
    text = page(samples.result_of(strict), samples.sample_run())
    row = re.search(r'<tr><th scope="row">2025_12</th><td>during</td>.*?</tr>', text)
    assert row is not None
    assert "224 of 441" in row[0]
    other = re.search(r'<tr><th scope="row">2026_01</th><td>during</td>.*?</tr>', text)
    assert other is not None
    assert "–</td></tr>" in other[0]


def test_what_was_run_on_what_is_told_with_versions_limits_and_the_scenario_as_it_was_played() -> None:
    run = samples.sample_run(5)
    started = dataclasses.replace(run.started, versions={"toxiproxy": "2.12.0", "postgresql": "180006"})
    text = page(samples.result_of(samples.PASSED), dataclasses.replace(run, started=started))
    assert rows(text, "Target and versions") == [
        ["target", "reference"],
        ["postgresql", "18.6"],
        ["toxiproxy", "2.12.0"],
    ]
    limits = dict(rows(text, "Limits this target wants to be judged by"))
    assert limits["db pool max"] == "25"
    assert set(limits) == {name.replace("_", " ") for name in run.limits.__dict__}
    (section,) = re.findall(r'<section id="environment">.*?</section>', text, re.DOTALL)
    played = unescape("".join(re.findall("<pre[^>]*>(.*?)</pre>", section, re.DOTALL)))
    assert json.loads(played) == samples.SCENARIO.to_json()


def test_every_table_has_a_name_and_every_control_too(failed: str) -> None:
    assert failed.count("<table") == len(re.findall(r"<table[^>]*><caption", failed))
    for button in re.findall(r"<button[^>]*>(.*?)</button>", failed):
        assert button.strip()
    for control in re.findall(r"<(?:input|select)[^>]*>", failed):
        before = failed[: failed.index(control)]
        assert before.rfind("<label>") > before.rfind("</label>"), control
    assert '<a href="#timeline" class="skip">' in failed


def test_no_table_or_list_is_lost_without_a_script(failed: str) -> None:
    hidden = re.findall(r"<(\w+)[^>]* hidden>", failed)
    assert set(hidden) == {"button", "div", "form"}
    assert re.search(r'<div [^>]*class="zoom"[^>]* hidden>', failed)


def test_the_page_loads_nothing_and_forbids_to(failed: str) -> None:
    reader = read(failed)
    assert reader.links
    assert all(link.startswith("#") for link in reader.links)
    assert "default-src 'none'" in failed
    assert "showSendToCloud: false" in failed
    assert "@import" not in failed
    assert "url(" not in failed


def test_hostile_text_stays_text(failed: str) -> None:
    assert "<script>alert" not in failed
    assert read(failed).scripts == 4
    assert "<script>alert('x')</script>" in "".join(read(failed).text)


def test_script_data_cannot_end_its_element() -> None:
    assert "</script" not in for_script('{"a":"</script>"}')


def test_only_markup_passes_unescaped() -> None:
    assert tag("p", "<b>") == "<p>&lt;b&gt;</p>"
    assert tag("p", Markup("<b></b>"), title='"') == '<p title="&quot;"><b></b></p>'


def test_changed_content_is_shown_from_sent_to_stored(tmp_path: Path) -> None:
    sample = samples.started()
    event_id = sample.write(1.0, samples.DECEMBER, 202, 0.02)
    row = ev.TableRow(event_id, date(2025, 12, 5), "2025_12", '{"event_type": "<b>"}', "")
    sample.records += [row, ev.FinalRead(9.0, table=True, dlq=True)]
    finding = Finding(Promise.CONSERVATION, "1 events are stored with other content.", (event_id,))
    result = samples.result_of(CheckResult("conservation", findings=(finding,)))
    text = "".join(read(page(result, build_run(sample.records))).text)
    assert 'stored in partition 2025_12 (event_date 2025-12-05); CHANGED event_type: absent → "<b>"' in text
    base.write_all(dataclasses.replace(result, folder=tmp_path), build_run(sample.records), tmp_path)
    lines = [line.styled + line.rest for line in detail_lines(dataclasses.replace(result, folder=tmp_path))]
    assert f'      {event_id}: event_type: absent → "<b>"' in lines


def test_a_passed_run_has_no_findings_section() -> None:
    text = page(samples.result_of(samples.PASSED), samples.sample_run())
    assert 'id="findings"' not in text
    assert 'id="unknown"' not in text
    assert "✓" in text


def test_a_run_without_operations_still_has_a_page() -> None:
    run = build_run(samples.started().records)
    text = page(samples.result_of(samples.UNDECIDED), run)
    assert 'id="chart"' not in text
    assert "UNKNOWN" in "".join(read(text).text)
