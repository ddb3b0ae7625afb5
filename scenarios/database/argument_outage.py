"""The other half: the outage test that the assessment relied on."""

from __future__ import annotations

from harness.faults.database import StopDatabase
from harness.scenario import Scenario
from harness.schedule import Schedule
from harness.stacks.base import StopMode

from .._months import TWO_MONTHS

SCENARIO = Scenario(
    name="argument-whole-database",
    claim=(
        "In an outage of the whole database every event goes to the DLQ and drains afterwards, which a service "
        "that cannot isolate a month passes as well."
    ),
    requirements=("S6",),
    load=TWO_MONTHS,
    schedule=Schedule.of(StopDatabase(mode=StopMode.FAST)),
)
