"""The connections are cut while commits are in flight."""

from __future__ import annotations

from harness.faults.commit import CutCommit
from harness.scenario import Scenario
from harness.schedule import Schedule

from .._months import TWO_MONTHS

SCENARIO = Scenario(
    name="commit-cut",
    claim=(
        "With connections cut exactly while commits are in flight, events that are committed but unanswered are "
        "queued and end up in the table once."
    ),
    requirements=(
        "C2",
        "S5",
    ),
    load=TWO_MONTHS,
    schedule=Schedule.of(CutCommit()),
)
