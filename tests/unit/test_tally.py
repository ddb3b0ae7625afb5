"""When a phase gives up its samples of latency."""

from __future__ import annotations

import pytest

from harness.load.tally import out_of_reach


@pytest.mark.parametrize(
    ("count", "wanted", "spent", "left", "hopeless"),
    [
        # A month whose 25 writers wait for a lock of a second each.
        (375, 2100, 15.0, 30.0, True),
        # A month that is served as fast as any other.
        (1500, 2100, 15.0, 30.0, False),
        # One stall, after which twice the pace suffices.
        (420, 2100, 15.0, 30.0, False),
        (0, 2100, 15.0, 30.0, True),
        (2099, 2100, 45.0, 0.0, True),
        (2100, 2100, 45.0, 0.0, False),
    ],
)
def test_what_twice_the_pace_does_not_reach_is_out_of_reach(
    count: int, wanted: int, spent: float, left: float, hopeless: bool
) -> None:
    assert out_of_reach(count, wanted, spent, left) is hopeless
