"""The service's clock is ahead, into another month, while it queues, and is set right before it drains."""

from __future__ import annotations

from harness.faults.clock import ShiftClock
from harness.faults.partition import DetachPartition
from harness.scenario import Scenario
from harness.schedule import Schedule, Step
from harness.stacks.service_extras import CLOCK

from .._months import DECEMBER, TWO_MONTHS

SCENARIO = Scenario(
    name="clock-ahead-while-queueing",
    claim=(
        "A service whose clock is 40 days ahead while December is detached answers as ever, and drains in time once "
        "the clock is set right."
    ),
    requirements=("S3", "S5"),
    load=TWO_MONTHS,
    schedule=Schedule((Step(DetachPartition(months=(DECEMBER,))), Step(ShiftClock(days=40), after_events=30))),
    service_environment={CLOCK: "1"},
)
