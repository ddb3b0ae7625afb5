"""The whole database is shut down and comes back."""

from __future__ import annotations

from harness.faults.database import StopDatabase
from harness.scenario import Scenario
from harness.schedule import Schedule
from harness.stacks.base import StopMode

from .._months import TWO_MONTHS

SCENARIO = Scenario(
    name="database-down",
    claim=(
        "With the whole database shut down every write is answered 202, nothing is lost, and everything drains "
        "after it returns."
    ),
    requirements=("S6", "S5"),
    load=TWO_MONTHS,
    schedule=Schedule.of(StopDatabase(mode=StopMode.IMMEDIATE)),
)
