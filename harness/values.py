"""Small values shared by every layer: months, outcomes, verdicts.

Nothing here does I/O.  Times of a run are seconds on the run's own monotonic clock, 0 at its start.
"""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cached_property, lru_cache
from typing import Any

from .errors import UsageError

FAULTS_DEFAULT = "_harness_default"
"""How the name of a default partition ends that a fault made; one of another name is somebody else's."""

_LABEL = re.compile(r"(\d{4})_(\d{2})\Z")


@dataclass(frozen=True, order=True)
class Month:
    """One calendar month in UTC, the unit of partitioning; its label is ``2025_12`` everywhere."""

    year: int
    month: int

    def __post_init__(self) -> None:
        """Raise :class:`UsageError` for a month that no calendar has."""
        if not (1 <= self.month <= 12 and 1 <= self.year <= 9998):
            raise UsageError(f"{self.year}-{self.month} is not a month; write it as 2025_12.")

    @classmethod
    def parse(cls, label: str) -> Month:
        """Read ``2025_12``; raise :class:`UsageError` for anything else."""
        match = _LABEL.match(label)
        if match is None:
            raise UsageError(f"{label!r} is not a month; write it as 2025_12.")
        return cls(int(match[1]), int(match[2]))

    @classmethod
    def of(cls, day: date) -> Month:
        """Return the month of a date."""
        return _month(day.year, day.month)

    @cached_property
    def label(self) -> str:
        """``2025_12``, as in metrics, logs and answers."""
        return f"{self.year:04d}_{self.month:02d}"

    @property
    def first_day(self) -> date:
        """Inclusive lower bound of the partition."""
        return date(self.year, self.month, 1)

    @property
    def end(self) -> date:
        """Exclusive upper bound of the partition: the first day of the next month."""
        return self.plus(1).first_day

    def plus(self, months: int) -> Month:
        """Return the month ``months`` later (earlier when negative)."""
        index = self.year * 12 + self.month - 1 + months
        return Month(index // 12, index % 12 + 1)

    def __str__(self) -> str:
        """Return the label."""
        return self.label


@lru_cache(maxsize=1024)
def _month(year: int, month: int) -> Month:
    """One object for all days of a month: millions of events ask for it."""
    return Month(year, month)


def utc_timestamp(moment: datetime) -> str:
    """RFC 3339 in UTC with microseconds, as the contract wants event timestamps."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


class Spelt(str):
    """A number of JSON, as it was spelt: some of what a queue keeps no float can hold."""

    __slots__ = ()


def spelt(value: Any, *, comma: str = ",", colon: str = ":") -> str:
    """JSON of a parsed value; its numbers, :class:`Spelt` or decimals, are written as they were."""
    if isinstance(value, Spelt | Decimal):
        return str(value)
    if isinstance(value, dict):
        items = (f"{spelt(str(key))}{colon}{spelt(item, comma=comma, colon=colon)}" for key, item in value.items())
        return f"{{{comma.join(items)}}}"
    if isinstance(value, list):
        return f"[{comma.join(spelt(item, comma=comma, colon=colon) for item in value)}]"
    return json.dumps(value, ensure_ascii=False)


class Verdict(enum.IntEnum):
    """Three-valued judgement, ordered so that ``max`` is "worst wins"."""

    PASS = 0
    UNKNOWN = 1
    FAIL = 2

    @staticmethod
    def worst(verdicts: Iterable[Verdict]) -> Verdict:
        """Return the worst of ``verdicts``; UNKNOWN for none, since nothing was judged."""
        return max(verdicts, default=Verdict.UNKNOWN)


class Promise(enum.IntEnum):
    """The nine promises of docs/reference/contract.md that the harness judges."""

    CONSERVATION = 1
    HONEST_STATUS = 2
    ISOLATION = 3
    FALLBACK = 4
    RECOVERY = 5
    NO_DUPLICATES = 6
    POISON = 7
    TRUTH = 8
    BOUNDS = 9


class Phase(enum.StrEnum):
    """Where in a run an operation was judged: an edge belongs to the phase it opens."""

    BEFORE = "before"
    DURING = "during"
    AFTER = "after"
