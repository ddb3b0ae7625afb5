"""A REINDEX of December was never committed."""

from __future__ import annotations

from harness.faults.obstacles import REINDEX, HoldLockIdle
from harness.scenario import Scenario
from harness.schedule import Schedule

from .._months import DECEMBER, TWO_MONTHS

SCENARIO = Scenario(
    name="december-reindex-left-open",
    claim=(
        "While an uncommitted REINDEX of December stops its writes and its reads, December events go to the DLQ, "
        "January is stored and read, and once it is rolled back everything drains."
    ),
    requirements=("S3", "S4", "S5"),
    load=TWO_MONTHS,
    schedule=Schedule.of(HoldLockIdle(months=(DECEMBER,), how=REINDEX)),
)
