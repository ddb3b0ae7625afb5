"""Rows: the figures of a comparison, each with what became of it, and the rules that say so but for verdicts.

Latencies are judged by :mod:`harness.noise`.  A clock is one measurement a fault and run, so that a longer one is
doubtful and never worse: only many faults of two suites together can say that (:mod:`harness.compare.judging`).
"""

from __future__ import annotations

import enum
import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from ..noise import (
    LEAST_EFFECT,
    LEAST_SECONDS,
    Change,
    Quantile,
    Ratio,
    judge_quantiles,
    more_often,
    ratio_of,
)
from ..report import summary as text
from ..report.faultnames import fault_name
from ..samplers import DLQ_INTERVAL_SECONDS, METRICS_INTERVAL_SECONDS
from .profile import SHARES, Profile

CLOCK_RATIO = 2.0
CLOCK_SECONDS = 1.0
"""A clock is doubtful when it is so many times as long, and longer by so many seconds."""
ANSWERS_SIGNIFICANCE = 0.001
"""Of a share of answers: two suites have hundreds of them, and what hits one request hits its neighbours."""
LEAST_SHARE = 0.01
"""A share of answers inside a blast radius counts as changed from one of a hundred on."""
_ENDS = 2
"""A time between two samples may be off by an interval at either end."""


class Group(enum.StrEnum):
    """What a row is about."""

    VERDICT = "verdict"
    CLOCKS = "clocks"
    LATENCY = "latency outside blast radii"
    ISOLATION = "isolation (months that the faults spare)"
    ANSWERS = "answers"
    METRICS = "metrics"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One figure of both sides, as text and as number; ``change`` is None where it is only shown."""

    group: Group
    name: str
    first: str
    second: str
    change: Change | None = None
    why: str = ""
    values: tuple[float | None, float | None] = (None, None)


def shared_name(share: float) -> str:
    """``p99``."""
    return f"p{share * 100:g}"


def yardstick_of(first: Profile, second: Profile, share: float) -> Ratio | None:
    """How many times as long the harness's own inserts took on the second side; None where nobody knows.

    There are far fewer of them than writes, so that their 95th hundredth stands for all that is rarer.
    """
    at = min(share, 0.95)
    one, other = first.canary.get(at), second.canary.get(at)
    return None if one is None or other is None else ratio_of(one, other)


def latency_rows(first: Profile, second: Profile, barred: str) -> Iterator[Row]:
    """The quantiles outside every blast radius, and the harness's own inserts beside them."""
    for share in SHARES:
        one, other = first.outside.get(share), second.outside.get(share)
        yardstick = yardstick_of(first, second, share)
        change = Change.UNJUDGED if barred else judge_quantiles(one, other, yardstick)
        why = barred or _why(one, other, change, yardstick)
        yield _timed(Group.LATENCY, shared_name(share), one, other, change, why)
    one, other = first.canary.get(0.5), second.canary.get(0.5)
    yield _timed(Group.LATENCY, "p50 of the harness's own inserts", one, other, None, "the service apart")


def _timed(
    group: Group, name: str, one: Quantile | None, other: Quantile | None, change: Change | None, why: str
) -> Row:
    return Row(
        group=group,
        name=name,
        first=quantile_text(one),
        second=quantile_text(other),
        change=change,
        why=why,
        values=(one.value if one else None, other.value if other else None),
    )


def quantile_text(found: Quantile | None) -> str:
    """``4.2 ms (3.9 to 4.6 ms)``; an interval without an upper end says so."""
    if found is None:
        return text.NONE
    high = text.latency_text(found.high) if found.bounded else "?"
    return f"{text.latency_text(found.value)} ({text.latency_text(found.low)} to {high})"


def _why(one: Quantile | None, other: Quantile | None, change: Change, yardstick: Ratio | None) -> str:
    if one is None or other is None:
        return "too few samples"
    if change is Change.UNJUDGED:
        return f"{one.samples} and {other.samples} samples leave room for more than twice as long"
    said = f"{ratio_of(one, other).value:.2f} times as long"
    if change is Change.DOUBTFUL and yardstick is not None:
        return f"{said}, but the harness's own inserts took {yardstick.value:.2f} times as long as well"
    return said


def isolation_rows(first: Profile, second: Profile, barred: str) -> Iterator[Row]:
    """How many times as long the spared months' writes took under the faults as before them."""
    for share in SHARES:
        ratios = (_isolation(first, share), _isolation(second, share))
        if ratios == (None, None):
            continue
        change, why = (Change.UNJUDGED, barred) if barred else _isolated(first, second, share)
        one, other = ratios
        yield Row(
            group=Group.ISOLATION,
            name=f"{shared_name(share)} under the faults / before them",
            first=_ratio_text(first, share, one),
            second=_ratio_text(second, share, other),
            change=change,
            why=why,
            values=(one.value if one else None, other.value if other else None),
        )


def _isolation(profile: Profile, share: float) -> Ratio | None:
    control, under = profile.control.get(share), profile.under.get(share)
    return None if control is None or under is None else ratio_of(control, under)


def _ratio_text(profile: Profile, share: float, ratio: Ratio | None) -> str:
    control, under = profile.control.get(share), profile.under.get(share)
    if ratio is None or control is None or under is None:
        return text.NONE
    return f"{ratio.value:.2f} ({text.latency_text(under.value)} / {text.latency_text(control.value)})"


def _isolated(first: Profile, second: Profile, share: float) -> tuple[Change, str]:
    one, other = _isolation(first, share), _isolation(second, share)
    if one is None or other is None:
        return Change.UNJUDGED, "too few samples"
    grown = other.over(one)
    under, control = second.under[share], second.control[share]
    added = under.value - control.value if under is not None and control is not None else 0.0
    if grown.value >= LEAST_EFFECT and other.value >= LEAST_EFFECT and grown.low > 1 and added >= LEAST_SECONDS:
        return Change.WORSE, f"the faults reach the other months {grown.value:.2f} times as much"
    if grown.value <= 1 / LEAST_EFFECT and grown.high < 1:
        return Change.BETTER, ""
    # Two ratios of two intervals each: four uncertainties, so that twice as much often stays possible.
    return (Change.SAME, "") if grown.high <= 2 * LEAST_EFFECT else (Change.UNJUDGED, "the intervals are too wide")


def clock_rows(first: Profile, second: Profile, barred: str) -> Iterator[Row]:
    """The four clocks of each fault."""
    pairs = list(itertools.zip_longest(first.judged.clocks, second.judged.clocks))
    for one, other in pairs:
        named = one if one is not None else other
        fault = fault_name(named.fault, named.number, len(pairs)) if named is not None else ""
        before = text.clock_values(one) if one is not None else (None,) * len(text.CLOCK_NAMES)
        after = text.clock_values(other) if other is not None else (None,) * len(text.CLOCK_NAMES)
        for clock, left, right in zip(text.CLOCK_NAMES, before, after, strict=True):
            if left is None and right is None:
                continue
            change, why = (Change.UNJUDGED, barred) if barred else judge_clock(clock, left, right, first)
            yield Row(
                group=Group.CLOCKS,
                name=f"{clock} of {fault}",
                first=text.seconds_text(left),
                second=text.seconds_text(right),
                change=change,
                why=why,
                values=(left, right),
            )


def clock_grain_seconds(clock: str, profile: Profile) -> float:
    """How far a clock may be off since what ends it is looked for now and then: samples, or requests at an edge."""
    if clock == "detect":
        return _ENDS * METRICS_INTERVAL_SECONDS
    if clock == "drain":
        return _ENDS * DLQ_INTERVAL_SECONDS
    load = profile.judged.load
    pace = float(load.get("edge_rate_per_writer") or 0.0) * float(load.get("writers_per_month") or 0.0)
    return _ENDS / pace if pace > 0 else 0.0


def judge_clock(clock: str, before: float | None, after: float | None, profile: Profile) -> tuple[Change, str]:
    """Say what one clock of one run each can say, which is little."""
    if before is None:
        return Change.UNJUDGED, "it came on one side only"
    if after is None:
        return Change.DOUBTFUL, "it never came; one run each says little about a clock"
    grain = clock_grain_seconds(clock, profile)
    if abs(after - before) <= grain:
        return Change.SAME, f"within the {grain:.2g} s by which it is seen"
    if after - before >= CLOCK_SECONDS and after >= CLOCK_RATIO * before:
        return Change.DOUBTFUL, "one run each says little about a clock: repeat both"
    return Change.UNJUDGED, "one run each says little about a clock"


def answer_rows(first: Profile, second: Profile, barred: str) -> Iterator[Row]:
    """Shares of the answers to first sends, outside every blast radius and inside one; edges are in neither."""
    if first.answers is None or second.answers is None:
        return
    for place, one, other in (
        ("outside", first.answers.outside, second.answers.outside),
        ("inside", first.answers.inside, second.answers.inside),
    ):
        if not one and not other:
            continue
        for status in sorted({201, 202, 503, *one, *other}):
            change, why = _answered(place, status, one, other, barred)
            name = f"{status or 'no answer'} {place}"
            values = (_share(one, status), _share(other, status))
            shown = (_share_text(one, status), _share_text(other, status))
            yield Row(
                group=Group.ANSWERS,
                name=name,
                first=shown[0],
                second=shown[1],
                change=change,
                why=why,
                values=values,
            )


_GOOD = {"outside": frozenset({201}), "inside": frozenset({201, 202})}
"""What an event is answered by that the service takes: whatever becomes more than that is worse."""


def _answered(
    place: str, status: int, one: Counter[int], other: Counter[int], barred: str
) -> tuple[Change | None, str]:
    if status in _GOOD[place]:
        return None, ""
    if barred:
        return Change.UNJUDGED, barred
    if not one.total() or not other.total():
        return Change.UNJUDGED, "nothing was sent there on one side"
    counts = (one[status], one.total(), other[status], other.total())
    back = (counts[2], counts[3], counts[0], counts[1])
    if place == "inside" and counts[0] and counts[2]:
        return None, "how often depends on when the fault came"
    said = f"{counts[2]} of {counts[3]} where {counts[0]} of {counts[1]} were"
    if _more(counts, place):
        return Change.WORSE, said
    return (Change.BETTER, said) if _more(back, place) else (Change.SAME, "")


def _more(counts: tuple[int, int, int, int], place: str) -> bool:
    """Tell whether the second share is surely the larger, inside a blast radius by one of a hundred at least."""
    least = LEAST_SHARE if place == "inside" else 0.0
    return counts[2] / counts[3] - counts[0] / counts[1] > least and more_often(*counts) < ANSWERS_SIGNIFICANCE


def _share(counts: Counter[int], status: int) -> float | None:
    return counts[status] / counts.total() if counts.total() else None


def _share_text(counts: Counter[int], status: int) -> str:
    share = _share(counts, status)
    return text.NONE if share is None else f"{share * 100:.2f} % ({counts[status]})"


def metric_rows(first: Profile, second: Profile) -> Iterator[Row]:
    """The key series side by side: they follow from how long a fault was on, so that nothing is made of them."""
    for name in dict.fromkeys([*first.metrics, *second.metrics]):
        values = (first.metrics.get(name), second.metrics.get(name))
        if values != (None, None):
            shown = tuple(text.NONE if value is None else text.figure_text(value) for value in values)
            yield Row(group=Group.METRICS, name=name, first=shown[0], second=shown[1], values=values)
