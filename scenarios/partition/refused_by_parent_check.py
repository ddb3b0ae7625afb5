"""Somebody adds a constraint to the partitioned table that no row can keep."""

from __future__ import annotations

from harness.faults.obstacles import RefuseByParentCheck
from harness.scenario import Load, Scenario
from harness.schedule import Schedule

from .._months import ALL_MONTHS

SCENARIO = Scenario(
    name="parent-refuses-by-check",
    claim=(
        "A constraint that somebody added to the parent is no event's fault: every month queues, no event is refused "
        "or dead, and everything drains once it is gone."
    ),
    requirements=("S5", "S7"),
    load=Load(months=ALL_MONTHS, writers_per_month=2),
    schedule=Schedule.of(RefuseByParentCheck()),
)
