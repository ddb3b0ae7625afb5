"""Every session of the service is ended once."""

from __future__ import annotations

from harness.faults.sessions import TerminateBackends
from harness.scenario import Scenario
from harness.schedule import Schedule

from .._months import TWO_MONTHS

SCENARIO = Scenario(
    name="backends-terminated",
    claim=(
        "With every session of the service ended by an administrator no event is lost or stored twice, and direct "
        "writes go on within seconds."
    ),
    requirements=("S5",),
    load=TWO_MONTHS,
    schedule=Schedule.of(TerminateBackends()),
)
