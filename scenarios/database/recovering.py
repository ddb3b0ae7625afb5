"""The database crashes and takes long to recover."""

from __future__ import annotations

from harness.faults.server import SlowStart
from harness.scenario import Scenario
from harness.schedule import Schedule

from .._months import TWO_MONTHS

SCENARIO = Scenario(
    name="database-recovering",
    claim=(
        "While PostgreSQL recovers from a crash and refuses connections (57P03) writes are answered 202, and "
        "everything drains once it has started."
    ),
    requirements=(
        "S6",
        "S5",
    ),
    load=TWO_MONTHS,
    schedule=Schedule.of(SlowStart()),
)
