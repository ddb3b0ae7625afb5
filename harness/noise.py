"""Noise: what a difference between two sets of measurements is worth.  Pure, and without any randomness.

Latencies of one run are no independent draws: a disk that stalls for 70 ms hits every request under way.  So a quantile
gets the interval of Woodruff (1952) over blocks of time: how much the share of samples below it differs from block to
block says how far the quantile itself may be off.  Nothing is assumed about the shape of the distribution.

What differs from run to run and not within one (a neighbour on the machine, a colder cache) no interval of a single
run can show.  Against that stand a least effect that counts at all, and a *yardstick*: what the harness's own inserts,
which pass the service by, took in the same runs.
"""

from __future__ import annotations

import enum
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

Timed = tuple[float, float]
"""When something began (seconds of its run), and how long it took (seconds)."""

BLOCK_SECONDS = 0.5
"""Longer than a stall of a disk, and short enough that a phase of a few seconds has the blocks it needs."""
MIN_BLOCKS = 10
MIN_SAMPLES = 50
LEAST_EFFECT = 1.2
"""A quantile counts as changed from this ratio on; less is what two runs of the same code differ by."""
LEAST_SECONDS = 0.001
"""A quantile counts as changed from this difference on: a clock and an event loop have grains of their own."""
RESOLVED = 2.0
"""Where the intervals leave room for a change by more than this, nothing was shown to be the same."""
RESOLVED_SECONDS = 0.005
"""Nor does it matter below this: 1 ms may be 4 ms before anybody notices."""
SIGNIFICANCE = 0.01
_Z = 2.5758
"""Of the normal distribution, for the two-sided 99 % that all intervals here have."""


class Change(enum.StrEnum):
    """What became of a figure from one side to the other."""

    SAME = "same"
    BETTER = "better"
    WORSE = "worse"
    DOUBTFUL = "doubtful"
    """It looks worse, and what was measured cannot tell that from chance or from a slower machine."""
    UNJUDGED = "too little to say"


@dataclass(frozen=True, kw_only=True)
class Quantile:
    """One quantile with its 99 % interval; ``high`` is infinite where the samples do not bound it.

    ``value`` is exact for the samples, whatever the interval says about others like them.
    """

    share: float
    value: float
    low: float
    high: float
    samples: int

    @property
    def bounded(self) -> bool:
        """Tell whether the samples say at all how large it may be."""
        return math.isfinite(self.high)


def nearest_rank(ordered: Sequence[float], share: float) -> float:
    """The smallest of some rising values that at least ``share`` of them do not exceed; raises for none."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def quantile(samples: Sequence[Timed], share: float) -> Quantile | None:
    """The quantile of the times with its interval; None for fewer samples or blocks than an interval needs."""
    count = len(samples)
    if count < MIN_SAMPLES:
        return None
    ordered = sorted(seconds for _, seconds in samples)
    value = nearest_rank(ordered, share)
    blocks: defaultdict[int, list[int]] = defaultdict(lambda: [0, 0])
    for t, seconds in samples:
        block = blocks[math.floor(t / BLOCK_SECONDS)]
        block[0] += 1
        block[1] += seconds <= value
    if len(blocks) < MIN_BLOCKS:
        return None
    below = sum(block[1] for block in blocks.values()) / count
    spread = sum((block[1] - below * block[0]) ** 2 for block in blocks.values())
    by_block = len(blocks) / (len(blocks) - 1) * spread / count**2
    # Blocks that happen to agree must not make it better than independent draws would be.
    error = math.sqrt(max(by_block, share * (1 - share) / count)) * _t(len(blocks) - 1)
    return Quantile(
        share=share,
        value=value,
        low=_at(ordered, share - error, below=True),
        high=_at(ordered, share + error, below=False),
        samples=count,
    )


def _at(ordered: Sequence[float], share: float, *, below: bool) -> float:
    """The value at a share of the samples, on the careful side of it."""
    if below:
        rank = math.floor(share * len(ordered)) - 1
        return ordered[rank] if rank >= 0 else 0.0
    rank = math.ceil(share * len(ordered))
    return ordered[rank] if share < 1 and rank < len(ordered) else math.inf


def _t(freedom: int) -> float:
    """Student's t for 99 %, by the Cornish-Fisher expansion: 1 % off with 9 degrees of freedom, less with more."""
    z = _Z
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)


@dataclass(frozen=True)
class Ratio:
    """How many times as large the second of two figures is, from ``low`` to ``high`` (infinite: not bounded)."""

    value: float
    low: float
    high: float

    def over(self, other: Ratio) -> Ratio:
        """This ratio beside another one: how many times as much it is the larger."""
        return Ratio(_divided(self.value, other.value), _divided(self.low, other.high), _divided(self.high, other.low))


def ratio_of(first: Quantile, second: Quantile) -> Ratio:
    """The second quantile in terms of the first; the interval holds every ratio that both intervals allow."""
    return Ratio(
        _divided(second.value, first.value), _divided(second.low, first.high), _divided(second.high, first.low)
    )


def _divided(numerator: float, denominator: float) -> float:
    if math.isinf(denominator):
        return 0.0
    return numerator / denominator if denominator > 0 else math.inf


def judge_quantiles(first: Quantile | None, second: Quantile | None, yardstick: Ratio | None = None) -> Change:
    """Say what became of a quantile; larger is worse.

    ``yardstick`` is how many times as long the harness's own inserts took on the second side.  Where they took longer
    as well, what grew no more than they may have is doubtful: the machine may be all that was slower.
    """
    if first is None or second is None:
        return Change.UNJUDGED
    ratio = ratio_of(first, second)
    if ratio.value >= LEAST_EFFECT and second.value - first.value >= LEAST_SECONDS and ratio.low > 1:
        slower = yardstick is not None and (yardstick.low > 1 or yardstick.value >= LEAST_EFFECT)
        explained = slower and yardstick is not None and ratio.low <= yardstick.high
        return Change.DOUBTFUL if explained else Change.WORSE
    if ratio.value <= 1 / LEAST_EFFECT and first.value - second.value >= LEAST_SECONDS and ratio.high < 1:
        return Change.BETTER
    resolved = ratio.high <= RESOLVED or second.high - first.low <= RESOLVED_SECONDS
    return Change.SAME if resolved else Change.UNJUDGED


def more_often(first: int, of_first: int, second: int, of_second: int) -> float:
    """Fisher's exact test, one-sided: how likely the second share would be as large as it is if both were the same.

    1 where a side has nothing.
    """
    if min(of_first, of_second) <= 0:
        return 1.0
    hits, total = first + second, of_first + of_second
    fixed = _choose(total, of_second)
    chance = 0.0
    for count in range(second, min(hits, of_second) + 1):
        if hits - count > of_first:
            continue
        term = math.exp(_choose(hits, count) + _choose(total - hits, of_second - count) - fixed)
        chance += term
        if term < chance * 1e-12:
            break
    return min(1.0, chance)


def _choose(total: int, taken: int) -> float:
    """The logarithm of the number of ways to take some of a total."""
    if not 0 <= taken <= total:
        return -math.inf
    return math.lgamma(total + 1) - math.lgamma(taken + 1) - math.lgamma(total - taken + 1)


def mostly_up(ups: int, downs: int) -> float:
    """The sign test, one-sided: how likely so many of the pairs would go up if each went up or down by chance."""
    pairs = ups + downs
    return sum(math.comb(pairs, count) for count in range(ups, pairs + 1)) / 2**pairs if pairs else 1.0
