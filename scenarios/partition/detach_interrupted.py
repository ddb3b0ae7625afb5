"""A concurrent detach of December is broken off and stays pending."""

from __future__ import annotations

from harness.faults.bounds import InterruptDetach
from harness.scenario import Scenario
from harness.schedule import Schedule

from .._months import DECEMBER, TWO_MONTHS

SCENARIO = Scenario(
    name="december-detach-pending",
    claim=(
        "With a concurrent detach of December broken off half way, December events go to the DLQ although the catalog "
        "still lists the partition, and after FINALIZE and re-attach everything drains."
    ),
    requirements=("S3", "S4", "S5"),
    load=TWO_MONTHS,
    schedule=Schedule.of(InterruptDetach(month=DECEMBER)),
)
