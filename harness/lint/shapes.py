"""What is known of the result of an expression without evaluating it: its labels, and the range of its values."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Range:
    """The values that an expression can have.  Not ``exact``: by convention, as for what is named a ratio."""

    low: float = -math.inf
    high: float = math.inf
    exact: bool = True

    @property
    def constant(self) -> bool:
        """Whether there is but one value."""
        return self.low == self.high

    def join(self, other: Range) -> Range:
        """Return the least range that holds both."""
        return Range(min(self.low, other.low), max(self.high, other.high), self.exact and other.exact)

    def narrowed(self, operator: str, bound: Range) -> Range:
        """Return what passes a comparison that filters."""
        low, high = self.low, self.high
        if operator in (">", ">="):
            low = max(low, bound.low)
        elif operator in ("<", "<="):
            high = min(high, bound.high)
        elif operator == "==":
            low, high = max(low, bound.low), min(high, bound.high)
        return Range(low, high, self.exact and bound.exact) if low <= high else self

    def never(self, operator: str, other: Range) -> bool:
        """Tell whether a comparison with values of another range is false for all of them.

        At the very bound a convention proves nothing: a ratio may pass 1 where something overflows.
        """
        edge = self.exact and other.exact
        match operator:
            case ">":
                return self.high < other.low or (edge and self.high == other.low)
            case ">=":
                return self.high < other.low
            case "<":
                return self.low > other.high or (edge and self.low == other.high)
            case "<=":
                return self.low > other.high
            case "==":
                return self.high < other.low or self.low > other.high
            case "!=":
                return edge and self.constant and other.constant and self.low == other.low
        return False


ANY = Range()
NOT_NEGATIVE = Range(0.0)
RATIO = Range(high=1.0, exact=False)


def arithmetic(operator: str, left: Range, right: Range) -> Range:
    """Return the range of an arithmetic operation; any value where that is not simple."""
    exact = left.exact and right.exact
    match operator:
        case "+":
            return _between((left.low + right.low, left.high + right.high), exact)
        case "-":
            return _between((left.low - right.high, left.high - right.low), exact)
        case "*":
            return _between(_products(left, right), exact)
        case "/" if right.low > 0 and math.isfinite(right.high):
            return _between(_products(left, Range(1 / right.high, 1 / right.low)), exact)
        case "/" if left.low >= 0 and right.low >= 0:
            return Range(0.0, math.inf, exact)
    return ANY


def _products(left: Range, right: Range) -> Iterable[float]:
    # Nothing times an infinite bound is nothing, which floats call not a number.
    return (0.0 if 0.0 in (one, two) else one * two for one in (left.low, left.high) for two in (right.low, right.high))


def _between(values: Iterable[float], exact: bool) -> Range:
    found = list(values)
    return ANY if any(math.isnan(value) for value in found) else Range(min(found), max(found), exact)


@dataclass(frozen=True)
class Shape:
    """The result of an expression.

    ``always`` are the labels that every element has, ``may`` those that some may have; neither says anything unless
    ``known``.  ``setting`` names the series that only a new configuration changes, if the values are its or made of it.
    """

    vector: bool = True
    always: frozenset[str] = frozenset()
    may: frozenset[str] = frozenset()
    known: bool = True
    range: Range = ANY
    setting: str = ""

    @classmethod
    def scalar(cls, values: Range) -> Shape:
        """Make a number."""
        return cls(vector=False, range=values)

    @classmethod
    def unknown(cls) -> Shape:
        """Make a vector of which nothing is known."""
        return cls(known=False)

    def having(self, values: Range) -> Shape:
        """Return it with other values, which are then no setting's."""
        return replace(self, range=values, setting="")

    def without(self, labels: Iterable[str]) -> Shape:
        """Return it without some labels."""
        gone = frozenset(labels)
        return replace(self, always=self.always - gone, may=self.may - gone)

    def only(self, labels: Iterable[str]) -> Shape:
        """Return it with no other labels than these; that is known even of what was not."""
        kept = frozenset(labels)
        may = self.may & kept if self.known else kept
        return replace(self, always=self.always & kept if self.known else frozenset(), may=may, known=True)

    def adding(self, labels: Iterable[str]) -> Shape:
        """Return it with labels that it may have besides."""
        return replace(self, may=self.may | frozenset(labels))

    def join(self, other: Shape) -> Shape:
        """Return the shape of elements of either."""
        return Shape(
            always=self.always & other.always,
            may=self.may | other.may,
            known=self.known and other.known,
            range=self.range.join(other.range),
            setting=self.setting or other.setting,
        )
