"""The files of December are replaced by those of an empty table, and the lost rows come back from a backup."""

from __future__ import annotations

import dataclasses

from harness.faults.replaced import ReplaceHeapFile
from harness.scenario import Scenario
from harness.schedule import Schedule

from .._months import DECEMBER, TWO_MONTHS

SCENARIO = Scenario(
    name="december-file-replaced-restored",
    claim=(
        "With the files of December replaced by an empty copy and the lost rows restored under live traffic, each "
        "acknowledged event is there exactly once."
    ),
    requirements=("S3", "C3"),
    load=dataclasses.replace(TWO_MONTHS, conflict_share=0.0),
    schedule=Schedule.of(ReplaceHeapFile(month=DECEMBER)),
)
