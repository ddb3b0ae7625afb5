"""The queue's files are deleted under the service while a month is detached."""

from __future__ import annotations

import dataclasses

from harness.faults.dlq import DlqDeleted
from harness.faults.partition import DetachPartition
from harness.scenario import Scenario
from harness.schedule import Schedule, Step

from .._months import DECEMBER, TWO_MONTHS

SCENARIO = Scenario(
    name="dlq-deleted",
    claim=(
        "With December detached and the queue's files deleted under it, the service makes them anew by itself, and "
        "every event acknowledged afterwards is kept."
    ),
    requirements=("S3", "S5"),
    # A send that contradicts a destroyed event has nothing left to contradict.
    load=dataclasses.replace(TWO_MONTHS, conflict_share=0.0),
    schedule=Schedule((Step(DetachPartition(months=(DECEMBER,))), Step(DlqDeleted(), after_events=60))),
)
