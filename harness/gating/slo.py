"""What is judged: the four success metrics of the assessment and a user's own SLOs, as data.

Every share is one of *bad* things, so that more is worse: "persistence success above 99.9 %" is "fewer than 0.1 % of
the events are not persisted", and "p99 at most 0.5 s" is "fewer than 1 % of the requests take longer than 0.5 s".
"""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass

import promql_parser as promql

from ..errors import UsageError
from ..lint.selectors import Condition, conditions
from ..values import Promise

MINUTE_SECONDS, HOUR_SECONDS, DAY_SECONDS = 60.0, 3600.0, 86_400.0
MONTH_SECONDS = 30 * DAY_SECONDS
"""A month is 30 days, so that it can be asked for as a period and compared from one gate to the next."""

LOST, BROKEN, JUDGED = "lost_events", "broken_promises", "judged_runs"
"""Rows about runs, which no rate decides; no metric of a user may be named so."""


class Feature(enum.StrEnum):
    """The four features that the assessment put off; a failed metric names the one to prioritise."""

    POOL_METRICS = "pool metrics"
    ISOLATION = "partition isolation"
    PARTITION_METRICS = "partition metrics"
    RECOVERY = "recovery"

    @property
    def requirements(self) -> tuple[str, ...]:
        """Ids of docs/reference/requirements.md that the feature answers to."""
        return _REQUIREMENTS[self]

    @property
    def text(self) -> str:
        """``recovery (S5)``."""
        return f"{self.value} ({', '.join(self.requirements)})"


_REQUIREMENTS = {
    Feature.POOL_METRICS: ("S1", "S2"),
    Feature.ISOLATION: ("S3",),
    Feature.PARTITION_METRICS: ("S4",),
    Feature.RECOVERY: ("S5",),
}


_BY_PROMISE = {
    Promise.CONSERVATION: Feature.RECOVERY,
    Promise.HONEST_STATUS: Feature.ISOLATION,
    Promise.ISOLATION: Feature.ISOLATION,
    Promise.FALLBACK: Feature.ISOLATION,
    Promise.RECOVERY: Feature.RECOVERY,
    Promise.NO_DUPLICATES: Feature.RECOVERY,
    Promise.POISON: Feature.RECOVERY,
    Promise.TRUTH: Feature.PARTITION_METRICS,
    Promise.BOUNDS: Feature.POOL_METRICS,
}
"""What each promise is about, for a scenario that proves none of S1 to S5 (docs/how-to/gate.md says why)."""


def features_of(requirements: frozenset[str], promise: Promise) -> tuple[Feature, ...]:
    """The features of a finding: those that its scenario's requirement ids belong to, else that of its promise."""
    proved = tuple(feature for feature in Feature if requirements & set(feature.requirements))
    return proved or (_BY_PROMISE[promise],)


class Unit(enum.Enum):
    """The time that a count is for."""

    HOUR = "hour"
    DAY = "day"
    MONTH = "month"

    @property
    def seconds(self) -> float:
        """How long it is."""
        return {Unit.HOUR: HOUR_SECONDS, Unit.DAY: DAY_SECONDS, Unit.MONTH: MONTH_SECONDS}[self]


@dataclass(frozen=True)
class Selector:
    """Counters: the name of a metric, and what their labels must be."""

    name: str
    asked: tuple[Condition, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Selector:
        """Read ``name{label="value"}``; raises :class:`UsageError` for anything else."""
        try:
            parsed = promql.parse(text)
        except ValueError as error:
            raise UsageError(f"{text!r} is no selector of PromQL: {error}.") from error
        if not isinstance(parsed, promql.VectorSelector) or parsed.offset is not None or parsed.at is not None:
            raise UsageError(f'{text!r} is no selector; write a name with its matchers, such as name{{label="value"}}.')
        return cls.of(parsed)

    @classmethod
    def of(cls, parsed: promql.VectorSelector) -> Selector:
        """Take a parsed one over; raises :class:`UsageError` for one without a name, or with alternatives by ``or``."""
        name, asked = conditions(parsed)
        if not name or parsed.matchers.or_matchers:
            raise UsageError(f"The selector {parsed} needs the name of a metric, and matchers without `or`.")
        return cls(name, asked)

    def matches(self, name: str, labels: Mapping[str, str]) -> bool:
        """Tell whether a series is one of these."""
        return name == self.name and all(one.matches(labels.get(one.label, "")) for one in self.asked)

    def also(self, *asked: Condition) -> Selector:
        """Ask for more."""
        return Selector(self.name, (*self.asked, *asked))

    def buckets(self) -> Selector:
        """Those of the buckets of this histogram."""
        return Selector(f"{self.name}_bucket", self.asked)

    def __str__(self) -> str:
        """Return it as PromQL; what quotes a string there is what JSON has for it."""
        inside = ",".join(f"{one.label}{one.operator}{json.dumps(one.value, ensure_ascii=False)}" for one in self.asked)
        return f"{self.name}{{{inside}}}" if inside else self.name


class Operations(enum.Enum):
    """Shares that runs know by what each client was answered, rather than by the counters of the service."""

    REFUSED = "refused"
    """First sends answered neither 201 nor 202, among all."""
    QUEUED = "queued"
    """First sends answered 202, among those that were accepted."""


@dataclass(frozen=True, kw_only=True)
class ShareSlo:
    """Fewer than ``below_share`` of the things counted may be bad: ``bad`` among ``bad`` and ``good`` together.

    Each is a sum over selectors, and each of its selectors must exist: missing is not zero.  ``whole``: the selectors
    of ``good`` count the bad ones as well.  ``operations`` says how runs count it where they know better.
    """

    name: str
    bad: tuple[Selector, ...]
    good: tuple[Selector, ...]
    below_share: float
    minimum_operations: int
    whole: bool = False
    operations: Operations | None = None
    feature: Feature
    inverted: bool = False
    """Shown as the share of what is not bad, since that is how its bound was given."""

    @property
    def bound_text(self) -> str:
        """``> 99.9 %`` or ``< 0.1 %``."""
        if self.inverted:
            return f"> {percent_text(1 - self.below_share)}"
        return f"< {percent_text(self.below_share)}"


@dataclass(frozen=True, kw_only=True)
class LatencySlo:
    """Fewer than 1 - ``quantile`` of the requests may take longer than ``maximum_seconds``.

    Prometheus knows them by the buckets of ``histogram``, runs by what each client waited.
    """

    name: str
    quantile: float
    maximum_seconds: float
    minimum_operations: int
    histogram: Selector
    feature: Feature

    @property
    def below_share(self) -> float:
        """The share of requests that must not be slower."""
        return round(1 - self.quantile, 12)

    @property
    def bound_text(self) -> str:
        """``p99 at most 0.5 s``."""
        return f"p{self.quantile * 100:g} at most {self.maximum_seconds:g} s"


@dataclass(frozen=True, kw_only=True)
class CountSlo:
    """A counter may grow by less than ``limit`` in any hour, day or month; by no more than it if ``inclusive``.

    ``minimum_share``: of the time that the bound is for, so much must have been observed.
    """

    name: str
    counter: Selector
    limit: float
    inclusive: bool
    unit: Unit
    minimum_share: float = 1.0
    feature: Feature

    def broken_by(self, count: float) -> bool:
        """Tell whether so many in one such time break the bound."""
        return count > self.limit if self.inclusive else count >= self.limit

    @property
    def bound_text(self) -> str:
        """``< 10 a day`` or ``0 a month``."""
        sign = "" if self.inclusive and self.limit == 0 else "≤ " if self.inclusive else "< "
        return f"{sign}{self.limit:g} {a_unit(self.unit)}"


class Comparison(enum.Enum):
    """How the value of an expression is held against its bound."""

    BELOW = "below"
    ABOVE = "above"
    MAXIMUM = "maximum"
    MINIMUM = "minimum"

    def broken_by(self, value: float, bound: float) -> bool:
        """Tell whether a value breaks the bound."""
        match self:
            case Comparison.BELOW:
                return value >= bound
            case Comparison.ABOVE:
                return value <= bound
            case Comparison.MAXIMUM:
                return value > bound
            case Comparison.MINIMUM:
                return value < bound

    @property
    def sign(self) -> str:
        """As it is shown."""
        signs = {Comparison.BELOW: "<", Comparison.ABOVE: ">", Comparison.MAXIMUM: "≤", Comparison.MINIMUM: "≥"}
        return signs[self]

    @property
    def more_is_worse(self) -> bool:
        """Tell on which side of the bound the bad values are."""
        return self in (Comparison.BELOW, Comparison.MAXIMUM)


@dataclass(frozen=True, kw_only=True)
class ExpressionSlo:
    """The value of a PromQL expression over the period, held against a bound; ``unit`` is for showing it.

    ``exposure`` is the expression of how many operations the value stands for.  Both have ``$period`` in them.
    """

    name: str
    promql: str
    exposure: str
    selectors: tuple[Selector, ...]
    comparison: Comparison
    bound: float
    unit: str
    minimum_operations: int
    feature: Feature

    @property
    def bound_text(self) -> str:
        """``≤ 0.5 s``."""
        return f"{self.comparison.sign} {self.shown(self.bound)}"

    def shown(self, value: float) -> str:
        """A value with the unit."""
        return f"{value:.4g} {self.unit}".strip()


Slo = ShareSlo | LatencySlo | CountSlo | ExpressionSlo


def percent_text(share: float) -> str:
    """``99.9 %``; as many digits as tell a share near 0 or 1 from it."""
    percent = share * 100
    return f"{percent:.4g} %" if percent < 50 else f"{100 - float(f'{100 - percent:.4g}'):.12g} %"


def a_unit(unit: Unit) -> str:
    """``a day``, ``an hour``."""
    return f"{'an' if unit is Unit.HOUR else 'a'} {unit.value}"
