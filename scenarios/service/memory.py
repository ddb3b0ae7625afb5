"""The service gets no more memory, while it has to queue."""

from __future__ import annotations

from harness.faults.limits import LimitMemory
from harness.faults.partition import DetachPartition
from harness.scenario import Scenario
from harness.schedule import Schedule, Step

from .._months import DECEMBER, TWO_MONTHS

SCENARIO = Scenario(
    name="service-out-of-memory",
    claim="A service that gets no more memory while December is detached keeps every answer honest.",
    requirements=("S3", "S5"),
    load=TWO_MONTHS,
    schedule=Schedule((Step(LimitMemory(spare_mb=1)), Step(DetachPartition(months=(DECEMBER,))))),
)
