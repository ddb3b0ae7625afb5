"""Expressions examined: what their results look like, and what in them can never come true.

The examiner walks one parsed expression from the leaves up.  It says only what holds whatever values come: a part of
which nothing is known (a series of somebody else, a regular expression for names) stays unknown all the way up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import promql_parser as promql

from . import shapes
from .exported import ALERT_SERIES, Exported
from .functions import call_shape
from .matching import examine_match, matched
from .problems import Level, Rule, Told
from .selectors import conditions, examine_selector, matching, unknown_series
from .shapes import Range, Shape
from .structure import part_of_whole, text_of

COMPARISONS = frozenset({">", "<", ">=", "<=", "==", "!="})
_SETS = frozenset({"and", "or", "unless"})
_KEEPING = frozenset({"topk", "bottomk", "limitk", "limit_ratio"})

_IN_PER_CENT = 5.0
"""A bound of a ratio from this on was surely meant in per cent."""

Recorded = Callable[[str], Shape | None]
"""Shape of a recorded series; None when no rule records it."""


@dataclass
class Examiner:
    """Examines one expression; what it finds gathers in ``told``."""

    exported: Exported
    recorded: Recorded
    names: list[str]
    told: list[Told] = field(default_factory=list)

    def shape(self, expr: promql.Expr) -> Shape:
        """Return the shape of a part, and gather what is wrong in it."""
        match expr:
            case promql.NumberLiteral():
                return Shape.scalar(Range(expr.val, expr.val))
            case promql.StringLiteral():
                return Shape.scalar(shapes.ANY)
            case promql.ParenExpr() | promql.SubqueryExpr():
                return self.shape(expr.expr)
            case promql.UnaryExpr():
                inner = self.shape(expr.expr)
                return inner.having(Range(-inner.range.high, -inner.range.low, inner.range.exact))
            case promql.VectorSelector():
                return self._selected(expr)
            case promql.MatrixSelector():
                return self._selected(expr.vector_selector)
            case promql.AggregateExpr():
                return self._aggregated(expr)
            case promql.Call():
                return call_shape(expr, [self.shape(argument) for argument in expr.args], self._say)
            case promql.BinaryExpr():
                return self._combined(expr)
        return Shape.unknown()

    def _say(self, rule: Rule, said: str, remedy: str, level: Level = Level.ERROR) -> None:
        told = Told(rule, said, remedy, level)
        if told not in self.told:
            self.told.append(told)

    def _selected(self, selector: promql.VectorSelector) -> Shape:
        name, asked = conditions(selector)
        if not name or self.exported.is_foreign(name) or name in ALERT_SERIES:
            return Shape.unknown()
        made = self.recorded(name)
        if made is not None:
            return self._of_record(name, made, [one.label for one in asked if not one.takes_absence])
        if name not in self.exported:
            self._tell(unknown_series(name, self.names))
            return Shape.unknown()
        for told in examine_selector(name, asked, self.exported):
            self._tell(told)
        shape = self.exported.shape(name, matching(name, asked, self.exported))
        # A label that is asked for by a value is there.
        there = frozenset(one.label for one in asked if not one.takes_absence)
        return replace(shape, always=shape.always | (there & shape.may))

    def _of_record(self, name: str, made: Shape, asked: Iterable[str]) -> Shape:
        for label in asked:
            if made.known and label not in made.may:
                has = ", ".join(sorted(made.may)) or "none"
                said = f"the recorded series {name} has no label {label}"
                self._say(Rule.UNKNOWN_LABEL, said, f"It has {has}: keep the label where the series is recorded.")
        return made

    def _tell(self, told: Told) -> None:
        self._say(told.rule, told.said, told.remedy, told.level)

    def _aggregated(self, expr: promql.AggregateExpr) -> Shape:
        inner, operator = self.shape(expr.expr), str(expr.op)
        if expr.param is not None and not isinstance(expr.param, promql.StringLiteral):
            self.shape(expr.param)
        shape = inner if operator in _KEEPING else self._grouped(expr, inner)
        if operator == "count_values" and isinstance(expr.param, promql.StringLiteral):
            shape = shape.adding([expr.param.val])
        changed = shape.having(_aggregate_range(operator, inner.range))
        return replace(changed, setting="" if changed.range.exact else inner.setting)

    def _grouped(self, expr: promql.AggregateExpr, inner: Shape) -> Shape:
        if expr.modifier is None:
            return inner.only(())
        labels, by = list(expr.modifier.labels), str(expr.modifier.type).endswith("By")
        for label in labels:
            if inner.known and label not in inner.may:
                has = f"It has {', '.join(sorted(inner.may)) or 'none'}."
                if by:
                    self._say(Rule.GROUPED_BY_UNKNOWN, f"grouped by {label}, which {text_of(expr.expr)} lacks", has)
                else:
                    said = f"without ({label}) takes away what {text_of(expr.expr)} lacks"
                    self._say(Rule.GROUPED_BY_UNKNOWN, said, has, Level.WARNING)
        return inner.only(labels) if by else inner.without(labels)

    def _combined(self, expr: promql.BinaryExpr) -> Shape:
        left, right, operator = self.shape(expr.lhs), self.shape(expr.rhs), str(expr.op)
        if left.vector and right.vector:
            for told in examine_match(expr, left, right):
                self._tell(told)
            shape = matched(expr, left, right)
        else:
            shape = left if left.vector else right
        if operator in _SETS:
            return self._set(expr, operator, shape, left, right)
        if operator in COMPARISONS:
            return self._compared(expr, operator, shape, left, right)
        values = shapes.arithmetic(operator, left.range, right.range)
        if operator == "/" and part_of_whole(expr.lhs, expr.rhs):
            values = Range(0.0, 1.0)
        setting = "" if values.exact else left.setting or right.setting
        return replace((shape if shape.vector else Shape.scalar(values)).having(values), setting=setting)

    def _set(self, expr: promql.BinaryExpr, operator: str, shape: Shape, left: Shape, right: Shape) -> Shape:
        if operator == "and" and _same_operand(expr.lhs, expr.rhs):
            low, high = max(left.range.low, right.range.low), min(left.range.high, right.range.high)
            if low > high:
                said = f"{text_of(expr.lhs)} and {text_of(expr.rhs)} are never true at once"
                self._say(Rule.NEVER_TRUE, said, "Take `or`, or mend the bounds.")
        return shape

    def _compared(self, expr: promql.BinaryExpr, operator: str, shape: Shape, left: Shape, right: Shape) -> Shape:
        if left.range.never(operator, right.range):
            self._never(expr, *((left, right) if left.vector else (right, left)))
        if expr.modifier is not None and expr.modifier.return_bool:
            return (shape if shape.vector else Shape.scalar(shapes.ANY)).having(Range(0.0, 1.0))
        if not shape.vector:
            return Shape.scalar(Range(0.0, 1.0))
        if not left.vector:
            flipped = {">": "<", "<": ">", ">=": "<=", "<=": ">="}.get(operator, operator)
            return shape.having(right.range.narrowed(flipped, left.range))
        return shape.having(left.range.narrowed(operator, right.range))

    def _never(self, expr: promql.BinaryExpr, side: Shape, bound: Shape) -> None:
        low, high = (f"{bound:g}" for bound in (side.range.low, side.range.high))
        setting = side.setting or bound.setting
        if setting:
            said = f"{text_of(expr)} is false while {setting} is what it is, which only another configuration changes"
            self._say(Rule.CONSTANT, said, "Compare something that changes, or leave it as a guard.", Level.WARNING)
            return
        if side.range.exact:
            self._say(Rule.NEVER_TRUE, f"{text_of(expr)} is never true", f"The values go from {low} to {high}.")
            return
        # A ratio of two things of which neither holds the other may pass 1, though not by far.
        level = Level.ERROR if bound.range.low >= _IN_PER_CENT else Level.WARNING
        said = f"{text_of(expr)} is never true of a ratio, which goes up to {high}"
        self._say(Rule.NEVER_TRUE, said, "Give the bound as a ratio, 0.8 for 80 %.", level)


def _same_operand(left: promql.Expr, right: promql.Expr) -> bool:
    """Tell whether two comparisons compare the same thing."""
    one, other = _bare(left), _bare(right)
    if not (isinstance(one, promql.BinaryExpr) and isinstance(other, promql.BinaryExpr)):
        return False
    both = str(one.op) in COMPARISONS and str(other.op) in COMPARISONS
    filtering = not any(each.modifier is not None and each.modifier.return_bool for each in (one, other))
    return both and filtering and text_of(one.lhs) == text_of(other.lhs)


def _bare(expr: promql.Expr) -> promql.Expr:
    while isinstance(expr, promql.ParenExpr):
        expr = expr.expr
    return expr


def _aggregate_range(operator: str, values: Range) -> Range:
    match operator:
        case "count" | "count_values":
            return Range(1.0)
        case "group":
            return Range(1.0, 1.0)
        case "stddev" | "stdvar":
            return shapes.NOT_NEGATIVE
        case "sum":
            return Range(values.low, exact=values.exact) if values.low >= 0 else shapes.ANY
        case "avg" | "min" | "max" | "topk" | "bottomk" | "limitk" | "limit_ratio" | "quantile":
            return values
    return shapes.ANY
