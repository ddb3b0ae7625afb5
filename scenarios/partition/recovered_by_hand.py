"""December is lost and brought back by an operator's steps, each timed, beside what the service does by itself."""

from __future__ import annotations

from dataclasses import replace

from harness.faults.byhand import DropAndRestoreByHand
from harness.scenario import Scenario
from harness.schedule import Schedule

from .._months import DECEMBER, PRESSED

SCENARIO = Scenario(
    name="december-recovered-by-hand",
    claim=(
        "After December was dropped and a restored copy is attached by hand, direct writes resume and the DLQ drains "
        "by itself; the operator's steps, a drain by hand among them, are timed on the same queue."
    ),
    requirements=("S5", "S11"),
    # Quickly a backlog that is worth timing: the drain by itself is seen by looks at the queue, five a second.
    load=replace(PRESSED, rate_per_writer=40.0),
    schedule=Schedule.of(DropAndRestoreByHand(month=DECEMBER)),
    min_strict_events=300,
)
