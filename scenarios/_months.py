"""The months that scenarios write into, and the usual load over them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from harness.scenario import Load
from harness.values import Month

NOVEMBER = Month(2025, 11)
DECEMBER = Month(2025, 12)
JANUARY = Month(2026, 1)
FEBRUARY = Month(2026, 2)
MARCH = Month(2026, 3)
ALL_MONTHS = (NOVEMBER, DECEMBER, JANUARY, FEBRUARY, MARCH)

TWO_MONTHS = Load(months=(DECEMBER, JANUARY))
"""The month that is damaged and the one that must not notice."""


PRESSED = replace(TWO_MONTHS, edge_rate_per_writer=7.0)
"""For claims about what happens within an edge, or for a fault that the load itself must bring about there."""


def present_month() -> Month:
    """Return the month of today, in UTC."""
    return Month.of(datetime.now(UTC).date())


def first_missing_month(months_ahead: int = 3) -> Month:
    """Return the first month that a service with this ``PARTITIONS_AHEAD_MONTHS`` has not made yet, today."""
    return present_month().plus(months_ahead + 1)
