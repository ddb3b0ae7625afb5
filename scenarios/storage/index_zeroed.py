"""The primary key index of December is zeroed on disk."""

from __future__ import annotations

from harness.faults.storage import ZeroIndex
from harness.scenario import Scenario
from harness.schedule import Schedule

from .._months import DECEMBER, TWO_MONTHS

SCENARIO = Scenario(
    name="december-index-zeroed",
    claim=(
        "With the primary key index of December zeroed on disk (XX002), December events go to the DLQ, January is "
        "untouched, and after REINDEX everything drains."
    ),
    requirements=("S3", "S4", "S5"),
    load=TWO_MONTHS,
    schedule=Schedule.of(ZeroIndex(months=(DECEMBER,))),
)
