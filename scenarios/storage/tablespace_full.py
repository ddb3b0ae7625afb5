"""The disk below December is full."""

from __future__ import annotations

from harness.faults.fullness import FillTablespace
from harness.scenario import Scenario
from harness.schedule import Schedule

from .._months import DECEMBER, TWO_MONTHS

SCENARIO = Scenario(
    name="december-disk-full",
    claim=(
        "With the tablespace of December full (53100), December events are stored where they fit and queued where "
        "not, January is untouched, and once there is room everything drains."
    ),
    requirements=("S3", "S4", "S5"),
    load=TWO_MONTHS,
    schedule=Schedule.of(FillTablespace(months=(DECEMBER,))),
)
