"""The queue fills up to its capacity while the whole database is down."""

from __future__ import annotations

from harness.faults.database import StopDatabase
from harness.faults.dlq import DlqFull
from harness.scenario import Scenario
from harness.schedule import Schedule, Step

from .._months import PRESSED

SCENARIO = Scenario(
    name="dlq-full-in-outage",
    claim=(
        "With the database stopped every write is queued (202) until the queue is full and refused with 503 from then "
        "on; none that was acknowledged is trimmed, and all of them drain once the database is back."
    ),
    requirements=("S5", "S6"),
    load=PRESSED,
    schedule=Schedule((Step(StopDatabase()), Step(DlqFull(detach=False), after_events=30))),
    fault_seconds=15.0,
    # More than comes in while the database stops and the first events are judged, and soon full nevertheless.
    service_environment={"DLQ_MAX_EVENTS": "700"},
)
