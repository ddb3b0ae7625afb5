"""What the console prints, line by line."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest

from harness.report.console import Console, suite_lines
from harness.results import RunResult
from tests.unit import report_samples as samples


def lines_of(*runs: RunResult, width: int = 0) -> list[str]:
    """The end of a suite as plain text."""
    return [line.styled + line.rest for line in suite_lines(samples.suite_of(*runs), 2, width)]


def test_a_passed_suite_is_one_line_a_scenario_and_the_totals() -> None:
    assert lines_of(samples.result_of(samples.PASSED)) == [
        "",
        "verdict    scenario           detect  fallback  recover   drain    time  claim",
        "✓ PASS     december-detached  0.12 s    0.21 s        –  3.40 s  13.2 s  " + samples.SCENARIO.claim,
        "",
        "✓ PASS  1 PASS",
        "  suite 40.0 s with 2 at a time, 3.64 times the waits; irreducible waits 11.0 s on 2 cores",
        "  reports: reports/suite-1",
    ]


def test_a_failed_scenario_shows_promise_ids_and_the_command_that_repeats_it() -> None:
    lines = lines_of(samples.result_of(samples.lost(count=12), samples.UNDECIDED))
    ids = ", ".join(f"00000000-0000-4000-8000-{number:012d}" for number in range(302, 312))
    begin = lines.index("✗ FAIL  december-detached")
    assert lines[begin + 1 : begin + 8] == [
        "  promise 1 (conservation)",
        "    12 events were answered 202 and are nowhere ",
        f"      events: {ids} (+2 more, all in reports/run-1/report.html)",
        "      explain: harness explain reports/run-1 00000000-0000-4000-8000-000000000302",
        "  unknown: fallback: only 120 of 200 events were judged strictly in 2025_12",
        "  report: reports/run-1/report.html",
        "  repeat: harness replay reports/run-1",
    ]
    assert "✗ FAIL  1 FAIL" in lines


def test_unknown_and_set_up_errors_say_why() -> None:
    runs = (
        samples.result_of(samples.UNDECIDED, samples.NOT_CHECKED),
        samples.result_of(setup_error="No PostgreSQL was found; run harness doctor."),
    )
    lines = lines_of(*runs)
    assert "  unknown: fallback: only 120 of 200 events were judged strictly in 2025_12" in lines
    assert "  No PostgreSQL was found; run harness doctor." in lines
    assert "! SETUP  1 UNKNOWN, 1 SETUP" in lines
    assert any("1 check was not made" in line for line in lines)


def test_a_set_up_that_fails_alike_everywhere_is_said_once() -> None:
    said = "The service ended with 3 while it started; its log is reports/run-1/service.log, its port was 150{}."
    errors = [said.format(1), said.format(2), "No disk."]
    runs = [samples.result_of(setup_error=error, name=f"s{index}") for index, error in enumerate(errors)]
    lines = lines_of(*runs)
    assert sum("The service ended with 3" in line for line in lines) == 1
    assert "  the same for: s1 (2 scenarios in all)" in lines
    assert "  No disk." in lines
    assert "! SETUP  3 SETUP" in lines


def test_no_run_at_all_is_not_shown_as_a_pass() -> None:
    assert "? UNKNOWN  no scenario was run" in lines_of()


def test_a_narrow_terminal_gets_the_claim_on_lines_of_its_own() -> None:
    lines = lines_of(samples.result_of(samples.PASSED), width=80)
    assert all(len(line) <= 80 for line in lines[2:5])
    assert " ".join(line.strip() for line in lines[3:5]) == samples.SCENARIO.claim


def test_a_pipe_gets_only_start_and_end_of_each_scenario() -> None:
    stream = io.StringIO()
    with Console(stream, live=False, cores=2) as console:
        console.scenario_started("run-1", samples.SCENARIO)
        console.step("run-1", 5, "fault confirmed", 120)
        console.scenario_finished(samples.result_of(samples.lost()))
    assert stream.getvalue().splitlines() == [
        f"> december-detached: {samples.SCENARIO.claim}",
        "✗ FAIL december-detached (13.2 s) · 1 finding",
    ]


def test_a_terminal_gets_progress_and_the_same_end() -> None:
    stream = io.StringIO()
    with Console(stream, live=True, cores=2) as console:
        console.scenario_started("run-1", samples.SCENARIO)
        console.step("run-1", 5, "fault confirmed", 120)
        console.scenario_finished(samples.result_of(samples.PASSED))
        console.suite_finished(samples.suite_of(samples.result_of(samples.PASSED)))
    assert "irreducible waits 11.0 s on 2 cores" in stream.getvalue()
    assert "✓ PASS" in stream.getvalue()


def test_an_ascii_stream_is_no_reason_to_fail() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    console = Console(stream, live=False, cores=2)
    console.suite_finished(samples.suite_of(samples.result_of(samples.lost(hostile="\u4e16"))))
    stream.seek(0)
    text = stream.read()
    assert "x FAIL" in text
    assert "nowhere ?" in text


@pytest.mark.parametrize("live", [True, False])
def test_control_characters_of_a_service_never_reach_the_terminal(live: bool) -> None:
    stream = io.StringIO()
    with Console(stream, live=live, cores=2) as console:
        console.suite_finished(samples.suite_of(samples.result_of(samples.lost(hostile=samples.HOSTILE))))
    assert "nowhere <script>" in stream.getvalue()
    assert "\x1b[31m" not in stream.getvalue()
    assert "\x00" not in stream.getvalue()


def test_a_pipe_imports_neither_rich_nor_plotly() -> None:
    code = (
        "import io, sys; from harness.report.console import Console; Console(io.StringIO(), live=False); "
        "sys.exit(bool({'rich', 'plotly'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
