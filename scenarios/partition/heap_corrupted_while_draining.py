"""The heap pages of December are overwritten on disk while its queue drains into them."""

from __future__ import annotations

from harness.faults.storage import CorruptHeap
from harness.scenario import Scenario

from .._drains import QUICK_BACKLOG, into_the_drain
from .._months import DECEMBER

SCENARIO = Scenario(
    name="december-corrupted-while-draining",
    claim=(
        "With the heap of December damaged on disk in the middle of the drain that followed a re-attach, its events "
        "go to the DLQ again (202), January is stored (201), and after the repair each is stored exactly once."
    ),
    requirements=("S3", "S5", "C3"),
    load=QUICK_BACKLOG,
    schedule=into_the_drain(CorruptHeap(months=(DECEMBER,))),
    extra_checkers=("interrupted",),
)
