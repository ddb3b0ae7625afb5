"""A trigger on December answers every row with a value error."""

from __future__ import annotations

from harness.faults.triggers import RefuseByTrigger
from harness.scenario import Scenario
from harness.schedule import Schedule

from .._months import DECEMBER, TWO_MONTHS

SCENARIO = Scenario(
    name="december-refused-as-value-error",
    claim=(
        "A value error (22003) that December gives to every row, a harmless one too, is the partition's fault: its "
        "events go to the DLQ, none is refused or dead, and everything drains once the trigger is gone."
    ),
    requirements=("S3", "S4", "S5"),
    load=TWO_MONTHS,
    schedule=Schedule.of(RefuseByTrigger(months=(DECEMBER,), sqlstate="22003")),
)
