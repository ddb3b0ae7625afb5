"""The service is told to end in mid-load, while it holds queued events."""

from __future__ import annotations

from harness.faults.partition import DetachPartition
from harness.faults.process import TerminateService
from harness.scenario import Scenario
from harness.schedule import Schedule, Step

from .._months import DECEMBER, TWO_MONTHS

SCENARIO = Scenario(
    name="service-terminated",
    claim="A service ended with SIGTERM in mid-load while December is detached keeps every event that it answered.",
    requirements=("S3", "S5"),
    load=TWO_MONTHS,
    schedule=Schedule((Step(DetachPartition(months=(DECEMBER,))), Step(TerminateService(), after_events=60))),
)
