"""What a heal tells of its steps comes from the ledger into the history, and is read back as it was."""

from __future__ import annotations

import asyncio
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.blast import BlastRadius, Write
from harness.events import FaultMark, FaultStep, RunStarted
from harness.fault import FAULTS, Scene
from harness.history import Clock, History, read_history
from harness.ledger import FOLDER, Ledger
from harness.nemesis import Nemesis
from harness.repairs import HEALED_BY, RepairStep, from_text, to_text
from harness.rundata import build_run
from harness.schedule import Schedule
from harness.stacks.base import Capability, Environment
from tests.unit.histories import DECEMBER

STEPS = (
    RepairStep("select", 0.0042, "42P01 relation does not exist"),
    RepairStep("load", 1.25, "812 rows"),
    RepairStep("drain", None, "the queue could not be listed"),
)


def test_steps_are_one_line_that_people_can_read() -> None:
    assert to_text(STEPS) == (
        "select 0.0042 s (42P01 relation does not exist); load 1.2500 s (812 rows); "
        "drain not timed (the queue could not be listed)"
    )
    assert from_text(to_text(STEPS)) == STEPS


@pytest.mark.parametrize("text", ["", "restarted the server", "select 1 s", "select (x)"])
def test_any_other_text_has_no_steps(text: str) -> None:
    assert from_text(text) == ()


NAMES = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1)
SECONDS = st.none() | st.floats(0, 10_000).map(lambda seconds: round(seconds, 4))


@given(st.lists(st.builds(RepairStep, NAMES, SECONDS, st.text(max_size=40)), max_size=6))
def test_names_and_times_survive_whatever_was_said(steps: list[RepairStep]) -> None:
    again = from_text(to_text(steps))
    assert [(step.name, step.seconds) for step in again] == [(step.name, step.seconds) for step in steps]


@dataclass(frozen=True, kw_only=True)
class Stepwise:
    """A fault whose heal tells its steps, or nothing."""

    name: ClassVar[str] = "stepwise"
    needs: ClassVar[frozenset[Capability]] = frozenset()
    momentary: ClassVar[bool] = False
    tells: bool = True

    def radius(self, environment: Environment) -> BlastRadius:
        return BlastRadius(months=frozenset({DECEMBER}), write=Write.NO)

    async def inject(self, scene: Scene) -> None:
        pass

    async def confirm(self, scene: Scene) -> str:
        return "it bites"

    async def heal(self, scene: Scene) -> None:
        if self.tells:
            scene.ledger.save(HEALED_BY, to_text(STEPS))

    async def probe(self, scene: Scene) -> bool:
        return True


@pytest.mark.parametrize("tells", [True, False])
def test_the_mark_of_a_heal_has_what_the_fault_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tells: bool
) -> None:
    monkeypatch.setattr(FAULTS, "_things", dict(FAULTS.items()))
    FAULTS.register(Stepwise.name)(Stepwise)
    environment = cast("Environment", SimpleNamespace(service=SimpleNamespace(pid=7)))

    async def play(history: History) -> None:
        nemesis = Nemesis(environment, history, Ledger(tmp_path / FOLDER), Schedule.of(Stepwise(tells=tells)))
        assert await nemesis.inject(0)
        assert await nemesis.heal_all() is not None

    with closing(History(tmp_path, Clock())) as history:
        history.add(RunStarted(0.0, "r", "s", 1, "2026-01-01T00:00:00+00:00", "{}", "t", {}))
        asyncio.run(play(history))
    records = read_history(tmp_path)
    (window,) = build_run(records).windows
    assert from_text(window.repair) == (STEPS if tells else ())
    other = [mark.detail for mark in records if isinstance(mark, FaultMark) and mark.step is FaultStep.PROBED]
    assert other == [""]
