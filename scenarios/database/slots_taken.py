"""Others have taken every connection slot."""

from __future__ import annotations

from harness.faults.sessions import TakeConnectionSlots
from harness.scenario import Scenario
from harness.schedule import Schedule

from .._months import TWO_MONTHS

SCENARIO = Scenario(
    name="connection-slots-taken",
    claim=(
        "With every connection slot taken by another role writes are answered 202, and once slots are free again "
        "everything drains."
    ),
    requirements=("S6",),
    load=TWO_MONTHS,
    schedule=Schedule.of(TakeConnectionSlots()),
)
