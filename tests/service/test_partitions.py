"""Months as the service names and counts them; what PostgreSQL says of their bounds is tested with a real one."""

from datetime import date

from service.partitions import first_day, next_month


def test_december_is_followed_by_january() -> None:
    assert next_month(date(2025, 12, 31)) == date(2026, 1, 1)
    assert first_day("2025_12") == date(2025, 12, 1)
    assert next_month(first_day("2024_02")) == date(2024, 3, 1)
