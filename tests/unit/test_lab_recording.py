"""What was done by hand becomes a scenario that the loader takes, that says the same, and that any run can play."""

from __future__ import annotations

import dataclasses
import json
import typing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import harness.faults  # noqa: F401  (fills the registry)
from harness.discovery import load_scenarios, scenarios_of, select
from harness.dryrun import lines_of
from harness.errors import UsageError
from harness.fault import FAULTS, Fault, fault_from_json
from harness.faults.network import Latency
from harness.faults.partition import DetachPartition, LockPartition
from harness.faults.process import CrashService
from harness.lab.recording import Deeds, FaultDeed, LoadDeed, scenario_of, source_of
from harness.scenario import Load, LoadPhase, Scenario
from harness.schedule import Schedule, Step
from harness.session import REFERENCE_TARGET
from harness.stacks.base import Direction
from harness.targets.model import load_target
from harness.timed import Move, MoveKind, moves_of
from harness.values import Month

DECEMBER, JANUARY, FEBRUARY = Month(2025, 12), Month(2026, 1), Month(2026, 2)
DETACH, LOCK = DetachPartition(months=(DECEMBER,)), LockPartition(months=(JANUARY,))
BASE = Scenario(name="mine", claim="It holds.", requirements=(), load=Load(months=(DECEMBER,)))
EXAMPLES: dict[Any, Any] = {int: 20, float: 0.5, bool: True, str: "x", Month: "2025_12"}
BY_NAME = {"delay_ms": 60, "limit_bytes": 2000}


def played() -> Deeds:
    """A load, two faults that overlap, the load again for another month, and a fault that never bit."""
    return Deeds(
        [
            LoadDeed(100.0, (DECEMBER, JANUARY), 4, 12.5, until=160.0),
            LoadDeed(400.0, (DECEMBER, FEBRUARY), 2, 0.0),
        ],
        [
            FaultDeed(DETACH, 110.0, confirmed=True, healed_at=150.5),
            FaultDeed(Latency(delay_ms=5), 115.0, confirmed=False),
            FaultDeed(LOCK, 120.25, confirmed=True, healed_at=130.0),
            FaultDeed(CrashService(), 410.0, confirmed=True, healed_at=410.2),
        ],
    )


def test_times_count_from_the_first_deed_and_what_never_bit_is_left_out_and_told() -> None:
    deeds = played()
    scenario = scenario_of(deeds, BASE)
    assert scenario.schedule.steps == (
        Step(DETACH, at_seconds=10.0, healed_at_seconds=50.5),
        Step(LOCK, at_seconds=20.25, healed_at_seconds=30.0),
        Step(CrashService(), at_seconds=310.0),
    )
    assert scenario.load.phases == (
        LoadPhase(from_seconds=0.0, to_seconds=60.0, months=(DECEMBER, JANUARY), rate_per_writer=12.5),
        LoadPhase(from_seconds=300.0, months=(DECEMBER, FEBRUARY), writers_per_month=2, rate_per_writer=0.0),
    )
    assert deeds.unrecorded() == ["latency never bit, so it is left out"]
    assert scenario.timed
    assert scenario.fault_seconds == 310.0


def test_months_that_came_after_the_first_fault_owe_nothing_before_it() -> None:
    scenario = scenario_of(played(), BASE)
    assert (scenario.load.months, scenario.load.late_months) == ((DECEMBER, JANUARY), (FEBRUARY,))


def test_where_every_load_came_after_the_first_fault_the_missing_control_is_not_excused() -> None:
    deeds = Deeds([LoadDeed(20.0, (DECEMBER,), 4, 12.5)], [FaultDeed(DETACH, 10.0, confirmed=True)])
    scenario = scenario_of(deeds, BASE)
    assert (scenario.load.months, scenario.load.late_months) == ((DECEMBER,), ())


def test_a_pause_for_thought_can_be_shortened_and_nothing_else_moves() -> None:
    scenario = scenario_of(played(), BASE, longest_gap_seconds=30.0)
    assert [step.at_seconds for step in scenario.schedule.steps] == [10.0, 20.25, 110.0 - 10.0]
    assert scenario.schedule.steps[0].healed_at_seconds == 50.5
    assert [phase.from_seconds for phase in scenario.load.phases] == [0.0, 90.0]


@pytest.mark.parametrize("others", [False, True])
def test_faults_that_are_nothing_but_edges_owe_nothing_while_they_are_on(others: bool) -> None:
    deeds = Deeds(
        [LoadDeed(0.0, (DECEMBER,), 4, 12.5)],
        [FaultDeed(CrashService(), 5.0, confirmed=True, healed_at=5.1, only_edges=True)],
    )
    if others:
        deeds.faults.append(FaultDeed(DETACH, 20.0, confirmed=True, healed_at=40.0))
    assert scenario_of(deeds, BASE).strict_phases == (None if others else ("before", "after"))


def test_a_lab_in_which_nothing_was_done_is_its_own_base() -> None:
    assert scenario_of(Deeds(), BASE) == BASE


@given(
    st.lists(st.floats(0, 1e4, allow_nan=False), min_size=2, max_size=12),
    st.none() | st.floats(0.1, 100),
    st.booleans(),
)
def test_whatever_was_done_in_whatever_pace_is_a_valid_scenario(
    moments: list[float], gap: float | None, healed: bool
) -> None:
    times = sorted(moments)
    deeds = Deeds([LoadDeed(times[0], (DECEMBER,), 4, 12.5)])
    for begun, ended in zip(times[::2], times[1::2], strict=False):
        deeds.faults.append(FaultDeed(DETACH, begun, confirmed=True, healed_at=ended if healed else None))
    scenario = scenario_of(deeds, BASE, gap)
    assert len(scenario.schedule.steps) == len(deeds.faults)
    assert Scenario.from_json(json.dumps(scenario.to_json())) == scenario
    moves = moves_of(scenario)
    every = (*moves.before, *moves.during, *moves.after)
    assert list(every) == sorted(every)
    assert sum(move.kind is MoveKind.INJECT for move in every) == len(deeds.faults)


def example_of(name: str) -> Fault:
    """A fault of a name with a value for each field that it owes."""
    kind = FAULTS.get(name)
    hints = typing.get_type_hints(kind)
    owed = [field for field in dataclasses.fields(kind) if field.default is dataclasses.MISSING]  # type: ignore[arg-type]
    values = {field.name: BY_NAME.get(field.name, EXAMPLES[hints[field.name]]) for field in owed}
    return fault_from_json({"fault": name, **values})


@pytest.mark.parametrize("name", list(FAULTS))
def test_each_fault_can_be_recorded_and_is_read_back_as_it_was(name: str, tmp_path: Path) -> None:
    fault = example_of(name)
    deeds = Deeds([LoadDeed(0.0, (DECEMBER,), 4, 12.5)], [FaultDeed(fault, 5.0, confirmed=True, healed_at=9.0)])
    scenario = scenario_of(deeds, BASE)
    path = tmp_path / "recorded.py"
    path.write_text(source_of(scenario, "As it was."))
    assert scenarios_of(path) == (scenario,)


def test_a_recorded_file_is_found_by_its_own_path_and_in_a_folder_and_reads_like_one_by_hand(tmp_path: Path) -> None:
    deeds = played()
    deeds.faults.append(
        FaultDeed(Latency(delay_ms=20, directions=(Direction.UPSTREAM,)), 420.0, confirmed=True, healed_at=430.0)
    )
    base = dataclasses.replace(BASE, service_environment={"HARNESS_CLOCK": "1"})
    scenario = scenario_of(deeds, base)
    path = tmp_path / "mine.py"
    path.write_text(source_of(scenario, "As it was."))
    text = path.read_text()
    assert max(map(len, text.splitlines())) <= 120
    assert "from harness.faults.partition import DetachPartition, LockPartition\n" in text
    assert "directions=(Direction.UPSTREAM,)" in text
    assert "min_strict_events" not in text, "what is usual is not said"
    assert select(load_scenarios(path), ["mine"]) == [scenario]
    assert select(load_scenarios(tmp_path), ["mine"]) == [scenario]
    said = "\n".join(lines_of(scenario, load_target(REFERENCE_TARGET)))
    assert "from 10 s until 50.5 s" in said
    assert "4 load from 300 s to the end: 2 writers a month (2025_12, 2026_02), as fast as answers come" in said


def test_a_file_without_a_scenario_is_said(tmp_path: Path) -> None:
    (tmp_path / "empty.py").write_text("")
    with pytest.raises(UsageError, match="has no SCENARIO"):
        load_scenarios(tmp_path / "empty.py")


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ((Step(DETACH, at_seconds=5.0), Step(LOCK)), "one of a schedule with times"),
        ((Step(DETACH, at_seconds=5.0, after_events=3),), "one of a schedule with times"),
        ((Step(DETACH, at_seconds=5.0), Step(LOCK, at_seconds=4.0)), "put the steps in their order"),
        ((Step(DETACH, at_seconds=5.0, healed_at_seconds=5.0),), "cannot be healed at 5 s"),
        ((Step(CrashService(), at_seconds=5.0, healed_at_seconds=6.0),), "is over by itself"),
        ((Step(DETACH, healed_at_seconds=6.0),), "but no at_seconds"),
    ],
)
def test_times_that_cannot_be_played_are_refused(steps: tuple[Step, ...], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Schedule(steps)


@pytest.mark.parametrize(
    ("phases", "said"),
    [
        ((LoadPhase(from_seconds=-1.0, months=(DECEMBER,)),), "begins before"),
        ((LoadPhase(from_seconds=3.0, to_seconds=2.0, months=(DECEMBER,)),), "ends first"),
        (
            (LoadPhase(from_seconds=0.0, months=(DECEMBER,)), LoadPhase(from_seconds=9.0, months=(DECEMBER,))),
            "begins before",
        ),
        ((LoadPhase(from_seconds=0.0, months=(JANUARY,)),), "writes into 2026_01"),
        ((LoadPhase(from_seconds=0.0, months=()),), "writes into none"),
    ],
)
def test_phases_of_a_load_that_cannot_be_played_are_refused(phases: tuple[LoadPhase, ...], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Load(months=(DECEMBER,), phases=phases)


def test_locust_keeps_no_times() -> None:
    load = Load(months=(DECEMBER,), locust_users=5)
    with pytest.raises(UsageError, match="cannot keep"):
        dataclasses.replace(BASE, load=load, schedule=Schedule((Step(DETACH, at_seconds=1.0),)))


def test_an_older_history_without_times_is_still_read() -> None:
    data = BASE.to_json()
    assert "phases" not in data["load"]
    assert not any("at_seconds" in step for step in Schedule.of(DETACH).to_json())
    assert Scenario.from_json(json.dumps(data)) == BASE


def kinds(moves: tuple[Move, ...]) -> list[tuple[str, int]]:
    return [(move.kind.name, move.number) for move in moves]


def test_the_phases_of_a_run_are_found_in_the_times() -> None:
    moves = moves_of(scenario_of(played(), BASE))
    assert kinds(moves.before) == [("LOAD", 0)]
    assert kinds(moves.during) == [
        *[("INJECT", 0), ("INJECT", 1), ("HEAL", 1), ("HEAL", 0), ("REST", 0), ("LOAD", 1), ("INJECT", 2)],
    ]
    assert kinds(moves.after) == []


def test_the_last_phase_begins_with_the_heal_after_which_nothing_is_on() -> None:
    steps = (
        Step(DETACH, at_seconds=5.0, healed_at_seconds=30.0),
        Step(LOCK, at_seconds=6.0, healed_at_seconds=20.0),
    )
    moves = moves_of(dataclasses.replace(BASE, schedule=Schedule(steps)))
    assert kinds(moves.during) == [("INJECT", 0), ("INJECT", 1), ("HEAL", 1)]
    assert kinds(moves.after) == [("HEAL", 0)]


def test_what_is_never_healed_leaves_the_last_phase_to_the_end_of_the_run() -> None:
    steps = (Step(DETACH, at_seconds=5.0, healed_at_seconds=30.0), Step(LOCK, at_seconds=6.0))
    moves = moves_of(dataclasses.replace(BASE, schedule=Schedule(steps)))
    assert kinds(moves.during) == [("INJECT", 0), ("INJECT", 1), ("HEAL", 0)]
    assert kinds(moves.after) == []


def test_a_load_that_comes_and_goes_without_a_fault_is_all_control() -> None:
    load = Load(months=(DECEMBER,), phases=(LoadPhase(from_seconds=0.0, to_seconds=3.0, months=(DECEMBER,)),))
    moves = moves_of(dataclasses.replace(BASE, load=load))
    assert kinds(moves.before) == [("LOAD", 0), ("REST", 0)]
    assert (moves.during, moves.after) == ((), ())
