"""Judges are processes beside the runner: the same verdict, the reports written, whatever happens to them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from harness import events as ev
from harness import judges
from harness._wait import wait_until, wait_until_sync
from harness.checking import CHECKERS, CheckResult
from harness.discovery import load_scenarios
from harness.errors import HistoryError
from harness.history import FILE_NAME, Clock, History
from harness.judges import Judges, Order, judge_and_report
from harness.report.base import REPORTERS, load_reporters
from harness.results import RunResult, Waits
from harness.rundata import Run
from harness.scenario import Load, Scenario
from harness.stacks.external_parts import living
from tests.unit import histories

ROOT = Path(__file__).parents[2]
SCENARIO = """
import os, sys
from harness.checking import CHECKERS, CheckResult
from harness.scenario import Load, Scenario
from harness.values import Month

@CHECKERS.register("of-a-scenario")
def of_a_scenario(run):
    print("a checker may print")
    {body}

SCENARIO = Scenario(
    name="s", claim="c.", requirements=(), load=Load(months=(Month(2025, 12),)), extra_checkers=("of-a-scenario",)
)
"""
PID = 'return CheckResult("of-a-scenario", facts={"pid": float(os.getpid())})'
UNREADABLE = 'return CheckResult("of-a-scenario", facts={"pid": float(os.getpid()), "odd": lambda: 0})'
DEADLY = "return os._exit(1)"
ENDLESS = """
    import pathlib, select
    pathlib.Path(__file__).with_suffix(".pid").write_text(str(os.getpid()))
    select.select([], [], [])
"""
RUNNER = """
import asyncio, sys
from tests.integration.test_judges import stored
from harness.judges import Judges
from pathlib import Path

asyncio.run(Judges(1).judged(stored(Path(sys.argv[1]), sys.argv[2])))
"""


def stored(place: Path, body: str = "", *extra_checkers: str) -> Order:
    """A run in a folder, beside the folder of its scenario, whose checker does what ``body`` says."""
    run, scenarios = place / "run", place / "scenarios"
    run.mkdir(parents=True)
    scenarios.mkdir()
    if body:
        (scenarios / "own.py").write_text(SCENARIO.format(body=body))
        extra_checkers = ("of-a-scenario", *extra_checkers)
    history = histories.good()
    scenario = Scenario(
        name="s", claim="c.", requirements=(), load=Load(months=(histories.DECEMBER,)), extra_checkers=extra_checkers
    )
    history.edit(ev.RunStarted, lambda record: True, scenario_json=json.dumps(scenario.to_json()))
    with closing(History(run, Clock())) as file:
        for record in history.records:
            file.add(record)
    return Order(run, scenarios, Waits(), {}, time.monotonic(), "harness run s")


def judge(order: Order, court: Judges | None = None) -> RunResult:
    return asyncio.run((court or Judges(1)).judged(order))


def pid_that_judged(result: RunResult) -> int:
    """The process that the scenario's own checker ran in."""
    return int({check.checker: check for check in result.checks}["of-a-scenario"].facts["pid"])


@pytest.fixture(autouse=True)
def own_registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test registers is gone after it, and a scenario's file is imported anew."""
    load_reporters()
    monkeypatch.setattr(CHECKERS, "_things", dict(CHECKERS.items()))
    monkeypatch.setattr(REPORTERS, "_things", dict(REPORTERS.items()))
    yield
    for name in [name for name in sys.modules if name.endswith("/scenarios/own.py")]:
        del sys.modules[name]


@pytest.fixture
def nothing_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is judged or reported in this process fails the test."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("judged by the runner")

    monkeypatch.setattr(judges, "judge_folder", refuse)
    monkeypatch.setattr(judges, "write_all", refuse)


def test_a_judge_says_what_the_runner_would(tmp_path: Path) -> None:
    order = stored(tmp_path)
    beside, here = judge(order), judge_and_report(order)
    assert (beside.checks, beside.clocks, beside.repeat_command) == (here.checks, here.clocks, here.repeat_command)
    assert beside.data is None


@pytest.mark.usefixtures("nothing_here")
def test_judges_write_the_reports_and_know_the_checkers_that_scenarios_bring(tmp_path: Path) -> None:
    court = Judges(1)

    async def both() -> list[RunResult]:
        return await asyncio.gather(*(court.judged(stored(tmp_path / name, PID)) for name in "ab"))

    results = asyncio.run(both())
    assert len({pid_that_judged(result) for result in results} | {os.getpid()}) == 2, "one judge, and not this process"
    for name in "ab":
        assert {path.name for path in (tmp_path / name / "run").iterdir()} >= {"result.json", "report.html"}
    court.close()
    assert not living(pid_that_judged(results[0]))


@pytest.mark.parametrize("body", [UNREADABLE, DEADLY], ids=["says what nobody can read", "dies"])
def test_what_a_judge_cannot_do_is_done_by_the_runner(tmp_path: Path, body: str) -> None:
    order = stored(tmp_path, body)
    # The runner's checker of that name is harmless; the judge reads the file.
    CHECKERS.register("of-a-scenario")(lambda run: CheckResult("of-a-scenario", facts={"pid": float(os.getpid())}))
    assert pid_that_judged(judge(order)) == os.getpid()
    assert (tmp_path / "run/report.html").exists()


def test_a_checker_that_only_the_runner_has_is_not_left_out(tmp_path: Path) -> None:
    order = stored(tmp_path, "", "of-this-process")
    CHECKERS.register("of-this-process")(lambda run: CheckResult("of-this-process"))
    assert "of-this-process" in {check.checker for check in judge(order).checks}


def test_a_reporter_that_only_the_runner_has_is_not_left_out(tmp_path: Path) -> None:
    class Own:
        name = "own"

        def write(self, result: RunResult, run: Run | None, folder: Path) -> Path:
            (folder / "own.txt").write_text(str(result.verdict))
            return folder / "own.txt"

    REPORTERS.register("own")(Own())
    judge(stored(tmp_path))
    assert (tmp_path / "run/own.txt").exists()


@pytest.mark.usefixtures("nothing_here")
def test_a_file_that_cannot_be_imported_beside_the_scenario_is_no_matter(tmp_path: Path) -> None:
    order = stored(tmp_path, PID)
    (order.scenarios / "zz.py").write_text("import pytest\npytest.importorskip('no_such_module')\n")
    assert pid_that_judged(judge(order)) != os.getpid()


@pytest.mark.usefixtures("nothing_here")
def test_a_scenario_named_as_a_module_of_python_takes_its_place_in_no_judge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    order = stored(tmp_path, PID)
    (order.scenarios / "json.py").write_text("")
    load_scenarios(order.scenarios)
    assert pid_that_judged(judge(order)) != os.getpid()


def test_what_is_wrong_with_a_run_is_said_by_the_runner(tmp_path: Path) -> None:
    order = stored(tmp_path)
    (order.folder / FILE_NAME).write_text("no history\n")
    with pytest.raises(HistoryError):
        judge(order)


def test_a_judge_that_died_leaves_its_run_to_the_runner_and_is_replaced(tmp_path: Path) -> None:
    court = Judges(2)

    async def both(*names: str) -> set[int]:
        results = await asyncio.gather(*(court.judged(stored(tmp_path / name, PID)) for name in names))
        return {pid_that_judged(result) for result in results}

    CHECKERS.register("of-a-scenario")(lambda run: CheckResult("of-a-scenario", facts={"pid": float(os.getpid())}))
    dead, other = asyncio.run(both("a", "b"))
    os.kill(dead, signal.SIGKILL)
    wait_until_sync(lambda: not living(dead), what="the judge to die", deadline_seconds=15)
    assert asyncio.run(both("c", "d")) == {other, os.getpid()}
    last = asyncio.run(both("e", "f"))
    assert other in last
    assert not last & {dead, os.getpid()}


def written(file: Path) -> str:
    return file.read_text() if file.exists() else ""


def test_a_verdict_that_nobody_waits_for_any_more_ends_its_judge(tmp_path: Path) -> None:
    order = stored(tmp_path, ENDLESS)
    pid_file = order.scenarios / "own.pid"

    async def give_up() -> None:
        task = asyncio.create_task(Judges(1).judged(order))

        async def at_work() -> bool:
            return written(pid_file) != ""

        await wait_until(at_work, what="the judge to be at work", deadline_seconds=30)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()

    asyncio.run(give_up())
    assert not living(int(pid_file.read_text()))


def test_a_judge_leaves_the_terminals_signals_to_the_runner_and_ends_with_it_at_work(tmp_path: Path) -> None:
    runner = subprocess.Popen([sys.executable, "-c", RUNNER, str(tmp_path), ENDLESS], cwd=ROOT, start_new_session=True)
    pid_file = tmp_path / "scenarios/own.pid"
    try:
        pid = int(wait_until_sync(lambda: written(pid_file), what="the judge to be at work", deadline_seconds=60))
        assert os.getpgid(pid) != os.getpgid(runner.pid), "a Ctrl-C is sent to the whole group"
    finally:
        runner.kill()
        runner.wait()
    wait_until_sync(lambda: not living(pid), what="the judge to end", deadline_seconds=15)
