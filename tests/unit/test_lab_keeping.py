"""What becomes of the environment of a run under ``--keep``, as far as that needs no environment."""

from __future__ import annotations

import asyncio
import dataclasses
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness import events as ev
from harness.checking import CheckResult, Finding
from harness.errors import UsageError
from harness.fault import Fault
from harness.faults.partition import DetachPartition
from harness.faults.process import CrashService
from harness.lab.keeping import Keeper, KeepingStack, refuse_external
from harness.lab.kept import clock_of, continued, scenario_of_kept
from harness.lab.live import LiveLab
from harness.lab.recording import Deeds, FaultDeed
from harness.results import RunResult
from harness.scenario import Load, Scenario
from harness.schedule import Schedule
from harness.stacks.base import Environment
from harness.targets.model import Target, load_target
from harness.values import Month, Phase, Promise
from tests.unit.histories import good
from tests.unit.test_undo_pieces import EXTERNAL

DECEMBER, JANUARY = Month(2025, 12), Month(2026, 1)
PLAYED = Scenario(
    name="s",
    claim="c.",
    requirements=("S3",),
    load=Load(months=(DECEMBER,), late_months=(JANUARY,), poison_share=0.01),
    schedule=Schedule.of(DetachPartition(months=(DECEMBER,))),
    exclusive=True,
    service_environment={"DLQ_MAX_EVENTS": "5"},
)
PASSED = (CheckResult("conservation"),)
FAILED = (CheckResult("conservation", (Finding(Promise.CONSERVATION, "lost"),)),)


class Stack:
    """Starts nothing, and writes down what has ended."""

    name = "none"

    def __init__(self) -> None:
        self.ended: list[str] = []

    def environment(
        self, target: Target, *, name: str, artifacts: Path, environment_overrides: Mapping[str, str]
    ) -> AbstractAsyncContextManager[Environment]:
        return self._environment(name)

    @asynccontextmanager
    async def _environment(self, name: str) -> AsyncIterator[Environment]:
        try:
            yield cast("Environment", name)
        finally:
            self.ended.append(name)


def result(run: str, checks: tuple[CheckResult, ...]) -> RunResult:
    return RunResult(run=run, folder=Path(), scenario=PLAYED, seed=1, seconds=1.0, checks=checks)


def kept(*runs: tuple[str, tuple[CheckResult, ...] | None]) -> tuple[list[str], str, list[str]]:
    """Play runs one after the other; return what had ended before the end, which is kept, and all that ended.

    A run without checks breaks off.
    """
    reading, writing = os.pipe()
    mine = Keeper(writing, reading)
    stack = Stack()
    target: Any = None

    async def go() -> tuple[list[str], str]:
        keeping = KeepingStack(stack, mine)
        for name, checks in runs:
            try:
                async with keeping.environment(target, name=name, artifacts=Path(), environment_overrides={}):
                    if checks is None:
                        raise ZeroDivisionError
                assert name not in stack.ended, "it has still to be judged"
            except ZeroDivisionError:
                assert name in stack.ended
            # One that is measured again is judged by the second run alone.
            if checks is not None and not any(other == f"{name}-again" for other, _ in runs):
                mine.judged(result(name, checks))
        await mine.settle()
        before, parked = list(stack.ended), mine.kept
        await mine.close()
        return before, parked[0].run if parked is not None else ""

    ended, name = asyncio.run(go())
    mine.judges.close()
    for descriptor in (reading, writing):
        os.close(descriptor)
    return ended, name, stack.ended


def test_what_passes_ends_and_the_first_that_fails_is_kept() -> None:
    ended, name, every = kept(("a", PASSED), ("b", FAILED), ("c", FAILED))
    assert (ended, name) == (["a", "c"], "b")
    assert every == ["a", "c", "b"], "and ends with the command, if nobody serves it"


def test_what_proves_nothing_is_kept_and_what_breaks_off_is_not() -> None:
    unknown = (CheckResult("evidence", unknowns=("nothing was sent",)),)
    assert kept(("a", None), ("b", unknown))[:2] == (["a"], "b")


@pytest.mark.parametrize(("again", "name"), [(PASSED, ""), (FAILED, "a-again")])
def test_a_run_that_was_measured_again_counts_by_the_second(again: tuple[CheckResult, ...], name: str) -> None:
    ended, found, every = kept(("a", FAILED), ("a-again", again))
    assert found == name
    assert "a" in ended
    assert sorted(every) == ["a", "a-again"]


def test_parts_that_outlive_the_run_are_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "target.toml"
    path.write_text(EXTERNAL)
    with pytest.raises(UsageError, match="outlive the run by themselves"):
        refuse_external(load_target(path))


def test_a_kept_history_goes_on_without_its_last_readings_and_its_last_phase() -> None:
    history = good()
    assert {record.phase for record in history.records if isinstance(record, ev.PhaseMark)} >= set(Phase)
    records = continued(history.records)
    kinds = {type(record) for record in records}
    assert kinds >= {ev.RunStarted, ev.Invoke, ev.Complete, ev.FaultMark, ev.MetricsSample}
    assert not kinds & {ev.TableRow, ev.DlqRow, ev.PartitionRow, ev.FinalRead, ev.LogLine}
    assert [record.phase for record in records if isinstance(record, ev.PhaseMark)] == [Phase.BEFORE, Phase.DURING]


def test_the_clock_of_a_run_goes_on() -> None:
    started = next(record for record in good().records if isinstance(record, ev.RunStarted))
    moment = "2026-02-01T00:00:00+00:00"
    clock = clock_of(dataclasses.replace(started, started_at=moment))
    assert clock.started_at.isoformat() == moment
    assert abs(clock.at_wall(clock.started_at)) < 1e-6
    first = clock.now()
    assert first > 0
    assert clock.now() >= first


def test_a_kept_lab_begins_with_the_months_and_the_service_of_its_run_and_no_claim_of_its_own() -> None:
    scenario = scenario_of_kept(PLAYED)
    assert scenario.load.months == (DECEMBER, JANUARY)
    assert scenario.load.poison_share == 0.01
    assert (scenario.schedule, scenario.requirements, scenario.exclusive) == (Schedule(), (), False)
    assert scenario.service_environment == {"DLQ_MAX_EVENTS": "5"}


@pytest.mark.parametrize(
    ("faults", "owes"),
    [
        ((), ("before", "after")),
        ((CrashService(),), ("before", "after")),
        ((CrashService(), DetachPartition(months=(DECEMBER,))), None),
    ],
    ids=("nothing more", "an edge", "a fault that lasts"),
)
def test_a_fault_that_lasts_in_a_kept_lab_owes_its_phase_though_the_run_s_own_did_not(
    faults: tuple[Fault, ...], owes: tuple[str, ...] | None
) -> None:
    played = dataclasses.replace(PLAYED, schedule=Schedule.of(CrashService()), strict_phases=("before", "after"))
    deeds = Deeds(faults=[FaultDeed(one, 5.0, confirmed=True, only_edges=one.momentary) for one in faults])
    parts: Any = SimpleNamespace(plan=SimpleNamespace(played=played, scenario=scenario_of_kept(played)), deeds=deeds)
    started: Any = None
    scenario = LiveLab(parts, started).scenario()
    assert scenario.strict_phases == owes
    assert [step.fault for step in scenario.schedule.steps] == [CrashService(), *faults]
