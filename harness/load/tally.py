"""Tally: counts, while a run goes on, of how many events each phase can judge strictly.

The final word has the oracle; the tally only tells the runner when a phase has gone on for long enough.
"""

from __future__ import annotations

import math
from collections import Counter

from ..values import Month

SURELY_FASTER = 2.0
"""How much faster than so far the rest of a phase may get at most, when it is asked what it can still reach."""


def out_of_reach(count: int, wanted: int, spent_seconds: float, left_seconds: float) -> bool:
    """Tell whether a count that grew for ``spent_seconds`` will not be what is wanted in those that are left."""
    return count + SURELY_FASTER * count / spent_seconds * left_seconds < wanted


class Tally:
    """Completed first sends by month since the last phase, and how many of them no edge touched."""

    def __init__(self) -> None:
        """Begin with everything strict, as before any fault."""
        self.events = 0
        self._stable_since = 0.0
        self._all: Counter[Month] = Counter()
        self._strict: Counter[Month] = Counter()
        self._strict_before: Counter[Month] = Counter()
        self._created: Counter[Month] = Counter()

    def open_phase(self) -> None:
        """Forget the counts of the phase before; nothing is strict until :meth:`stable`."""
        self._all.clear()
        self.unstable()
        self._strict_before.clear()

    def unstable(self) -> None:
        """An edge begins: what completes from now on is not strict, and a new count of what is begins after it."""
        self._stable_since = math.inf
        self._strict_before += self._strict
        self._strict.clear()
        self._created.clear()

    def stable(self, since: float) -> None:
        """Operations invoked after ``since`` (run clock) are strict until further notice."""
        self._stable_since = since

    def count(self, month: Month, invoked: float, *, created: bool) -> None:
        """Count a completed first send."""
        self.events += 1
        self._all[month] += 1
        if invoked > self._stable_since:
            self._strict[month] += 1
            self._created[month] += created

    def enough(self, months: tuple[Month, ...], minimum: int) -> bool:
        """True when each month has ``minimum`` strict events since the last edge, and strict are half of its phase."""
        strict = {month: self._strict[month] + self._strict_before[month] for month in months}
        return all(self._strict[m] >= minimum and 2 * strict[m] >= self._all[m] for m in months)

    def created(self, months: tuple[Month, ...]) -> int:
        """Strict events answered 201 over these months."""
        return sum(self._created[month] for month in months)

    def strict(self, months: tuple[Month, ...]) -> int:
        """Strict events of the month that has fewest."""
        return min((self._strict[month] for month in months), default=0)
