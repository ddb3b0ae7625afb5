"""The primary key index of December is overwritten on disk."""

from __future__ import annotations

from harness.faults.storage import CorruptIndex
from harness.scenario import Scenario
from harness.schedule import Schedule

from .._months import DECEMBER, TWO_MONTHS

SCENARIO = Scenario(
    name="december-index-corrupted",
    claim=(
        "With the primary key index of December damaged on disk, December events go to the DLQ, January is "
        "untouched, and after REINDEX everything drains."
    ),
    requirements=("S3", "S4", "S5"),
    load=TWO_MONTHS,
    schedule=Schedule.of(CorruptIndex(months=(DECEMBER,))),
)
