"""The page: verdict first, nothing loaded, everything escaped; and drawn by a real browser where there is one."""

from __future__ import annotations

import dataclasses
import math
import re
import shutil
import subprocess
from datetime import date
from html.parser import HTMLParser
from pathlib import Path

import pytest

from harness import events as ev
from harness.checking import CheckResult, Finding
from harness.doctor import BROWSERS
from harness.report import base, timeline
from harness.report.console import detail_lines
from harness.report.html import page
from harness.report.markup import Markup, for_script, tag
from harness.rundata import build_run
from harness.values import Promise
from tests.unit import report_samples as samples

VOID = {"meta", "br", "input"}


class _Reader(HTMLParser):
    """Checks that elements nest, and collects text and loaded addresses."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.links: list[str] = []
        self.scripts = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
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
    assert "op 302 · writer 2 · write → 202 queued" in text
    assert "At the end: not in the table; not in the DLQ" in text
    assert "10 more: harness explain tells the story of each" in text
    assert "The whole story of the first: harness explain " in text
    assert "only 120 of 200 events were judged strictly" in text
    assert "needs metrics" in text
    assert "23514 no partition found" in text


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
    assert read(failed).scripts == 3
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
    assert "Changed, from sent to stored:" in text
    assert 'event_type: absent → "<b>"' in text
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


def test_plotly_accepts_the_figure() -> None:
    from plotly.graph_objects import Figure

    built = timeline.build_timeline(samples.sample_run(), frozenset({"00000000-0000-4000-8000-000000000302"}))
    figure = Figure(built.figure)
    assert {trace.xaxis for trace in figure.data} == {"x"}
    assert built.shown == built.total
    names = {trace.name for trace in figure.data}
    assert {
        "201 created",
        "202 queued",
        "no answer",
        "DLQ pending",
        "pool in use",
        "named by a finding",
    } <= names
    notes = " ".join(note.text for note in figure.layout.annotations)
    for mark in ("inject", "confirm", "heal", "probe", "detach-partition", "2025_12", "2026_01"):
        assert mark in notes


def test_a_long_run_is_sampled_but_keeps_slow_and_concerned_operations(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(timeline, "MAX_OPERATIONS", 500)
    run = samples.sample_run(operations_per_second=200)
    concerned = {operation.event_id for operation in run.operations[::97]}
    built = timeline.build_timeline(run, concerned)
    assert built.shown < built.total == len(run.operations)
    drawn = {text.rsplit(" ", 1)[-1] for trace in built.figure["data"] for text in trace.get("text", ())}
    slowest = max(run.operations, key=lambda operation: operation.seconds)
    assert concerned <= drawn
    assert slowest.event_id in drawn
    months = {operation.month for operation in run.operations}
    assert len(months) == 2


def test_the_page_says_when_it_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeline, "MAX_OPERATIONS", 500)
    text = page(samples.result_of(samples.PASSED), samples.sample_run(operations_per_second=200))
    assert re.search(r"Shows \d+ of 2601 operations, sampled", text)


def test_a_metric_that_is_no_number_is_a_gap() -> None:
    sample = samples.started()
    sample.write(1.0, samples.DECEMBER, 201, 0.01)
    sample.records.append(ev.MetricsSample(1.0, {"datastorage_db_connections_open": math.nan}))
    built = timeline.build_timeline(build_run(sample.records), frozenset())
    (line,) = (trace for trace in built.figure["data"] if trace["name"] == "pool open")
    assert line["y"] == [None]


def test_the_suite_page_links_to_each_run(tmp_path: Path) -> None:
    folder = tmp_path / "suite"
    folder.mkdir()
    runs = [samples.result_of(check, folder=tmp_path / check.checker) for check in (samples.PASSED, samples.lost())]
    base.write_suite(samples.suite_of(*runs), folder)
    text = (folder / "index.html").read_text()
    assert read(text).links == ["../isolation/report.html", "../conservation/report.html"]
    assert "1 PASS, 1 FAIL" in text


@pytest.mark.parametrize(("scheme", "width"), [(1, 1200), (0, 1200), (1, 500)], ids=["light", "dark", "narrow"])
def test_a_browser_draws_the_chart(tmp_path: Path, failed: str, scheme: int, width: int) -> None:
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        pytest.skip("no browser on PATH; on Debian: apt-get install chromium")
    path = base.write_text(tmp_path / "report.html", failed)
    command = [browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    command += [
        f"--user-data-dir={tmp_path / 'profile'}",
        "--virtual-time-budget=15000",
        f"--window-size={width},2000",
    ]
    command += [f"--blink-settings=preferredColorScheme={scheme}", "--dump-dom", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert 'data-chart="drawn"' in done.stdout, done.stderr[-2000:]
    assert "2025_12 · latency" in done.stdout
