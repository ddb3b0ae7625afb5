"""Judges are processes beside the runner: the same verdict, the reports written, checkers of scenarios, and an end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from harness import events as ev
from harness import judges
from harness._wait import wait_until_sync
from harness.checking import CHECKERS, CheckResult
from harness.history import Clock, History
from harness.judges import Order, judged
from harness.results import RunResult, Waits
from harness.scenario import Load, Scenario
from harness.session import report
from tests.unit import histories

ROOT = Path(__file__).parents[2]
OWN_CHECKER = """
from harness.checking import CHECKERS, CheckResult
from harness.scenario import Load, Scenario
from harness.values import Month

@CHECKERS.register("of-a-scenario")
def of_a_scenario(run):
    return CheckResult("of-a-scenario", facts={"operations": float(len(run.operations))})

SCENARIO = Scenario(
    name="s", claim="c.", requirements=(), load=Load(months=(Month(2025, 12),)), extra_checkers=("of-a-scenario",)
)
"""
RUNNER = """
import asyncio, os, sys
from harness import judges

if __name__ == "__main__":
    print(judges._pool().submit(os.getpid).result(), flush=True)
    sys.stdin.read()
"""


def stored(place: Path, *extra_checkers: str) -> Order:
    """A run in a folder, beside the folder of its scenarios, which brings the extra checkers."""
    run, scenarios = place / "run", place / "scenarios"
    run.mkdir()
    scenarios.mkdir()
    if "of-a-scenario" in extra_checkers:
        (scenarios / "own.py").write_text(OWN_CHECKER)
    history = histories.good()
    scenario = Scenario(
        name="s", claim="c.", requirements=(), load=Load(months=(histories.DECEMBER,)), extra_checkers=extra_checkers
    )
    history.edit(ev.RunStarted, lambda record: True, scenario_json=json.dumps(scenario.to_json()))
    with closing(History(run, Clock())) as file:
        for record in history.records:
            file.add(record)
    return Order(run, scenarios, Waits(), {}, time.monotonic(), "harness run s")


def judge(order: Order) -> RunResult:
    return asyncio.run(judged(order, report))


def test_a_judge_says_what_the_runner_would_and_writes_the_reports(tmp_path: Path) -> None:
    order = stored(tmp_path)
    beside = judge(order)
    here = judges.judge_and_report(order, report)
    assert beside.checks == here.checks
    assert beside.data is None
    assert (order.folder / "report.html").exists()


def test_a_judge_knows_the_checkers_that_scenarios_bring(tmp_path: Path) -> None:
    checks = {check.checker: check for check in judge(stored(tmp_path, "of-a-scenario")).checks}
    assert checks["of-a-scenario"].facts["operations"] > 0


def test_what_only_the_runner_knows_is_judged_by_the_runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CHECKERS, "_things", dict(CHECKERS.items()))
    CHECKERS.register("of-this-process")(lambda run: CheckResult("of-this-process"))
    result = judge(stored(tmp_path, "of-this-process"))
    assert "of-this-process" in {check.checker for check in result.checks}
    assert (tmp_path / "run/report.html").exists()


def test_a_judge_leaves_signals_to_the_runner_and_ends_with_it() -> None:
    runner = subprocess.Popen(
        [sys.executable, "-c", RUNNER], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert runner.stdout is not None
    judge_pid = int(runner.stdout.readline())
    os.kill(judge_pid, signal.SIGINT)
    os.kill(judge_pid, signal.SIGTERM)
    assert Path(f"/proc/{judge_pid}").exists()
    runner.kill()
    runner.communicate(timeout=60)
    wait_until_sync(lambda: not Path(f"/proc/{judge_pid}").exists(), what="the judge to end", deadline_seconds=15)
