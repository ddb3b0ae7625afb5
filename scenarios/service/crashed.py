"""The service is killed while it holds queued events."""

from __future__ import annotations

from harness.faults.partition import DetachPartition
from harness.faults.process import CrashService
from harness.scenario import Scenario
from harness.schedule import Schedule, Step

from .._months import DECEMBER, TWO_MONTHS

SCENARIO = Scenario(
    name="service-killed-while-queueing",
    claim="A service killed with SIGKILL while December is detached loses no event that it answered 201 or 202.",
    requirements=("S3", "S5"),
    load=TWO_MONTHS,
    schedule=Schedule((Step(DetachPartition(months=(DECEMBER,))), Step(CrashService(), after_events=60))),
)
