"""Every session of the service is ended again and again."""

from __future__ import annotations

from harness.faults.sessions import TerminateBackendsRepeatedly
from harness.scenario import Scenario
from harness.schedule import Schedule

from .._months import TWO_MONTHS

SCENARIO = Scenario(
    name="backends-terminated-repeatedly",
    claim=(
        "With every session of the service ended five times a second each event is stored or queued, none is lost "
        "or stored twice, and all drain afterwards."
    ),
    requirements=("S5",),
    load=TWO_MONTHS,
    schedule=Schedule.of(TerminateBackendsRepeatedly(interval_ms=200)),
)
