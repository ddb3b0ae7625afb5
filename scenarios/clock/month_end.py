"""Midnight UTC ends a month under load, by the service's clock."""

from __future__ import annotations

from harness.faults.clock import PassMonthEnd
from harness.scenario import Load, Scenario
from harness.schedule import Schedule
from harness.stacks.service_extras import CLOCK

from .._months import DECEMBER, JANUARY, first_missing_month, present_month

SCENARIO = Scenario(
    name="month-end-under-load",
    claim=(
        "When midnight UTC ends a month under load, every event is stored in the month of its own date and answered "
        "201 as before, those of the month that ended and of the one that began too, and the next month ahead has "
        "been made before its first event comes."
    ),
    requirements=("S8", "S4"),
    # Before midnight nobody needs the late month; from midnight on it is the last of those that are made ahead.
    load=Load(
        months=(DECEMBER, JANUARY, present_month(), present_month().plus(1)), late_months=(first_missing_month(),)
    ),
    schedule=Schedule.of(PassMonthEnd()),
    service_environment={CLOCK: "1"},
)
