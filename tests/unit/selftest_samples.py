"""A small catalogue on disk, and hand-made results of its runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from harness.checking import CheckResult, Finding
from harness.discovery import Scenarios
from harness.results import RunResult
from harness.scenario import Load, Scenario
from harness.selftest.catalogue import Catalogue, Defect
from harness.selftest.play import Heard, PlayOptions
from harness.selftest.records import Record, Task, record_of
from harness.session import REFERENCE_TARGET
from harness.values import Month, Promise

CONTROL = Defect(name="control", promise=0, description="Nothing is broken.")
LOSES = Defect(
    name="loses", promise=1, description="It loses.", scenarios=("one",), checkers=("conservation",), quick=True
)
LIES = Defect(
    name="lies",
    promise=8,
    description="It lies.",
    scenarios=("two", "one"),
    checkers=("metrics",),
    names_events=False,
)
DEFECTS = (CONTROL, LOSES, LIES)
SCENARIO_FILE = """
from harness.scenario import Load, Scenario
from harness.values import Month

SCENARIOS = tuple(
    Scenario(name=name, claim="C.", requirements=(), load=Load(months=(Month(2025, 12),)), exclusive=name == "alone")
    for name in ("one", "two", "alone")
)
"""
CATALOGUE_FILE = """
list = ["{{python}}", "list.py"]
launch = ["{{python}}", "-m", "broken", "{{defect}}"]
target = "{target}"
scenarios = "scenarios"
"""

PASSED = CheckResult("conservation")
UNSURE = CheckResult("metrics", unknowns=("only 3 scrapes of 10 were readable",))


def finding(checker: str, promise: Promise, summary: str, events: int = 0) -> CheckResult:
    ids = tuple(f"00000000-0000-4000-8000-{number:012d}" for number in range(events))
    return CheckResult(checker, findings=(Finding(promise, summary, ids),))


LOST = finding("conservation", Promise.CONSERVATION, "12 events are nowhere", events=12)
WRONG = finding("metrics", Promise.TRUTH, "created is 7, and 9 were answered 201")


def scenario(name: str) -> Scenario:
    return Scenario(name=name, claim="C.", requirements=(), load=Load(months=(Month(2025, 12),)))


def result(task: Task, *checks: CheckResult, runs: Path = Path("runs"), setup_error: str = "") -> RunResult:
    run = f"run-{task.defect}-{task.scenario}-{task.round}"
    return RunResult(
        run=run,
        folder=runs / run,
        scenario=scenario(task.scenario),
        seed=7,
        seconds=1.0,
        checks=checks,
        setup_error=setup_error,
        repeat_command=f"harness run {task.scenario} --seed 7",
    )


def record(task: Task, *checks: CheckResult) -> Record:
    return record_of(task, result(task, *checks), "2025-12-05T10:15:00+00:00")


def write_catalogue(folder: Path, defects: Sequence[Defect] = DEFECTS) -> Path:
    """A catalogue file beside the list command and the scenarios that it names."""
    (folder / "scenarios").mkdir(parents=True)
    (folder / "scenarios" / "all.py").write_text(SCENARIO_FILE)
    rows = [{**one.__dict__} for one in defects]
    (folder / "list.py").write_text(f"print({json.dumps(rows)!r})\n")
    path = folder / "catalogue.toml"
    path.write_text(CATALOGUE_FILE.format(target=REFERENCE_TARGET))
    return path


class Played:
    """Stands for ``play``: each run comes to what ``checks`` says of its task, and leaves a folder."""

    def __init__(
        self,
        checks: Callable[[Task], Sequence[CheckResult]],
        *,
        ends_after: int | None = None,
        leaves: int = 0,
        setup_error: str = "",
    ) -> None:
        self._checks = checks
        self._leaves = leaves
        self._setup_error = setup_error
        self._ends_after = ends_after
        self.tasks: list[Task] = []

    async def __call__(
        self, catalogue: Catalogue, scenarios: Scenarios, tasks: Sequence[Task], options: PlayOptions, heard: Heard
    ) -> None:
        for task in tasks[: len(tasks) - self._leaves]:
            if self._ends_after is not None and len(self.tasks) >= self._ends_after:
                raise KeyboardInterrupt
            self.tasks.append(task)
            came_to = result(task, *self._checks(task), runs=options.runs, setup_error=self._setup_error)
            came_to = replace(came_to, seed=options.seed + task.round)
            came_to.folder.mkdir(parents=True, exist_ok=True)
            heard(task, came_to)


def as_meant(task: Task) -> tuple[CheckResult, ...]:
    """Every defect is caught where and by what it should be."""
    return {"loses": (LOST,), "lies": (WRONG,)}.get(task.defect, (PASSED,))
