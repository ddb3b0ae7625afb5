"""The connections to the database swallow everything."""

from __future__ import annotations

from harness.faults.network import Blackhole
from harness.scenario import Scenario
from harness.schedule import Schedule

from .._months import TWO_MONTHS

SCENARIO = Scenario(
    name="connections-black-holed",
    claim=(
        "With every connection to the database black-holed, writes are answered 202 within the deadline, and all "
        "drain afterwards."
    ),
    requirements=("C2", "S6"),
    load=TWO_MONTHS,
    schedule=Schedule.of(Blackhole()),
)
