"""The network to the database comes and goes."""

from __future__ import annotations

from harness.faults.flapping import FlappingProxy
from harness.scenario import Scenario
from harness.schedule import Schedule

from .._months import PRESSED

SCENARIO = Scenario(
    name="network-flapping",
    claim=(
        "With the network coming and going three times a second no event is lost or stored twice, every answer is "
        "in time, and all drain once it stays; which event is 201 and which 202 is not judged."
    ),
    requirements=("C2",),
    load=PRESSED,
    schedule=Schedule.of(FlappingProxy(interval_ms=300)),
    strict_phases=("before", "after"),
)
