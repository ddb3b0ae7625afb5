"""The contract of every fault where a capability lacks: the run is refused with its name, and nothing was touched."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from harness.events import FaultMark
from harness.fault import FAULTS, Fault
from harness.faults.dlq import DlqDiskFull
from harness.faults.noop import NoopDetach
from harness.history import read_history
from harness.ledger import FOLDER, Ledger
from harness.results import RunResult, Waits
from harness.runner import RunObserver, RunPlan, run_scenario
from harness.scenario import Load, Scenario
from harness.schedule import Schedule
from harness.stacks.base import Environment
from harness.targets.model import Target
from harness.values import Verdict
from tests.integration import faults_lab
from tests.integration.faults_cases_process import MISSING_HERE
from tests.integration.faults_lab import DECEMBER, Lab, case_name, rows_of, schema_of
from tests.integration.test_faults_contract import FAULT_CASES

lab = faults_lab.lab
CASES: tuple[Fault, ...] = (*FAULT_CASES, DlqDiskFull(), NoopDetach(month=DECEMBER))


class Lending:
    """A stack that starts nothing: its environment runs already, and gives less than it could."""

    name = "lending"

    def __init__(self, environment: Environment) -> None:
        self._environment = environment

    def environment(
        self, target: Target, *, name: str, artifacts: Path, environment_overrides: Mapping[str, str]
    ) -> AbstractAsyncContextManager[Environment]:
        return nullcontext(self._environment)


async def never(plan: RunPlan, waits: Waits, timings: Mapping[str, float], started: float) -> RunResult:
    raise AssertionError(f"{plan.run} was judged, so it was played")


@pytest.mark.parametrize("fault", CASES, ids=case_name)
def test_fault_is_refused_where_a_capability_lacks(lab: Lab, fault: Fault, tmp_path: Path) -> None:
    async def play() -> None:
        environment = lab.environment
        rows, schema = await rows_of(environment), await schema_of(environment)
        lives = environment.database.pid, environment.service.pid
        assert fault.needs
        for number, lacking in enumerate(sorted(fault.needs)):
            plan = RunPlan(
                run=f"refused-{number}",
                folder=tmp_path / f"refused-{number}",
                scenario=Scenario(
                    name="refused",
                    claim="It is not played.",
                    requirements=(),
                    load=Load(months=(DECEMBER,)),
                    schedule=Schedule.of(fault),
                ),
                target=environment.target,
                seed=1,
                repeat_command="",
            )
            lent = replace(environment, capabilities=(environment.capabilities | fault.needs) - {lacking})
            async with asyncio.timeout(60):
                result = await run_scenario(plan, Lending(lent), RunObserver(), never)
            assert f"needs {lacking}, which this environment lacks" in result.setup_error
            assert result.verdict is Verdict.UNKNOWN
            assert not [record for record in read_history(plan.folder) if isinstance(record, FaultMark)]
            assert not Ledger(plan.folder / FOLDER).entries()
        assert (environment.database.pid, environment.service.pid) == lives
        assert await rows_of(environment) == rows
        assert await schema_of(environment) == schema
        assert not await environment.proxy.toxics()

    lab.run(play())


def test_every_registered_fault_is_refused_here() -> None:
    assert {fault.name for fault in CASES} | set(MISSING_HERE) == set(FAULTS)
