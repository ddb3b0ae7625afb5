"""The catalogue of defects, and the plan of runs that is made of it."""

from __future__ import annotations

import asyncio
import dataclasses
from contextlib import nullcontext
from pathlib import Path

import pytest

from harness import checkers as _checkers  # noqa: F401  (fills the registry)
from harness.checking import CheckResult
from harness.discovery import load_scenarios
from harness.errors import UsageError
from harness.results import RunResult
from harness.runner import RunPlan
from harness.selftest.catalogue import DEFAULT_CATALOGUE, Defect, load_catalogue
from harness.selftest.plan import QUICK_BUDGET_SECONDS, Progress, Selection, make_plan, weight_seconds
from harness.selftest.play import PlayOptions, play
from harness.selftest.records import Task
from harness.session import REFERENCE_TARGET, Session
from harness.suite import SuiteRunner
from harness.targets.model import load_target
from harness.turns import Alone
from tests.unit.selftest_samples import CONTROL, DEFECTS, LIES, LOSES, write_catalogue

ROOT = Path(__file__).parents[2]
CI_JOBS = 6
"""Places on the two cores that `--quick` is promised for."""


def planned(tmp_path: Path, selection: Selection) -> list[str]:
    catalogue = load_catalogue(write_catalogue(tmp_path / "c"))
    return [str(task) for task in make_plan(catalogue, load_scenarios(catalogue.scenarios), selection).tasks]


def test_the_list_command_tells_the_defects_and_which_is_the_control(tmp_path: Path) -> None:
    catalogue = load_catalogue(write_catalogue(tmp_path / "c"))
    assert catalogue.control == CONTROL
    assert catalogue.defects == (LOSES, LIES)


def test_a_defects_target_is_the_base_target_with_another_command_and_name(tmp_path: Path) -> None:
    catalogue = load_catalogue(write_catalogue(tmp_path / "c"))
    target, base = load_target(catalogue.write_target(LOSES, tmp_path)), load_target(REFERENCE_TARGET)
    assert (target.name, target.limits, target.reads, target.months) == (
        "loses",
        base.limits,
        base.reads,
        base.months,
    )
    assert target.launch is not None
    assert base.launch is not None
    assert target.launch.command == ("{python}", "-m", "broken", "loses")
    # The file lies elsewhere, and means the same folder.
    filled = {key: value.replace("{root}", str(base.root)) for key, value in base.launch.environment.items()}
    assert target.launch.environment == filled


def test_a_defects_target_names_the_rules_and_dashboards_of_the_base_target(tmp_path: Path) -> None:
    place = tmp_path / "own {x}"
    place.mkdir()
    for name in ("a.yml", "b.yml", "d.json"):
        (place / name).touch()
    base = place / "target.toml"
    watched = '[observability]\nrules = ["a.yml", "{root}/b.yml"]\ndashboards = ["d.json"]\nlabels = ["pod"]\n'
    base.write_text(f'name = "own"\n[launch]\ncommand = ["{{python}}"]\n{watched}')
    catalogue = dataclasses.replace(load_catalogue(write_catalogue(tmp_path / "c")), target=base)
    (tmp_path / "targets").mkdir()
    target = load_target(catalogue.write_target(LOSES, tmp_path / "targets"))
    assert target.observability.rules == (place / "a.yml", place / "b.yml")
    assert (target.observability.dashboards, target.observability.labels) == ((place / "d.json",), ("pod",))


@pytest.mark.parametrize(
    ("defects", "said"),
    [
        ((LOSES,), "names 0 defects of promise 0"),
        ((*DEFECTS, LOSES), "names 'loses' twice"),
        ((CONTROL, dataclasses.replace(LOSES, promise=10)), "promise 10"),
        ((CONTROL, dataclasses.replace(LOSES, scenarios=())), "must name the scenarios"),
        ((CONTROL, dataclasses.replace(LOSES, name="../up")), "cannot name a defect"),
    ],
)
def test_a_list_that_makes_no_sense_is_refused(tmp_path: Path, defects: tuple[Defect, ...], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        load_catalogue(write_catalogue(tmp_path / "c", defects))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"{defect}"', '"all"', "launch must have"),
        ("list.py", "no-list.py", "ended with 2"),
        ('scenarios = "scenarios"', 'scenarios = "elsewhere"', "is not there"),
        ("target", "goal", "unknown key goal"),
        ("list = [", "list = [[", "is not valid TOML"),
    ],
)
def test_a_mistake_in_the_file_is_named_with_its_remedy(tmp_path: Path, old: str, new: str, said: str) -> None:
    path = write_catalogue(tmp_path / "c")
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(UsageError, match=said):
        load_catalogue(path)
    with pytest.raises(UsageError, match="--catalogue"):
        load_catalogue(tmp_path / "none.toml")


def test_a_checker_that_nobody_has_could_never_catch_and_is_refused(tmp_path: Path) -> None:
    wrong = dataclasses.replace(LOSES, checkers=("conservatoin",))
    catalogue = load_catalogue(write_catalogue(tmp_path / "c", (CONTROL, wrong, LIES)))
    scenarios = load_scenarios(catalogue.scenarios)
    with pytest.raises(UsageError, match=r"the defect loses: .* did you mean conservation"):
        make_plan(catalogue, scenarios, Selection())
    assert make_plan(catalogue, scenarios, Selection(defects=("lies",))).defects == (LIES,)


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(defects=("loses",)), ["loses in one", "control in one, round 1"]),
        (Selection(keyword="metrics", control=0), ["lies in two", "lies in one"]),
        (Selection(quick=True), ["loses in one", "control in one, round 1"]),
        (Selection(quick=True, defects=("lies",), control=0), ["lies in two"]),
        (
            Selection(defects=("loses",), whole_suite=True, control=0),
            [f"loses in {n}" for n in ("one", "two", "alone")],
        ),
        (Selection(defects=("lies",), scenarios=("alone",)), ["lies in alone", "control in alone, round 1"]),
        (Selection(defects=("control",)), [f"control in {n}, round 1" for n in ("one", "two", "alone")]),
        (
            Selection(defects=("control",), scenarios=("one",), control=2),
            ["control in one, round 1", "control in one, round 2"],
        ),
    ],
)
def test_a_selection_is_laid_out_as_runs(tmp_path: Path, selection: Selection, expected: list[str]) -> None:
    assert planned(tmp_path, selection) == expected
    assert Selection.from_json(selection.to_json()) == selection


def test_the_quick_defects_ask_every_checker_that_any_defect_is_meant_for() -> None:
    catalogue = load_catalogue(ROOT / DEFAULT_CATALOGUE)
    quick = [one for one in catalogue.defects if one.quick]
    # The first one named: where several are meant, another may find it and the rest be blind.
    asked = {one.checkers[0] for one in quick}
    assert {name for one in catalogue.defects for name in one.checkers} - asked == set()
    assert {one.promise for one in quick} == {one.promise for one in catalogue.defects}
    assert 36 <= len(quick) <= 44


def test_the_quick_defects_and_their_control_fit_into_the_ten_minutes_with_room_for_a_slower_machine() -> None:
    catalogue = load_catalogue(ROOT / DEFAULT_CATALOGUE)
    scenarios = load_scenarios(catalogue.scenarios)
    tasks = make_plan(catalogue, scenarios, Selection(quick=True)).tasks
    seconds = sum(weight_seconds(scenarios.get(task.scenario), CI_JOBS) for task in tasks) / CI_JOBS
    assert seconds < 0.6 * QUICK_BUDGET_SECONDS
    # Each of these has the machine to itself, for a defect and for the control.
    assert sum(scenarios.get(task.scenario).exclusive for task in tasks) <= 6


def test_progress_tells_the_rest_by_weight_and_pace() -> None:
    progress = Progress({Task("a", "s"): 10.0, Task("b", "s"): 30.0})
    assert progress.done(Task("a", "s"), 20.0) == "1/2, about 60 s left"
    assert progress.done(Task("b", "s"), 80.0) == "2/2"


def test_many_targets_are_played_as_one_suite_with_places_and_seeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once: list[str] = []
    most = 0
    both = asyncio.Barrier(2)

    async def measured(self: SuiteRunner, plan: RunPlan, alone: Alone) -> RunResult:
        nonlocal most
        async with alone() if plan.scenario.exclusive else nullcontext():
            at_once.append(plan.run)
            most = max(most, len(at_once))
            if plan.scenario.exclusive:
                assert at_once == [plan.run]
            else:
                # Two at a time, or nobody comes by.
                async with asyncio.timeout(60):
                    await both.wait()
            at_once.remove(plan.run)
        plan.folder.mkdir(parents=True)
        return RunResult(
            run=plan.run,
            folder=plan.folder,
            scenario=plan.scenario,
            seed=plan.seed,
            seconds=1.0,
            checks=(CheckResult(plan.target.name),),
            repeat_command=plan.repeat_command,
        )

    async def prepared(self: Session) -> None:
        """Nothing is started."""

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(SuiteRunner, "_measured", measured)
    monkeypatch.setattr(Session, "prepare", prepared)
    catalogue = load_catalogue(write_catalogue(tmp_path / "c"))
    options = PlayOptions(runs=tmp_path / "runs", targets=tmp_path, seed=40, jobs=2)
    tasks = [Task("loses", "one"), *(Task("control", name, 2) for name in ("one", "two", "alone")), Task("lies", "two")]
    heard: dict[Task, RunResult] = {}
    scenarios = load_scenarios(catalogue.scenarios)
    asyncio.run(play(catalogue, scenarios, tasks, options, heard.__setitem__))
    assert set(heard) == set(tasks)
    assert most == 2
    assert {task: (one.seed, one.checks[0].checker) for task, one in heard.items()} == {
        task: (40 + task.round, task.defect) for task in tasks
    }
    assert list(heard)[-1] == Task("control", "alone", 2)
    repeat = heard[Task("loses", "one")].repeat_command
    assert repeat.startswith("harness run one --seed 40 --scenarios ")
    assert f"--target {tmp_path / 'loses.toml'}" in repeat
    # What the budget keeps from beginning is not heard of, so that it is played when resumed.
    heard.clear()
    spent = dataclasses.replace(options, time_budget_seconds=1e-9)
    asyncio.run(play(catalogue, scenarios, tasks, spent, heard.__setitem__))
    assert heard == {}
