"""The Markdown summary: verdict first, hostile text stays text, and it never gets longer than a CI server takes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from harness.report import base, markdown
from harness.results import Skipped, SuiteResult
from tests.unit import report_samples as samples

NASTY = "<script>alert(1)</script> | `x` *y* [a](http://b) # c\n\n## Passed ![i](j)"


def rendered(text: str) -> str:
    page: str = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    return page


def test_a_run_is_told_with_events_reasons_clocks_and_the_command_that_repeats_it(tmp_path: Path) -> None:
    result = samples.result_of(samples.lost(count=12), samples.UNDECIDED, samples.NOT_CHECKED)
    base.write_all(result, samples.sample_run(5), tmp_path)
    text = (tmp_path / "summary.md").read_text(encoding="utf-8")
    assert text.startswith("## ✗ FAIL: december-detached\n")
    for needed in (
        "12 events were answered 202 and are nowhere",
        "`00000000-0000-4000-8000-000000000306` and 7 more",
        "`harness explain reports/run-1 00000000-0000-4000-8000-000000000302`",
        "Unknown: fallback: only 120 of 200",
        "Not checked: metrics: needs metrics",
        "| detach-partition | 0.12 s | 0.21 s | – | 3.40 s |",
        "Repeat: `harness replay reports/run-1`",
        "R-ISO-1, R-DLQ-2",
    ):
        assert needed in text


def test_a_suite_is_told_verdict_first_then_what_did_not_pass_then_all(tmp_path: Path) -> None:
    skipped = Skipped(dataclasses.replace(samples.SCENARIO, name="clock"), "needs service-clock: apt-get install x")
    runs = [samples.result_of(samples.PASSED, name="good"), samples.result_of(samples.lost(), name="bad")]
    base.write_suite(dataclasses.replace(samples.suite_of(*runs), skipped=(skipped,)), tmp_path)
    text = (tmp_path / "summary.md").read_text(encoding="utf-8")
    order = [text.index(part) for part in ("## ✗ FAIL: 1 PASS, 1 FAIL", "Skipped: clock", "### ✗ FAIL: bad", "| good")]
    assert order == sorted(order)
    assert "### ✓" not in text


def test_a_suite_of_nothing_is_not_green() -> None:
    text = markdown.joined(markdown.suite_blocks(samples.suite_of()), 10_000)
    assert text.startswith("## ? UNKNOWN: no scenario was run")


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    base.write_all(samples.result_of(samples.lost(hostile=NASTY), setup_error=""), None, tmp_path)
    page = rendered((tmp_path / "summary.md").read_text(encoding="utf-8"))
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "<em>" not in page
    assert "<a " not in page
    assert "<img" not in page
    assert page.count("<h2>") == 1
    assert page.count("<strong>") == 1


def test_a_cell_cannot_end_its_row() -> None:
    runs = [samples.result_of(samples.PASSED, name="a | b\nc")]
    page = rendered(markdown.joined(markdown.suite_blocks(samples.suite_of(*runs)), 10_000))
    assert "a | b c" in page
    assert page.count("<tr>") == 2


@pytest.mark.parametrize("said", ["x", "a `b` c", "`", "``a`", "a\nb"])
def test_a_code_span_holds_whatever_it_is_given(said: str) -> None:
    page = rendered(f"x {markdown.code(said)} y")
    assert page.count("<code>") == 1
    assert page.endswith("</code> y</p>\n")


def test_blocks_that_do_not_fit_are_counted_and_none_is_cut() -> None:
    blocks = [f"block {number} {'é' * 50}" for number in range(100)]
    text = markdown.joined(blocks, 2000)
    assert len(text.encode()) <= 2000
    whole = [block for block in blocks if f"{block}\n" in text]
    assert 0 < len(whole) < 100
    assert f"*{100 - len(whole)} more parts did not fit" in text
    assert markdown.joined(blocks, 1_000_000).count("block") == 100


def suite() -> SuiteResult:
    return samples.suite_of(samples.result_of(samples.lost()))


def test_the_summary_of_a_step_is_added_to_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "step.md"
    path.write_text("before\n")
    assert markdown.append_step_summary(suite(), {"GITHUB_STEP_SUMMARY": str(path)}) == ""
    assert path.read_text(encoding="utf-8").startswith("before\n\n## ✗ FAIL: 1 FAIL")


def test_without_a_step_nothing_is_written() -> None:
    assert markdown.append_step_summary(suite(), {}) == ""


@pytest.mark.parametrize("before", [0, 1_048_000, 1_048_576])
def test_the_summary_of_a_step_never_gets_longer_than_github_takes(tmp_path: Path, before: int) -> None:
    path = tmp_path / "step.md"
    path.write_bytes(b"x" * before)
    many = [samples.result_of(samples.lost(), name=f"scenario-{number}") for number in range(2500)]
    said = markdown.append_step_summary(samples.suite_of(*many), {"GITHUB_STEP_SUMMARY": str(path)})
    assert path.stat().st_size <= 1024 * 1024
    added = path.read_bytes()[before:]
    if before == 0:
        assert b"more parts did not fit" in added
        assert b"FAIL: 2500 FAIL" in added
    else:
        assert added == b"" or b"more parts did not fit" in added
        assert added != b"" or "no room left" in said


def test_a_step_summary_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    said = markdown.append_step_summary(suite(), {"GITHUB_STEP_SUMMARY": str(tmp_path / "gone" / "step.md")})
    assert "cannot be written" in said
    assert "summary.md" in said


def test_the_summary_of_a_step_has_no_secret_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEPLOY_TOKEN", "pl4nted-7f3a")
    path = tmp_path / "step.md"
    said = markdown.append_to_step(["it was pl4nted-7f3a"], "nowhere else", {"GITHUB_STEP_SUMMARY": str(path)})
    assert (said, path.read_text(encoding="utf-8")) == ("", "it was ***\n")
