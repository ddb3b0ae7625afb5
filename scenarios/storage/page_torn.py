"""One heap page of December is half old and half new."""

from __future__ import annotations

from harness.faults.storage import TearPage
from harness.scenario import Scenario
from harness.schedule import Schedule

from .._months import DECEMBER, TWO_MONTHS

SCENARIO = Scenario(
    name="december-page-torn",
    claim=(
        "With one heap page of December torn, each December event is stored or queued, none is lost, January is "
        "untouched, and after the repair everything drains."
    ),
    requirements=("S3", "S4", "S5"),
    load=TWO_MONTHS,
    schedule=Schedule.of(TearPage(months=(DECEMBER,))),
)
