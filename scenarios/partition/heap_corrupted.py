"""The heap pages of December are overwritten on disk."""

from __future__ import annotations

from harness.faults.storage import CorruptHeap
from harness.scenario import Scenario
from harness.schedule import Schedule

from .._months import DECEMBER, TWO_MONTHS

SCENARIO = Scenario(
    name="december-heap-corrupted",
    claim=(
        "With the heap of the December partition damaged on disk, December events go to the DLQ (202), January "
        "events are stored (201), and after the repair everything drains."
    ),
    requirements=("S3", "S4", "S5", "C3"),
    load=TWO_MONTHS,
    schedule=Schedule.of(CorruptHeap(months=(DECEMBER,))),
)
