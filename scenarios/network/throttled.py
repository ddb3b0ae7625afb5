"""The connections to the database are throttled and slow."""

from __future__ import annotations

from harness.faults.network import Bandwidth
from harness.scenario import Scenario
from harness.schedule import Schedule

from .._months import TWO_MONTHS

SCENARIO = Scenario(
    name="connections-throttled",
    claim=(
        "With connections throttled to a delay well below the time-outs, every event is still stored directly (201)."
    ),
    requirements=("C2",),
    load=TWO_MONTHS,
    schedule=Schedule.of(Bandwidth(rate_kb_per_second=12)),
)
