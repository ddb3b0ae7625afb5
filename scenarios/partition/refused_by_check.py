"""December refuses every row by a constraint of its own."""

from __future__ import annotations

from harness.faults.obstacles import RefuseByCheck
from harness.scenario import Scenario
from harness.schedule import Schedule

from .._months import DECEMBER, TWO_MONTHS

SCENARIO = Scenario(
    name="december-refused-by-check",
    claim=(
        "A check that only the December partition has is the partition's fault: its events go to the DLQ and are never "
        "refused (400) or dead, January is stored, and without the check everything drains."
    ),
    requirements=("S3", "S4", "S5"),
    load=TWO_MONTHS,
    schedule=Schedule.of(RefuseByCheck(months=(DECEMBER,))),
)
