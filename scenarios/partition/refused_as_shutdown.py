"""A trigger on December says that the server is shutting down."""

from __future__ import annotations

from harness.faults.triggers import RefuseByTrigger
from harness.scenario import Scenario
from harness.schedule import Schedule

from .._months import DECEMBER, TWO_MONTHS

SCENARIO = Scenario(
    name="december-refused-as-shutdown",
    claim=(
        "A 57P01 that one month's trigger raises on connections that live on is that month's fault and no outage: "
        "December goes to the DLQ, January is stored."
    ),
    requirements=("S3", "S4", "S5"),
    load=TWO_MONTHS,
    schedule=Schedule.of(RefuseByTrigger(months=(DECEMBER,), sqlstate="57P01")),
)
