"""What counters grew by, window by window: exactly, without extrapolation, through restarts of what counts.

``increase()`` of PromQL extrapolates to both ends of its window, so that it may make 10 of 5, and leaves out what a
counter had counted when its first sample was taken.  Here the growth between two samples is their difference; where a
counter fell, its process began anew, and all it shows has been counted since.  What a counter shows at its very first
sample may have been counted in the period or before it: that is the difference between the two ends of a tally.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from .rows import NOTHING, Tally

Labels = tuple[tuple[str, str], ...]
"""Labels of a series, sorted."""


@dataclass(frozen=True)
class Seen:
    """What is known of one counter in one window: its last value, its least one, and whether it fell within."""

    last: float
    least: float
    fell: bool = False


def growth(
    before: float | None, windows: Sequence[Seen | None], samples: Callable[[int], Sequence[float]]
) -> list[Tally]:
    """How much one counter grew in each of some windows that follow each other.

    ``before`` is its value just before the first of them, None for none; a window without a sample is None.
    ``samples`` gives every sample of a window, by number, and is asked only where the counter fell within it.
    """
    grown: list[Tally] = []
    last = before
    for number, seen in enumerate(windows):
        if seen is None:
            grown.append(NOTHING)
            continue
        # Of a window in which nothing fell, the least sample is the first one.
        values = samples(number) if seen.fell else ()
        grown.append(between(last, values or (seen.least, seen.last)))
        last = seen.last
    return grown


def between(last: float | None, values: Iterable[float]) -> Tally:
    """How much a counter grew through some samples that follow ``last``; None when it has not been seen before."""
    least = most = 0.0
    for value in values:
        if not math.isfinite(value):
            continue
        if last is None:
            most += value
        else:
            grown = value - last if value >= last else value
            least, most = least + grown, most + grown
        last = value
    return Tally(least, most)


def total(tallies: Iterable[Tally]) -> Tally:
    """All of them together."""
    return sum(tallies, NOTHING)
