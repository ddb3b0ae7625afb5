"""What a difference between measurements is worth: intervals that hold, exact tests, and no alarm on chance."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.checkers._common import quantile as judged_quantile
from harness.noise import (
    BLOCK_SECONDS,
    MIN_BLOCKS,
    Change,
    Quantile,
    Ratio,
    Timed,
    judge_quantiles,
    more_often,
    mostly_up,
    nearest_rank,
    quantile,
    ratio_of,
)


def latencies(seed: int, count: int = 3000, *, scale: float = 1.0, seconds: float = 20.0) -> list[Timed]:
    chance = random.Random(seed)
    return [(seconds * at / count, chance.lognormvariate(-5, 0.4) * scale) for at in range(count)]


def found(value: float, low: float, high: float) -> Quantile:
    return Quantile(share=0.5, value=value, low=low, high=high, samples=500)


def test_a_quantile_is_the_nearest_rank_and_lies_in_its_interval() -> None:
    samples = [(at / 100, float(at + 1)) for at in range(1000)]
    middle = quantile(samples, 0.5)
    assert middle is not None
    assert middle.value == nearest_rank([seconds for _, seconds in samples], 0.5) == 500.0
    assert middle.low <= middle.value <= middle.high


def test_the_interval_holds_the_true_quantile_about_as_often_as_it_says() -> None:
    true = math.exp(-5)
    held = [one.low <= true <= one.high for seed in range(200) if (one := quantile(latencies(seed, 600), 0.5))]
    assert len(held) == 200
    # 99 % is promised; 95 % of 200 is further from that than chance goes.
    assert sum(held) >= 190


def test_samples_that_hang_together_make_the_interval_wider() -> None:
    alone = latencies(7, 1000)
    # The same values in rising order: each block of time has its own, as when something slows all that are under way.
    rising = sorted(seconds for _, seconds in alone)
    together = [(t, seconds) for (t, _), seconds in zip(alone, rising, strict=True)]
    one, other = quantile(alone, 0.5), quantile(together, 0.5)
    assert one is not None
    assert other is not None
    assert one.value == other.value
    assert other.high - other.low > 3 * (one.high - one.low)


@pytest.mark.parametrize(
    "samples",
    [
        latencies(1, 49),
        latencies(1, 3000, seconds=BLOCK_SECONDS * (MIN_BLOCKS - 1)),
        [],
    ],
    ids=["too few samples", "too few blocks", "none"],
)
def test_too_little_has_no_quantile(samples: list[Timed]) -> None:
    assert quantile(samples, 0.5) is None


def test_a_rare_quantile_of_few_samples_has_no_upper_end() -> None:
    rare = quantile(latencies(1, 600), 0.99)
    assert rare is not None
    assert not rare.bounded
    assert quantile(latencies(1, 3000), 0.99).bounded  # type: ignore[union-attr]


@pytest.mark.parametrize("share", [0.5, 0.95, 0.99])
def test_two_runs_of_the_same_are_never_worse_than_each_other(share: float) -> None:
    changes = [
        judge_quantiles(quantile(latencies(seed), share), quantile(latencies(1000 + seed), share)) for seed in range(60)
    ]
    assert Change.WORSE not in changes
    assert Change.BETTER not in changes
    assert changes.count(Change.SAME) >= 55


@pytest.mark.parametrize("share", [0.5, 0.95])
def test_half_as_long_again_is_worse_and_the_other_way_round_better(share: float) -> None:
    one, other = quantile(latencies(1), share), quantile(latencies(2, scale=1.5), share)
    assert judge_quantiles(one, other) is Change.WORSE
    assert judge_quantiles(other, one) is Change.BETTER


@pytest.mark.parametrize(
    ("first", "second", "change"),
    [
        (found(0.010, 0.0099, 0.0101), found(0.0119, 0.0118, 0.0120), Change.SAME),
        (found(0.010, 0.0099, 0.0101), found(0.0121, 0.0120, 0.0122), Change.WORSE),
        (found(0.0020, 0.0019, 0.0021), found(0.0029, 0.0028, 0.0030), Change.SAME),
        (found(0.010, 0.005, 0.013), found(0.0150, 0.0125, 0.0180), Change.UNJUDGED),
        (found(0.010, 0.008, 0.011), found(0.0110, 0.0100, 0.0150), Change.SAME),
        (found(0.010, 0.008, 0.011), found(0.0110, 0.0100, math.inf), Change.UNJUDGED),
        (None, found(0.01, 0.01, 0.01), Change.UNJUDGED),
    ],
    ids=["under 20 %", "over it", "under 1 ms", "overlapping, wide", "overlapping, narrow", "unbounded", "unknown"],
)
def test_the_least_effect_and_the_intervals_decide(first: Quantile | None, second: Quantile, change: Change) -> None:
    assert judge_quantiles(first, second) is change


@pytest.mark.parametrize(
    ("yardstick", "change"),
    [
        (None, Change.WORSE),
        (Ratio(1.0, 0.9, 1.6), Change.WORSE),
        (Ratio(1.5, 1.2, 1.8), Change.DOUBTFUL),
        (Ratio(1.2, 1.1, 1.3), Change.WORSE),
    ],
    ids=["nobody knows", "the machine was not slower", "it was, as much", "it was, by less"],
)
def test_what_a_slower_machine_may_have_done_is_doubtful(yardstick: Ratio | None, change: Change) -> None:
    first, second = found(0.010, 0.0099, 0.0101), found(0.0150, 0.0145, 0.0155)
    assert judge_quantiles(first, second, yardstick) is change


def test_a_ratio_holds_all_that_both_intervals_allow() -> None:
    ratio = ratio_of(found(2.0, 1.0, 4.0), found(6.0, 5.0, 8.0))
    assert (ratio.value, ratio.low, ratio.high) == (3.0, 1.25, 8.0)
    assert ratio_of(found(2.0, 0.0, math.inf), found(6.0, 5.0, 8.0)).low == 0.0
    assert math.isinf(ratio_of(found(2.0, 0.0, 4.0), found(6.0, 5.0, 8.0)).high)
    again = ratio.over(Ratio(1.5, 1.0, 2.0))
    assert (again.value, again.low, again.high) == (2.0, 0.625, 8.0)


def test_more_often_is_fishers_exact_test() -> None:
    # Fisher's tea: 3 of 4 against 1 of 4 is (16 + 1) / 70.
    assert more_often(1, 4, 3, 4) == pytest.approx(17 / 70)
    assert more_often(0, 1000, 10, 1000) < 0.001
    assert more_often(1, 1000, 2, 1000) > 0.4
    assert more_often(0, 0, 5, 5) == more_often(5, 5, 0, 0) == 1.0
    assert more_often(0, 10**6, 0, 10**6) == pytest.approx(1.0)


@given(st.integers(0, 30), st.integers(1, 30), st.integers(0, 30), st.integers(1, 30))
@settings(max_examples=200, deadline=None)
def test_more_often_is_a_chance_and_falls_with_what_was_counted(a: int, n: int, b: int, m: int) -> None:
    first, second = min(a, n), min(b, m)
    chance = more_often(first, n, second, m)
    assert 0.0 <= chance <= 1.0
    if second < m:
        assert more_often(first, n, second + 1, m) <= chance + 1e-9


def test_mostly_up_is_the_sign_test() -> None:
    assert mostly_up(7, 0) == pytest.approx(1 / 128)
    assert mostly_up(5, 5) == pytest.approx(0.623, abs=0.001)
    assert mostly_up(0, 0) == 1.0


def test_the_quantile_that_judges_is_the_next_larger_one_where_the_share_is_a_whole_number() -> None:
    hundred = [float(number) for number in range(1, 101)]
    assert (nearest_rank(hundred, 0.99), judged_quantile(hundred, 0.99)) == (99.0, 100.0)
    assert nearest_rank(hundred[:99], 0.99) == judged_quantile(hundred[:99], 0.99) == 99.0
    assert nearest_rank(hundred[:7], 0.5) == judged_quantile(hundred[:7], 0.5) == 4.0
