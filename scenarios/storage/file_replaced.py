"""The files of December are replaced by those of an empty table, and nothing says so."""

from __future__ import annotations

import dataclasses

from harness.faults.replaced import ReplaceHeapFile
from harness.scenario import Scenario
from harness.schedule import Schedule

from .._months import DECEMBER, TWO_MONTHS

SCENARIO = Scenario(
    name="december-file-replaced",
    claim=(
        "With the files of December replaced by an empty copy, every event is stored directly as before, the rows "
        "that the fault destroyed are known by id, and no other is missing."
    ),
    requirements=("S3",),
    # Nothing is left that a contradicting send of a destroyed event would contradict (harness/faults/replaced.py).
    load=dataclasses.replace(TWO_MONTHS, conflict_share=0.0),
    schedule=Schedule.of(ReplaceHeapFile(month=DECEMBER, restore=False)),
)
