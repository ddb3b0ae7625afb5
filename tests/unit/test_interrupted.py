"""A fault that strikes while the service recovers: as data, in the order of a run, and proved to have met the drain."""

from __future__ import annotations

import asyncio
import json
from contextlib import closing
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness import events as ev
from harness._wait import pause
from harness.blast import BlastRadius, Write
from harness.conductor import Conductor
from harness.errors import DeadlineExceeded, UsageError
from harness.fault import radius_to_json
from harness.faults.partition import DetachPartition, LockPartition
from harness.faults.process import CrashService
from harness.history import Clock, History, read_history
from harness.scenario import Load, Scenario
from harness.schedule import Schedule, Step
from harness.targets.model import Limits, Reads
from harness.values import Verdict, utc_timestamp
from tests.unit import histories
from tests.unit.histories import DECEMBER, JANUARY, STARTED_AT, check, event_id, good

DETACH, LOCK = DetachPartition(months=(DECEMBER,)), LockPartition(months=(DECEMBER,))
EDGE_SECONDS = 0.05
STRUCK = Schedule((Step(DETACH), Step(LOCK, after_events=5, after_healing=1)))
CYCLES = Schedule.cycles(DETACH, times=3, after_events=5)


def test_a_schedule_comes_back_from_json_and_an_older_one_is_still_read() -> None:
    for schedule in (STRUCK, CYCLES):
        assert Schedule.from_json(schedule.to_json()) == schedule
    new = ("after_healing", "after_recovery")
    older = [{key: value for key, value in step.items() if key not in new} for step in STRUCK.to_json()]
    assert [step.after_healing for step in Schedule.from_json(older).steps] == [0, 0]


@pytest.mark.parametrize(
    "steps",
    [
        (Step(DETACH, after_healing=1),),
        (Step(DETACH), Step(LOCK, after_healing=2)),
        (Step(DETACH), Step(LOCK, after_healing=-1)),
        (Step(CrashService()), Step(LOCK, after_healing=1)),
        (Step(DETACH), Step(CrashService(), after_healing=1), Step(LOCK, after_healing=1)),
    ],
)
def test_a_step_cannot_have_more_healed_than_is_on(steps: tuple[Step, ...]) -> None:
    with pytest.raises(UsageError, match="healed before it"):
        Schedule(steps)


@dataclass
class Stage:
    """What the conductor directs, writing down what it is told."""

    depths: list[int]
    heals: bool = True
    recovers: bool = True
    healed_after: int = 0
    injected_after: int = 0
    locks: bool = False
    lock_timeout_seconds: float = 0.02
    edge_seconds: float = 0.0
    told: list[str] = field(default_factory=list)
    open_faults: tuple[int, ...] = ()

    @property
    def deeds(self) -> list[str]:
        """What it was told to do, without the looks and the counts."""
        return [told for told in self.told if told.startswith(("inject", "heal", "recovered", "see"))]

    async def inject(self, number: int) -> bool:
        self.told.append(f"inject {number}")
        await pause(0.03 * self.injected_after)
        return True

    def locks_others(self, number: int) -> bool:
        return self.locks

    async def heal_last(self, count: int) -> float | None:
        self.told.append(f"heal {count}")
        await pause(0.03 * self.healed_after)
        return 0.0 if self.heals else None

    async def backlog(self) -> int:
        self.told.append("look")
        return self.depths.pop(0) if len(self.depths) > 1 else self.depths[0]

    async def look(self) -> None:
        self.told.append("see")

    async def wait(self, months: object, deadline_seconds: float) -> None:
        self.told.append("recovered")
        if not self.recovers:
            raise DeadlineExceeded("not well in time")

    async def describe(self, months: object) -> str:
        return "the DLQ's depth is 9"

    async def step(self, number: int, text: str) -> None:
        """Pause nowhere."""

    def hurt_months(self) -> None:
        """Say every month."""

    def silences_service(self) -> bool:
        return False

    @property
    def tally(self) -> Any:
        def nothing(*_: object) -> None:
            """Count nothing."""

        def stable(since: float) -> None:
            self.told.append(f"stable {since}")

        ample = {"enough": lambda *_: True, "strict": lambda _: 999, "created": lambda _: 999}
        return SimpleNamespace(open_phase=nothing, unstable=nothing, stable=stable, **ample)

    def set_edge(self, edge: bool) -> None:
        """Pace nobody."""


def directed(folder: Path, stage: Stage, *, dlq: bool = True, schedule: Schedule = STRUCK) -> tuple[bool, list[str]]:
    """Play the middle phase of a schedule with a step that strikes a recovery; return whether all bit, and notes."""
    scenario = Scenario(name="s", claim="c.", requirements=(), load=Load(months=(DECEMBER,)), schedule=schedule)
    target: Any = SimpleNamespace(
        limits=Limits(recovery_seconds=EDGE_SECONDS, lock_timeout_seconds=stage.lock_timeout_seconds),
        reads=Reads(dlq=dlq, metrics=False),
    )
    players: Any = stage
    with closing(History(folder, Clock())) as history:
        conductor = Conductor(scenario, target, history, players, players, players, players, stage.step)
        asyncio.run(conductor.during())
    stage.edge_seconds = conductor.waits.edge_seconds
    return conductor.confirmed, [record.topic for record in read_history(folder) if isinstance(record, ev.Note)]


def test_the_earlier_fault_is_healed_and_the_later_strikes_once_the_queue_shrinks(tmp_path: Path) -> None:
    stage = Stage([5, 7, 7, 6, 1])
    assert directed(tmp_path, stage) == (True, [])
    assert stage.deeds == ["inject 0", "heal 1", "inject 1"]
    assert stage.told.count("look") == 4


def test_a_queue_that_shrank_while_the_heals_were_still_probed_is_not_waited_for(tmp_path: Path) -> None:
    stage = Stage([7, 3, 0], healed_after=4)
    assert directed(tmp_path, stage) == (True, [])
    assert stage.told.count("look") == 2


def test_a_queue_that_never_shrinks_is_noted_and_the_fault_strikes_nevertheless(tmp_path: Path) -> None:
    stage = Stage([0])
    assert directed(tmp_path, stage) == (True, ["drain"])
    assert stage.deeds[-1] == "inject 1"


def test_where_the_queue_cannot_be_read_the_fault_strikes_at_once(tmp_path: Path) -> None:
    stage = Stage([9])
    assert directed(tmp_path, stage, dlq=False) == (True, [])
    assert stage.deeds == ["inject 0", "heal 1", "inject 1"]
    assert "look" not in stage.told


def test_a_fault_that_does_not_heal_ends_the_schedule(tmp_path: Path) -> None:
    stage = Stage([9], heals=False)
    assert directed(tmp_path, stage)[0] is False
    assert stage.deeds == ["inject 0", "heal 1"]


@pytest.mark.parametrize(
    ("lock_timeout_seconds", "locks", "outlasts"), [(0.02, True, True), (0.02, False, False), (60.0, True, False)]
)
def test_an_inject_that_may_have_locked_other_months_for_long_is_outlasted(
    tmp_path: Path, lock_timeout_seconds: float, locks: bool, outlasts: bool
) -> None:
    stage = Stage([0], injected_after=1, locks=locks, lock_timeout_seconds=lock_timeout_seconds)
    directed(tmp_path, stage, schedule=Schedule.of(DETACH))
    assert (stage.edge_seconds > 0) == outlasts


def struck(*stored: float, steps: Schedule = STRUCK) -> histories.History:
    """A run whose queued events were stored at these times, by turns; a second fault struck from 20.5 to 22."""
    history = good()
    history.fault(number=1, injecting=20.5, injected=20.6, confirmed=20.7, healing=22, healed=22.1, probed=22.2)
    answers = {r.op: r.status for r in history.records if isinstance(r, ev.Complete)}
    for turn, op in enumerate(op for op in history.ops(DECEMBER, 10, 20) if answers[op] == 202):
        moment = utc_timestamp(STARTED_AT + timedelta(seconds=stored[turn % len(stored)]))
        identity = event_id(op)
        history.edit(ev.TableRow, lambda row, wanted=identity: row.event_id == wanted, recorded_at=moment)  # type: ignore[misc]
    scenario = Scenario(name="s", claim="c.", requirements=(), load=Load(months=(DECEMBER,)), schedule=steps)
    history.edit(ev.RunStarted, lambda record: True, scenario_json=json.dumps(scenario.to_json()))
    return history


def test_a_drain_that_a_fault_parted_is_proved() -> None:
    result = check("interrupted", struck(20.3, 23.0))
    assert result.verdict is Verdict.PASS
    assert result.facts["drained_before_1"] > 0
    assert result.facts["drained_after_1"] > 0


@pytest.mark.parametrize(("stored", "said"), [((20.3,), "all"), ((23.0,), "nothing"), ((20.6,), "nothing")])
def test_a_fault_that_came_too_early_or_too_late_proves_nothing(stored: tuple[float, ...], said: str) -> None:
    result = check("interrupted", struck(*stored))
    assert result.verdict is Verdict.UNKNOWN
    assert f"but {said}" in result.unknowns[0]


def test_rows_whose_times_are_not_known_prove_nothing_and_without_sql_it_is_not_checked() -> None:
    history = struck(20.3, 23.0)
    history.edit(ev.TableRow, lambda row: row.month == DECEMBER.label, recorded_at="")
    assert check("interrupted", history).verdict is Verdict.UNKNOWN
    assert check("interrupted", struck(20.3).without("sql")).not_checked == "sql"


def test_what_was_queued_and_drained_before_the_heal_is_no_proof() -> None:
    result = check("interrupted", struck(12.0, 23.0))
    assert result.verdict is Verdict.UNKNOWN
    assert "but nothing had been drained" in result.unknowns[0]


def test_what_the_healed_fault_did_not_keep_back_is_no_proof() -> None:
    history = struck(20.3, 23.0)
    other = radius_to_json(BlastRadius(months=frozenset({JANUARY}), write=Write.NO))
    history.edit(ev.FaultMark, lambda mark: mark.fault == 0 and mark.step is ev.FaultStep.INJECTING, radius_json=other)
    assert check("interrupted", history).verdict is Verdict.UNKNOWN


def test_where_no_fault_was_to_strike_a_drain_nothing_is_proved() -> None:
    result = check("interrupted", struck(20.3, steps=Schedule.of(DETACH, LOCK)))
    assert (result.verdict, result.facts) == (Verdict.UNKNOWN, {})


def test_a_fault_that_was_to_strike_and_never_came_is_told() -> None:
    history = struck(20.3, 23.0)
    history.drop(ev.FaultMark, lambda mark: mark.fault == 1)
    result = check("interrupted", history)
    assert result.unknowns == ("The fault that was to strike while the queue drained was never injected.",)


def test_the_edge_of_a_heal_is_outlasted_before_a_later_step_counts_its_events(tmp_path: Path) -> None:
    later = Schedule((*STRUCK.steps, Step(CrashService(), after_events=5)))
    stage = Stage([3, 1])
    directed(tmp_path, stage, schedule=later)
    assert stage.deeds == ["inject 0", "heal 1", "inject 1", "inject 2"]
    since = [float(told.split()[1]) for told in stage.told if told.startswith("stable")]
    assert since[1] >= EDGE_SECONDS, "the heal was probed at 0"


def test_a_cycle_waits_for_the_recovery_and_looks_before_the_next_begins(tmp_path: Path) -> None:
    stage = Stage([9])
    assert directed(tmp_path, stage, schedule=CYCLES) == (True, [])
    again = ["heal 1", "recovered", "see", "inject"]
    assert [told if told == "heal 1" else told.split()[0] for told in stage.deeds] == ["see", "inject", *again, *again]
    assert stage.edge_seconds == 0.0, "no recovery edge is waited for between cycles"
    assert not [step for step in STRUCK.steps if step.after_recovery]


def test_a_cycle_that_does_not_recover_is_noted_and_the_next_begins_nevertheless(tmp_path: Path) -> None:
    stage = Stage([9], recovers=False)
    confirmed, notes = directed(tmp_path, stage, schedule=CYCLES)
    assert confirmed
    assert notes == ["recovery", "recovery"]
    assert stage.deeds.count("see") == 3


def test_nothing_can_be_recovered_from_that_was_not_healed() -> None:
    with pytest.raises(UsageError, match="nothing healed before it"):
        Schedule((Step(DETACH), Step(LOCK, after_recovery=True)))
