"""December takes its rows, only later."""

from __future__ import annotations

from harness.faults.triggers import SlowPartition
from harness.scenario import Scenario
from harness.schedule import Schedule

from .._months import DECEMBER, TWO_MONTHS

SCENARIO = Scenario(
    name="december-slow",
    claim="With December slower by 200 ms a write every event is still stored directly, and January does not notice.",
    requirements=("S3",),
    load=TWO_MONTHS,
    schedule=Schedule.of(SlowPartition(months=(DECEMBER,), delay_ms=200)),
    # Four writers that wait 200 ms for each answer.
    fault_seconds=10.0,
)
