"""Months from bounds."""

from datetime import date

from service.partitions import days_of, days_taken, next_month, read_bounds


def test_months_come_from_bounds() -> None:
    bounds = read_bounds(
        [
            "FOR VALUES FROM ('2025-12-01') TO ('2026-01-01')",
            "FOR VALUES FROM ('2026-02-01') TO ('2026-04-01')",
            "DEFAULT",
        ]
    )
    assert len(bounds) == 2
    assert days_taken("2025_12", bounds) == frozenset(days_of("2025_12"))
    assert not days_taken("2026_01", bounds)
    assert days_taken("2026_03", bounds) == frozenset(days_of("2026_03"))


def test_wrong_bounds_hold_a_part_of_the_month() -> None:
    days = days_taken("2025_12", read_bounds(["FOR VALUES FROM ('2025-12-01') TO ('2025-12-16')"]))
    assert date(2025, 12, 15) in days
    assert date(2025, 12, 16) not in days


def test_open_bounds_hold_everything_on_their_side() -> None:
    bounds = read_bounds(["FOR VALUES FROM (MINVALUE) TO ('2026-01-01')"])
    assert len(days_taken("2025_12", bounds)) == 31
    assert not days_taken("2026_01", bounds)


def test_december_is_followed_by_january() -> None:
    assert next_month(date(2025, 12, 31)) == date(2026, 1, 1)
    assert days_of("2025_12")[0] == date(2025, 12, 1)
    assert len(days_of("2024_02")) == 29
