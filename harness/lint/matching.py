"""Vector matching: whether two sides can ever have an element that matches, and the labels of what comes out."""

from __future__ import annotations

from collections.abc import Iterator

import promql_parser as promql

from .problems import Rule, Told
from .shapes import Shape
from .structure import text_of


def matched(expr: promql.BinaryExpr, left: Shape, right: Shape) -> Shape:
    """Return the labels of the result."""
    operator, modifier = str(expr.op), expr.modifier
    if operator == "or":
        return left.join(right)
    if operator in ("and", "unless"):
        return left
    card = str(modifier.card).rpartition(".")[2] if modifier is not None else "OneToOne"
    if card == "ManyToOne":
        return left.adding(_group_labels(expr))
    if card == "OneToMany":
        return right.adding(_group_labels(expr))
    including, labels = _clause(expr)
    if including is None:
        # Both have the same labels where they match, so either side tells what the other may have.
        if left.known and right.known:
            return Shape(always=left.always | right.always, may=left.may & right.may)
        return left if left.known else right
    return left.only(labels) if including else left.without(labels)


def examine_match(expr: promql.BinaryExpr, left: Shape, right: Shape) -> Iterator[Told]:
    """Find a label by which elements of the two sides can never match, and labels that no side has."""
    operator = str(expr.op)
    including, labels = _clause(expr)
    if not (left.known and right.known):
        return
    for label in labels:
        if label not in left.may | right.may:
            word = "on" if including else "ignoring"
            said = f"{word} ({label}) names a label that neither side has"
            yield Told(Rule.NEVER_MATCHES, said, f"They have {_both(left, right)}.")
    one_side = _lacking(expr, left, right) if operator != "or" else ""
    if one_side:
        said = f"{text_of(expr.lhs)} {operator} {text_of(expr.rhs)} never match, since only one side has {one_side}"
        yield Told(Rule.NEVER_MATCHES, said, "Match on (…) labels that both have, or ignoring (…) those of one side.")
    one = {"ManyToOne": right, "OneToMany": left}.get(_card(expr))
    for label in _group_labels(expr):
        if one is not None and label not in one.may:
            said = f"group takes the label {label} from a side that lacks it"
            yield Told(Rule.NEVER_MATCHES, said, f"That side has {', '.join(sorted(one.may)) or 'none'}.")


def _lacking(expr: promql.BinaryExpr, left: Shape, right: Shape) -> str:
    """Return a label that is compared, that all elements of one side have, and that none of the other has."""
    including, labels = _clause(expr)
    compared = left.always | right.always
    compared = compared & frozenset(labels) if including else compared - frozenset(labels)
    found = [
        label
        for label in sorted(compared)
        if (label in left.always and label not in right.may) or (label in right.always and label not in left.may)
    ]
    return found[0] if found else ""


def _clause(expr: promql.BinaryExpr) -> tuple[bool | None, list[str]]:
    """Return whether it is ``on`` (or ``ignoring``), with the labels; None when there is neither."""
    if expr.modifier is None or expr.modifier.matching is None:
        return None, []
    matching = expr.modifier.matching
    return str(matching.type).endswith("Include"), list(matching.labels)


def _card(expr: promql.BinaryExpr) -> str:
    return "" if expr.modifier is None else str(expr.modifier.card).rpartition(".")[2]


def _group_labels(expr: promql.BinaryExpr) -> list[str]:
    return list(expr.modifier.group_labels or ()) if expr.modifier is not None else []


def _both(left: Shape, right: Shape) -> str:
    return " and ".join(", ".join(sorted(side.may)) or "none" for side in (left, right))
