"""When a phase has enough events, and when it gives up its samples of latency."""

from __future__ import annotations

import pytest

from harness.load.tally import Tally, out_of_reach
from harness.values import Month

DECEMBER = Month(2025, 12)


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


def test_half_of_a_phase_is_strict_with_what_was_so_before_an_edge_within_it() -> None:
    tally = Tally()
    tally.open_phase()
    written(tally, 40, strict_since=0.0)
    assert tally.enough((DECEMBER,), 40)
    tally.unstable()
    written(tally, 50, strict_since=None)
    assert not tally.enough((DECEMBER,), 0), "40 of 90"
    written(tally, 10, strict_since=0.0)
    assert tally.enough((DECEMBER,), 10), "50 of 100"
    assert not tally.enough((DECEMBER,), 11), "what was asked for is counted from the edge on"
    tally.open_phase()
    written(tally, 1, strict_since=None)
    written(tally, 0, strict_since=0.0)
    assert not tally.enough((DECEMBER,), 0), "the phase before counts no more"


def written(tally: Tally, count: int, *, strict_since: float | None) -> None:
    """Count first sends, strict from a moment on or not at all."""
    if strict_since is not None:
        tally.stable(strict_since)
    for _ in range(count):
        tally.count(DECEMBER, 1.0, created=True)
