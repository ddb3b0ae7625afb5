"""A user's own SLOs, as gate.toml has them: shares, latencies, counts, and expressions of PromQL."""

from __future__ import annotations

import re

import promql_parser as promql

from ..errors import UsageError
from ..tables import Table
from . import statistics
from .slo import (
    Comparison,
    CountSlo,
    ExpressionSlo,
    Feature,
    LatencySlo,
    Selector,
    ShareSlo,
    Unit,
    a_unit,
    percent_text,
)

PERIOD_WORD = "$period"
"""Stands in an expression for the period that is judged."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*\Z")
_UNITS = {
    "ratio": "",
    "percent": "%",
    "seconds": "s",
    "bytes": "bytes",
    "count": "",
    "per_second": "a second",
    "per_hour": "an hour",
    "per_day": "a day",
}
_FEATURES = {feature.value.replace(" ", "_"): feature for feature in Feature}
_COUNT_BOUNDS = {
    f"{word}_per_{unit.value}": (unit, inclusive)
    for unit in Unit
    for word, inclusive in (("below", False), ("maximum", True))
}
_EXPRESSION_BOUNDS = {f"{comparison.value}_{unit}": (comparison, unit) for comparison in Comparison for unit in _UNITS}
SHARE_KEYS = {"name", "bad", "all", "below_percent", "minimum_operations", "feature"}


def share(table: Table) -> ShareSlo:
    """A share of counters: ``bad`` of ``all``."""
    below = table.number("below_percent", below=100) / 100
    return ShareSlo(
        name=_name(table),
        bad=_selectors(table, "bad"),
        good=_selectors(table, "all"),
        whole=True,
        below_share=below,
        minimum_operations=least_operations(table, below),
        feature=_feature(table),
    )


LATENCY_KEYS = {"name", "quantile", "maximum_seconds", "minimum_operations", "histogram", "feature"}


def latency(table: Table, usual: Selector) -> LatencySlo:
    """A quantile of how long requests take; ``usual`` is the histogram of those that write."""
    quantile = table.number("quantile", below=1)
    return LatencySlo(
        name=_name(table),
        quantile=quantile,
        maximum_seconds=table.number("maximum_seconds"),
        minimum_operations=least_operations(table, round(1 - quantile, 12)),
        histogram=selector(table, "histogram", str(usual)),
        feature=_feature(table),
    )


_SHARES_OF = {f"minimum_share_of_{unit.value}": unit for unit in (Unit.HOUR, Unit.DAY)}
COUNT_KEYS = {"name", "counter", "feature", *_COUNT_BOUNDS, *_SHARES_OF}


def count(table: Table) -> CountSlo:
    """What a counter may grow by in an hour, a day or a month."""
    key = table.one_of(_COUNT_BOUNDS)
    unit, inclusive = _COUNT_BOUNDS[key]
    for share_key, of in _SHARES_OF.items():
        if share_key in table and of is not unit:
            remedy = f"a bound for {a_unit(unit)} needs {a_unit(unit)} of data"
            raise table.wrong(f"{share_key} does not go with {key}; {remedy}.")
    return CountSlo(
        name=_name(table),
        counter=selector(table, "counter"),
        limit=table.from_zero(key) if inclusive else table.number(key),
        inclusive=inclusive,
        unit=unit,
        minimum_share=1.0 if unit is Unit.MONTH else table.share(f"minimum_share_of_{unit.value}", 1.0),
        feature=_feature(table),
    )


EXPRESSION_KEYS = {"name", "promql", "exposure_promql", "minimum_operations", "feature", *_EXPRESSION_BOUNDS}


def expression(table: Table) -> ExpressionSlo:
    """The value of a PromQL expression, which only a Prometheus can tell."""
    key = table.one_of(_EXPRESSION_BOUNDS)
    comparison, unit = _EXPRESSION_BOUNDS[key]
    bound = table.any_number(key)
    texts = [_promql(table, one) for one in ("promql", "exposure_promql")]
    selectors = dict.fromkeys(found for text in texts for found in _selectors_in(table, text))
    if unit in ("ratio", "percent"):
        part = bound if unit == "ratio" else bound / 100
        if not 0 < part < 1:
            raise table.wrong(f"{key} must lie between 0 and {1 if unit == 'ratio' else 100}, not {bound:g}.")
        least = least_operations(table, part if comparison.more_is_worse else round(1 - part, 12))
    else:
        least = table.whole("minimum_operations")
    return ExpressionSlo(
        name=_name(table),
        promql=texts[0],
        exposure=texts[1],
        selectors=tuple(selectors),
        comparison=comparison,
        bound=bound,
        unit=_UNITS[unit],
        minimum_operations=least,
        feature=_feature(table),
    )


def _promql(table: Table, key: str) -> str:
    text = table.text(key)
    if PERIOD_WORD not in text:
        raise table.wrong(
            f"{key} has no {PERIOD_WORD} in it, so it would say nothing of the period that is judged; write it in the "
            f"brackets, as in increase(name[{PERIOD_WORD}]) or max_over_time(name[{PERIOD_WORD}])."
        )
    return text


def _selectors_in(table: Table, text: str) -> list[Selector]:
    """Every selector of an expression: each must have samples all through the period."""
    found: list[promql.VectorSelector] = []

    def visit(part: promql.Expr) -> None:
        if isinstance(part, promql.MatrixSelector):
            found.append(part.vector_selector)
        elif isinstance(part, promql.VectorSelector):
            found.append(part)

    try:
        parsed = promql.parse(text.replace(PERIOD_WORD, "1d"))
    except ValueError as error:
        raise table.wrong(f"{text!r} is no PromQL: {error}.") from error
    promql.walk(parsed, visit)
    if not found:
        raise table.wrong(f"{text!r} names no series, so no data could ever be missing from it.")
    try:
        return [Selector.of(one) for one in found]
    except UsageError as error:
        raise table.wrong(str(error)) from error


def selector(table: Table, key: str, usual: str | None = None) -> Selector:
    """The selector that a key holds; raises :class:`UsageError` for what is none."""
    try:
        return Selector.parse(table.text(key, usual))
    except UsageError as error:
        raise table.wrong(f"{key}: {error}") from error


def _selectors(table: Table, key: str) -> tuple[Selector, ...]:
    try:
        return tuple(Selector.parse(text) for text in table.texts(key))
    except UsageError as error:
        if str(error).startswith(table.place):
            raise
        raise table.wrong(f"{key}: {error}") from error


def _name(table: Table) -> str:
    name = table.text("name")
    if not _NAME.match(name):
        raise table.wrong(f"name must be made of letters, digits, _, - and ., not {name!r}.")
    return name


def _feature(table: Table) -> Feature:
    if "feature" not in table:
        raise table.wrong(
            "feature is missing: a failed metric names what to prioritise; it is one of "
            f"{', '.join(_FEATURES)}. {table.page}"
        )
    name = table.text("feature")
    Table.of(f"{table.place} feature", {name: 0}, _FEATURES, table.page)
    return _FEATURES[name]


def least_operations(table: Table, below_share: float) -> int:
    """The least exposure; never less than the rule of three asks for, since that would claim what is not shown."""
    least = statistics.rule_of_three(below_share)
    given = table.whole("minimum_operations", least)
    if given < least:
        raise table.wrong(
            f"minimum_operations = {given} is too few: to show with 95 % confidence that fewer than "
            f"{percent_text(below_share)} are bad takes at least {least:,} operations without a bad one (the rule of "
            "three). Raise it, or leave it out."
        )
    return given
