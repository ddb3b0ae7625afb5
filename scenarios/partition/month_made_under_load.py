"""A month that nobody made is asked for under load, while a report reads the whole table."""

from __future__ import annotations

from harness.faults.creation import UnmadeMonth
from harness.scenario import Load, Scenario
from harness.schedule import Schedule

from .._months import DECEMBER, JANUARY, first_missing_month

_UNMADE = first_missing_month()

SCENARIO = Scenario(
    name="month-made-under-load",
    claim=(
        "The first events of a month that was never made are queued (202); the service makes it by itself within its "
        "interval, as a table that it then attaches, they drain, and no other month ever waits for it."
    ),
    requirements=("S8", "S3"),
    load=Load(months=(DECEMBER, JANUARY), late_months=(_UNMADE,)),
    schedule=Schedule.of(UnmadeMonth(month=_UNMADE)),
    # At the usual pace that is three seconds, so that the month is made while the report reads.
    min_strict_events=300,
)
