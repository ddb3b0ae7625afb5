"""A forgotten transaction holds a lock on December that lets readers pass and no writer."""

from __future__ import annotations

from harness.faults.obstacles import HoldLockIdle
from harness.scenario import Scenario
from harness.schedule import Schedule

from .._months import DECEMBER, TWO_MONTHS

SCENARIO = Scenario(
    name="december-held-by-idle-session",
    claim=(
        "While a session left idle in its transaction holds December against writes, December events go to the DLQ, "
        "January is stored, and once the session is gone everything drains."
    ),
    requirements=("S3", "S4", "S5"),
    load=TWO_MONTHS,
    schedule=Schedule.of(HoldLockIdle(months=(DECEMBER,))),
)
