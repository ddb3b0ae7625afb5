"""The service's role is left two connections."""

from __future__ import annotations

from harness.faults.sessions import LimitRoleConnections
from harness.scenario import Scenario
from harness.schedule import Schedule

from .._months import TWO_MONTHS

SCENARIO = Scenario(
    name="service-role-left-two-connections",
    claim=(
        "With two connections left to the service's role each event is stored or queued within the deadline, and "
        "all drain once the limit is lifted."
    ),
    requirements=(
        "S6",
        "S2",
    ),
    load=TWO_MONTHS,
    schedule=Schedule.of(LimitRoleConnections(limit=2)),
)
