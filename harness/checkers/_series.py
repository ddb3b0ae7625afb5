"""Series of a scrape: the text ``name{label="value"}`` taken apart, and the scrapes of a run indexed."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

from .. import events as ev

_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

SUM_TOLERANCE = 0.01
"""A service that observes in several threads may have added a value and not yet counted it."""

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

    @cached_property
    def values(self) -> dict[str, dict[Labels, float]]:
        """The series by name and by their sorted labels."""
        values: dict[str, dict[Labels, float]] = {}
        for text, value in self.sample.series.items():
            name, labels = parse_series(text)
            values.setdefault(name, {})[labels] = value
        return values

    @cached_property
    def t(self) -> float:
        """Seconds on the run's clock."""
        return self.sample.t

    @cached_property
    def end(self) -> float:
        """When the answer was there: the values are those of some moment between ``t`` and this."""
        return self.sample.t + self.sample.seconds

    def get(self, name: str, **labels: str) -> float | None:
        """The value of exactly this series; None when it is missing, which is not zero."""
        found = self.values.get(name)
        if found is None:
            return None
        return found.get(tuple(labels.items()) if len(labels) < 2 else tuple(sorted(labels.items())))

    def each(self, name: str) -> Iterator[tuple[dict[str, str], float]]:
        """All series of a name."""
        for labels, value in self.values.get(name, {}).items():
            yield dict(labels), value

    def total(self, name: str) -> float | None:
        """The sum over all labels; None when there is no such series."""
        found = self.values.get(name)
        return None if found is None else sum(found.values())


def histogram_faults(scrape: Scrape, name: str) -> Iterator[str]:
    """What is wrong with the buckets of each series of a histogram."""
    counts = scrape.values.get(f"{name}_count", {})
    buckets = _buckets(scrape, name)
    for labels in dict.fromkeys([*counts, *buckets]):
        of = "".join(f" {key}={value}" for key, value in labels)
        rising = buckets.get(labels, [])
        if labels not in counts or labels not in scrape.values.get(f"{name}_sum", {}):
            yield f"{name}{of} has no count or no sum"
        elif not rising or not math.isinf(rising[-1][0]):
            yield f"series {name}_bucket{of} has no +Inf bucket"
        elif rising[-1][1] != counts[labels]:
            yield f"{name}{of}: the +Inf bucket differs from the count"
        if any(wider < narrower for (_, narrower), (_, wider) in itertools.pairwise(rising)):
            yield f"{name}{of}: a wider bucket counts less than a narrower one"


def sum_faults(scrape: Scrape, name: str) -> Iterator[str]:
    """A histogram's sum below what the lower ends of its buckets make, or above what their upper ends do."""
    for labels, rising in _buckets(scrape, name).items():
        total = scrape.values.get(f"{name}_sum", {}).get(labels, 0.0)
        least = most = below = narrower = 0.0
        for bound, count in rising:
            least += max(0.0, count - below) * narrower
            most += (count - below) * bound if count > below else 0.0
            below, narrower = count, bound
        if not least * (1 - SUM_TOLERANCE) <= total <= most * (1 + SUM_TOLERANCE):
            of = "".join(f" {key}={value}" for key, value in labels)
            yield f"{name}_sum{of} is {total:g}, but its buckets allow {least:g} to {most:g}"


@lru_cache(maxsize=8192)
def _without_bound(labels: Labels) -> tuple[Labels, float]:
    """The labels of a bucket without its bound, and the bound."""
    bound = next((float(text) for key, text in labels if key == "le"), math.inf)
    return tuple(pair for pair in labels if pair[0] != "le"), bound


def _buckets(scrape: Scrape, name: str) -> dict[Labels, list[tuple[float, float]]]:
    """Buckets of each series of a histogram, by rising bound."""
    found: dict[Labels, list[tuple[float, float]]] = {}
    for labels, value in scrape.values.get(f"{name}_bucket", {}).items():
        others, bound = _without_bound(labels)
        found.setdefault(others, []).append((bound, value))
    return {labels: sorted(rising) for labels, rising in found.items()}
