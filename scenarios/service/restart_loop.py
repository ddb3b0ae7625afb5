"""The service is killed again and again while it holds queued events."""

from __future__ import annotations

from harness.faults.partition import DetachPartition
from harness.faults.process import RestartLoop
from harness.scenario import Scenario
from harness.schedule import Schedule, Step

from .._months import DECEMBER, PRESSED

SCENARIO = Scenario(
    name="service-restart-loop",
    claim="A service killed three times in a row while December is detached loses no event, and doubles none.",
    requirements=("S3", "S5"),
    load=PRESSED,
    schedule=Schedule((Step(DetachPartition(months=(DECEMBER,))), Step(RestartLoop(times=3), after_events=60))),
)
