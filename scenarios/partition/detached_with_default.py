"""December is detached while a default partition takes its rows."""

from __future__ import annotations

from dataclasses import replace

from harness.faults.default import DetachWithDefault
from harness.scenario import Scenario
from harness.schedule import Schedule

from .._months import DECEMBER, TWO_MONTHS

SCENARIO = Scenario(
    name="december-detached-into-default",
    claim=(
        "With December detached beside a default partition nothing acknowledged is lost or stored twice, and after the "
        "rows were moved out and December was attached again it is written directly."
    ),
    requirements=("S3", "S5"),
    # The detached rows cannot be compared, so that no service can tell a conflicting send from a first one.
    load=replace(TWO_MONTHS, conflict_share=0.0),
    schedule=Schedule.of(DetachWithDefault(months=(DECEMBER,))),
)
