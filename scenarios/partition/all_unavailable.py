"""Every partition is detached while the database is up."""

from __future__ import annotations

from harness.faults.partition import DetachPartition
from harness.scenario import Load, Scenario
from harness.schedule import Schedule

from .._months import ALL_MONTHS

SCENARIO = Scenario(
    name="all-partitions-unavailable",
    claim=(
        "With every partition detached and the database up, every event goes to the DLQ (202), and all drain "
        "after the re-attach."
    ),
    requirements=("S7",),
    load=Load(months=ALL_MONTHS, writers_per_month=2),
    schedule=Schedule.of(DetachPartition(months=())),
)
