"""From what was counted to a decision: pure rules, each with its exposure.

Two kinds of counts are judged differently.  Prometheus counts *all* that happened in the stated period: its value is
the value, and a bound is broken by it or not.  A run counts a *sample* of what the service does in health: it proves a
bound kept, or broken, only where both ends of what its share may truly be, with 95 % confidence, lie on one side of it
(:mod:`harness.gating.statistics`).
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from . import statistics
from .slo import (
    DAY_SECONDS,
    HOUR_SECONDS,
    MINUTE_SECONDS,
    CountSlo,
    ExpressionSlo,
    Feature,
    LatencySlo,
    ShareSlo,
    a_unit,
    percent_text,
)

HINT = "--prometheus can tell; or list it as optional in gate.toml"
"""What to do about a time that no run lasts."""


class Decision(enum.StrEnum):
    """What a row of the gate comes to, from good to bad.

    ``KNOWN`` is a failure that is not new, or is listed as a known defect: it does not fail the gate.
    """

    PASS = "PASS"  # noqa: S105  (no password)
    KNOWN = "KNOWN"
    INSUFFICIENT = "INSUFFICIENT"
    FAIL = "FAIL"

    @property
    def good(self) -> bool:
        """Tell whether it lets a release through."""
        return self in (Decision.PASS, Decision.KNOWN)


class Source(enum.StrEnum):
    """Where a row's figures come from."""

    RUNS = "runs"
    PROMETHEUS = "prometheus"


@dataclass(frozen=True)
class Tally:
    """A count of which the outside may not know more than its bounds."""

    least: float = 0.0
    most: float = 0.0

    @classmethod
    def exactly(cls, count: float) -> Tally:
        """A count that is known."""
        return cls(count, count)

    def __add__(self, other: Tally) -> Tally:
        """Count both."""
        return Tally(self.least + other.least, self.most + other.most)

    def without(self, part: Tally) -> Tally:
        """What is left of a whole without a part of it, both counted from the same samples."""
        return Tally(max(0.0, self.least - part.least), max(0.0, self.most - part.most))

    @property
    def text(self) -> str:
        """``3``, or ``3 to 5`` where it is not known better."""
        least, most = number_text(self.least), number_text(self.most)
        return least if self.least == self.most else f"{least} to {most}"


NOTHING = Tally()
"""What nothing counts as."""


@dataclass(frozen=True)
class Window:
    """What a counter grew by in some time."""

    seconds: float
    tally: Tally


@dataclass(frozen=True, kw_only=True)
class Exposure:
    """What a value stands for: so many operations, in so much time, in so many runs; 0 for what does not apply."""

    operations: float = 0.0
    seconds: float = 0.0
    runs: int = 0
    noun: str = "operation"

    @property
    def text(self) -> str:
        """``12,034 operations in 30 d``."""
        time = f" in {span_text(self.seconds)}" if self.seconds else ""
        runs = f" of {counted_text(self.runs, 'run')}" if self.runs else ""
        return f"{counted_text(self.operations, self.noun)}{time}{runs}"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the gate: a metric, from one source, with its value, bound, exposure and decision.

    ``worse_least`` and ``worse_most`` are what the bad may truly be, between them, so that two gates can be compared:
    more is worse.  ``needed``: the gate does not pass without this row passing.  ``hint``: what to do where it is
    needed and INSUFFICIENT.
    """

    metric: str
    source: Source
    value: str
    bound: str
    exposure: Exposure
    decision: Decision
    reasons: tuple[str, ...] = ()
    features: tuple[Feature, ...] = ()
    worse_least: float | None = None
    worse_most: float | None = None
    needed: bool = True
    hint: str = ""


@dataclass(frozen=True, kw_only=True)
class Counted:
    """What a source knows for one share: bad and good things, in how much time, and what is missing."""

    bad: Tally = NOTHING
    good: Tally = NOTHING
    exposure: Exposure = field(default_factory=Exposure)
    value: str = ""
    """Shown in the place of the share, where something else says more."""
    missing: tuple[str, ...] = ()


def share_row(slo: ShareSlo | LatencySlo, source: Source, counted: Counted) -> Row:
    """Judge a share of bad things; where a series is missing nothing is counted, and only that is said."""
    bad, good, reasons = counted.bad, counted.good, list(counted.missing)
    of_least = _whole(bad.least + good.least)
    low = bad.least / max(bad.least + good.most, 1.0)
    high = bad.most / max(bad.most + good.least, 1.0)
    # What lies beyond either end has a chance of 5 %.
    surely = _bound_of(statistics.share_at_least, bad.least, bad.least + good.most)
    at_most = _bound_of(statistics.share_at_most, bad.most, bad.most + good.least)
    sampled = source is Source.RUNS
    broken = bad.least > 0 and ((surely or 0.0) if sampled else low) >= slo.below_share
    if broken:
        reasons.insert(0, f"{bad.text} of {number_text(of_least)} are bad")
    elif of_least == 0:
        reasons += [] if counted.missing else ["nothing was counted, and no traffic proves nothing"]
    elif of_least < slo.minimum_operations:
        reasons.append(_too_few(of_least, slo.minimum_operations))
    elif ((at_most or 1.0) if sampled else high) >= slo.below_share:
        reasons.append(_undecided(bad, high, slo.below_share))
    decision = Decision.FAIL if broken else Decision.INSUFFICIENT if reasons else Decision.PASS
    return Row(
        metric=slo.name,
        source=source,
        value=counted.value or (_share_text(slo, low, high) if of_least else "–"),
        bound=slo.bound_text,
        exposure=counted.exposure,
        decision=decision,
        reasons=tuple(reasons),
        features=(slo.feature,),
        worse_least=surely,
        worse_most=at_most,
    )


def _too_few(operations: float, needed: int) -> str:
    are = "is" if operations == 1 else "are"
    return f"{counted_text(operations, 'operation')} {are} too few; {needed:,} are needed"


def _undecided(bad: Tally, high: float, below: float) -> str:
    if high >= below:
        return f"{bad.text} are bad: that may be too many, and it may not"
    needed = statistics.operations_needed(_whole(bad.most), below)
    return f"with {bad.text} bad, {needed:,} operations are needed to show the bound kept with 95 % confidence"


def _share_text(slo: ShareSlo | LatencySlo, low: float, high: float) -> str:
    if isinstance(slo, ShareSlo) and slo.inverted:
        low, high = 1 - high, 1 - low
    one, other = percent_text(low), percent_text(high)
    return one if one == other else f"{one} to {other}"


def _bound_of(bound: Callable[[int, int], float], part: float, of: float) -> float | None:
    return bound(_whole(part), _whole(of)) if of > 0 else None


def count_row(
    slo: CountSlo,
    source: Source,
    windows: Sequence[Window],
    *,
    exposure: Exposure,
    missing: Sequence[str] = (),
) -> Row:
    """Judge a count by its windows, of which none should be longer than the time that the bound is for.

    A window breaks the bound if so much must have fallen into one such time, and keeps it if no more can have.  The
    observed time must be ``minimum_share`` of the unit; where that is less than one, a count is scaled up to keep it.
    """
    unit = slo.unit.seconds
    observed = sum(window.seconds for window in windows)
    reasons, hint = list(missing), ""
    worst = max(windows, key=lambda one: (one.tally.least, one.tally.most), default=None)
    # Of a longer window one part has at least its share.
    parts = [one.tally.least * min(1.0, unit / one.seconds) for one in windows if one.tally.least > 0]
    broken = any(slo.broken_by(part) for part in parts)
    most = max((one.tally.most for one in windows), default=0.0) * max(1.0, unit / observed if observed else 1.0)
    total = Tally(sum(one.tally.least for one in windows), sum(one.tally.most for one in windows))
    if broken:
        reasons.insert(0, f"it grew by {total.text} in {span_text(observed)}")
    elif not exposure.operations and not missing:
        reasons.append("no operation was counted beside it, and no traffic proves nothing")
    elif observed < unit * slo.minimum_share * (1 - 1e-6):
        said = f"observed for {span_text(observed)}, less than the {span_text(unit * slo.minimum_share)} needed"
        reasons += [said] if windows or not missing else []
        hint = HINT if source is Source.RUNS else ""
    elif most > 0 and slo.broken_by(most):
        reasons.append(f"it may have been {number_text(most)} {a_unit(slo.unit)}")
    decision = Decision.FAIL if broken else Decision.INSUFFICIENT if reasons else Decision.PASS
    return Row(
        metric=slo.name,
        source=source,
        value="–" if worst is None else _count_text(slo, worst, len(windows)),
        bound=slo.bound_text,
        exposure=exposure,
        decision=decision,
        reasons=tuple(reasons),
        hint=hint,
        features=(slo.feature,),
        worse_least=statistics.mean_at_least(_whole(total.least)) * unit / observed if observed else None,
        worse_most=statistics.mean_at_most(_whole(total.most)) * unit / observed if observed else None,
    )


def _count_text(slo: CountSlo, worst: Window, windows: int) -> str:
    """The worst window: ``12 in a day``, or in the time that was observed."""
    whole = worst.seconds >= slo.unit.seconds * (1 - 1e-6)
    when = f"in {a_unit(slo.unit)}" if whole else f"in {span_text(worst.seconds)}"
    return f"{worst.tally.text} {when}{', the worst' if windows > 1 and worst.tally.most else ''}"


def expression_row(
    slo: ExpressionSlo, values: Sequence[float], *, exposure: Exposure, missing: Sequence[str] = ()
) -> Row:
    """Judge an expression by the worst of its values; one that is no number proves nothing."""
    reasons = list(missing)
    finite = [value for value in values if math.isfinite(value)]
    if not values:
        reasons.append("the expression has no value")
    elif len(finite) < len(values):
        reasons.append("the expression has a value that is no number, as of a division by 0")
    if not exposure.operations:
        reasons.append("nothing was counted by its exposure, and no traffic proves nothing")
    elif exposure.operations < slo.minimum_operations:
        reasons.append(_too_few(exposure.operations, slo.minimum_operations))
    ordered = sorted(finite)
    worst = None if not ordered else ordered[-1] if slo.comparison.more_is_worse else ordered[0]
    broken = worst is not None and exposure.operations > 0 and slo.comparison.broken_by(worst, slo.bound)
    badness = None if worst is None else worst if slo.comparison.more_is_worse else -worst
    return Row(
        metric=slo.name,
        source=Source.PROMETHEUS,
        value="–" if worst is None else slo.shown(worst),
        bound=slo.bound_text,
        exposure=exposure,
        decision=Decision.FAIL if broken else Decision.INSUFFICIENT if reasons else Decision.PASS,
        reasons=tuple(reasons),
        features=(slo.feature,),
        worse_least=badness,
        worse_most=badness,
    )


def number_text(value: float) -> str:
    """``12,034``, ``0.25``."""
    return f"{int(value):,}" if value == int(value) else f"{value:,.4g}"


def counted_text(count: float, noun: str) -> str:
    """``1 row``, ``12,034 rows``."""
    return f"{number_text(count)} {noun}{'' if count == 1 else 's'}"


def span_text(seconds: float) -> str:
    """``412 s``, ``36 h``, ``30 d``: in the largest unit of which there are at least two, or one exactly."""
    for unit, name in ((DAY_SECONDS, "d"), (HOUR_SECONDS, "h"), (MINUTE_SECONDS, "min")):
        if seconds >= 2 * unit or math.isclose(seconds, unit):
            return f"{seconds / unit:.3g} {name}"
    return f"{seconds:.3g} s"


def _whole(count: float) -> int:
    """Counters are whole numbers, exported as floats."""
    return round(count)
