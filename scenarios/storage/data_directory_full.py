"""The disk below the whole database is full."""

from __future__ import annotations

from harness.faults.fullness import FillDataDirectory
from harness.scenario import Scenario
from harness.schedule import Schedule

from .._months import TWO_MONTHS

SCENARIO = Scenario(
    name="database-disk-full",
    claim=(
        "With the database's directory full (53100), events of every month are stored where they fit and queued where "
        "not, and once there is room everything drains."
    ),
    requirements=("S7",),
    load=TWO_MONTHS,
    schedule=Schedule.of(FillDataDirectory()),
)
