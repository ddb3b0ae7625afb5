"""One backend is killed, and PostgreSQL restarts all of them."""

from __future__ import annotations

from harness.faults.server import KillBackend
from harness.scenario import Scenario
from harness.schedule import Schedule

from .._months import TWO_MONTHS

SCENARIO = Scenario(
    name="backend-killed",
    claim=(
        "With one backend killed by SIGKILL and all others restarted by PostgreSQL no event is lost or stored "
        "twice, and direct writes go on within seconds."
    ),
    requirements=(
        "S5",
        "S6",
    ),
    load=TWO_MONTHS,
    schedule=Schedule.of(KillBackend()),
)
