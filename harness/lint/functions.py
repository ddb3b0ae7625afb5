"""Functions of PromQL: the labels and the range of values of what they return."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import promql_parser as promql

from . import shapes
from .problems import Rule
from .selectors import conditions
from .shapes import Range, Shape
from .structure import text_of

Say = Callable[[Rule, str, str], None]

CALENDAR: dict[str, tuple[int, int, float]] = {
    "minute": (0, 59, 60.0),
    "hour": (0, 23, 3600.0),
    "day_of_week": (0, 6, 86400.0),
    "day_of_month": (1, 31, 86400.0),
    "day_of_year": (1, 366, 86400.0),
    "month": (1, 12, 31 * 86400.0),
}
"""Least and greatest value of a function of the calendar, and how long at most a value lasts, in seconds."""

_NOT_NEGATIVE = frozenset(
    """rate increase irate changes resets stddev_over_time stdvar_over_time mad_over_time abs exp sqrt
    time timestamp histogram_count days_in_month year histogram_stddev histogram_stdvar""".split()  # noqa: SIM905
)
_KEEPING_VALUES = frozenset(
    """avg_over_time min_over_time max_over_time last_over_time first_over_time quantile_over_time sort sort_desc
    sort_by_label sort_by_label_desc""".split()  # noqa: SIM905
)
_BUCKETS = "histogram_quantile"


def call_shape(call: promql.Call, arguments: Sequence[Shape], say: Say) -> Shape:
    """Return the shape of a call; ``say`` hears of buckets that were aggregated away."""
    name = call.func.name
    if name in ("absent", "absent_over_time"):
        return _absent(call)
    if name in ("time", "pi", "scalar"):
        return Shape.scalar(shapes.NOT_NEGATIVE if name == "time" else shapes.ANY)
    if name == "vector":
        return Shape(range=arguments[0].range)
    if name == "info":
        return Shape.unknown()
    vectors = [shape for shape in arguments if shape.vector]
    if not vectors:
        return Shape(range=_range(name, shapes.ANY))
    shape = vectors[0]
    if name == _BUCKETS:
        if shape.known and "le" not in shape.may:
            said = f"{text_of(call)} has no label le to take a quantile of"
            say(Rule.NO_BUCKETS, said, "Take the series that ends in _bucket, and keep le in the aggregation.")
        shape = shape.without(["le"])
    if name in ("label_replace", "label_join") and isinstance(call.args[1], promql.StringLiteral):
        label = call.args[1].val
        shape = shape.without([label]).adding([label])
    kept = shape.setting if name in _KEEPING_VALUES else ""
    changed = shape.having(_range(name, shape.range))
    return Shape(changed.vector, changed.always, changed.may, changed.known, changed.range, kept)


def _absent(call: promql.Call) -> Shape:
    """What is absent has the labels that were asked for by a value."""
    argument = call.args[0]
    selector = argument.vector_selector if isinstance(argument, promql.MatrixSelector) else argument
    labels = frozenset[str]()
    if isinstance(selector, promql.VectorSelector):
        labels = frozenset(one.label for one in conditions(selector)[1] if one.operator == "=" and one.value)
    return Shape(always=labels, may=labels, range=Range(1.0, 1.0))


def _range(name: str, values: Range) -> Range:
    if name in _KEEPING_VALUES:
        return values
    if name in _NOT_NEGATIVE:
        return shapes.NOT_NEGATIVE
    if name in ("count_over_time", "present_over_time"):
        return Range(1.0)
    if name == "sum_over_time" and values.low >= 0:
        return Range(0.0, math.inf, values.exact)
    if name in CALENDAR:
        low, high, _ = CALENDAR[name]
        return Range(float(low), float(high))
    return shapes.ANY
