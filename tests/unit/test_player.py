"""Around a fault that comes or goes at any moment the load is slow and nothing counts; recordings keep their times."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness import events as ev
from harness._wait import pause, wait_until
from harness.faults.partition import DetachPartition, LockPartition
from harness.faults.process import CrashService
from harness.history import Clock, History, read_history
from harness.player import EdgePace, Player
from harness.scenario import Load, LoadPhase, Scenario
from harness.schedule import Schedule, Step
from harness.targets.model import Limits, Reads
from harness.timed import TimedConductor
from harness.values import Month, Phase

DECEMBER, JANUARY = Month(2025, 12), Month(2026, 1)
DETACH, LOCK = DetachPartition(months=(DECEMBER,)), LockPartition(months=(JANUARY,))
RECOVERY_SECONDS = 0.1


@dataclass
class Stage:
    """What a player directs: load, nemesis, samplers and steady state in one, writing down what they are told."""

    faults: tuple[Any, ...] = ()
    bites: bool = True
    heals: bool = True
    locks: bool = False
    told: list[str] = field(default_factory=list)
    open_faults: tuple[int, ...] = ()
    months: tuple[Month, ...] = ()
    slow: bool = False
    clock: Clock = field(default_factory=Clock)

    def fault(self, number: int) -> Any:
        return self.faults[number]

    async def inject(self, number: int) -> bool:
        self.told.append(f"inject {number}{' slow' if self.slow else ' AT FULL PACE'}")
        if not self.fault(number).momentary:
            self.open_faults = (*self.open_faults, number)
        return self.bites

    async def heal_these(self, numbers: Any) -> float | None:
        self.told.append(f"heal {list(numbers)}{' slow' if self.slow else ' AT FULL PACE'}")
        if not self.heals:
            return None
        self.open_faults = tuple(number for number in self.open_faults if number not in numbers)
        return self.clock.now()

    def locks_others(self, number: int) -> bool:
        return self.locks

    def silences_service(self) -> bool:
        return False

    def hurt_months(self) -> None:
        """Say every month."""

    def watch(self, month: Month) -> None:
        self.told.append(f"watch {month}")

    async def play(self, load: Load) -> None:
        self.months = load.months
        self.told.append(
            f"load {','.join(map(str, load.months))} by {load.writers_per_month} at {load.rate_per_writer}"
        )

    async def rest(self) -> None:
        self.months = ()
        self.told.append("rest")

    async def backlog(self) -> int:
        return 0

    async def wait(self, months: object, deadline_seconds: float) -> None:
        self.told.append("recovered")

    async def step(self, number: int, text: str) -> None:
        """Pause nowhere."""

    def set_edge(self, edge: bool) -> None:
        self.slow = edge

    @property
    def tally(self) -> Any:
        def tell(word: str) -> Callable[..., None]:
            return lambda *_: self.told.append(word)

        counts = {"enough": lambda *_: True, "strict": lambda _: 999, "created": lambda _: 999}
        return SimpleNamespace(open_phase=tell("phase"), unstable=tell("unstable"), stable=tell("stable"), **counts)

    @property
    def deeds(self) -> list[str]:
        """What was done, without what was counted."""
        return [told for told in self.told if told not in ("phase", "unstable", "stable")]


def limits() -> Limits:
    return Limits(recovery_seconds=RECOVERY_SECONDS, lock_timeout_seconds=60.0)


def played(stage: Stage, play: Callable[[Player], Awaitable[None]]) -> None:
    async def go() -> None:
        parts: Any = stage
        player = Player(parts, parts, stage.clock, limits())
        await play(player)
        await player.edges.close()

    asyncio.run(go())


def test_a_fault_that_lasts_is_slow_while_it_comes_and_while_it_goes_and_is_forgotten() -> None:
    stage = Stage((DETACH,))

    async def play(player: Player) -> None:
        assert await player.inject(0)
        await player.edges.outlasted()
        assert not stage.slow, "between its edges everything counts"
        assert await player.heal((0,)) is not None
        assert stage.slow
        assert player.edges.on
        await player.edges.outlasted()
        assert not stage.slow
        assert not player.edges.on

    played(stage, play)
    assert stage.deeds == ["inject 0 slow", "heal [0] slow"]
    assert [told for told in stage.told if told in ("unstable", "stable")] == ["unstable", "stable"] * 2


def test_a_fault_that_is_over_at_once_leaves_the_edge_of_a_recovery() -> None:
    stage = Stage((CrashService(),))

    async def play(player: Player) -> None:
        await player.inject(0)
        assert player.edges.on
        before = stage.clock.now()
        await player.edges.outlasted()
        assert stage.clock.now() - before >= RECOVERY_SECONDS / 2

    played(stage, play)


def test_an_edge_that_begins_within_another_is_waited_for_as_well() -> None:
    stage = Stage((DETACH, LOCK))

    async def play(player: Player) -> None:
        edges = player.edges
        edges.begin()
        edges.over(stage.clock.now() + 0.05)
        edges.begin()

        async def first_is_over() -> bool:
            return stage.clock.now() > 0.1

        await wait_until(first_is_over, what="the first edge", deadline_seconds=5)
        assert stage.slow, "the second is under way"
        edges.over(stage.clock.now())
        await edges.outlasted()
        assert not stage.slow

    played(stage, play)


def test_what_breaks_an_inject_off_does_not_leave_the_load_slow_for_ever() -> None:
    stage = Stage((DETACH,))

    async def broken(number: int) -> bool:
        raise RuntimeError("no way")

    stage.inject = broken  # type: ignore[method-assign]

    async def play(player: Player) -> None:
        with pytest.raises(RuntimeError):
            await player.inject(0)
        await player.edges.outlasted()
        assert not stage.slow

    played(stage, play)


def test_a_closed_pace_waits_for_nothing() -> None:
    async def go() -> None:
        parts: Any = Stage()
        edges = EdgePace(parts, parts.clock)
        edges.begin()
        edges.over(parts.clock.now() + 600)
        await edges.close()

    asyncio.run(go())


def conducted(folder: Path, stage: Stage, scenario: Scenario) -> list[str]:
    """Play a whole scenario with times; return the phases and notes of its history."""
    target: Any = SimpleNamespace(limits=limits(), reads=Reads(dlq=False, metrics=False))
    parts: Any = stage
    with closing(History(folder, stage.clock)) as history:
        conductor = TimedConductor(scenario, target, history, parts, parts, parts, parts, stage.step)

        async def play() -> None:
            await conductor.before()
            await conductor.during()
            await conductor.after()

        asyncio.run(play())
    records = read_history(folder)
    return [
        r.phase if isinstance(r, ev.PhaseMark) else r.topic for r in records if isinstance(r, ev.PhaseMark | ev.Note)
    ]


RECORDED = Scenario(
    name="s",
    claim="c.",
    requirements=(),
    load=Load(
        months=(DECEMBER,),
        late_months=(JANUARY,),
        phases=(
            LoadPhase(from_seconds=0.0, to_seconds=0.15, months=(DECEMBER,), rate_per_writer=5.0),
            LoadPhase(from_seconds=0.2, months=(DECEMBER, JANUARY), writers_per_month=2),
        ),
    ),
    schedule=Schedule(
        (
            Step(DETACH, at_seconds=0.05, healed_at_seconds=0.3),
            Step(LOCK, at_seconds=0.1, healed_at_seconds=0.25),
        )
    ),
)


def test_a_recording_is_played_in_its_order_and_its_phases_are_marked(tmp_path: Path) -> None:
    stage = Stage((DETACH, LOCK))
    marks = conducted(tmp_path, stage, RECORDED)
    assert marks == [Phase.BEFORE, Phase.DURING, Phase.AFTER]
    assert stage.deeds == [
        "watch 2025_12",
        "load 2025_12 by 4 at 5.0",
        "inject 0 slow",
        "inject 1 slow",
        "rest",
        "watch 2025_12",
        "watch 2026_01",
        "load 2025_12,2026_01 by 2 at 25.0",
        "heal [1] slow",
        "heal [0] slow",
        "recovered",
    ]


def test_no_gap_is_shorter_than_recorded_though_something_took_longer(tmp_path: Path) -> None:
    stage = Stage((DETACH, LOCK))
    times: list[float] = []
    inject = stage.inject

    async def slowly(number: int) -> bool:
        times.append(stage.clock.now())
        await pause(0.2 if number == 0 else 0.0)
        return await inject(number)

    stage.inject = slowly  # type: ignore[method-assign]
    steps = (Step(DETACH, at_seconds=0.0), Step(LOCK, at_seconds=0.05), Step(LOCK, at_seconds=0.15))
    stage.faults = (DETACH, LOCK, LOCK)
    conducted(tmp_path, stage, replace(RECORDED, load=Load(months=(DECEMBER,)), schedule=Schedule(steps)))
    assert times[1] - times[0] >= 0.2
    assert times[2] - times[1] >= 0.1 - 0.01


def test_a_fault_that_does_not_bite_ends_a_recording_and_everything_is_healed(tmp_path: Path) -> None:
    stage = Stage((DETACH, LOCK), bites=False)
    conducted(tmp_path, stage, RECORDED)
    assert "inject 1 slow" not in stage.deeds
    assert stage.deeds[-2:] == ["heal [0] slow", "recovered"]


def test_what_the_recording_left_on_is_healed_at_the_end_and_what_is_not_is_noted(tmp_path: Path) -> None:
    stage = Stage((DETACH,), heals=False)
    schedule = Schedule((Step(DETACH, at_seconds=0.0),))
    marks = conducted(tmp_path, stage, replace(RECORDED, load=Load(months=(DECEMBER,)), schedule=schedule))
    assert marks == [Phase.BEFORE, Phase.DURING, Phase.AFTER, "heal"]


def test_a_recording_without_a_fault_is_all_control(tmp_path: Path) -> None:
    stage = Stage()
    marks = conducted(tmp_path, stage, replace(RECORDED, schedule=Schedule()))
    assert marks == [Phase.BEFORE]
    assert stage.deeds[-1] == "recovered"
