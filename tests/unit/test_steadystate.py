"""What a scrape says of a month's health, before any fault and after its heal."""

from __future__ import annotations

import pytest

from harness.steadystate import shown_healthy
from tests.unit.histories import DECEMBER

STATUS = "datastorage_partition_status"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f'{STATUS}{{partition="2025_12",status="healthy"}}', 1.0),
        (f'{STATUS}{{status="healthy",partition="2025_12"}}', 1.0),
        (f'{STATUS}{{instance="a", partition="2025_12", status="healthy"}}', 1.0),
        (f'{STATUS}{{partition="2025_11",status="healthy"}}', None),
        (f'{STATUS}{{partition="2025_12",status="degraded"}}', None),
        ('another_partition_status{partition="2025_12",status="healthy"}', None),
    ],
)
def test_a_month_is_shown_healthy_in_whatever_order_the_labels_stand(text: str, shown: float | None) -> None:
    assert shown_healthy({"up": 1.0, text: 1.0}, DECEMBER) == shown
