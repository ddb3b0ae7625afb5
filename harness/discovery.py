"""Discovery: scenario files become scenarios, and a selection picks from them.

A scenario file holds a module-level ``SCENARIO`` (or ``SCENARIOS``).  Files below one folder that is a package are
imported as that package, so that they may import relatively.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from .errors import ScenarioError, UsageError
from .redaction import given_back, is_kept_back
from .registry import Registry
from .scenario import Scenario

DEFAULT_SCENARIOS = Path("scenarios")
_REMEDY = "Mend it; docs/how-to/scenario.md shows a whole file."
_NAMES_REMEDY = (
    "`harness list faults` names the faults with their modules and fields, docs/how-to/scenario.md shows a whole file."
)


class Scenarios(Registry[Scenario]):
    """The scenarios below one folder by name, and the file that each comes from."""

    def __init__(self, folder: Path) -> None:
        """Start empty."""
        super().__init__("scenario")
        self._folder = folder
        self._paths: dict[str, Path] = {}

    def add(self, scenario: Scenario, path: Path) -> None:
        """Add a scenario of a file; raise :class:`UsageError` naming both files when the name is taken."""
        if scenario.name in self._paths:
            raise UsageError(
                f"Two scenarios are named {scenario.name!r}, in {self._paths[scenario.name]} and in {path}; "
                "rename one of them."
            )
        self._paths[scenario.name] = path
        self.register(scenario.name)(scenario)

    def path_of(self, scenario: Scenario) -> Path:
        """Return the file that a scenario comes from."""
        return self._paths[scenario.name]

    def keywords_of(self, scenario: Scenario) -> str:
        """Return the text a keyword is looked for in: name, claim, requirement ids, and folders and file.

        These are the names that ``pytest scenarios -k`` looks in.
        """
        place = self._paths[scenario.name].relative_to(self._folder).parts
        folder = self._folder.resolve().name
        return " ".join((scenario.name, scenario.claim, *scenario.requirements, folder, *place)).lower()


def load_scenarios(folder: Path) -> Scenarios:
    """Import every scenario file below ``folder``, or the one file; raise :class:`UsageError` for two of one name."""
    if folder.is_file():
        alone = Scenarios(folder.parent)
        for scenario in scenarios_of(folder):
            alone.add(scenario, folder)
        if not len(alone):
            raise UsageError(f"{folder} has no SCENARIO. docs/how-to/scenario.md shows how to write one.")
        return alone
    if not folder.is_dir():
        raise UsageError(
            f"There is no folder of scenarios at {folder}. Run from the project's folder, or name one with --scenarios."
        )
    scenarios = Scenarios(folder)
    for path in sorted(folder.rglob("*.py")):
        if path.name.startswith("_"):
            continue
        for scenario in scenarios_of(path):
            scenarios.add(scenario, path)
    if not len(scenarios):
        raise UsageError(f"No file below {folder} has a SCENARIO. docs/how-to/scenario.md shows how to write one.")
    return scenarios


def with_own_secrets(stored: Scenario, folder: Path) -> Scenario:
    """Give a stored scenario the values again that no history tells, from its own file below ``folder``.

    What the caller's environment has is given when it is played, so there may be no file, as of a lab.  Raises
    :class:`UsageError` where neither has them.
    """
    told = stored.service_environment
    unknown = [name for name, value in told.items() if is_kept_back(value)]
    if not unknown:
        return stored
    try:
        own = load_scenarios(folder).get(stored.name).service_environment
    except UsageError as error:
        if all(name in os.environ for name in unknown):
            return stored
        raise UsageError(
            f"{error} The run is stored without the value of {', '.join(unknown)} for its service: set a variable of "
            "that name for this command."
        ) from error
    return replace(stored, service_environment=given_back(told, own))


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
    """Import a file under the name that its packages give it; raise :class:`ScenarioError` when it breaks.

    A file of no package is imported under its whole path, since two folders may have files of one name.  Its folder
    comes last where modules are looked for: beside a scenario ``json.py`` everybody still imports Python's own.
    """
    path = path.resolve()
    parts, top = [path.stem], path.parent
    while (top / "__init__.py").exists():
        parts.insert(0, top.name)
        top = top.parent
    name = ".".join(parts) if len(parts) > 1 else str(path)
    loaded = sys.modules.get(name)
    if loaded is not None and Path(str(loaded.__file__)).resolve() == path:
        return loaded
    if str(top) not in sys.path:
        sys.path.insert(0 if len(parts) > 1 else len(sys.path), str(top))
    try:
        return importlib.import_module(name) if len(parts) > 1 else _import_alone(path)
    except Exception as error:
        raise ScenarioError(_import_problem(path, error)) from error


def _import_alone(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(str(path), path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[spec.name]
        raise
    return module


def _import_problem(path: Path, error: Exception) -> str:
    """Say which line of the file Python could not go on from, in Python's words, and where to look."""
    line = None
    for frame in traceback.extract_tb(error.__traceback__):
        if Path(frame.filename).resolve() == path:
            line = frame.lineno
    reason = str(error)
    if isinstance(error, SyntaxError) and error.filename == str(path):
        line, reason = error.lineno, error.msg
    where = f"{path}:{line}" if line is not None else str(path)
    names = isinstance(error, ImportError | AttributeError | NameError | TypeError)
    remedy = _NAMES_REMEDY if names else _REMEDY
    reason = reason.rstrip(".")
    return f"{where}: the scenario file cannot be imported: {type(error).__name__}: {reason}. {remedy}"


def select(scenarios: Scenarios, names: Sequence[str], keyword: str = "") -> list[Scenario]:
    """Pick scenarios by exact names, by a ``-k`` expression, or all; raise :class:`UsageError` for none."""
    chosen = [scenarios.get(name) for name in names] if names else list(scenarios.values())
    if keyword:
        matches = compile_keyword(keyword)
        chosen = [scenario for scenario in chosen if matches(scenarios.keywords_of(scenario))]
    if not chosen:
        raise UsageError(f"No scenario matches -k {keyword!r}; `harness list scenarios` shows all {len(scenarios)}.")
    return chosen


_SHARD = re.compile(r"([1-9]\d*)/([1-9]\d*)\Z")


def shard_of(scenarios: Sequence[Scenario], shard: str) -> list[Scenario]:
    """Pick the part that ``shard`` names, such as ``1/4``: every fourth scenario from the first.

    Exclusive scenarios are dealt out by themselves, since they take the most time.  All parts together are all
    scenarios, each once.  Raises :class:`UsageError` for what is no part, and for one that is empty.
    """
    match = _SHARD.match(shard)
    number, count = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= number <= count:
        raise UsageError(f"--shard {shard!r} is no part of a whole; write --shard 1/4 to --shard 4/4.")
    shared = [scenario for scenario in scenarios if not scenario.exclusive]
    alone = [scenario for scenario in scenarios if scenario.exclusive]
    # From the other end, so that the parts that get one more of the shared ones get one less of these.
    chosen = {scenario.name for scenario in (*shared[number - 1 :: count], *alone[count - number :: count])}
    if not chosen:
        raise UsageError(f"--shard {shard} is empty: {len(scenarios)} scenarios make no {count} parts; use fewer.")
    return [scenario for scenario in scenarios if scenario.name in chosen]


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
