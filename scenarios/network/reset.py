"""The connections to the database are reset."""

from __future__ import annotations

from harness.faults.network import ResetConnections
from harness.scenario import Scenario
from harness.schedule import Schedule

from .._months import TWO_MONTHS

SCENARIO = Scenario(
    name="connections-reset",
    claim=(
        "With every connection to the database reset, writes are answered 202, no event is stored twice, and all "
        "drain afterwards."
    ),
    requirements=("C2", "S6"),
    load=TWO_MONTHS,
    schedule=Schedule.of(ResetConnections()),
)
