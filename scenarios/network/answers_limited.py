"""Each connection to the database breaks in the middle of an answer."""

from __future__ import annotations

from harness.faults.toxics import LimitData
from harness.scenario import Scenario
from harness.schedule import Schedule

from .._months import TWO_MONTHS

SCENARIO = Scenario(
    name="answers-limited",
    claim=(
        "With each connection broken in the middle of an answer after 1 kB, what was committed unanswered is "
        "stored once, and all drain afterwards."
    ),
    requirements=("C2",),
    load=TWO_MONTHS,
    schedule=Schedule.of(LimitData(limit_bytes=1000)),
)
