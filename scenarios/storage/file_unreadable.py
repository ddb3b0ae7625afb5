"""The heap file of December has no permissions."""

from __future__ import annotations

from harness.faults.files import UnreadableHeapFile
from harness.scenario import Scenario
from harness.schedule import Schedule

from .._months import DECEMBER, TWO_MONTHS

SCENARIO = Scenario(
    name="december-file-unreadable",
    claim=(
        "With the heap file of December unreadable (42501), December events are queued and never refused as the "
        "client's fault, January is untouched, and with the mode given back everything drains."
    ),
    requirements=("S3", "S4", "S5"),
    load=TWO_MONTHS,
    schedule=Schedule.of(UnreadableHeapFile(months=(DECEMBER,))),
)
