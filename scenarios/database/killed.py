"""PostgreSQL is killed with SIGKILL under load."""

from __future__ import annotations

from harness.faults.database import KillDatabase
from harness.scenario import Scenario
from harness.schedule import Schedule

from .._months import TWO_MONTHS

SCENARIO = Scenario(
    name="database-killed",
    claim=(
        "With PostgreSQL killed by SIGKILL every write is answered 202, and crash recovery brings back every "
        "event that was answered 201."
    ),
    requirements=("S6",),
    load=TWO_MONTHS,
    schedule=Schedule.of(KillDatabase()),
)
