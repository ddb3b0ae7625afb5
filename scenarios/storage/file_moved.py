"""The heap file of December is renamed while backends write to it."""

from __future__ import annotations

from harness.faults.files import MoveHeapFile
from harness.scenario import Scenario
from harness.schedule import Schedule

from .._months import DECEMBER, TWO_MONTHS

SCENARIO = Scenario(
    name="december-file-moved",
    claim=(
        "With the heap file of December renamed under open connections, each December event is stored or queued, "
        "whatever the age of its connection, and with the name given back every one is there."
    ),
    requirements=("S3", "S4", "S5", "C3"),
    load=TWO_MONTHS,
    schedule=Schedule.of(MoveHeapFile(months=(DECEMBER,))),
)
