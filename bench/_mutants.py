"""Finds the conditions in a checker's source that decide whether it complains, and replaces one of them.

A *complaint* is a finding, an unknown, or what a target does not let anyone look into.  It is found by name: a call of
``Finding``, a use of ``Promise``, a list of unknowns, and every call of a function that does such.  A list that a
complaint is made of (``found``, ``late``), and the function that fills it, *feed* it.
"""

from __future__ import annotations

import ast
import enum
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

UNKNOWN_NAMES = frozenset({"unknowns", "unsure", "reasons", "blind", "lacking"})
TELLING_KEYWORDS = frozenset({"unknowns", "not_checked"})
STATE_DECORATOR = "_state"
_TEXTS = ("str", "str | None", "Iterator[str]", "list[str]")
_FILLING = frozenset({"append", "add", "extend", "setdefault"})

Function = ast.FunctionDef
Key = tuple[str, str]
"""A module's and a function's name."""


class Kind(enum.StrEnum):
    """Why a condition counts."""

    RULE = "rule"
    """It stands right before a complaint."""
    GUARD = "guard"
    """It leaves before a complaint is reached."""
    FEED = "feed"
    """It decides what a complaint is made of."""
    OTHER = "other"
    """Any other condition: what it decides cannot be told, so that both constants are tried."""


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One condition with the constant that takes its place."""

    module: str
    line: int
    last_line: int
    body_line: int
    """Where what is run only if the condition holds, so never by the mutant, begins; 0 where that is on no own line."""
    place: int
    """The number of its node in ``ast.walk``."""
    link: int
    """Which comparison of a chain such as ``a <= b <= c`` is left out; -1 for the whole condition."""
    value: bool
    kind: Kind
    text: str

    def __str__(self) -> str:
        """Where it is, and what is done."""
        becomes = f"without its comparison {self.link + 1}" if self.link >= 0 else f"becomes {self.value}"
        return f"{self.module.replace('.', '/')}.py:{self.line}: {self.text} {becomes} ({self.kind})"


@dataclass(frozen=True)
class Module:
    """A parsed module of the checkers."""

    name: str
    tree: ast.Module
    imported: Mapping[str, Key] = field(default_factory=dict)
    """By local name, where a function that was imported from a neighbour lives."""

    @classmethod
    def parse(cls, name: str, source: str) -> Module:
        """Parse; raises SyntaxError."""
        tree = ast.parse(source)
        package = name.rpartition(".")[0]
        imported = {
            alias.asname or alias.name: (f"{package}.{node.module}", alias.name)
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.level == 1 and node.module
            for alias in node.names
        }
        return cls(name, tree, imported)

    def functions(self) -> Iterator[Function]:
        """Every function and method."""
        yield from (node for node in ast.walk(self.tree) if isinstance(node, ast.FunctionDef))

    def neighbours(self) -> set[str]:
        """Modules of the same package that it imports from."""
        return {module for module, _ in self.imported.values()}

    def called(self, call: ast.Call) -> Key | None:
        """The function that a call means, of this module or a neighbour."""
        if isinstance(call.func, ast.Name):
            return self.imported.get(call.func.id, (self.name, call.func.id))
        return (self.name, call.func.attr) if isinstance(call.func, ast.Attribute) else None


def _texts(function: Function) -> bool:
    return function.returns is not None and ast.unparse(function.returns) in _TEXTS


def _is_state(function: Function) -> bool:
    calls = [one.func for one in function.decorator_list if isinstance(one, ast.Call)]
    return any(isinstance(one, ast.Name) and one.id == STATE_DECORATOR for one in calls)


def _empty(value: ast.expr | None) -> bool:
    """Tell whether what is returned is nothing: None, False, an empty text, list or tuple."""
    if isinstance(value, ast.Constant):
        return not value.value
    return value is None or (isinstance(value, (ast.List, ast.Tuple)) and not value.elts)


def _targets(statement: ast.stmt) -> set[str]:
    """Names that a statement assigns to or fills."""
    found: list[ast.expr] = []
    if isinstance(statement, ast.Assign):
        found = list(statement.targets)
    elif isinstance(statement, (ast.AugAssign, ast.AnnAssign)):
        found = [statement.target]
    elif isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        function = statement.value.func
        while isinstance(function, ast.Attribute) and isinstance(function.value, ast.Call):
            function = function.value.func
        if isinstance(function, ast.Attribute) and function.attr in _FILLING:
            found = [function.value]
    return {node.id for one in found for node in ast.walk(one) if isinstance(node, ast.Name)}


class Complaints:
    """Which functions of some modules complain, and which feed those that do."""

    def __init__(self, modules: Sequence[Module]) -> None:
        self._functions = {(m.name, f.name): (m, f) for m in modules for f in m.functions()}
        self.complaining: set[Key] = set()
        self.feeding: set[Key] = set()
        before = -1
        while before != len(self.complaining) + len(self.feeding):
            before = len(self.complaining) + len(self.feeding)
            for key, (module, function) in self._functions.items():
                self._learn(key, module, function)

    def _learn(self, key: Key, module: Module, function: Function) -> None:
        if _is_state(function):
            self.feeding.add(key)
        if any(self.direct(module, statement) for statement in function.body):
            self.complaining.add(key)
        if key not in self.complaining:
            return
        feeds = feeding_names(self, module, function)
        for node in ast.walk(function):
            # Texts that are put among the unknowns are made by functions, which therefore complain as well.
            if isinstance(node, ast.stmt) and _targets(node) & UNKNOWN_NAMES:
                self.complaining |= {one for one in self._calls(module, node) if _texts(self._functions[one][1])}
            if isinstance(node, ast.Call) and any(word.arg in TELLING_KEYWORDS for word in node.keywords):
                self.complaining |= {one for one in self._calls(module, node) if _texts(self._functions[one][1])}
            if isinstance(node, (ast.For, ast.comprehension)):
                self.feeding |= set(self._calls(module, node.iter))
            if isinstance(node, ast.Assign) and _targets(node) & feeds:
                self.feeding |= set(self._calls(module, node.value))
        self.feeding -= self.complaining

    def _calls(self, module: Module, node: ast.AST) -> Iterator[Key]:
        for one in ast.walk(node):
            key = module.called(one) if isinstance(one, ast.Call) else None
            if key in self._functions and key is not None:
                yield key

    def direct(self, module: Module, node: ast.AST) -> bool:
        """Tell whether a complaint is made somewhere in a statement or expression."""
        return any(self._complains(module, one) for one in ast.walk(node))

    def _complains(self, module: Module, node: ast.AST) -> bool:
        if isinstance(node, ast.Attribute):
            return isinstance(node.value, ast.Name) and node.value.id == "Promise"
        if isinstance(node, ast.Call):
            named = isinstance(node.func, ast.Name) and node.func.id == "Finding"
            told = any(
                word.arg in TELLING_KEYWORDS and not isinstance(word.value, ast.Constant) for word in node.keywords
            )
            return named or told or module.called(node) in self.complaining
        return isinstance(node, ast.stmt) and bool(_targets(node) & UNKNOWN_NAMES)


def feeding_names(complaints: Complaints, module: Module, function: Function) -> set[str]:
    """Names whose content a complaint of the function is made of."""
    found: set[str] = set()
    for node in ast.walk(function):
        simple = isinstance(node, ast.stmt) and not isinstance(node, (ast.If, ast.For, ast.While, ast.FunctionDef))
        if (simple or isinstance(node, ast.For)) and complaints.direct(module, node):
            read = node.iter if isinstance(node, ast.For) else node
            found |= {one.id for one in ast.walk(read) if isinstance(one, ast.Name)}
        if isinstance(node, ast.If) and any(complaints.direct(module, one) for one in node.body):
            found |= {one.id for one in ast.walk(node.test) if isinstance(one, ast.Name)}
    arguments = {one.arg for one in [*function.args.args, *function.args.kwonlyargs]}
    return found - arguments


@dataclass(frozen=True)
class _Piece:
    node: ast.expr
    value: bool
    link: int = -1


def _pieces(test: ast.expr, want: bool) -> Iterator[_Piece]:
    """The smallest parts of a condition each of which, replaced, brings the whole nearer to ``want``."""
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        yield from _pieces(test.operand, not want)
    elif isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And) is want:
        for each in test.values:
            yield from _pieces(each, want)
    elif isinstance(test, ast.Compare) and len(test.ops) > 1 and want:
        yield from (_Piece(test, want, link) for link in range(len(test.ops)))
    else:
        yield _Piece(test, want)


class _Finder:
    """Walks one function."""

    def __init__(self, complaints: Complaints, module: Module, function: Function) -> None:
        key = (module.name, function.name)
        self._complaints, self._module, self._function = complaints, module, function
        self._texts = _texts(function)
        self._loud = key in complaints.complaining
        self._feeder = key in complaints.feeding
        self._state = _is_state(function)
        self._feeds = feeding_names(complaints, module, function) if self._loud else set[str]()
        self.found: list[tuple[_Piece, Kind, int]] = []

    def walk(self) -> None:
        self._block(self._function.body, later=False)

    def _weight(self, statement: ast.AST) -> Kind | None:
        """What a statement does: complain, feed a complaint, or neither."""
        if self._complaints.direct(self._module, statement):
            return Kind.RULE
        nodes = list(ast.walk(statement))
        yields = any(isinstance(node, (ast.Yield, ast.YieldFrom)) for node in nodes)
        returns = any(isinstance(node, ast.Return) and not _empty(node.value) for node in nodes)
        if self._loud and (yields or (self._texts and returns)):
            return Kind.RULE
        filled = {name for node in nodes if isinstance(node, ast.stmt) for name in _targets(node)}
        if (self._feeder and (filled or yields or returns)) or filled & self._feeds:
            return Kind.FEED
        return None

    def _block(self, body: Sequence[ast.stmt], *, later: bool) -> None:
        for number, statement in enumerate(body):
            rest = later or any(self._weight(each) is Kind.RULE for each in body[number + 1 :])
            if isinstance(statement, ast.If):
                self._if(statement, rest)
            elif isinstance(statement, (ast.For, ast.While, ast.With, ast.Try)):
                for part in (statement.body, getattr(statement, "orelse", []), getattr(statement, "finalbody", [])):
                    self._block(part, later=later)
                for handler in getattr(statement, "handlers", []):
                    self._block(handler.body, later=later)
            if not isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
                self._expressions(statement)

    def _if(self, statement: ast.If, rest: bool) -> None:
        kinds = [kind for each in statement.body if (kind := self._weight(each))]
        others = [kind for each in statement.orelse if (kind := self._weight(each))]
        if kinds:
            line = statement.body[0].lineno
            body = line if line > (statement.test.end_lineno or line) else 0
            self._add(statement.test, False, Kind.RULE if Kind.RULE in kinds else Kind.FEED, body)
        if others and not isinstance(statement.orelse[0], ast.If):
            self._add(statement.test, True, Kind.RULE if Kind.RULE in others else Kind.FEED)
        leaves = isinstance(statement.body[-1], (ast.Return, ast.Continue, ast.Break))
        if not kinds and not others and leaves and rest:
            self._add(statement.test, True, Kind.GUARD)
        elif not kinds and not others:
            self._add_both(statement.test)
        for part in (statement.body, statement.orelse):
            self._block(part, later=rest)

    def _expressions(self, statement: ast.stmt) -> None:
        """Conditions within expressions of one statement, of which those of its blocks are no part."""
        weight = self._weight(statement)
        for node in _own(statement):
            if isinstance(node, ast.comprehension):
                for test in node.ifs:
                    self._add(test, False, weight) if weight else self._add_both(test)
            elif isinstance(node, ast.IfExp):
                self._if_expression(node)
        if isinstance(statement, ast.Return) and self._state and not isinstance(statement.value, ast.Constant):
            if statement.value is not None:
                self._add(statement.value, False, Kind.RULE)
        elif isinstance(statement, ast.Return) and isinstance(statement.value, (ast.Compare, ast.BoolOp, ast.UnaryOp)):
            self._add_both(statement.value)

    def _if_expression(self, node: ast.IfExp) -> None:
        if self._complaints.direct(self._module, node.body):
            self._add(node.test, False, Kind.RULE)
        elif self._complaints.direct(self._module, node.orelse):
            self._add(node.test, True, Kind.RULE)
        else:
            self._add_both(node.test)

    def _add(self, test: ast.expr, want: bool, kind: Kind, body: int = 0) -> None:
        self.found += [(piece, kind, body) for piece in _pieces(test, want)]

    def _add_both(self, test: ast.expr) -> None:
        for want in (False, True):
            self._add(test, want, Kind.OTHER)


def _own(statement: ast.stmt) -> Iterator[ast.AST]:
    """Nodes of a statement's own expressions."""
    for child in ast.iter_child_nodes(statement):
        if not isinstance(child, (ast.stmt, ast.ExceptHandler)):
            yield from ast.walk(child)


def find(modules: Sequence[Module]) -> list[Mutant]:
    """Every mutant of some modules, each once, by place."""
    complaints = Complaints(modules)
    found: dict[tuple[str, int, int, bool], Mutant] = {}
    for module in modules:
        places = {id(node): place for place, node in enumerate(ast.walk(module.tree))}
        for function in module.functions():
            finder = _Finder(complaints, module, function)
            finder.walk()
            for piece, kind, body in finder.found:
                key = (module.name, places[id(piece.node)], piece.link, piece.value)
                if key not in found or found[key].kind is Kind.OTHER:
                    found[key] = Mutant(
                        module=module.name,
                        line=piece.node.lineno,
                        last_line=piece.node.end_lineno or piece.node.lineno,
                        body_line=body,
                        place=key[1],
                        link=piece.link,
                        value=piece.value,
                        kind=kind,
                        text=ast.unparse(piece.node),
                    )
    return sorted(found.values(), key=lambda one: (one.module, one.line, one.place, one.link, one.value))


class _Replace(ast.NodeTransformer):
    def __init__(self, node: ast.AST, by: ast.expr) -> None:
        self._node, self._by = node, by

    def visit(self, node: ast.AST) -> ast.AST:
        return self._by if node is self._node else self.generic_visit(node)


def mutated(source: str, mutant: Mutant) -> ast.Module:
    """The tree of a module with one condition replaced; lines stay what they are."""
    tree = ast.parse(source)
    node = list(ast.walk(tree))[mutant.place]
    assert isinstance(node, ast.expr)
    by: ast.expr = ast.Constant(mutant.value)
    if mutant.link >= 0 and isinstance(node, ast.Compare):
        by = _without_link(node, mutant.link)
    elif any(isinstance(one, ast.NamedExpr) for one in ast.walk(node)):
        # What it binds is still needed.
        by = ast.Subscript(ast.Tuple([node, by], ast.Load()), ast.Constant(1), ast.Load())
    changed = _Replace(node, ast.copy_location(by, node)).visit(tree)
    assert isinstance(changed, ast.Module)
    return ast.fix_missing_locations(changed)


def _without_link(chain: ast.Compare, link: int) -> ast.expr:
    sides = [chain.left, *chain.comparators]
    kept = [
        ast.Compare(sides[number], [operator], [sides[number + 1]])
        for number, operator in enumerate(chain.ops)
        if number != link
    ]
    return kept[0] if len(kept) == 1 else ast.BoolOp(ast.And(), [*kept])
