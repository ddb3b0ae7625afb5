"""PostgreSQL is killed while December's queue drains into a restored copy of it."""

from __future__ import annotations

from harness.faults.database import KillDatabase
from harness.faults.partition import DetachAndRestoreCopy
from harness.scenario import Scenario

from .._drains import QUICK_BACKLOG, into_the_drain
from .._months import DECEMBER

SCENARIO = Scenario(
    name="database-killed-while-restoring",
    claim=(
        "With PostgreSQL killed (-9) in the middle of the drain into a restored copy of December, writes go to the DLQ "
        "(202), and once it is back each event that was answered 201 or 202 is stored exactly once."
    ),
    requirements=("S5", "S6"),
    load=QUICK_BACKLOG,
    schedule=into_the_drain(KillDatabase(), after=DetachAndRestoreCopy(month=DECEMBER)),
    extra_checkers=("interrupted",),
)
