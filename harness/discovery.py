"""Discovery: scenario files become scenarios, and a selection picks from them.

A scenario file holds a module-level ``SCENARIO`` (or ``SCENARIOS``).  Files below one folder that is a package are
imported as that package, so that they may import relatively.
"""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

from .errors import ScenarioError, UsageError
from .registry import Registry
from .scenario import Scenario


def load_scenarios(folder: Path) -> Registry[Scenario]:
    """Import every scenario file below ``folder``; raise :class:`UsageError` for two of one name."""
    if not folder.is_dir():
        raise UsageError(
            f"There is no folder of scenarios at {folder}. Run from the project's folder, or name one with --scenarios."
        )
    registry: Registry[Scenario] = Registry("scenario")
    for path in sorted(folder.rglob("*.py")):
        if path.name.startswith("_"):
            continue
        for scenario in scenarios_of(path):
            registry.register(scenario.name)(scenario)
    if not len(registry):
        raise UsageError(f"No file below {folder} has a SCENARIO. docs/how-to/scenario.md shows how to write one.")
    return registry


def scenarios_of(path: Path) -> tuple[Scenario, ...]:
    """Return the scenarios that one file holds, none for a file that holds none."""
    module = import_file(path)
    found = getattr(module, "SCENARIOS", None)
    if found is None:
        found = (module.SCENARIO,) if hasattr(module, "SCENARIO") else ()
    for scenario in found:
        if not isinstance(scenario, Scenario):
            raise ScenarioError(f"{path}: SCENARIO must be a harness.scenario.Scenario, not {type(scenario).__name__}.")
    return tuple(found)


def import_file(path: Path) -> ModuleType:
    """Import a file under the name that its packages give it; raise :class:`ScenarioError` when it breaks."""
    path = path.resolve()
    parts, top = [path.stem], path.parent
    while (top / "__init__.py").exists():
        parts.insert(0, top.name)
        top = top.parent
    name = ".".join(parts)
    loaded = sys.modules.get(name)
    if loaded is not None and Path(str(loaded.__file__)).resolve() == path:
        return loaded
    if str(top) not in sys.path:
        sys.path.insert(0, str(top))
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise ScenarioError(f"The scenario file {path} cannot be imported: {type(error).__name__}: {error}") from error


def select(registry: Registry[Scenario], names: Sequence[str], keyword: str = "") -> list[Scenario]:
    """Pick scenarios by exact names, by a ``-k`` expression, or all; raise :class:`UsageError` for none."""
    chosen = [registry.get(name) for name in names] if names else list(registry.values())
    if keyword:
        matches = compile_keyword(keyword)
        chosen = [scenario for scenario in chosen if matches(keywords_of(scenario))]
    if not chosen:
        raise UsageError(f"No scenario matches -k {keyword!r}; `harness list scenarios` shows all {len(registry)}.")
    return chosen


def keywords_of(scenario: Scenario) -> str:
    """Return the text a keyword is looked for in: name, claim and requirement ids."""
    return " ".join((scenario.name, scenario.claim, *scenario.requirements)).lower()


def compile_keyword(expression: str) -> Callable[[str], bool]:
    """Compile a pytest-like expression of substrings with and, or, not; raise :class:`UsageError`."""
    words = expression.replace("(", " ( ").replace(")", " ) ").split()
    # Each word becomes a name, since two quoted words in a row would silently be one.
    source = " ".join(w if w in ("and", "or", "not", "(", ")") else f"word{i}" for i, w in enumerate(words))
    try:
        tree = ast.parse(source, mode="eval")
    except SyntaxError as error:
        raise UsageError(f"-k {expression!r} is not an expression of words with and, or, not and brackets.") from error

    def holds(node: ast.AST, text: str) -> bool:
        match node:
            case ast.Expression(body=body):
                return holds(body, text)
            case ast.BoolOp(op=ast.And(), values=values):
                return all(holds(value, text) for value in values)
            case ast.BoolOp(values=values):
                return any(holds(value, text) for value in values)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return not holds(operand, text)
            case ast.Name(id=name):
                return words[int(name.removeprefix("word"))].lower() in text
        raise UsageError(f"-k {expression!r} is not an expression of words with and, or, not and brackets.")

    holds(tree, "")
    return lambda text: holds(tree, text)
