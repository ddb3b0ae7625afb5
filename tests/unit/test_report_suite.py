"""The page of a suite: scenarios, requirements, what was not checked and why, and how it was before."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from plotly.graph_objects import Figure

from harness.report import trendparts, trends
from harness.results import Clocks, RunResult, Skipped
from harness.scenario import Scenario
from tests.unit import report_samples as samples
from tests.unit.report_suites import NAME, NOW, earlier, page_of, ran, store
from tests.unit.test_report_html import read


def words(text: str) -> str:
    return " ".join("".join(read(text).text).split())


@pytest.fixture(autouse=True)
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave plotly.js out: it is not what these tests are about."""
    monkeypatch.setattr("harness.report.html.packed_plotly", lambda: "")


def test_the_page_links_to_each_run_and_loads_nothing(tmp_path: Path) -> None:
    runs = [ran(tmp_path, samples.PASSED, name="good"), ran(tmp_path, samples.lost(), name="bad")]
    text = page_of(tmp_path, samples.suite_of(*runs))
    links = {link for link in read(text).links if not link.startswith("#")}
    assert links == {
        f"../{NOW}-good-aaaa/report.html",
        f"../{NOW}-bad-aaaa/report.html",
        f"../{NOW}-bad-aaaa/report.html#findings",
    }
    assert "1 PASS, 1 FAIL" in words(text)
    assert "default-src 'none'" in text
    assert 'id="chart"' not in text


def test_verdict_and_broken_promises_come_first_with_the_command_that_repeats(tmp_path: Path) -> None:
    text = words(page_of(tmp_path, samples.suite_of(ran(tmp_path, samples.lost(hostile=samples.HOSTILE)))))
    order = [text.index(part) for part in ("FAIL", "Suite suite-1", "12 events were answered 202", "harness replay")]
    assert order == sorted(order)
    assert "Promise 1 (conservation): 12 events" in text


def row(text: str, caption: str, head: str) -> list[str]:
    """The cells of a row, by the caption of its table and its heading, as words."""
    table = text.partition(f">{caption}</caption>")[2].partition("</table>")[0]
    line = next(line for line in re.findall(r"<tr[^>]*>(.*?)</tr>", table) if f">{head}<" in line)
    return [words(f"<p>{cell}</p>") for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", line)]


MATRIX = "Scenarios and the requirements that they show to hold"


def test_a_requirement_holds_only_if_every_scenario_that_names_it_passed(tmp_path: Path) -> None:
    def named(result: RunResult, *requirements: str) -> RunResult:
        return dataclasses.replace(result, scenario=dataclasses.replace(result.scenario, requirements=requirements))

    suite = samples.suite_of(
        named(ran(tmp_path, samples.PASSED, name="good"), "S2", "S10", "S3", "S4"),
        named(ran(tmp_path, samples.lost(), name="bad"), "S3"),
        named(ran(tmp_path, samples.UNDECIDED, name="open"), "S10"),
    )
    absent = dataclasses.replace(samples.SCENARIO, name="absent", requirements=("S4",))
    text = page_of(tmp_path, dataclasses.replace(suite, skipped=(Skipped(absent, "needs root"),)))
    assert row(text, MATRIX, "scenario") == ["scenario", "S2", "S3", "S4", "S10"]
    assert row(text, MATRIX, "all of them") == ["all of them", "✓ PASS", "✗ FAIL", "? UNKNOWN", "? UNKNOWN"]
    assert row(text, MATRIX, "good") == ["good", "✓ PASS", "✓ PASS", "✓ PASS", "✓ PASS"]
    assert row(text, MATRIX, "bad") == ["bad", "", "✗ FAIL", "", ""]
    assert row(text, MATRIX, "absent") == ["absent", "", "", "– SKIPPED", ""]


def test_what_was_not_checked_is_told_with_its_reason(tmp_path: Path) -> None:
    suite = samples.suite_of(
        ran(tmp_path, samples.PASSED, samples.NOT_CHECKED, name="good"),
        ran(tmp_path, samples.UNDECIDED, name="open"),
        ran(tmp_path, name="never", setup_error="no answer from postgresql://slm:hunter2@127.0.0.1/db"),
    )
    absent = dataclasses.replace(samples.SCENARIO, name="absent")
    text = page_of(tmp_path, dataclasses.replace(suite, skipped=(Skipped(absent, "needs root"),)))
    assert row(text, "Checks that were not made", "metrics") == ["metrics", "needs metrics", "good"]
    undecided = "What could not be decided"
    reason = "fallback: only 120 of 200 events were judged strictly in 2025_12"
    assert row(text, undecided, "open") == ["open", "UNKNOWN", reason]
    assert row(text, undecided, "never")[1:] == ["SETUP", "no answer from postgresql://slm:***@127.0.0.1/db"]
    assert row(text, undecided, "absent") == ["absent", "SKIPPED", "needs root"]


def test_a_suite_that_left_nothing_open_says_so(tmp_path: Path) -> None:
    text = words(page_of(tmp_path, samples.suite_of(ran(tmp_path, samples.PASSED))))
    assert "Every check of every scenario was made and decided." in text


def test_scenarios_can_be_filtered_by_verdict_and_requirement(tmp_path: Path) -> None:
    text = page_of(tmp_path, samples.suite_of(ran(tmp_path, samples.PASSED)))
    assert '<tr data-item="" data-verdict="PASS" data-requirements="R-ISO-1 R-DLQ-2">' in text
    assert '<option value="R-DLQ-2">' in text
    assert 'data-for="runs-table"' in text
    assert '<table id="runs-table">' in text


TRENDS = "Verdicts and clocks against earlier runs"


def test_verdicts_and_clocks_are_set_against_those_of_earlier_runs(tmp_path: Path) -> None:
    earlier(tmp_path, "PASS", "FAIL", "PASS")
    text = page_of(tmp_path, samples.suite_of(ran(tmp_path, samples.PASSED)))
    cells = row(text, TRENDS, NAME)
    assert cells[1] == ("✓ PASS, 2025-12-01 10:00:00 ✗ FAIL, 2025-12-01 10:01:00 ✓ PASS, 2025-12-01 10:02:00")
    assert cells[2:4] == ["✓ PASS", "detach-partition"]
    # Of the runs that passed: 0.10 and 0.12 s.
    assert cells[4] == "0.12 s (0.11 s; 0.10 s to 0.12 s)"
    assert cells[6] == "– (0.30 s; 0.30 s to 0.30 s)"
    assert f"../20251201-100100-{NAME}-bbbb/report.html" in read(text).links
    assert 'id="chart"' in text


def test_a_changed_verdict_is_said(tmp_path: Path) -> None:
    earlier(tmp_path, "PASS")
    text = page_of(tmp_path, samples.suite_of(ran(tmp_path, samples.lost())))
    assert row(text, TRENDS, NAME)[2] == "✗ FAIL (PASS before)"


def test_only_what_is_comparable_is_compared(tmp_path: Path) -> None:
    store(tmp_path, f"20251201-100000-{NAME}-bbbb", target="another")
    store(tmp_path, f"20251201-100100-{NAME}-in-cycles-bbbb")
    store(tmp_path, f"20251201-100200-{NAME}-bbbb", "FAIL")
    store(tmp_path, f"20251201-100200-{NAME}-bbbb-again", "UNKNOWN")
    store(tmp_path, f"20251201-100200-{NAME}-bbbb-again-again")
    store(tmp_path, f"20251206-100000-{NAME}-bbbb")
    (tmp_path / f"20251201-100300-{NAME}-bbbb").mkdir()
    store(tmp_path, f"20251201-100400-{NAME}-bbbb", clocks="none")
    (tmp_path / "notes.txt").write_text("")
    suite = samples.suite_of(ran(tmp_path, samples.PASSED))
    page_of(tmp_path, suite)
    (trend,) = trends.trends(suite, tmp_path)
    assert [one.folder for one in trend.past] == [f"20251201-100200-{NAME}-bbbb-again-again"]


def test_clocks_of_another_load_are_not_compared_though_its_verdict_is_shown(tmp_path: Path) -> None:
    earlier(tmp_path, "PASS")
    other = {**samples.SCENARIO.to_json(), "min_strict_events": 1}
    store(tmp_path, f"20251201-110000-{NAME}-bbbb", detect=9.0, scenario=other)
    cells = row(page_of(tmp_path, samples.suite_of(ran(tmp_path, samples.PASSED))), TRENDS, NAME)
    assert cells[1] == "✓ PASS, 2025-12-01 10:00:00 ✓ PASS, 2025-12-01 11:00:00"
    assert cells[4] == "0.12 s (0.10 s; 0.10 s to 0.10 s)"


def test_nothing_is_compared_while_nobody_knows_the_target(tmp_path: Path) -> None:
    earlier(tmp_path, "PASS")
    suite = samples.suite_of(ran(tmp_path, samples.PASSED))
    (trend,) = trends.trends(suite, tmp_path)  # Its own result.json is not written yet.
    assert trend.past == ()


def test_the_newest_runs_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trends, "RUNS_COMPARED", 2)
    earlier(tmp_path, "PASS", "UNKNOWN", "FAIL", "PASS")
    suite = samples.suite_of(ran(tmp_path, samples.PASSED))
    page_of(tmp_path, suite)
    assert [one.verdict for one in trends.trends(suite, tmp_path)[0].past] == ["FAIL", "PASS"]


def clock(now: float | None, *before: float) -> trends.Clock:
    return trends.Clock(now, before, len(before))


def test_slower_is_only_what_is_well_above_each_of_enough_runs() -> None:
    usual = (1.0, 1.1, 0.9, 1.0, 1.0)
    assert clock(1.5, *usual).slower
    assert not clock(1.15, *usual).slower
    assert not clock(1.5, *usual[:-1]).slower
    assert not clock(0.06, 0.01, 0.01, 0.02, 0.01, 0.01).slower
    assert not clock(None, *usual).slower
    assert clock(None, *usual).missing
    assert not clock(None, *usual[:-1]).missing
    assert not trends.Clock(None, usual, 6).missing  # It did not come in one that passed either.


def test_a_slower_clock_is_marked_by_a_symbol_and_a_word(tmp_path: Path) -> None:
    earlier(tmp_path, *["PASS"] * 5)
    slow = ran(tmp_path, samples.PASSED, clocks=(Clocks("detach-partition", 2.0, 0.2, None, 3.0),))
    cells = row(page_of(tmp_path, samples.suite_of(slow)), TRENDS, NAME)
    assert cells[4].startswith("▲ slower: 2.00 s (")
    assert cells[6].startswith("∅ never came: – (")
    assert "▲" not in cells[5]


def test_plotly_accepts_the_trends_and_shows_one_choice(tmp_path: Path) -> None:
    earlier(tmp_path, "PASS", "FAIL")
    earlier(tmp_path, "PASS", name="other")
    suite = samples.suite_of(
        ran(tmp_path, samples.PASSED),
        ran(tmp_path, samples.PASSED, name="other", clocks=(Clocks("lock"), Clocks("detach-partition", 1.0))),
    )
    page_of(tmp_path, suite)
    figure = trendparts.trend_figure(trends.trends(suite, tmp_path))
    assert figure is not None
    assert Figure(figure).data
    shown = [trace for trace in figure["data"] if trace["visible"]]
    assert len(figure["data"]) == 12
    assert {trace["meta"] for trace in shown} == {"t0"}
    assert shown[0]["x"] == ["2025-12-01 10:00:00", "2025-12-01 10:01:00", "2025-12-05 10:15:00 (now)"]
    assert shown[0]["y"] == [0.1, 0.11, 0.12]
    assert shown[0]["marker"]["symbol"] == ["circle", "x", "circle"]
    # The fault at that place was another one before.
    (lock,) = [trace for trace in figure["data"] if trace["meta"] == "t1" and trace["yaxis"] == "y"]
    assert lock["y"] == [None, None]


def test_a_suite_without_runs_has_a_page(tmp_path: Path) -> None:
    empty = Scenario(name="x", claim="y", requirements=(), load=samples.SCENARIO.load)
    suite = dataclasses.replace(samples.suite_of(), skipped=(Skipped(empty, "needs root"),))
    text = words(page_of(tmp_path, suite))
    assert "no scenario was run, 1 SKIPPED" in text
    assert "No scenario of this suite names a requirement" in text
