"""Another process holds the queue's lock while a month is detached."""

from __future__ import annotations

from harness.faults.dlq import DlqLocked
from harness.faults.partition import DetachPartition
from harness.scenario import Scenario
from harness.schedule import Schedule, Step

from .._months import DECEMBER, TWO_MONTHS

SCENARIO = Scenario(
    name="dlq-locked",
    claim=(
        "With December detached and the queue locked by another process, December events are refused with 503, "
        "January is stored, and the queue works again once the lock is gone."
    ),
    requirements=("S3", "S5"),
    load=TWO_MONTHS,
    schedule=Schedule((Step(DetachPartition(months=(DECEMBER,))), Step(DlqLocked(), after_events=30))),
)
