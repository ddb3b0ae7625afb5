"""Each connection to the database breaks after a few writes."""

from __future__ import annotations

from harness.faults.toxics import LimitData
from harness.scenario import Scenario
from harness.schedule import Schedule
from harness.stacks.base import Direction

from .._months import TWO_MONTHS

SCENARIO = Scenario(
    name="connections-limited",
    claim=(
        "With each connection broken in the middle of a statement after 4 kB, each event is stored or queued, "
        "none twice, and all drain afterwards."
    ),
    requirements=("C2",),
    load=TWO_MONTHS,
    schedule=Schedule.of(LimitData(limit_bytes=4000, direction=Direction.UPSTREAM)),
)
