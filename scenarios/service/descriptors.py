"""The service may open no more descriptors."""

from __future__ import annotations

from harness.faults.limits import LimitDescriptors
from harness.scenario import Scenario
from harness.schedule import Schedule

from .._months import TWO_MONTHS

SCENARIO = Scenario(
    name="service-out-of-descriptors",
    claim="A service that may open no more descriptors keeps every answer honest, and recovers without a restart.",
    requirements=("S5",),
    load=TWO_MONTHS,
    schedule=Schedule.of(LimitDescriptors()),
)
