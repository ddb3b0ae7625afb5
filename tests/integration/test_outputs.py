"""What a real run writes for programs: valid, at paths that never change, while it runs, and bounded."""

from __future__ import annotations

import json
import signal
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness._wait import wait_until_sync
from harness.history import FILE_NAME
from harness.report.keeping import RUN_FILES
from harness.report.latest import FILES, FOLDER
from tests.integration.commands import ROOT, command, harness, open_place, quick_options
from tests.unit.test_keeping import store
from tests.unit.test_report_junit import problems
from tests.unit.test_report_schema import refused


@pytest.fixture
def place() -> Iterator[Path]:
    with open_place("outputs-test-") as path:
        yield path


def told(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def recorder(place: Path) -> Path:
    """A browser that notes what it was to open."""
    script = place / "browser"
    script.write_text(f'#!/bin/sh\necho "$1" > {place}/opened\n')
    script.chmod(0o755)
    return script


def test_one_run_writes_every_format_where_it_is_looked_for(place: Path) -> None:
    reports, step = place / "r", place / "step.md"
    reports.mkdir()
    ancient = store(reports, days_ago=400)
    result = harness(
        place,
        *("run", *quick_options(place), "--events", "-", "--keep-runs", "1", "--open", "--seed", "3"),
        BROWSER=str(recorder(place)),
        GITHUB_STEP_SUMMARY=str(step),
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr
    events = told(result.stdout)
    assert [problem for event in events for problem in refused("events", event)] == []
    kinds = [event["event"] for event in events]
    assert kinds[:2] == ["suite-started", "run-started"]
    assert kinds[-2:] == ["run-finished", "suite-finished"]
    steps = [event["step"] for event in events if event["event"] == "fault"]
    assert steps == ["injecting", "injected", "confirmed", "healing", "healed", "probed"]
    assert [event["phase"] for event in events if event["event"] == "phase"] == ["before", "during", "after"]
    assert "progress" in kinds
    assert "PASS quick" in result.stderr, "people read standard error meanwhile"
    (folder,) = {path.parent for path in reports.glob(f"*/{FILE_NAME}")}
    (suite,) = (path.parent for path in reports.glob("*-suite-*/suite.json"))
    assert events[-1]["suite"] == suite.name
    assert {path.name for path in folder.iterdir()} <= RUN_FILES, "what is not known there is never removed"
    assert refused("result", json.loads((folder / "result.json").read_text())) == []
    assert refused("suite", json.loads((suite / "suite.json").read_text())) == []
    for name in FILES:
        assert (reports / FOLDER / name).read_bytes() == (suite / name).read_bytes()
    for place_of_junit in (folder, suite):
        assert problems(place_of_junit / "junit.xml") == []
    properties = ET.parse(folder / "junit.xml").find("testsuite/properties")
    assert properties is not None
    values = {each.get("name"): each.get("value") for each in properties}
    assert values["requirement"] == "S3"
    assert float(values["detach-partition.drain_seconds"] or "nan") >= 0.0
    assert "## ✓ PASS: 1 PASS" in step.read_text(encoding="utf-8")
    assert (place / "opened").read_text().strip() == (folder / "report.html").resolve().as_uri()
    assert not ancient.exists()
    assert f"Removed 1 old run (--keep-runs): {ancient.name}." in result.stderr


def test_a_program_hears_what_happens_while_it_does_and_how_a_command_was_ended(place: Path) -> None:
    stream = place / "events.ndjson"
    line, environment = command(place, "run", *quick_options(place), "--events", str(stream))
    process = subprocess.Popen(
        line, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )

    def confirmed() -> bool:
        assert process.poll() is None, process.communicate()
        return stream.exists() and any(
            event["event"] == "fault" and event["step"] == "confirmed" for event in told(stream.read_text())
        )

    wait_until_sync(confirmed, what="the fault in the stream", deadline_seconds=90, interval_seconds=0.1)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130, said
    last = told(stream.read_text())[-1]
    assert (last["event"], last["exit_code"]) == ("broken-off", 130)
    assert refused("events", last) == []


def test_a_reader_that_has_gone_is_no_reason_to_end_or_to_fail(place: Path) -> None:
    line, environment = command(place, "run", *quick_options(place), "--events", "-")
    with subprocess.Popen(
        line, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["event"] == "suite-started"
        process.stdout.close()
        assert process.stderr is not None
        said = process.stderr.read()
        assert process.wait(timeout=120) == 0, said
    assert said.count("the event stream ends here") == 1


def test_a_stream_that_cannot_be_written_ends_the_command_before_it_plays(place: Path) -> None:
    result = harness(place, "run", *quick_options(place), "--events", str(place / "none" / "events"))
    assert result.returncode == 2
    assert "cannot be written" in result.stderr
    assert not (place / "r").exists()


@pytest.fixture
def older(place: Path) -> Path:
    """The files of an older suite, where CI looks."""
    latest = place / "r" / FOLDER
    latest.mkdir(parents=True)
    for name in FILES:
        (latest / name).write_text("an older suite, all green")
    (latest / "suite.json").write_text('{"schema_version": 1, "suite": "an older suite", "runs": []}')
    return latest


def test_a_suite_that_never_began_leaves_nothing_of_an_older_one_where_ci_looks(place: Path, older: Path) -> None:
    result = harness(place, "run", *quick_options(place), "--time-budget", "0.000001")
    assert result.returncode == 3, result.stdout + result.stderr
    assert not [name for name in FILES if "an older suite" in (older / name).read_text(encoding="utf-8")]
    assert "UNKNOWN" in (older / "summary.md").read_text(encoding="utf-8")
    assert [error.get("type") for error in ET.parse(older / "junit.xml").iter("error")] == ["UNKNOWN"]


def test_a_command_that_cannot_set_up_leaves_no_older_verdict_either(place: Path, older: Path) -> None:
    missing = ("--pg-bindir", str(place / "no-programs-here"))
    result = harness(place, "run", *quick_options(place), *missing)
    assert result.returncode == 2, result.stdout + result.stderr
    assert list(older.iterdir()) == []


def test_a_command_that_is_halted_leaves_no_older_verdict_either(place: Path, older: Path) -> None:
    (place / "r" / "HALT").touch()
    result = harness(place, "run", *quick_options(place))
    assert result.returncode == 2, result.stdout + result.stderr
    assert list(older.iterdir()) == []
