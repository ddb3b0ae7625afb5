"""Both stores are down: the database is stopped and the queue is locked."""

from __future__ import annotations

from harness.faults.database import StopDatabase
from harness.faults.dlq import DlqLocked
from harness.scenario import Scenario
from harness.schedule import Schedule, Step

from .._months import TWO_MONTHS

SCENARIO = Scenario(
    name="both-stores-down",
    claim=(
        "With the database stopped and the queue locked every event is refused with 503 and none is acknowledged; "
        "once both are back everything that was acknowledged is stored."
    ),
    requirements=("S6", "S5"),
    load=TWO_MONTHS,
    schedule=Schedule((Step(StopDatabase()), Step(DlqLocked(), after_events=30))),
)
