"""Data to and from the database comes in small slices."""

from __future__ import annotations

from harness.faults.toxics import Slicer
from harness.scenario import Scenario
from harness.schedule import Schedule

from .._months import TWO_MONTHS

SCENARIO = Scenario(
    name="connections-sliced",
    claim=("With all data cut into small slices, each a little later, every event is still stored directly (201)."),
    requirements=("C2",),
    load=TWO_MONTHS,
    schedule=Schedule.of(Slicer(average_bytes=100, delay_us=4000)),
)
