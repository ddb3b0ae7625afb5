"""December is slower than every time-out on the way to it."""

from __future__ import annotations

from harness.faults.triggers import SlowPartition
from harness.scenario import Scenario
from harness.schedule import Schedule

from .._months import DECEMBER, TWO_MONTHS

SCENARIO = Scenario(
    name="december-too-slow",
    claim=(
        "With December slower than any time-out its events go to the DLQ within their deadline, January is stored, and "
        "everything drains once December is quick again."
    ),
    requirements=("S3", "S5"),
    load=TWO_MONTHS,
    schedule=Schedule.of(SlowPartition(months=(DECEMBER,), delay_ms=4500)),
)
