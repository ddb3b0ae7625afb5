"""Exit codes of commands that play: each by the command itself, on real parts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness import events as ev
from harness._wait import wait_until_sync
from harness.events import FaultMark, FaultStep
from harness.fault import Fault
from harness.faults.noop import NoopDetach
from harness.faults.partition import DetachPartition
from harness.history import FILE_NAME, read_history
from harness.jsonlines import encode
from harness.scenario import Load, Scenario
from harness.schedule import Schedule
from harness.values import Month
from tests.hearing import hearing, surroundings
from tests.integration.commands import ROOT, command, harness, open_place, quick_options
from tests.integration.test_cli import living_below, roots_below
from tests.unit import report_samples as samples

DECEMBER, JANUARY = Month(2025, 12), Month(2026, 1)
DEAF = """
name = "deaf"
[launch]
command = ["sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 1; done"]
"""
ELSEWHERE = """
from harness.scenario import Load, Scenario
from harness.values import Month

SCENARIO = Scenario(name="elsewhere", claim="C.", requirements=(), load=Load(months=(Month(1999, 1),)))
"""


@pytest.fixture
def place() -> Iterator[Path]:
    with open_place("exits-test-") as path:
        yield path


def store(place: Path, fault: Fault) -> str:
    """Store what a killed runner left of a run: enough to play it again."""
    scenario = Scenario(
        name="stored",
        claim="C.",
        requirements=(),
        load=Load(months=(DECEMBER, JANUARY)),
        schedule=Schedule.of(fault),
        min_strict_events=20,
    )
    (first,) = samples.started().records
    assert isinstance(first, ev.RunStarted)
    name = "20251205-101500-stored-aaaa"
    begun = replace(first, run=name, scenario="stored", scenario_json=json.dumps(scenario.to_json()))
    (place / "r" / name).mkdir(parents=True)
    (place / "r" / name / FILE_NAME).write_text(f"{encode(begun)}\n")
    return name


def started(place: Path, *arguments: str) -> subprocess.Popen[str]:
    line, environment = command(place, *arguments)
    return subprocess.Popen(
        line, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def test_a_replay_of_what_never_bites_is_3(place: Path) -> None:
    name = store(place, NoopDetach(month=DECEMBER))
    done = harness(place, "replay", name, "--reports", str(place / "r"))
    assert done.returncode == 3, done.stdout + done.stderr
    assert "UNKNOWN stored" in done.stdout


def test_a_replay_that_is_ended_in_mid_fault_is_130_and_heals(place: Path) -> None:
    name = store(place, DetachPartition(months=(DECEMBER,)))
    process = started(place, "replay", name, "--reports", str(place / "r"))

    def steps() -> list[FaultStep]:
        folders = [path.parent for path in (place / "r").glob(f"*/{FILE_NAME}") if path.parent.name != name]
        return [r.step for folder in folders for r in read_history(folder) if isinstance(r, FaultMark)]

    def bites() -> bool:
        assert process.poll() is None, process.communicate()
        return FaultStep.CONFIRMED in steps()

    wait_until_sync(bites, what="the fault to bite", deadline_seconds=90, interval_seconds=0.1)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert FaultStep.HEALED in steps()
    assert not living_below(place)


def test_the_third_ctrl_c_is_130_at_once_and_leaves_the_rest_to_the_reaper(place: Path) -> None:
    (place / "deaf.toml").write_text(DEAF)
    process = started(place, "run", *quick_options(place), "--target", str(place / "deaf.toml"))

    def up() -> bool:
        assert process.poll() is None, process.communicate()
        return any("deaf" in path.read_text() for path in (place / "r").glob("*/service.log"))

    def again() -> bool:
        # Its service takes no end but SIGKILL, so that there is time for all three.
        process.send_signal(signal.SIGINT)
        return process.poll() is not None

    wait_until_sync(up, what="the service", deadline_seconds=60, interval_seconds=0.05)
    wait_until_sync(again, what="the end", deadline_seconds=30, interval_seconds=0.1)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "still healing and stopping" in said
    assert "let go; see `harness heal`" in said
    assert "Nothing was recorded yet" not in said, "it did not come to its last words"
    wait_until_sync(lambda: not living_below(place) and not roots_below(place), what="the reaper", deadline_seconds=30)


def test_a_broken_promise_beside_a_run_that_could_not_be_set_up_is_1(place: Path) -> None:
    (place / "scenarios" / "elsewhere.py").write_text(ELSEWHERE)
    text = (ROOT / "harness/targets/reference.toml").read_text().replace("{root}/../..", str(ROOT))
    assert "db_pool_max = 25" in text
    (place / "smaller.toml").write_text(text.replace("db_pool_max = 25", "db_pool_max = 24"))
    options = (*quick_options(place), "--target", str(place / "smaller.toml"))
    done = harness(place, "run", *options)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "FAIL quick" in done.stdout
    assert "SETUP elsewhere" in done.stdout
    assert "1999_01" in done.stdout
    alone = harness(place, "run", "elsewhere", *options)
    assert alone.returncode == 2, alone.stdout + alone.stderr


def test_a_whole_suite_that_passed_and_never_reached_what_it_owes_is_3(place: Path) -> None:
    line, environment = command(place, "run", "--reports", "r")
    # By the usual name in the folder where one is, it is all that there is.
    done = subprocess.run(line, cwd=place, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 3, done.stdout + done.stderr
    assert "PASS quick" in done.stdout
    told = json.loads((place / "r/latest/suite.json").read_text())
    assert (told["verdict"], told["exit_code"], told["full"]) == ("UNKNOWN", 3, True)
    assert any(state["owed"] for state in told["reached"])


@pytest.mark.parametrize(("by", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_after_the_verdict_is_no_verdict(place: Path, by: signal.Signals, code: int) -> None:
    # Nobody reads the summary of the step, so that the command waits once it has told the verdict.
    os.mkfifo(place / "summary")
    process = subprocess.Popen(
        hearing("run", *quick_options(place), "--time-budget", "0.000001"),
        cwd=ROOT,
        env=surroundings(TMPDIR=str(place), GITHUB_STEP_SUMMARY=str(place / "summary")),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert any(line.startswith("  reports: ") for line in process.stdout)
    process.send_signal(by)
    _, said = process.communicate(timeout=60)
    assert process.returncode == code, said
    assert f"ended by {by.name}" in said
