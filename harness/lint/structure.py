"""Structure of expressions: their text, whether one is a part of another, and how long a time of day lasts."""

from __future__ import annotations

from collections.abc import Iterator

import promql_parser as promql

from .selectors import Condition, conditions


def text_of(expr: promql.Expr) -> str:
    """Return it as PromQL, on one line."""
    return " ".join(expr.prettify().split())


def part_of_whole(part: promql.Expr, whole: promql.Expr) -> bool:
    """Tell whether both sum the same counts, one with more conditions: their quotient is then a share."""
    one, other = _sum(part), _sum(whole)
    if one is None or other is None or one[:-1] != other[:-1]:
        return False
    return set(other[-1]) < set(one[-1])


_Sum = tuple[str, tuple[str, ...], str, tuple[Condition, ...]]


def _sum(expr: promql.Expr) -> _Sum | None:
    """Take a ``sum by (…) (rate(counter{…}[…]))`` apart: grouping, functions, name, conditions."""
    while isinstance(expr, promql.ParenExpr):
        expr = expr.expr
    if not isinstance(expr, promql.AggregateExpr) or str(expr.op) not in ("sum", "count"):
        return None
    grouping = "" if expr.modifier is None else f"{expr.modifier.type} {sorted(expr.modifier.labels)}"
    inner, functions = expr.expr, [str(expr.op)]
    if isinstance(inner, promql.Call) and inner.func.name in ("rate", "increase") and len(inner.args) == 1:
        functions.append(inner.func.name)
        inner = inner.args[0]
    if isinstance(inner, promql.MatrixSelector):
        functions.append(str(inner.range))
        inner = inner.vector_selector
    if not isinstance(inner, promql.VectorSelector) or inner.offset is not None or inner.at is not None:
        return None
    # Of alternatives the conditions say nothing.
    if inner.matchers.or_matchers:
        return None
    name, asked = conditions(inner)
    # Only counts are never negative; a share of other sums may be anything.
    if not name.endswith(("_total", "_count", "_bucket")) and str(expr.op) != "count":
        return None
    return grouping, tuple(functions), name, asked


def conjuncts(expr: promql.Expr) -> Iterator[promql.Expr]:
    """Yield what must all be true for an expression to be true."""
    if isinstance(expr, promql.ParenExpr):
        yield from conjuncts(expr.expr)
    elif isinstance(expr, promql.BinaryExpr) and str(expr.op) == "and":
        yield from conjuncts(expr.lhs)
        yield from conjuncts(expr.rhs)
    else:
        yield expr
