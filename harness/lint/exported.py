"""The series that a service exports: names, labels, values, and which label values are all there will ever be."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from .shapes import ANY, NOT_NEGATIVE, RATIO, Range, Shape

SCRAPE_LABELS = frozenset({"job", "instance"})
"""Labels that every scrape adds."""
OWN_SERIES: Mapping[str, Range] = {
    "up": Range(0.0, 1.0),
    "scrape_duration_seconds": NOT_NEGATIVE,
    "scrape_samples_scraped": NOT_NEGATIVE,
    "scrape_samples_post_metric_relabeling": NOT_NEGATIVE,
    "scrape_series_added": NOT_NEGATIVE,
    "scrape_timeout_seconds": NOT_NEGATIVE,
    "scrape_sample_limit": NOT_NEGATIVE,
    "scrape_body_size_bytes": ANY,
}
"""Series that Prometheus makes of each scrape."""
ALERT_SERIES = ("ALERTS", "ALERTS_FOR_STATE")
"""Series that Prometheus makes of alerts; they have the labels of any of them."""
_COUNTS = ("_total", "_count", "_bucket")
_SETTING = re.compile(r"(?:\A|_)(?:max|limit|capacity|quota|info)(?:_|\Z)")
_MONTH = re.compile(r"\d{4}_\d{2}\Z")

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Series:
    """One series, with the least and the greatest value that was seen."""

    labels: Mapping[str, str]
    low: float
    high: float


class Exported:
    """All series of one or several pages."""

    def __init__(
        self,
        samples: Iterable[tuple[str, Labels, float]],
        *,
        scrape_labels: Iterable[str] = (),
        foreign: Iterable[str] = (),
    ) -> None:
        """Index samples (name, labels, value).

        ``scrape_labels`` are added by the scrape besides job and instance; series whose names begin with one of
        ``foreign`` are exported elsewhere, so nothing is known of them.
        """
        self.scrape_labels = SCRAPE_LABELS | frozenset(scrape_labels)
        self._foreign = tuple(foreign)
        self._series: dict[str, dict[Labels, tuple[float, float]]] = {}
        for name, labels, value in samples:
            found = self._series.setdefault(name, {})
            low, high = found.get(labels, (value, value))
            found[labels] = (min(low, value), max(high, value))

    def __contains__(self, name: str) -> bool:
        """Tell whether somebody exports it."""
        return name in self._series or name in OWN_SERIES or name in ALERT_SERIES

    @property
    def names(self) -> list[str]:
        """Names of everything that is known."""
        return [*self._series, *OWN_SERIES, *ALERT_SERIES]

    def is_foreign(self, name: str) -> bool:
        """Tell whether somebody else exports it."""
        return bool(self._foreign) and name.startswith(self._foreign)

    def series(self, name: str) -> tuple[Series, ...]:
        """All series of a name."""
        return tuple(Series(dict(labels), *values) for labels, values in self._series.get(name, {}).items())

    def closed_values(self, name: str, label: str) -> frozenset[str] | None:
        """Return all values that a label of a series can have; None when others may come.

        Those of ``le`` are fixed, and those of a state set.  The others are taken for whole where a counter shows one
        of them at 0: it exports its series from the start, and what comes with its first event is never seen at 0.
        Months come and go.
        """
        found = [series for series in self.series(name) if label in series.labels]
        values = frozenset(series.labels[label] for series in found)
        if label == "le" or (name in self._state_sets and label == name.rpartition("_")[2]):
            return values
        # Buckets and counts of histograms tell nothing: narrow buckets are 0 for long.
        if not name.endswith("_total") or all(_MONTH.match(value) for value in values):
            return None
        return values if any(one.low == 0 for one in found) else None

    def shape(self, name: str, matching: tuple[Series, ...]) -> Shape:
        """Return the shape of a selection; ``matching`` are the series that it is known to select."""
        if name in OWN_SERIES:
            return Shape(always=SCRAPE_LABELS, may=self.scrape_labels, range=OWN_SERIES[name])
        found = matching or self.series(name)
        if not found:
            return Shape.unknown()
        labels = [frozenset(label for label, value in series.labels.items() if value) for series in found]
        # A counter of what met a limit is none, though it stands still for long.
        named = _SETTING.search(name) is not None and not name.endswith(_COUNTS)
        setting = name if named and len({(s.low, s.high) for s in found}) == 1 else ""
        values = self._range(name, found)
        if setting and found[0].low == found[0].high:
            values = Range(found[0].low, found[0].low, exact=False)
        return Shape(
            always=frozenset.intersection(*labels) | SCRAPE_LABELS,
            may=frozenset.union(*labels) | self.scrape_labels,
            range=values,
            setting=setting if values.constant else "",
        )

    def _range(self, name: str, found: tuple[Series, ...]) -> Range:
        if name.endswith(_COUNTS):
            return NOT_NEGATIVE
        if name in self._state_sets:
            return Range(0.0, 1.0)
        if is_ratio(name) and all(series.high <= 1.0 for series in found):
            return RATIO
        return ANY

    @cached_property
    def _state_sets(self) -> frozenset[str]:
        return frozenset(name for name in self._series if self._is_state_set(name))

    def _is_state_set(self, name: str) -> bool:
        """Tell a state set: a label named as the series ends, and nothing but 0 and 1, one of its values being at 1.

        A gauge that is so named, ``…_by_queue``, and has been nothing but 0 so far is none.
        """
        label = name.rpartition("_")[2]
        found = self.series(name)
        states = {series.labels.get(label, "") for series in found}
        if len(states) < 2 or "" in states or not all({s.low, s.high} <= {0.0, 1.0} for s in found):
            return False
        things: dict[Labels, list[Series]] = {}
        for series in found:
            others = tuple(sorted((key, value) for key, value in series.labels.items() if key != label))
            things.setdefault(others, []).append(series)
        return all(sum(s.low for s in thing) <= 1.0 <= sum(s.high for s in thing) for thing in things.values())


def is_ratio(name: str) -> bool:
    """Tell whether a name says, by Prometheus's convention, that values go from 0 to 1."""
    return name.endswith("ratio")
