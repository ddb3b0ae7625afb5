"""What a command gives besides a verdict: options, the page to open, and where."""

from __future__ import annotations

import ast
import dataclasses
import json
import os
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from harness.checking import CheckResult
from harness.cli import cli
from harness.outputs import KEPT_RUNS, Outputs, has_display, output_options, page_of, shown
from harness.report.keeping import ALL_RUNS
from harness.results import NOT_BEGUN
from tests.unit import report_samples as samples


def given(*arguments: str, **environment: str) -> Result:
    @click.command()
    @output_options
    def told(**options: object) -> None:
        click.echo(repr(options))

    return CliRunner(env={"HARNESS_KEEP_RUNS": None, **environment}).invoke(told, list(arguments))


def test_by_default_old_runs_go_and_nothing_is_opened_or_streamed() -> None:
    assert ast.literal_eval(given().output) == {"events": None, "keep_runs": KEPT_RUNS, "open_page": False}


@pytest.mark.parametrize(("said", "kept"), [("1", 1), ("40", 40), ("all", ALL_RUNS)])
def test_how_many_runs_stay_is_a_number_or_all(said: str, kept: int) -> None:
    assert ast.literal_eval(given("--keep-runs", said).output)["keep_runs"] == kept
    assert ast.literal_eval(given(HARNESS_KEEP_RUNS=said).output)["keep_runs"] == kept


@pytest.mark.parametrize("said", ["0", "-1", "many", ""])
def test_what_is_no_number_of_runs_is_refused_with_what_is_one(said: str) -> None:
    result = given(f"--keep-runs={said}")
    assert result.exit_code == 2
    assert "give 1 or more, or all" in result.output


@pytest.mark.parametrize("command", ["run", "replay"])
def test_the_commands_that_play_say_the_default_and_take_the_options(command: str) -> None:
    said = " ".join(CliRunner().invoke(cli, [command, "--help"]).output.split())
    assert "--keep-runs N|all" in said
    assert f"default: {KEPT_RUNS}" in said
    assert "--events FILE|-" in said
    assert "--open " in said


@pytest.mark.parametrize(
    ("environment", "platform", "seen"),
    [
        ({"DISPLAY": ":0"}, "linux", True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, "linux", True),
        ({}, "linux", False),
        ({}, "darwin", True),
        ({"CI": "true", "DISPLAY": ":0"}, "linux", False),
        ({"CI": "true"}, "darwin", False),
        ({"BROWSER": "firefox"}, "linux", True),
        ({"BROWSER": "firefox", "CI": "true"}, "linux", True),
    ],
)
def test_a_browser_is_opened_only_where_it_would_be_seen(
    environment: dict[str, str], platform: str, seen: bool
) -> None:
    assert has_display(environment, platform) is seen


def test_without_a_display_the_address_is_said_instead(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    assert shown(page, {}) == f"There is no page to open at {page}."
    page.touch()
    if sys.platform == "linux":
        assert shown(page, {}) == f"No browser to open here; the report is {page.as_uri()}"


def test_of_one_run_its_own_page_is_opened_and_of_several_that_of_the_suite() -> None:
    one, two = samples.result_of(samples.PASSED), samples.result_of(samples.lost())
    assert page_of(samples.suite_of(one)) == one.folder / "report.html"
    assert page_of(samples.suite_of(one, two)).name == "index.html"
    assert page_of(samples.suite_of()).name == "index.html"
    never = dataclasses.replace(one, checks=(CheckResult(NOT_BEGUN, unknowns=("?",)),))
    assert page_of(samples.suite_of(never)).name == "index.html"


def test_the_page_of_a_suite_lies_where_it_was_written() -> None:
    suite = samples.suite_of()
    assert page_of(suite).parent == suite.folder
    assert os.fspath(page_of(suite)).endswith("index.html")


def test_the_stream_ends_with_the_decision_whatever_becomes_of_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    path = tmp_path / "events.ndjson"
    outputs = Outputs(reports=tmp_path, events=str(path), keep_runs=5, open_page=False)
    outputs.__enter__()
    outputs.finished(samples.suite_of(samples.result_of(samples.PASSED)), print)
    told = path.read_text(encoding="utf-8")
    assert [json.loads(line)["event"] for line in told.splitlines()] == ["suite-finished"]
    outputs.__exit__(SystemExit, SystemExit(0), None)
    assert path.read_text(encoding="utf-8") == told
