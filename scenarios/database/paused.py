"""The database freezes with its connections open."""

from __future__ import annotations

from harness.faults.server import PauseDatabase
from harness.scenario import Scenario
from harness.schedule import Schedule

from .._months import TWO_MONTHS

SCENARIO = Scenario(
    name="database-paused",
    claim=(
        "With every process of PostgreSQL stopped and nothing answering, writes are answered 202 within the "
        "deadline, and what was in flight is stored once."
    ),
    requirements=("S6",),
    load=TWO_MONTHS,
    schedule=Schedule.of(PauseDatabase()),
)
