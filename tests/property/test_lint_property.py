"""Ranges never promise more than holds: what the lint calls impossible is false of every value."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.lint.shapes import Range, arithmetic

BOUNDS = st.one_of(st.integers(-5, 5).map(float), st.sampled_from([-math.inf, math.inf]))
COMPARE: dict[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
}
COMPUTE: dict[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}


@st.composite
def ranges_with_a_value(draw: st.DrawFn) -> tuple[Range, float]:
    low, high = sorted((draw(BOUNDS), draw(BOUNDS)))
    value = draw(st.floats(max(low, -100.0), min(high, 100.0))) if low <= 100 and high >= -100 else 0.0
    return Range(min(low, value), max(high, value)), value


@pytest.mark.parametrize("word", COMPARE)
@given(left=ranges_with_a_value(), right=ranges_with_a_value())
def test_what_is_never_true_is_false_of_all_values(
    word: str, left: tuple[Range, float], right: tuple[Range, float]
) -> None:
    (one, value), (other, bound) = left, right
    if one.never(word, other):
        assert not COMPARE[word](value, bound)
    elif COMPARE[word](value, bound):
        narrowed = one.narrowed(word, other)
        assert narrowed.low <= value <= narrowed.high


@pytest.mark.parametrize("word", COMPUTE)
@given(left=ranges_with_a_value(), right=ranges_with_a_value())
def test_the_range_of_a_computation_holds_its_result(
    word: str, left: tuple[Range, float], right: tuple[Range, float]
) -> None:
    (one, value), (other, by) = left, right
    if word == "/" and by == 0:
        return
    made, result = arithmetic(word, one, other), COMPUTE[word](value, by)
    slack = 1e-9 * max(1.0, abs(result))
    assert made.low - slack <= result <= made.high + slack
