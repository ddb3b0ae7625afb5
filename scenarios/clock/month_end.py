"""Midnight UTC ends a month under load, by the service's clock."""

from __future__ import annotations

from harness.faults.clock import PassMonthEnd
from harness.scenario import Load, Scenario
from harness.schedule import Schedule
from harness.stacks.service_extras import CLOCK

from .._months import DECEMBER, JANUARY, first_missing_month

SCENARIO = Scenario(
    name="month-end-under-load",
    claim=(
        "When midnight UTC ends a month under load, every event is stored in the month of its own date and answered "
        "201 as before, and the next month ahead has been made before its first event comes."
    ),
    requirements=("S8", "S4"),
    # Before midnight nobody needs that month; from midnight on it is the last of those that are made ahead.
    load=Load(months=(DECEMBER, JANUARY), late_months=(first_missing_month(),)),
    schedule=Schedule.of(PassMonthEnd()),
    service_environment={CLOCK: "1"},
)
