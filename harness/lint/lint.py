"""The lint: rule files and dashboards against what is exported, in one pass."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

import promql_parser as promql

from .exported import Exported, is_ratio
from .expressions import COMPARISONS, Examiner
from .files import BUILT_IN, Dashboard, Query, RuleRead, RulesFile
from .functions import CALENDAR
from .problems import Problem, Rule, Told
from .shapes import RATIO, Shape
from .structure import conjuncts, text_of
from .templates import examine_legend, examine_template

_IN_BRACKETS = re.compile(r"(?<=[\[:])\s*(?:\$\{?\w+(?::\w+)?\}?|\[\[\w+\]\])\s*(?=[\]:])")
_AFTER_OFFSET = re.compile(r"(\boffset\s+)\$\{?\w+\}?")
_USED = re.compile(r"\$(?:\{(\w+)(?::[^}]*)?\}|(\w+))|\[\[(\w+)(?::[^\]]*)?\]\]")
_STRING = re.compile(r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'|`[^`]*`")
_SOME_DURATION = "5m"


def lint(
    exported: Exported, rules: Sequence[RulesFile] = (), dashboards: Sequence[Dashboard] = ()
) -> tuple[Problem, ...]:
    """Return all problems, in the order of the files."""
    linter = _Linter(exported, rules)
    found = [problem for file in rules for rule in file.rules for problem in linter.rule(file.path, rule)]
    found += [problem for board in dashboards for query in board.queries for problem in linter.query(board, query)]
    return tuple(found)


@lru_cache(maxsize=1024)
def parsed(text: str) -> promql.Expr | str:
    """Parse an expression; return what the parser says of one that is none."""
    try:
        expr: promql.Expr = promql.parse(text)
    except ValueError as error:
        return " ".join(str(error).split())
    return expr


class _Linter:
    """Knows what is exported and recorded, and examines rule by rule."""

    def __init__(self, exported: Exported, rules: Sequence[RulesFile]) -> None:
        self._exported = exported
        self._records: dict[str, list[tuple[str, RuleRead]]] = {}
        for file in rules:
            for rule in file.rules:
                if rule.record:
                    self._records.setdefault(rule.record, []).append((file.path, rule))
        self._shapes: dict[str, Shape | None] = {}
        self._names = [*exported.names, *self._records]

    def rule(self, path: str, rule: RuleRead) -> Iterator[Problem]:
        """Examine one rule with its templates."""
        told = [*self._expression(rule.expression)[1], *self._order(path, rule)]
        shape, expr = self._expression(rule.expression)[0], parsed(rule.expression)
        if rule.alert and isinstance(expr, promql.Expr):
            told += [*_always(expr), *_too_long(expr, rule)]
        yield from (Problem.at(path, rule.place, rule.expression, one) for one in told)
        if rule.alert:
            for key, text in (*rule.labels.items(), *rule.annotations.items()):
                for one in examine_template(text, shape):
                    yield Problem.at(path, f"{rule.place}, {key}", text, one)

    def query(self, board: Dashboard, query: Query) -> Iterator[Problem]:
        """Examine one query of a dashboard."""
        text = _AFTER_OFFSET.sub(rf"\g<1>{_SOME_DURATION}", _IN_BRACKETS.sub(_SOME_DURATION, query.expression))
        told = list(_variables(query.expression, board))
        if _USED.search(_STRING.sub('""', text)):
            # A variable that stands for a name or a number: what it will be is not known.
            shape = Shape.unknown()
        else:
            shape, wrong = self._expression(text)
            told += wrong
        told += examine_legend(query.legend, shape)
        yield from (Problem.at(board.path, query.place, query.expression, one) for one in told)

    def _expression(self, text: str) -> tuple[Shape, list[Told]]:
        expr = parsed(text)
        if isinstance(expr, str):
            remedy = "Mend it; `promtool check rules` or the query field of Prometheus shows where."
            return Shape.unknown(), [Told(Rule.UNPARSABLE, f"no PromQL: {expr}", remedy)]
        examiner = Examiner(self._exported, self._recorded, self._names)
        return examiner.shape(expr), examiner.told

    def _recorded(self, name: str) -> Shape | None:
        """Return the shape of what a name records, that of a rule which needs itself being unknown."""
        if name not in self._records:
            return None
        if name not in self._shapes:
            self._shapes[name] = Shape.unknown()
            found = [self._record(rule) for _, rule in self._records[name]]
            shape = found[0]
            for other in found[1:]:
                shape = shape.join(other)
            self._shapes[name] = shape
        return self._shapes[name]

    def _record(self, rule: RuleRead) -> Shape:
        shape = self._expression(rule.expression)[0]
        values = RATIO if is_ratio(rule.record) and shape.range.high > 1 else shape.range
        labelled = frozenset(label for label, value in rule.labels.items() if value)
        return Shape(
            always=(shape.always - rule.labels.keys()) | labelled,
            may=(shape.may - rule.labels.keys()) | labelled,
            known=shape.known,
            range=values,
            setting=shape.setting if values is shape.range else "",
        )

    def _order(self, path: str, rule: RuleRead) -> Iterator[Told]:
        """Rules of one group are evaluated in their order, each with what those before it just recorded.

        The names of groups are their file's own.
        """
        for name in dict.fromkeys(re.findall(r"[A-Za-z_:][\w:]*", _STRING.sub("", rule.expression))):
            makers = self._records.get(name, [])
            same = ((made, one.group) == (path, rule.group) and one.position > rule.position for made, one in makers)
            if makers and all(same):
                said = f"{name} is recorded later in the same group, so its value is always one evaluation old"
                yield Told(Rule.RECORDED_LATER, said, "Move the recording rule before this one.")


def _variables(expression: str, board: Dashboard) -> Iterator[Told]:
    for groups in _USED.findall(expression):
        name = next(group for group in groups if group)
        if name not in board.variables and not name.startswith(BUILT_IN) and not name.isdigit():
            near = difflib.get_close_matches(name, board.variables, n=1)
            hint = f" Did you mean ${near[0]}?" if near else ""
            has = ", ".join(f"${one}" for one in sorted(board.variables)) or "none"
            yield Told(Rule.UNKNOWN_VARIABLE, f"the dashboard has no variable ${name}", f"It has {has}.{hint}")


def _always(expr: promql.Expr) -> Iterator[Told]:
    """Find an alert whose comparison filters nothing: it returns 0 or 1, and any value fires."""
    for part in conjuncts(expr):
        if isinstance(part, promql.BinaryExpr) and part.modifier is not None and part.modifier.return_bool:
            said = f"{text_of(part)} fires whatever it says, since `bool` keeps what is false as 0"
            yield Told(Rule.ALWAYS_TRUE, said, "Take `bool` out.")


def _too_long(expr: promql.Expr, rule: RuleRead) -> Iterator[Told]:
    """Find a time of day that does not last as long as ``for`` demands."""
    for part in conjuncts(expr):
        lasts = _lasts_seconds(part)
        if lasts is not None and 0 < lasts < rule.for_seconds:
            said = f"{text_of(part)} is true for {lasts:g} s at most, but `for` is {rule.for_seconds:g} s"
            yield Told(Rule.FOR_TOO_LONG, said, "Make `for` shorter, or the time longer.")


def _lasts_seconds(expr: promql.Expr) -> float | None:
    if not isinstance(expr, promql.BinaryExpr) or str(expr.op) not in COMPARISONS:
        return None
    call, bound = expr.lhs, expr.rhs
    if not (isinstance(call, promql.Call) and isinstance(bound, promql.NumberLiteral)) or call.args:
        return None
    if call.func.name not in CALENDAR:
        return None
    first, last, seconds = CALENDAR[call.func.name]
    true = [_holds(str(expr.op), value, bound.val) for value in range(first, last + 1)]
    return None if all(true) else _longest_run(true + true) * seconds


def _holds(operator: str, value: float, bound: float) -> bool:
    return {
        ">": value > bound,
        "<": value < bound,
        ">=": value >= bound,
        "<=": value <= bound,
        "==": value == bound,
        "!=": value != bound,
    }[operator]


def _longest_run(values: Sequence[bool]) -> int:
    """Count the longest row of true ones; the caller doubles a circle."""
    longest = run = 0
    for value in values:
        run = run + 1 if value else 0
        longest = max(longest, run)
    return longest
