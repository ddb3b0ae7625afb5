"""The queue becomes read-only under the service while a month is detached."""

from __future__ import annotations

from harness.faults.dlq import DlqReadOnly
from harness.faults.partition import DetachPartition
from harness.scenario import Scenario
from harness.schedule import Schedule, Step

from .._months import DECEMBER, TWO_MONTHS

SCENARIO = Scenario(
    name="dlq-read-only",
    claim=(
        "With December detached and the queue read-only, December events are refused with 503, January is stored, "
        "and the queue works again once it can be written."
    ),
    requirements=("S3", "S5"),
    load=TWO_MONTHS,
    schedule=Schedule((Step(DetachPartition(months=(DECEMBER,))), Step(DlqReadOnly(), after_events=30))),
)
