"""The harness's own proof in small: each checker catches a quick defect that is meant for it, and not the control.

What is played, and how it is judged, is what `harness selftest --quick` does with all the quick ones; here it is one a
checker and those that an argument needs, since the other tests share the machine.  The runs share one loop and start in
parallel; ``test_exclusive_defects.py`` has those that are alone, as in any suite.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

import harness.checkers
import harness.faults  # noqa: F401  (both fill registries)
from harness.discovery import load_scenarios
from harness.results import RunResult
from harness.selftest.catalogue import DEFAULT_CATALOGUE, load_catalogue
from harness.selftest.matrix import Sight, build_matrix
from harness.selftest.plan import Selection, make_plan
from harness.selftest.play import PlayOptions, play
from harness.selftest.records import Record, Task, record_of
from harness.stacks import host
from harness.values import Verdict

ROOT = Path(__file__).parents[2]
# The other two workers have environments of their own meanwhile.
PARALLEL = 3
CATALOGUE = load_catalogue(ROOT / DEFAULT_CATALOGUE)
SCENARIOS = load_scenarios(CATALOGUE.scenarios)
QUICK = [one for one in CATALOGUE.defects if one.quick]
# The first of each checker, since the last one written stays.
BY_CHECKER = {one.checkers[0]: one.name for one in reversed(QUICK)}
ALWAYS = (
    "one-bad-month-queues-all",
    "no-breaker-no-bulkhead",
    "full-queue-is-never-drained",
    "acknowledged-before-stored",
)
NAMES = tuple(dict.fromkeys((*BY_CHECKER.values(), *ALWAYS)))
TASKS = make_plan(CATALOGUE, SCENARIOS, Selection(defects=NAMES, quick=True, control=0)).tasks
SHARED_TASKS = tuple(task for task in TASKS if not SCENARIOS.get(task.scenario).exclusive)
EXCLUSIVE_TASKS = tuple(task for task in TASKS if SCENARIOS.get(task.scenario).exclusive)
PASSING = (
    Task("control", "december-detached", 1),
    Task("control", "service-killed-while-queueing", 1),
    # The assessment argued that one failing partition is a subset of an outage.  This defect passes the outage and
    # fails the partition (above), which refutes it.
    Task("one-bad-month-queues-all", "argument-whole-database"),
)


def lacking(task: Task) -> str:
    """Say what this machine lacks for a run, and how to get it."""
    return host.lacking(SCENARIOS.get(task.scenario).needs)


def records_of(tasks: Sequence[Task], folder: Path) -> dict[Task, Record]:
    """Play these runs as a selftest does."""
    records: dict[Task, Record] = {}

    def heard(task: Task, result: RunResult) -> None:
        records[task] = record_of(task, result, datetime.now(UTC).isoformat())

    options = PlayOptions(runs=folder / "runs", targets=folder, seed=7, jobs=PARALLEL)
    asyncio.run(play(CATALOGUE, SCENARIOS, tasks, options, heard))
    return records


def assert_caught(record: Record) -> None:
    """The matrix calls it caught: by a checker meant for it, about its promise, with event ids or a number."""
    defect = CATALOGUE.get(record.task.defect)
    (row,) = build_matrix((defect,), CATALOGUE.control, (record.task,), (record,), {}).rows
    assert row.sight is Sight.CAUGHT, (record.verdict, record.caught, record.unknowns)


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> dict[Task, Record]:
    """Play every defect in its cheapest scenario, and what must pass beside them."""
    wanted = [task for task in SHARED_TASKS if not lacking(task)]
    return records_of([*wanted, *PASSING], tmp_path_factory.mktemp("selftest"))


def test_the_proof_in_small_has_a_dozen_defects_and_every_defect_and_scenario_of_the_catalogue_is_known() -> None:
    assert len(TASKS) >= 12
    assert len({CATALOGUE.get(task.defect).promise for task in TASKS}) >= 7
    everything = make_plan(CATALOGUE, SCENARIOS, Selection())
    assert everything.defects == CATALOGUE.defects


def test_what_runs_beside_others_is_not_exclusive() -> None:
    assert not [task for task in PASSING if SCENARIOS.get(task.scenario).exclusive]


@pytest.mark.parametrize("task", SHARED_TASKS, ids=lambda task: task.defect)
def test_a_planted_defect_is_caught(task: Task, records: dict[Task, Record]) -> None:
    if reason := lacking(task):
        pytest.skip(reason)
    assert_caught(records[task])


@pytest.mark.parametrize("task", PASSING, ids=str)
def test_what_is_sound_passes(task: Task, records: dict[Task, Record]) -> None:
    record = records[task]
    assert record.verdict is Verdict.PASS, (record.caught, record.unknowns)
