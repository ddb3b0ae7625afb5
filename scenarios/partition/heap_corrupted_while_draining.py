"""The heap pages of December are overwritten on disk while its queue drains into them."""

from __future__ import annotations

import dataclasses

from harness.faults.partition import DetachPartition
from harness.faults.storage import CorruptHeap
from harness.faults.triggers import SlowPartition
from harness.scenario import Scenario
from harness.schedule import Schedule, Step

from .._months import DECEMBER, TWO_MONTHS

SCENARIO = Scenario(
    name="december-corrupted-while-draining",
    claim=(
        "With the heap of December damaged on disk in the middle of the drain that followed a re-attach, its events "
        "go to the DLQ again (202), January is stored (201), and after the repair each is stored exactly once."
    ),
    requirements=("S3", "S5", "C3"),
    # Quickly a backlog that outlasts the heal, its probe and a slow machine.
    load=dataclasses.replace(TWO_MONTHS, rate_per_writer=40.0),
    schedule=Schedule(
        (
            # Some milliseconds a row are nothing to a live write, and keep the drain going until damage comes.
            Step(SlowPartition(months=(DECEMBER,), delay_ms=5)),
            Step(DetachPartition(months=(DECEMBER,))),
            Step(CorruptHeap(months=(DECEMBER,)), after_events=600, after_healing=1),
        )
    ),
    extra_checkers=("interrupted",),
)
