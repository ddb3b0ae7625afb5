"""Whose samples a period has: those of a selector as a whole, and those of each instance of the service.

Missing is not zero, and what one instance counted says nothing of another.  An instance that another one replaces, as
in a rolling deployment, has begun or ended within the period and lacks nothing before or after.  What tells that from
samples that are missing is ``up``: Prometheus writes it for a target as long as there is one to be scraped, answered or
not.  So an instance owes samples from its first to its last one, and wherever ``up`` says that it was to be scraped.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from ..lint.selectors import Condition
from .counters import Labels
from .server import Line, Period, moment_text
from .slo import Selector, percent_text

BEFORE = -1
"""The number of the window just before the period."""


@dataclass(frozen=True, order=True)
class Target:
    """One instance of a service, as Prometheus tells it from others."""

    job: str
    instance: str

    @classmethod
    def of(cls, labels: Labels) -> Target:
        """Whose series it is."""
        found = dict(labels)
        return cls(found.get("job", ""), found.get("instance", ""))

    def __str__(self) -> str:
        """``10.0.0.7:9100 of job audit``."""
        return f"{self.instance} of job {self.job}"


@dataclass(frozen=True)
class Expected:
    """In which windows a target was to be scraped, whether it ever answered, and the labels of its ``up``."""

    windows: frozenset[int]
    answered: bool
    labels: Labels


@dataclass(frozen=True, kw_only=True)
class Scraped:
    """What ``up`` says of the targets of some jobs; ``up`` is its selector."""

    up: Selector
    targets: Mapping[Target, Expected]

    @classmethod
    def of(cls, up: Selector, lines: Iterable[Line], period: Period) -> Scraped:
        """Read the greatest value of ``up`` in each window, by series; several of one target are those of replicas."""
        found: dict[Target, Expected] = {}
        for line in lines:
            target = Target.of(line.labels)
            windows = frozenset(period.number_at(t) for t, _ in line.points)
            before = found.get(target, Expected(frozenset(), answered=False, labels=line.labels))
            answered = before.answered or any(value > 0 for value in line.values)
            found[target] = Expected(before.windows | windows, answered, line.labels)
        return cls(up=up, targets=found)


@dataclass(frozen=True, kw_only=True)
class Covered:
    """In which windows each target has samples of a selector, by number, that before the period among them."""

    selector: Selector
    targets: Mapping[Target, Collection[int]]

    @classmethod
    def of(cls, selector: Selector, series: Iterable[tuple[Labels, Iterable[int]]]) -> Covered:
        """Put the series of each target together."""
        found: dict[Target, set[int]] = {}
        for labels, numbers in series:
            found.setdefault(Target.of(labels), set()).update(numbers)
        return cls(selector=selector, targets=found)

    @property
    def jobs(self) -> frozenset[str]:
        """Whose series they are."""
        return frozenset(target.job for target in self.targets)

    @property
    def together(self) -> frozenset[int]:
        """The windows in which anybody has a sample."""
        return frozenset(number for numbers in self.targets.values() for number in numbers)


def up_of(up: Selector, jobs: Collection[str]) -> Selector:
    """Ask ``up`` for the targets of these jobs alone."""
    return up.also(Condition("job", "=~", "|".join(re.escape(job) for job in sorted(jobs))))


def gaps_together(covered: Covered, period: Period, minimum_share: float) -> list[str]:
    """What is missing where nobody has a sample: no series, none at either end, or too few in between."""
    selector, found = covered.selector, covered.together
    inside = found - {BEFORE}
    if not inside:
        said = "has had no sample since the period began" if found else "is not there, which is not zero"
        return [f"{selector} {said}; is the name right, and is the service scraped?"]
    gaps = []
    if min(inside) > 0:
        begins = moment_text(period.over(min(inside) - 1))
        gaps.append(f"the data of {selector} reach back to {begins}; the period begins {moment_text(period.start)}")
    if max(inside) < period.windows - 1:
        ended = moment_text(period.over(max(inside)))
        gaps.append(f"{selector} is stale: no sample after {ended}, and the period ends {moment_text(period.end)}")
    share = len(inside) / period.windows
    if share < minimum_share:
        needed = f"{percent_text(minimum_share)} are needed"
        gaps.append(f"{selector} has samples in {percent_text(share)} of the period; {needed}")
    return gaps


def gaps_of_each(
    covered: Covered, scraped: Scraped, matchers: Collection[Condition], period: Period, minimum_share: float
) -> list[str]:
    """What is missing of single instances, those that never answered among them.

    ``matchers`` are what the service's own targets have; of others nothing is said.  The windows next to the first and
    the last sample are not owed: a process that starts or ends may be a target and not answer yet, or any more.
    """
    gaps = list(_silent(covered, scraped, matchers, period, minimum_share))
    for target in sorted(covered.targets):
        numbers = set(covered.targets[target])
        told = scraped.targets.get(target)
        owed = _owed(numbers, told, period)
        share = len(numbers & owed) / len(owed) if owed else 1.0
        if share < minimum_share:
            whole = (
                "of the time in which it was to be scraped"
                if told is not None
                else f"of the period, and no {scraped.up} tells whether it came or went meanwhile"
            )
            needed = f"{percent_text(minimum_share)} are needed"
            gaps.append(f"{target} has samples of {covered.selector} in {percent_text(share)} {whole}; {needed}")
    return gaps


def _owed(numbers: set[int], told: Expected | None, period: Period) -> set[int]:
    if told is None:
        return set(range(period.windows))
    first, last = min(numbers), max(numbers)
    edges = {first - 1, last + 1}
    return (set(range(first, last + 1)) | (told.windows - edges)) & set(range(period.windows))


def _silent(
    covered: Covered, scraped: Scraped, matchers: Collection[Condition], period: Period, minimum_share: float
) -> Iterator[str]:
    """Targets of the same jobs that were to be scraped for long and never answered: whatever they counted is not known.

    One that did so for a short time was never deployed well enough to serve anybody.
    """
    for target in sorted(scraped.targets):
        told = scraped.targets[target]
        labels = dict(told.labels)
        own = all(one.matches(labels.get(one.label, "")) for one in matchers)
        # A label that only a series has, such as an outcome, says nothing of its target.
        own = own and all(one.matches(labels[one.label]) for one in covered.selector.asked if one.label in labels)
        share = len(told.windows - {BEFORE}) / period.windows
        if own and not told.answered and target not in covered.targets and share > 1 - minimum_share:
            yield f"{target} was to be scraped in {percent_text(share)} of the period and never answered"
