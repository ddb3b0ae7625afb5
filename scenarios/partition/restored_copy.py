"""December comes back as a restored copy under another name."""

from __future__ import annotations

from harness.faults.partition import DetachAndRestoreCopy
from harness.scenario import Scenario
from harness.schedule import Schedule

from .._months import DECEMBER, TWO_MONTHS

SCENARIO = Scenario(
    name="december-restored-copy",
    claim=(
        "After a restored copy is attached as audit_events_2025_12_restored in place of December, direct writes "
        "resume and the DLQ drains by itself."
    ),
    requirements=("S5",),
    load=TWO_MONTHS,
    schedule=Schedule.of(DetachAndRestoreCopy(month=DECEMBER)),
)
