"""The December partition is detached and attached again, over and over: what leaks adds up."""

from __future__ import annotations

from harness.faults.partition import DetachPartition
from harness.scenario import Scenario
from harness.schedule import Schedule

from .._months import DECEMBER, TWO_MONTHS

SCENARIO = Scenario(
    name="december-detached-in-cycles",
    claim=(
        "Detached and attached again six times, with a recovery each time, December leaves no connection, descriptor "
        "or memory behind in the service, and every event is kept."
    ),
    requirements=("S3", "S5"),
    load=TWO_MONTHS,
    schedule=Schedule.cycles(DetachPartition(months=(DECEMBER,)), times=6, after_events=60),
    # Between the cycles nobody waits for the recovery edge, so December is all edge there: conservation and slopes are
    # judged, and every other month as strictly as ever.
    strict_phases=("before", "after"),
    # About what the recoveries take: five times the service's own probe and its drain.
    fault_seconds=8.0,
)
