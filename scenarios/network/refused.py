"""The proxy to the database refuses connections."""

from __future__ import annotations

from harness.faults.network import DisableProxy
from harness.scenario import Scenario
from harness.schedule import Schedule

from .._months import TWO_MONTHS

SCENARIO = Scenario(
    name="connections-refused",
    claim="With connections to the database refused, writes are answered 202 at once, and all drain afterwards.",
    requirements=("C2", "S6"),
    load=TWO_MONTHS,
    schedule=Schedule.of(DisableProxy()),
)
