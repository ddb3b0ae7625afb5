"""The heap file of December is gone."""

from __future__ import annotations

from harness.faults.files import RemoveHeapFile
from harness.scenario import Scenario
from harness.schedule import Schedule

from .._months import DECEMBER, TWO_MONTHS

SCENARIO = Scenario(
    name="december-file-removed",
    claim=(
        "With the heap file of December gone (58P01), December events go to the DLQ, January is untouched, and once "
        "the file is back every row is there and everything drains."
    ),
    requirements=("S3", "S4", "S5", "C3"),
    load=TWO_MONTHS,
    schedule=Schedule.of(RemoveHeapFile(months=(DECEMBER,))),
)
