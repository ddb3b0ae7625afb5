"""Events that no partition can ever take arrive while December is detached, alone and among others in batches."""

from __future__ import annotations

from dataclasses import replace

from harness.faults.partition import DetachPartition
from harness.scenario import Scenario
from harness.schedule import Schedule

from .._months import DECEMBER, TWO_MONTHS

SCENARIO = Scenario(
    name="poison-while-detached",
    claim=(
        "An event that the table can never take is refused where its month can be asked; while December is detached "
        "it is queued, ends as a dead letter once the month is back, and holds up no other event of batch or queue."
    ),
    requirements=("S5",),
    load=replace(TWO_MONTHS, writers_per_month=2, batch_writers=1, batch_size=8, poison_share=0.03),
    schedule=Schedule.of(DetachPartition(months=(DECEMBER,))),
)
