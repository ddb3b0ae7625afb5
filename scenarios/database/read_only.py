"""The database takes no writes."""

from __future__ import annotations

from harness.faults.server import ReadOnly
from harness.scenario import Scenario
from harness.schedule import Schedule

from .._months import TWO_MONTHS

SCENARIO = Scenario(
    name="database-read-only",
    claim=(
        "With the whole server read-only every write is answered 202 (none is refused as the event's fault), and "
        "everything drains afterwards."
    ),
    requirements=("S6",),
    load=TWO_MONTHS,
    schedule=Schedule.of(ReadOnly()),
)
