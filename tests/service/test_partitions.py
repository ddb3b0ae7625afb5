"""Months from bounds."""

from datetime import date

from service.partitions import Coverage, first_day, next_month


def test_months_come_from_bounds() -> None:
    coverage = Coverage.of_bounds(
        [
            "FOR VALUES FROM ('2025-12-01') TO ('2026-01-01')",
            "FOR VALUES FROM ('2026-02-01') TO ('2026-04-01')",
            "DEFAULT",
        ]
    )
    assert coverage.months() == ["2025_12", "2026_02", "2026_03"]
    assert coverage.holds_month("2025_12")
    assert not coverage.touches_month("2026_01")
    assert coverage.holds_month("2026_03")


def test_wrong_bounds_hold_a_part_of_the_month() -> None:
    coverage = Coverage.of_bounds(["FOR VALUES FROM ('2025-12-01') TO ('2025-12-16')"])
    assert coverage.touches_month("2025_12")
    assert not coverage.holds_month("2025_12")
    assert coverage.holds(date(2025, 12, 15))
    assert not coverage.holds(date(2025, 12, 16))
    assert coverage.months() == []


def test_open_bounds_hold_everything_on_their_side() -> None:
    coverage = Coverage.of_bounds(["FOR VALUES FROM (MINVALUE) TO ('2026-01-01')"])
    assert coverage.holds_month("2025_12")
    assert not coverage.touches_month("2026_01")


def test_december_is_followed_by_january() -> None:
    assert next_month(date(2025, 12, 31)) == date(2026, 1, 1)
    assert first_day("2025_12") == date(2025, 12, 1)
