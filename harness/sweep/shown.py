"""Shown: a sweep as a table, an answer in words, and JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ..gate import Exit
from ..noise import Quantile
from ..report.console import Line
from ..report.summary import NONE, latency_text, seconds_text
from .answer import RULE, Advice, Answer, errors_text
from .measuring import SHARES, Figures, Point
from .plan import FORMAT, Question, Task

TITLES = (
    "pool",
    "writes",
    "measured",
    "writes/s",
    "p50",
    "p95",
    "p99",
    "mean wait",
    "waited",
    "in use",
    "CPU",
    "errors",
)
_STYLES = {Advice.RAISE: "pass", Advice.KEEP: "pass", Advice.CANNOT_TELL: "unknown"}


@dataclass(frozen=True, kw_only=True)
class Result:
    """Everything that is shown.  ``left``: what was not played yet."""

    name: str
    question: Question
    points: tuple[Point, ...]
    figures: tuple[Figures, ...]
    answers: tuple[Answer, ...]
    left: tuple[Task, ...] = ()

    @property
    def conditions(self) -> tuple[str, ...]:
        """In the order in which the runs go through them."""
        return tuple(dict.fromkeys(one.condition for one in self.figures))

    def of(self, condition: str) -> list[Figures]:
        """The figures in one condition, sizes rising."""
        return sorted((one for one in self.figures if one.condition == condition), key=lambda one: one.size)

    @property
    def broken(self) -> tuple[str, ...]:
        """Promises broken at some size, each with it."""
        return tuple(f"{point.run}: {said}" for point in self.points for said in point.broken)

    @property
    def exit(self) -> Exit:
        """1 for a broken promise at any size, 3 while an answer is open, else 0."""
        if self.broken:
            return Exit.FAILED
        told = self.answers and all(one.advice is not Advice.CANNOT_TELL for one in self.answers)
        return Exit.PASSED if told and not self.left else Exit.INCONCLUSIVE


def cells(one: Figures, present: int) -> tuple[str, ...]:
    """One size as text; the present maximum is marked."""
    size = f"{one.size} (now)" if one.size == present else str(one.size)
    if one.problem and not one.writes:
        return size, *(NONE,) * (len(TITLES) - 1)
    quantiles = tuple(_quantile_text(one.quantiles.get(share)) for share in SHARES)
    wait, waited, full = one.mean_wait_seconds, one.waited_share, one.full_share
    most = max((pool.most_in_use for pool in one.pools), default=None)
    return (
        size,
        str(one.writes),
        seconds_text(one.seconds),
        f"{one.created_per_second:.0f}",
        *quantiles,
        NONE if wait is None else latency_text(wait),
        NONE if waited is None else f"{waited * 100:.0f} %",
        NONE if most is None or full is None else f"{most:g}, full {full * 100:.0f} %",
        NONE if one.cpu is None else f"{one.cpu.machine_share * 100:.0f} %",
        errors_text(one),
    )


def _quantile_text(found: Quantile | None) -> str:
    return NONE if found is None else latency_text(found.value)


def lines(result: Result) -> Iterable[Line]:
    """Yield a table a condition with its answer, what is broken, the rule, and the answers again as the last lines."""
    for condition in result.conditions:
        figures = result.of(condition)
        yield Line("")
        yield Line(f"{result.question.users} users, {condition}")
        rows = [TITLES, *(cells(one, result.question.present) for one in figures)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(TITLES))]
        for number, row in enumerate(rows):
            shown = "  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True))
            yield Line(f"  {shown}", style="" if number else "dim")
        for one in figures:
            if one.problem:
                yield Line(f"  {one.size}: ", one.problem, "unknown")
    yield Line("")
    yield Line(RULE, style="dim")
    for said in result.broken:
        yield Line("✗ broken: ", said, "fail")
    if result.left:
        yield Line("not played: ", ", ".join(str(task) for task in result.left), "unknown")
    for answer in result.answers:
        yield Line(f"{answer.condition}: ", answer.sentence, _STYLES[answer.advice])


def to_json(result: Result) -> dict[str, Any]:
    """Return everything; figures that are not known, or that JSON cannot hold, are null."""
    return {
        "format": FORMAT,
        "sweep": result.name,
        "question": result.question.to_json(),
        "exit_code": int(result.exit),
        "rule": RULE,
        "answers": [
            {
                "condition": one.condition,
                "advice": one.advice.value,
                "enough": one.enough,
                "sentence": one.sentence,
                "saturated": list(one.saturated),
            }
            for one in result.answers
        ],
        "figures": [_figures(one) for one in result.figures],
        "runs": [
            {
                "size": point.size,
                "round": point.round,
                "run": point.run,
                "verdict": point.verdict,
                "problem": point.problem,
                "broken": list(point.broken),
            }
            for point in result.points
        ],
        "left": [str(task) for task in result.left],
    }


def _figures(one: Figures) -> dict[str, Any]:
    cpu = one.cpu
    return {
        "size": one.size,
        "condition": one.condition,
        "exposure_seconds": one.seconds,
        "writes": one.writes,
        "writes_per_second": one.created_per_second,
        "errors": {str(status): count for status, count in one.errors.items()},
        "quantiles": {f"{share:g}": _quantile(one.quantiles.get(share)) for share in SHARES},
        "mean_wait_seconds": one.mean_wait_seconds,
        "waited_share": one.waited_share,
        "p99_wait_at_most_seconds": _finite(one.longest_wait_seconds),
        "full_share": one.full_share,
        "backends": one.backends if one.backends >= 0 else None,
        "cpu": None if cpu is None else dict(cpu.__dict__),
        "problem": one.problem,
    }


def _quantile(found: Quantile | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "seconds": found.value,
        "low_seconds": found.low,
        "high_seconds": _finite(found.high),
        "samples": found.samples,
    }


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def numbers() -> Sequence[int]:
    """The columns of the table that are set to the right."""
    return range(len(TITLES) - 1)
