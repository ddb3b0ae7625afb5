"""The queue fills up to its capacity while a month is detached."""

from __future__ import annotations

from harness.faults.dlq import DlqFull
from harness.scenario import Scenario
from harness.schedule import Schedule

from .._months import DECEMBER, PRESSED

SCENARIO = Scenario(
    name="dlq-full",
    claim=(
        "With December detached and the queue full, December events are refused with 503 and none is trimmed, January "
        "is stored, and everything acknowledged drains."
    ),
    requirements=("S3", "S5"),
    load=PRESSED,
    schedule=Schedule.of(DlqFull(months=(DECEMBER,))),
    service_environment={"DLQ_MAX_EVENTS": "120"},
)
