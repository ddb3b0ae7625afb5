"""The December partition is detached by accident."""

from __future__ import annotations

from harness.faults.partition import DetachPartition
from harness.scenario import Scenario
from harness.schedule import Schedule

from .._months import DECEMBER, TWO_MONTHS

SCENARIO = Scenario(
    name="december-detached",
    claim=(
        "With the December partition detached, December events go to the DLQ (202), January events are stored "
        "(201), and after the re-attach everything drains."
    ),
    requirements=("S3", "S4", "S5", "C3"),
    load=TWO_MONTHS,
    schedule=Schedule.of(DetachPartition(months=(DECEMBER,))),
)
