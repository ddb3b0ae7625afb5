"""A run that waits for its turn: started before it, healthy and loaded after it, and gone when it is given up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from harness import events as ev
from harness._wait import wait_until
from harness.events import Record
from harness.history import read_history
from harness.judging import judge_folder
from harness.results import RunResult, Waits
from harness.runner import RunObserver, RunPlan, run_scenario
from harness.scenario import Load, Scenario
from harness.session import REFERENCE_TARGET
from harness.stacks.base import Environment
from harness.stacks.embedded import EmbeddedStack
from harness.targets.model import Target, load_target
from harness.values import Month, Verdict

DEADLINE_SECONDS = 60.0


@dataclass
class Watched:
    """The embedded stack, and whether an environment of it is there."""

    name = "watched"
    stack: EmbeddedStack = field(default_factory=EmbeddedStack)
    there: bool = False
    workdir: Path = Path()

    @asynccontextmanager
    async def environment(
        self, target: Target, *, name: str, artifacts: Path, environment_overrides: Mapping[str, str]
    ) -> AsyncIterator[Environment]:
        try:
            async with self.stack.environment(
                target, name=name, artifacts=artifacts, environment_overrides=environment_overrides
            ) as environment:
                self.there, self.workdir = True, environment.workdir
                yield environment
        finally:
            self.there = False


@dataclass
class Turn:
    """A turn that comes when the test says so."""

    watched: Watched
    came: asyncio.Event = field(default_factory=asyncio.Event)
    asked: bool = False
    left_with_environment: bool | None = None

    def __call__(self) -> AbstractAsyncContextManager[None]:
        return self._alone()

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        self.asked = True
        await self.came.wait()
        try:
            yield
        finally:
            self.left_with_environment = self.watched.there

    async def is_asked_for(self) -> None:
        async def asked() -> bool:
            return self.asked

        await wait_until(asked, what="the run to ask for its turn", deadline_seconds=DEADLINE_SECONDS)


def plan_in(tmp_path: Path) -> RunPlan:
    load = Load(months=(Month(2025, 12), Month(2026, 1)))
    scenario = Scenario(name="brief", claim="C.", requirements=(), load=load, exclusive=True, min_strict_events=20)
    return RunPlan("brief", tmp_path / "brief", scenario, load_target(REFERENCE_TARGET), 1, "harness run brief")


async def judge(plan: RunPlan, waits: Waits, timings: Mapping[str, float], started: float) -> RunResult:
    spent = time.monotonic() - started
    return judge_folder(plan.folder, waits=waits, timings=timings, seconds=lambda: spent, repeat_command="")


def history_of(plan: RunPlan) -> list[Record]:
    return read_history(plan.folder)


def test_a_run_starts_before_its_turn_and_is_healthy_and_loaded_after_it(tmp_path: Path) -> None:
    plan = plan_in(tmp_path)

    async def play() -> tuple[RunResult, Turn, float, float]:
        turn = Turn(Watched())
        began = time.monotonic()
        running = asyncio.create_task(run_scenario(plan, turn.watched, RunObserver(), judge, turn))
        await turn.is_asked_for()
        assert turn.watched.there
        asked = time.monotonic()
        started = [record for record in history_of(plan) if isinstance(record, ev.RunStarted)]

        async def waited() -> bool:
            return time.monotonic() - asked > 1.0 and bool(started)

        await wait_until(waited, what="a wait worth a note", deadline_seconds=DEADLINE_SECONDS)
        turn.came.set()
        held = time.monotonic() - asked
        result = await running
        return result, turn, held, time.monotonic() - began

    result, turn, held, whole = asyncio.run(play())
    assert result.verdict is Verdict.PASS
    assert turn.left_with_environment is False, "the turn was given up while the environment was there"
    assert not turn.watched.workdir.exists()
    assert result.seconds <= whole - held, "the wait was counted as part of the run"
    records = history_of(plan)
    notes = [record for record in records if isinstance(record, ev.Note) and record.topic == "turn"]
    assert len(notes) == 1
    # Also the probe events of the steady state: health that was seen before a long wait may be over.
    assert min(record.t for record in records if isinstance(record, ev.Invoke)) > notes[0].t


def test_a_run_that_is_given_up_while_it_waits_leaves_nothing(tmp_path: Path) -> None:
    plan = plan_in(tmp_path)

    async def play() -> Watched:
        turn = Turn(Watched())
        running = asyncio.create_task(run_scenario(plan, turn.watched, RunObserver(), judge, turn))
        await turn.is_asked_for()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        return turn.watched

    watched = asyncio.run(play())
    assert not watched.there
    assert not watched.workdir.exists()
    assert not [record for record in history_of(plan) if isinstance(record, ev.Invoke)]
