"""December comes back with bounds that miss its second half."""

from __future__ import annotations

from harness.faults.bounds import AttachWrongBounds
from harness.scenario import Scenario
from harness.schedule import Schedule

from .._months import DECEMBER, TWO_MONTHS

SCENARIO = Scenario(
    name="december-half-attached",
    claim=(
        "With December attached from its first to its 16th day only, the events of the other days go to the DLQ, "
        "January is stored, and with the right bounds everything drains into its month."
    ),
    requirements=("S3", "S5"),
    load=TWO_MONTHS,
    schedule=Schedule.of(AttachWrongBounds(month=DECEMBER)),
)
