"""The December partition is dropped with its rows."""

from __future__ import annotations

from harness.faults.partition import DropPartition
from harness.scenario import Scenario
from harness.schedule import Schedule

from .._months import DECEMBER, TWO_MONTHS

SCENARIO = Scenario(
    name="december-dropped",
    claim=(
        "With the December partition dropped, December events go to the DLQ, January is untouched, and once the "
        "partition is restored every row is there."
    ),
    requirements=("S3", "S4", "S5"),
    load=TWO_MONTHS,
    schedule=Schedule.of(DropPartition(months=(DECEMBER,))),
)
