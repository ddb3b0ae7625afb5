"""Both stores are down: the database is stopped and the queue is locked."""

from __future__ import annotations

from harness.faults.database import StopDatabase
from harness.faults.dlq import DlqLocked
from harness.scenario import Load, Scenario
from harness.schedule import Schedule, Step

from .._months import DECEMBER, JANUARY

SCENARIO = Scenario(
    name="both-stores-down",
    claim=(
        "With the database stopped and the queue locked every event is refused with 503 and none is acknowledged; "
        "once both are back everything that was acknowledged is stored."
    ),
    requirements=("S6", "S5"),
    # A write into a locked file waits for it, and all that wait are refused at once: many writers see it often.
    load=Load(months=(DECEMBER, JANUARY), writers_per_month=12, rate_per_writer=3.0, edge_rate_per_writer=2.0),
    schedule=Schedule((Step(StopDatabase()), Step(DlqLocked(), after_events=30))),
)
