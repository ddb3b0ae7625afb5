"""PostgreSQL is killed with SIGKILL while a month is detached already."""

from __future__ import annotations

from harness.faults.database import KillDatabase
from harness.faults.partition import DetachPartition
from harness.scenario import Scenario
from harness.schedule import Schedule, Step

from .._months import DECEMBER, TWO_MONTHS

SCENARIO = Scenario(
    name="database-killed-while-detached",
    claim=(
        "With December detached its events alone are queued (202); with PostgreSQL killed on top of it every write "
        "is, and once it is back and the month attached, all drain."
    ),
    requirements=("S3", "S5", "S6"),
    load=TWO_MONTHS,
    schedule=Schedule((Step(DetachPartition(months=(DECEMBER,))), Step(KillDatabase(), after_events=200))),
)
