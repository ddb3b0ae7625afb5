"""The service's role may not connect any more."""

from __future__ import annotations

from harness.faults.sessions import LimitRoleConnections
from harness.scenario import Scenario
from harness.schedule import Schedule

from .._months import TWO_MONTHS

SCENARIO = Scenario(
    name="service-role-limited",
    claim=(
        "With no connection allowed to the service's role every write is answered 202, and once the limit is "
        "lifted the pool fills and everything drains."
    ),
    requirements=("S6",),
    load=TWO_MONTHS,
    schedule=Schedule.of(LimitRoleConnections()),
)
