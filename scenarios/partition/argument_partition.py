"""Half of the answer to "one partition failing is a subset of the whole database failing"."""

from __future__ import annotations

from harness.faults.partition import DetachPartition
from harness.scenario import Scenario
from harness.schedule import Schedule

from .._months import DECEMBER, TWO_MONTHS

SCENARIO = Scenario(
    name="argument-one-partition",
    claim=(
        "One failing partition is no subset of an outage: all other months must go on being stored directly, "
        "which no outage test can show."
    ),
    requirements=("S3",),
    load=TWO_MONTHS,
    schedule=Schedule.of(DetachPartition(months=(DECEMBER,))),
)
