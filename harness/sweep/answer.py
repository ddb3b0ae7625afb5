"""Answer: "should we raise the maximum?", by a stated rule, or that it cannot be told, with the reason.

Of the sizes that lost nothing and refused nothing, *enough* is the smallest whose p99 and whose mean wait for a
connection are within noise of the best (:mod:`harness.noise`).  Raise when that is more than the present maximum,
unless the least p99 is at the present maximum or below it.  It cannot be told while the present size, or every larger
one, has no figures that count, or while the samples leave open whether the present size is slower than the best.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..noise import LEAST_EFFECT, LEAST_SECONDS, Change, judge_quantiles
from ..report.summary import latency_text
from .measuring import MOST_FALLBACKS, Figures

RULE = (
    "rule: of the sizes without errors, enough is the smallest whose p99 is not worse than the least one beyond noise "
    f"and whose mean wait is at most {LEAST_EFFECT:g} times the least and {LEAST_SECONDS * 1000:g} ms; raise when that "
    f"is more than the present maximum. Errors: any refusal, no answer, fallbacks (202) from {MOST_FALLBACKS:.1%} on."
)
_JUDGED = 0.99
SATURATED = 0.9
"""From this share on a resource is what limits."""


class Advice(enum.StrEnum):
    """What to do about the maximum."""

    RAISE = "raise"
    KEEP = "keep"
    CANNOT_TELL = "cannot tell"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The answer in one condition; ``enough`` is None where it cannot be told."""

    condition: str
    advice: Advice
    sentence: str
    enough: int | None = None
    saturated: tuple[str, ...] = ()


def answers_of(figures: Sequence[Figures], present: int, connection_limit: int | None) -> tuple[Answer, ...]:
    """Answer in every condition."""
    names = dict.fromkeys(one.condition for one in figures)
    return tuple(answer([one for one in figures if one.condition == name], present, connection_limit) for name in names)


def answer(figures: Sequence[Figures], present: int, connection_limit: int | None) -> Answer:
    """Answer in one condition, from the figures of all sizes in it."""
    ordered = sorted(figures, key=lambda one: one.size)
    condition = ordered[0].condition if ordered else ""
    now = next((one for one in ordered if one.size == present), None)
    if now is None or now.problem:
        why = now.problem if now is not None else "it was not played"
        return _cannot(condition, f"the present maximum of {present} has no figures that count: {why}")
    if now.clean and _p99(now) is None:
        return _cannot(condition, f"the present maximum of {present} was measured too little for a p99")
    sound = [one for one in ordered if not one.problem and one.clean and not one.broken and _p99(one) is not None]
    if not any(one.size > present for one in sound):
        failed = [one for one in ordered if one.size > present]
        why = _why_not(failed[0]) if failed else "none was played"
        return _cannot(condition, f"no size above {present} has figures that count ({why})")
    best = min(sound, key=quantile_value)
    least_wait = min((wait for one in sound if (wait := one.mean_wait_seconds) is not None), default=None)
    enough = next((one for one in sound if _is_enough(one, best, least_wait)), None)
    if best.size <= present:
        enough = enough if enough is not None and enough.size <= present else best
    elif now in sound and _change(best, now) is Change.UNJUDGED and _waits_little(now, least_wait):
        return _cannot(condition, f"the samples leave open whether {present} is slower than {best.size}; ask for more")
    if enough is None:
        return _cannot(condition, f"the least p99 is at {best.size}, the least waits are not: no size has both")
    if enough.size <= present:
        return _keep(enough, now, best, sound[-1], connection_limit)
    return _raise(enough, now, ordered, connection_limit)


def _change(best: Figures, one: Figures) -> Change:
    return Change.SAME if one is best else judge_quantiles(best.quantiles[_JUDGED], one.quantiles[_JUDGED])


def _is_enough(one: Figures, best: Figures, least_wait: float | None) -> bool:
    return _change(best, one) in (Change.SAME, Change.BETTER) and _waits_little(one, least_wait)


def _cannot(condition: str, why: str) -> Answer:
    return Answer(condition=condition, advice=Advice.CANNOT_TELL, sentence=f"Cannot tell: {why}.")


def _p99(one: Figures) -> float | None:
    found = one.quantiles.get(_JUDGED)
    return found.value if found is not None else None


def quantile_value(one: Figures) -> float:
    """The p99 in seconds; infinite where there is none."""
    value = _p99(one)
    return math.inf if value is None else value


def _why_not(one: Figures) -> str:
    if one.problem:
        return f"{one.size}: {one.problem}"
    if one.broken:
        return f"{one.size}: a promise is broken: {one.broken[0]}"
    return f"{one.size}: too few samples" if one.clean else f"{one.size}: {errors_text(one)} instead of 201"


def errors_text(one: Figures) -> str:
    """``12 × 503, 3 × no answer``; a dash for none."""
    return ", ".join(f"{count} × {status or 'no answer'}" for status, count in one.errors.items()) or "–"


def _waits_little(one: Figures, least: float | None) -> bool:
    wait = one.mean_wait_seconds
    return least is None or wait is None or wait <= least * LEAST_EFFECT + LEAST_SECONDS


def _keep(enough: Figures, now: Figures, best: Figures, largest: Figures, connection_limit: int | None) -> Answer:
    limits = saturated(enough, connection_limit)
    parts = [f"No: raising {now.size} to {largest.size} brings nothing beyond noise"]
    parts[0] += f"; {enough.size} are enough." if enough.size < now.size else "."
    parts.append(f"At {enough.size} {_figures_text(enough)}, at {largest.size} {_figures_text(largest)}.")
    if not now.clean:
        parts.append(f"Yet at {now.size} there were errors: {errors_text(now)} instead of 201.")
    if best.size < now.size and _change(best, now) is Change.WORSE:
        parts.append(f"Fewer are even faster: at {best.size} {_figures_text(best)}.")
    return Answer(
        condition=enough.condition,
        advice=Advice.KEEP,
        sentence=" ".join([*parts, *_limits(limits)]),
        enough=enough.size,
        saturated=limits,
    )


def _raise(enough: Figures, now: Figures, ordered: Sequence[Figures], connection_limit: int | None) -> Answer:
    limits = saturated(enough, connection_limit)
    errors = "" if now.clean else f", {errors_text(now)} instead of 201"
    parts = [f"Yes, to {enough.size}: at {now.size} {_figures_text(now)}{errors}, at {enough.size} "]
    parts[0] += f"{_figures_text(enough)}."
    lost = [one for one in ordered if now.size < one.size < enough.size and one.problem]
    if lost:
        parts.append(f"{lost[0].size} may be enough, but has no figures that count: {lost[0].problem}.")
    if enough is ordered[-1]:
        parts.append("Larger ones were not tried.")
    return Answer(
        condition=enough.condition,
        advice=Advice.RAISE,
        sentence=" ".join([*parts, *_limits(limits)]),
        enough=enough.size,
        saturated=limits,
    )


def _limits(limits: Sequence[str]) -> list[str]:
    return [f"What limits it there: {'; '.join(limits)}."] if limits else []


def _figures_text(one: Figures) -> str:
    wait = one.mean_wait_seconds
    waits = f", mean wait {latency_text(wait)}" if wait is not None else ", waits unknown"
    p99 = _p99(one)
    return f"p99 {latency_text(p99) if p99 is not None else '–'}{waits}"


def saturated(one: Figures, connection_limit: int | None) -> tuple[str, ...]:
    """What was used up at one size, as phrases; none where nothing that is measured was."""
    found = []
    if one.full_share is not None and one.full_share >= SATURATED:
        found.append(f"the pool: all {one.size} in use in {one.full_share * 100:.0f} % of the scrapes")
    cpu = one.cpu
    if cpu is not None and cpu.machine_share >= SATURATED:
        # The load is made here as well; where this is most of it, the machine was too small or not left alone.
        rest = max(0.0, cpu.cores * cpu.machine_share - cpu.postgres_cores - cpu.service_cores)
        parts = (
            f"PostgreSQL {cpu.postgres_cores:.2f} of them, the service {cpu.service_cores:.2f}, "
            f"all else, the load among it, {rest:.2f}"
        )
        found.append(f"the machine's {cpu.cores} cores, {cpu.machine_share * 100:.0f} % busy ({parts})")
    elif cpu is not None and cpu.service_cores >= SATURATED:
        found.append(f"the service, which computes {cpu.service_cores:.2f} cores: one thread can have no more than 1")
    if connection_limit is not None and one.backends >= connection_limit * SATURATED:
        found.append(f"PostgreSQL's connections: {one.backends} of the {connection_limit} that it allows")
    return tuple(found)
