"""The service's clock falls behind, into an earlier month, while it holds queued events."""

from __future__ import annotations

from harness.faults.clock import ShiftClock
from harness.faults.partition import DetachPartition
from harness.scenario import Scenario
from harness.schedule import Schedule, Step
from harness.stacks.service_extras import CLOCK

from .._months import DECEMBER, TWO_MONTHS

SCENARIO = Scenario(
    name="clock-behind-while-queueing",
    claim=(
        "A service whose clock falls 40 days behind while December is detached answers as ever, and drains what it "
        "queued before."
    ),
    requirements=("S3", "S5"),
    load=TWO_MONTHS,
    schedule=Schedule((Step(DetachPartition(months=(DECEMBER,))), Step(ShiftClock(days=-40), after_events=30))),
    service_environment={CLOCK: "1"},
)
