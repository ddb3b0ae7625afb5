"""The December partition is detached while batches hold events of both months."""

from __future__ import annotations

from dataclasses import replace

from harness.faults.partition import DetachPartition
from harness.scenario import Scenario
from harness.schedule import Schedule

from .._months import DECEMBER, TWO_MONTHS

SCENARIO = Scenario(
    name="december-detached-under-batches",
    claim=(
        "With the December partition detached, the December events of a batch go to the DLQ and its January events are "
        "stored; those that were sent without an id are kept under the one that was answered."
    ),
    requirements=("S3", "S5", "C3"),
    load=replace(TWO_MONTHS, writers_per_month=2, batch_writers=1, batch_size=8, anonymous_share=0.1),
    schedule=Schedule.of(DetachPartition(months=(DECEMBER,))),
)
