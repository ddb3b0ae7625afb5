"""The fault that docs/how-to/fault.md shows, as it stands there, keeps the contract of every fault."""

from __future__ import annotations

from harness.fault import Fault
from harness.stacks.base import Environment
from tests.docs.examples import documented_fault
from tests.integration import faults_lab
from tests.integration.faults_lab import Lab, rows_of, settled

lab = faults_lab.lab


def test_the_fault_of_the_documentation_bites_and_heals_twice(lab: Lab) -> None:
    async def play(fault: Fault, environment: Environment) -> None:
        scene = lab.scene()
        rows = await rows_of(environment)
        await fault.heal(scene)
        try:
            await fault.inject(scene)
            assert "42501" in await fault.confirm(scene)
        finally:
            await fault.heal(scene)
        await settled(fault, scene)
        await fault.heal(scene)
        assert await fault.probe(scene)
        assert await rows_of(environment) == rows

    with documented_fault() as module:
        lab.run(play(module.RevokeInsert(), lab.environment))
