"""A statement time-out of 1 ms is forced upon the service."""

from __future__ import annotations

from harness.faults.timeouts import ForceStatementTimeout
from harness.scenario import Scenario
from harness.schedule import Schedule

from .._months import TWO_MONTHS

SCENARIO = Scenario(
    name="statement-timeout-forced",
    claim=(
        "With statement_timeout forced to 1 ms each event is stored or queued, none is lost or refused, and all "
        "drain once sessions are as they were."
    ),
    requirements=("S5",),
    load=TWO_MONTHS,
    schedule=Schedule.of(ForceStatementTimeout()),
)
