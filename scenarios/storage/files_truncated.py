"""The files of December are cut to nothing."""

from __future__ import annotations

from harness.faults.files import TruncateFiles
from harness.scenario import Scenario
from harness.schedule import Schedule

from .._months import DECEMBER, TWO_MONTHS

SCENARIO = Scenario(
    name="december-files-truncated",
    claim=(
        "With the heap and the index of December cut to nothing, December events go to the DLQ, January is untouched, "
        "and once the files are back every row is there and everything drains."
    ),
    requirements=("S3", "S4", "S5", "C3"),
    load=TWO_MONTHS,
    schedule=Schedule.of(TruncateFiles(months=(DECEMBER,))),
)
