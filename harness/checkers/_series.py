"""Series of a scrape: the text ``name{label="value"}`` taken apart, and the scrapes of a run indexed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from .. import events as ev

_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

Labels = tuple[tuple[str, str], ...]


@lru_cache(maxsize=8192)
def parse_series(text: str) -> tuple[str, Labels]:
    """Name and labels, sorted, of one series as a scrape prints it."""
    name, _, rest = text.partition("{")
    return name, tuple(sorted(_LABEL.findall(rest)))


@dataclass(frozen=True)
class Scrape:
    """One successful scrape, asked by name and label."""

    sample: ev.MetricsSample
    values: dict[str, dict[Labels, float]]

    @classmethod
    def of(cls, sample: ev.MetricsSample) -> Scrape:
        """Index a sample."""
        values: dict[str, dict[Labels, float]] = {}
        for text, value in sample.series.items():
            name, labels = parse_series(text)
            values.setdefault(name, {})[labels] = value
        return cls(sample, values)

    @property
    def t(self) -> float:
        """Seconds on the run's clock."""
        return self.sample.t

    @property
    def end(self) -> float:
        """When the answer was there: the values are those of some moment between ``t`` and this."""
        return self.sample.t + self.sample.seconds

    def get(self, name: str, **labels: str) -> float | None:
        """The value of exactly this series; None when it is missing, which is not zero."""
        return self.values.get(name, {}).get(tuple(sorted(labels.items())))

    def each(self, name: str) -> Iterator[tuple[dict[str, str], float]]:
        """All series of a name."""
        for labels, value in self.values.get(name, {}).items():
            yield dict(labels), value

    def total(self, name: str) -> float | None:
        """The sum over all labels; None when there is no such series."""
        found = self.values.get(name)
        return None if found is None else sum(found.values())
