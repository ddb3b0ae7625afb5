"""What a count of operations lets one say of the share that fails, with 95 % confidence; exact, without a library.

*Rule of three*: without a failure in n operations the share that fails is below 3/n (Hanley and Lippman-Hand, "If
nothing goes wrong, is everything all right?", JAMA 249, 1983).  *Clopper-Pearson*: the exact bounds for any number of
failures (Clopper and Pearson, "The use of confidence or fiducial limits", Biometrika 26, 1934); at none they agree with
the rule of three.  They are conservative, where Wilson's interval is not: at no failure Wilson's upper bound is 2.7/n,
which would claim "above 99.9 %" of fewer operations than the rule of three allows.
"""

from __future__ import annotations

import math
from collections.abc import Callable

ERROR = 0.05
"""The chance that a bound given here does not hold: 95 % confidence, one-sided."""

_MANY = 10**9
"""Trials of the binomial distribution that stands for a Poisson one."""
_HALVINGS = 100
_TERMS = 200_000
_SMALLEST = 1e-300
_CLOSE = 1e-13


def rule_of_three(share: float) -> int:
    """The least number of operations that can show that fewer than ``share`` of all fail; share is in (0, 1)."""
    return math.ceil(3.0 / share * (1 - 1e-12))


def share_at_most(failed: int, of: int) -> float:
    """Upper Clopper-Pearson bound of the share that fails; 1 when nothing is known."""
    if of <= 0 or failed >= of:
        return 1.0
    # The chance of more failures grows with the share; at the bound, so few have a chance of ERROR.
    return _crossing(
        lambda share: _incomplete_beta(failed + 1.0, float(of - failed), share) > 1 - ERROR, failed / of, 1
    )


def share_at_least(failed: int, of: int) -> float:
    """Lower Clopper-Pearson bound of the share that fails; 0 when nothing is known."""
    if of <= 0 or failed <= 0:
        return 0.0
    return _crossing(lambda share: _incomplete_beta(float(failed), of - failed + 1.0, share) > ERROR, 0, failed / of)


def _crossing(beyond: Callable[[float], bool], low: float, high: float) -> float:
    """Where between the two a condition begins to hold."""
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if beyond(middle):
            high = middle
        else:
            low = middle
        if high - low <= _CLOSE * high:
            break
    return high


def mean_at_most(count: int) -> float:
    """Upper bound of the mean of a Poisson distribution that gave ``count``; 3.0 for none."""
    return share_at_most(count, _MANY) * _MANY


def mean_at_least(count: int) -> float:
    """Lower bound of the mean of a Poisson distribution that gave ``count``."""
    return 0.0 if count <= 0 else share_at_least(min(count, _MANY), _MANY) * _MANY


def operations_needed(failed: int, share: float) -> int:
    """How many operations, ``failed`` of them failures, show that fewer than ``share`` of all fail."""
    least, most = failed, max(2 * failed, 2)
    while share_at_most(failed, most) >= share:
        least, most = most, most * 2
    while most - least > max(1, most // 1000):
        middle = (least + most) // 2
        if share_at_most(failed, middle) >= share:
            least = middle
        else:
            most = middle
    return most


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """The regularized incomplete beta function: the chance of at least ``a`` successes in ``a + b - 1`` trials.

    By its continued fraction, evaluated as Lentz does (Press et al., Numerical Recipes, 6.4).
    """
    if x <= 0.0 or x >= 1.0:
        return float(x >= 1.0)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
    if x < (a + 1.0) / (a + b + 2.0):
        return front * _fraction(a, b, x) / a
    return 1.0 - front * _fraction(b, a, 1.0 - x) / b


def _fraction(a: float, b: float, x: float) -> float:
    upper = 1.0
    lower = 1.0 / _away(1.0 - (a + b) * x / (a + 1.0))
    value = lower
    for m in range(1, _TERMS):
        twice = a + 2 * m
        even = m * (b - m) * x / ((twice - 1.0) * twice)
        odd = -(a + m) * (a + b + m) * x / (twice * (twice + 1.0))
        step = 1.0
        for term in (even, odd):
            lower = 1.0 / _away(1.0 + term * lower)
            upper = _away(1.0 + term / upper)
            step = upper * lower
            value *= step
        if abs(step - 1.0) < _CLOSE:
            break
    return value


def _away(value: float) -> float:
    """Keep a divisor from 0."""
    return value if abs(value) >= _SMALLEST else _SMALLEST
