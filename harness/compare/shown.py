"""Shown: a comparison as lines for people and as JSON for programs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from .. import noise
from ..gate import Exit
from ..noise import Change
from ..report.console import Line
from ..report.summary import moment_text, shown_path
from .judging import Comparison, Pair, listed
from .profile import Profile
from .rows import CLOCK_RATIO, CLOCK_SECONDS, Group, Row

FORMAT = 1
"""Version of the JSON; it grows when a field changes its meaning or goes."""

_WORDS = {
    Change.SAME: ("=", "same", "dim"),
    Change.BETTER: ("✓", "better", "pass"),
    Change.WORSE: ("✗", "WORSE", "fail"),
    Change.DOUBTFUL: ("?", "doubtful", "unknown"),
    Change.UNJUDGED: ("·", "not judged", "dim"),
    None: (" ", "", ""),
}
_LATENCY_NOISE = (
    f"noise: 99 % intervals of Woodruff over blocks of {noise.BLOCK_SECONDS:g} s; a quantile is worse when the "
    f"intervals part, by {(noise.LEAST_EFFECT - 1) * 100:.0f} % and {noise.LEAST_SECONDS * 1000:g} ms at least, and by "
    "more than the harness's own inserts were slower; same: less than that, and surely not more than twice as long."
)
_CLOCK_NOISE = (
    f"clocks: one a fault and run, seen by samples; {CLOCK_RATIO:g} times as long and {CLOCK_SECONDS:g} s more is "
    "doubtful, never worse; over two suites the sign test tells."
)


def lines(comparison: Comparison, *, everything: bool = False) -> Iterable[Line]:
    """Yield all rows of a single pair; of suites a line a scenario, and the rows that changed (or ``everything``)."""
    pairing = comparison.pairing
    yield Line("A  ", shown_path(pairing.first.folder))
    yield Line("B  ", shown_path(pairing.second.folder))
    single = len(comparison.pairs) == 1
    if single:
        yield from _pair_lines(comparison.pairs[0], everything=True)
    else:
        yield from _suite_lines(comparison, everything=everything)
    for names, which in ((pairing.only_first, "only in A"), (pairing.only_second, "only in B")):
        if names:
            yield Line(f"{which}: ", ", ".join(names), "unknown")
    yield Line("")
    for said in (_LATENCY_NOISE, _CLOCK_NOISE):
        yield Line(said, style="dim")
    yield Line("")
    yield from conclusion(comparison)


def conclusion(comparison: Comparison) -> Iterable[Line]:
    """Yield what got worse, what is doubtful, and the last line that says which of both decides."""
    for change in (Change.WORSE, Change.DOUBTFUL):
        symbol, word, style = _WORDS[change]
        for scenario, row in comparison.named(change):
            where = f"{scenario}: " if scenario else ""
            why = f" ({row.why})" if row.why else ""
            yield Line(f"{symbol} {word}", f"  {where}{row.name}: {row.first} → {row.second}{why}", style)
    if broken := [pair.scenario for pair in comparison.pairs if pair.still_broken]:
        yield Line("✗ broken on both sides: ", listed(broken), "fail")
    worse = len(comparison.named(Change.WORSE))
    match comparison.exit:
        case Exit.FAILED:
            things = "1 thing" if worse == 1 else f"{worse} things"
            yield Line("✗ WORSE", f"  {things} got worse beyond noise", "fail")
        case Exit.INCONCLUSIVE:
            yield Line("? TOO LITTLE TO SAY", f"  {'; '.join(comparison.unsettled)}", "unknown")
        case _:
            judged = sum(row.change is not None and row.change is not Change.UNJUDGED for row in comparison.rows)
            yield Line("✓ NOTHING GOT WORSE", f"  beyond noise, in {judged} judged figures", "pass")


def _pair_lines(pair: Pair, *, everything: bool) -> Iterable[Line]:
    yield Line("")
    yield Line(pair.scenario)
    for side, profile in (("A", pair.first), ("B", pair.second)):
        if profile is not None:
            yield Line(f"  {side}  ", _side_text(profile), "dim")
    for said in pair.differences:
        yield Line("  differs: ", said, "unknown")
    if pair.first is not None and pair.first.problem:
        yield Line("  A: ", pair.first.problem, "unknown")
    if pair.second is not None and pair.second.problem:
        yield Line("  B: ", pair.second.problem, "unknown")
    yield from _table([row for row in pair.rows if everything or row.change in _NOTABLE])


_NOTABLE = (Change.WORSE, Change.DOUBTFUL, Change.BETTER)


def _side_text(profile: Profile) -> str:
    judged = profile.judged
    return f"{judged.run} · {moment_text(judged.started_at)} · target {judged.target} · {judged.operations} operations"


def _suite_lines(comparison: Comparison, *, everything: bool) -> Iterable[Line]:
    yield Line("")
    width = max(len(pair.scenario) for pair in comparison.pairs)
    for pair in comparison.pairs:
        row = pair.rows[0]
        changes = [each.change for each in pair.rows]
        worst = next((one for one in (Change.WORSE, Change.DOUBTFUL, Change.BETTER) if one in changes), Change.SAME)
        symbol, word, style = _WORDS[worst]
        verdicts = row.first if row.first == row.second else f"{row.first} → {row.second}"
        yield Line(f"{symbol} {word:<10}", f"  {pair.scenario:<{width}}  {verdicts:<16}  {_quantiles(pair)}", style)
    if comparison.together:
        yield Line("")
        yield Line("all scenarios together (B / A)")
        yield from _table(comparison.together)
    barred = [pair for pair in comparison.pairs if pair.barred]
    for said in sorted({pair.barred for pair in barred}):
        names = [pair.scenario for pair in barred if pair.barred == said]
        yield Line(f"  {said}: ", listed(names), "unknown")
    for pair in comparison.pairs:
        if everything or any(row.change in _NOTABLE for row in pair.rows):
            yield from _pair_lines(pair, everything=everything)


def _quantiles(pair: Pair) -> str:
    shown = []
    for row in pair.rows:
        if row.group is Group.LATENCY and row.change is not None:
            before, after = row.values
            ratio = f"×{after / before:.2f}" if before and after is not None else "–"
            shown.append(f"{row.name} {ratio}")
    return "  ".join(shown)


def _table(rows: Sequence[Row]) -> Iterable[Line]:
    group = None
    widths = [max((len(cell) for cell in column), default=0) for column in zip(*map(_cells, rows), strict=True)]
    for row in rows:
        if row.group is not group:
            group = row.group
            yield Line(f"  {group.value}", style="dim")
        symbol, word, style = _WORDS[row.change]
        cells = "  ".join(f"{cell:<{width}}" for cell, width in zip(_cells(row), widths, strict=True))
        yield Line(f"  {symbol} {word:<10}", f"  {cells}  {row.why}".rstrip(), style)


def _cells(row: Row) -> tuple[str, str, str]:
    return row.name, row.first, row.second


def to_json(comparison: Comparison) -> dict[str, Any]:
    """Return everything; figures that JSON cannot hold are null."""
    pairing = comparison.pairing
    return {
        "format": FORMAT,
        "first": str(pairing.first.folder),
        "second": str(pairing.second.folder),
        "exit_code": int(comparison.exit),
        "worse": len(comparison.named(Change.WORSE)),
        "doubtful": len(comparison.named(Change.DOUBTFUL)),
        "unsettled": list(comparison.unsettled),
        "noise": {
            "confidence": 0.99,
            "block_seconds": noise.BLOCK_SECONDS,
            "least_ratio": noise.LEAST_EFFECT,
            "least_seconds": noise.LEAST_SECONDS,
            "significance": noise.SIGNIFICANCE,
        },
        "together": [_row(row) for row in comparison.together],
        "pairs": [
            {
                "scenario": pair.scenario,
                "first": _side(pair.first),
                "second": _side(pair.second),
                "differences": list(pair.differences),
                "barred": pair.barred,
                "rows": [_row(row) for row in pair.rows],
            }
            for pair in comparison.pairs
        ],
        "only_first": list(pairing.only_first),
        "only_second": list(pairing.only_second),
    }


def _side(profile: Profile | None) -> dict[str, Any] | None:
    if profile is None:
        return None
    judged = profile.judged
    return {
        "run": judged.run,
        "verdict": judged.verdict,
        "started_at": judged.started_at,
        "target": judged.target,
        "versions": dict(judged.versions),
        "operations": judged.operations,
        "writes_outside": profile.writes,
        "quantiles": {
            name: {f"{share:g}": _quantile(found) for share, found in quantiles.items()}
            for name, quantiles in (
                ("outside", profile.outside),
                ("control", profile.control),
                ("under", profile.under),
                ("canary", profile.canary),
            )
        },
        "problem": profile.problem,
    }


def _quantile(found: noise.Quantile | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "seconds": found.value,
        "low_seconds": found.low,
        "high_seconds": found.high if found.bounded else None,
        "samples": found.samples,
    }


def _row(row: Row) -> dict[str, Any]:
    first, second = (value if value is not None and math.isfinite(value) else None for value in row.values)
    return {
        "group": row.group.name.lower(),
        "name": row.name,
        "first": first,
        "second": second,
        "first_text": row.first,
        "second_text": row.second,
        "change": None if row.change is None else row.change.name.lower(),
        "why": row.why,
    }
