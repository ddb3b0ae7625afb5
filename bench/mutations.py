"""Whether the checkers' tests can fail: each condition that makes a checker complain is taken out, one at a time.

    python -m bench.mutations [--checker NAME ...] [--kind KIND ...] [--all] [--tests FILE ...] [--jobs 2] [--json FILE]

For every registered checker it finds the conditions of its module, and of the modules that its rules live in, that
decide about a finding or an unknown (bench/_mutants.py), and replaces one of them by what makes no complaint.  The
property tests that run the changed line judge the mutant, cheapest first, then the unit tests that do; the first
failure ends it.  Where that leaves a checker unproved, since other tests were first, the anomalies planted for it judge
once more, for its verdict alone.  ``--all`` adds every other condition, replaced by True and by False in turn.

Exit code 1 when no property test notices that a checker lacks one of its comparisons, in its own module or, where an
anomaly is planted for the checker (tests/property/planted.py), in one that its rules live in; or when a condition that
stands right before a complaint (kind ``rule``) can be taken out and no test notices; 2 when the tests fail as they are.
Nothing is written into the source tree.  docs/reference/speed.md says more.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import json
import os
import re
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench._forked import Ended, Swap, Told, Watch, loaded, run_forked, run_tests, warm
from bench._mutants import Kind, Module, Mutant, find, mutated

ROOT = Path(__file__).parents[1]
CHECKERS = ROOT / "harness" / "checkers"
PACKAGE = "harness.checkers"
BASELINE_SECONDS = 3600.0
MUTANT_SECONDS = 300.0
"""A mutant that runs longer is endless, which is noticed as well."""
UNTOUCHED = ("harness.checking", "harness.rundata", "harness.oracle", "harness.jsonlines", "harness.lint.lint")
"""Modules of the harness that import no checker, so that children need not import them anew."""
COMPARES_A_CHECKER_WITH_ITSELF = "tests/property/test_condensed_property.py"
"""It judges each history twice by the same code, so that a mutant agrees with itself: much time, and little to see."""

PLANTED = "tests/property/test_planted_property.py::test_what_is_planted_is_found_by_its_checker_and_broken_by_no_other"
"""Its parameter is the name of an anomaly, which one checker is meant to find."""

FALSE_ALARMS = "tests/property/test_planted_property.py::test_of_an_honest_run_no_checker_has_a_finding"
"""It notices a mutant that complains where it should not, not that a complaint is missed: it comes last."""


@dataclass(frozen=True)
class Timed:
    """One test: where it is, its CPU seconds, and the lines of the checkers that it runs, by module."""

    nodeid: str
    seconds: float
    lines: frozenset[tuple[str, int]]

    @property
    def is_property(self) -> bool:
        """Whether it is one of histories made by Hypothesis, or planted in such."""
        return self.nodeid.startswith("tests/property/")

    def runs(self, mutant: Mutant) -> bool:
        """Tell whether it runs the changed line, and what the mutant does not run: else it sees no difference."""
        stem = mutant.module.rpartition(".")[2]
        if mutant.body_line and (stem, mutant.body_line) not in self.lines:
            return False
        return any((stem, line) in self.lines for line in range(mutant.line, mutant.last_line + 1))


@dataclass(frozen=True)
class Outcome:
    """What became of a mutant: who noticed it (property, unit or nobody), and how."""

    mutant: Mutant
    noticed: str
    by: str = ""


def test_files() -> list[str]:
    """Files of property and unit tests that use the checkers, themselves or through their helpers."""
    using: set[str] = {PACKAGE}
    files = {f"tests.{path.parent.name}.{path.stem}": path for path in _tests()}
    texts = {name: path.read_text(encoding="utf-8") for name, path in files.items()}
    before = 0
    while before != len(using):
        before = len(using)
        using |= {name for name, text in texts.items() if any(_imports(text, module) for module in using)}
    found = [str(files[name].relative_to(ROOT)) for name in using if name in files]
    return sorted(path for path in found if "/test_" in path and path != COMPARES_A_CHECKER_WITH_ITSELF)


def _tests() -> Iterator[Path]:
    for folder in ("property", "unit"):
        yield from (ROOT / "tests" / folder).glob("*.py")


def _imports(text: str, module: str) -> bool:
    """Tell by its text whether a test module imports another, or from the package of checkers."""
    if module == PACKAGE:
        return PACKAGE in text
    return bool(re.search(rf"^(from|import) .*\b{module.rpartition('.')[2]}\b", text, re.MULTILINE))


def _source(module: str) -> Path:
    return ROOT / f"{module.replace('.', '/')}.py"


def _registered() -> Told:
    """By name of each registered checker, the module that it lives in."""
    import harness.checkers  # noqa: F401 - it registers them all
    from harness.checking import CHECKERS as REGISTRY

    return {name: REGISTRY.get(name).__module__ for name in REGISTRY}


def _meant() -> Told:
    """By name of each planted anomaly, the checker that is meant to find it."""
    from tests.property.planted import PLANTED as ANOMALIES

    return {name: planted.checker for name, planted in ANOMALIES.items()}


def compares(text: str) -> bool:
    """Tell whether a condition compares values; that something is there, or is None, does not."""
    orders = (ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq, ast.In, ast.NotIn)
    nodes = ast.walk(ast.parse(text.strip(), mode="eval"))
    return any(isinstance(op, orders) for node in nodes if isinstance(node, ast.Compare) for op in node.ops)


def _baseline(files: Sequence[str]) -> Callable[[], Told]:
    def work() -> Told:
        return {**run_tests(files, Watch(None, CHECKERS)), "loaded": loaded()}

    return work


def _judged(mutant: Mutant, tests: Sequence[Timed]) -> Callable[[], Told]:
    def work() -> Told:
        path = _source(mutant.module)
        sys.meta_path.insert(0, Swap(mutant.module, path, mutated(path.read_text(encoding="utf-8"), mutant)))
        wanted = [test.nodeid for test in sorted(tests, key=lambda test: (test.nodeid == FALSE_ALARMS, test.seconds))]
        return run_tests({nodeid.partition("::")[0] for nodeid in wanted}, Watch(wanted))

    return work


def _how(ended: Ended) -> str:
    """How a mutant was noticed; empty when it was not."""
    if ended.timed_out:
        return "time-out"
    if ended.told is None:
        return "the process died"
    return str(ended.told["failed"] or f"pytest ended with {ended.told['code']}") if ended.told["code"] else ""


def judge(mutants: Sequence[Mutant], tests: Sequence[Timed], jobs: int) -> Iterator[Outcome]:
    """Run the property tests of every mutant, and the unit tests of those that no property test notices."""
    left = list(mutants)
    for kind in ("property", "unit"):
        chosen = [
            (mutant, [test for test in tests if test.is_property is (kind == "property") and test.runs(mutant)])
            for mutant in left
        ]
        due = [(mutant, its) for mutant, its in chosen if its]
        left = [mutant for mutant, its in chosen if not its]
        tasks = [_judged(mutant, its) for mutant, its in due]
        for number, ended in run_forked(tasks, jobs=jobs, seconds=MUTANT_SECONDS):
            how = _how(ended)
            if how:
                yield Outcome(due[number][0], kind, how)
            else:
                left.append(due[number][0])
    run = {mutant for mutant in mutants if any(test.runs(mutant) for test in tests)}
    yield from (Outcome(mutant, "", "" if mutant in run else "no test comes there") for mutant in left)


def rule_modules(checkers: Mapping[str, str], modules: Mapping[str, Module]) -> dict[str, list[str]]:
    """By checker, its own module and the helpers that it imports, at any remove, but for other checkers."""
    found = {}
    for name, own in checkers.items():
        seen = [own]
        for module in seen:
            helpers = sorted(modules[module].neighbours() & modules.keys() - checkers.values())
            seen += [helper for helper in helpers if helper not in seen]
        found[name] = seen
    return found


def in_turns(mutants: Sequence[Mutant], kinds: Sequence[Kind], own: set[str]) -> list[Mutant]:
    """One mutant of each module, then another of each: rules first, checkers before helpers.

    So a run that is broken off has seen something of every checker.
    """
    by_module: dict[str, list[Mutant]] = {}
    for mutant in sorted(mutants, key=lambda one: kinds.index(one.kind)):
        by_module.setdefault(mutant.module, []).append(mutant)
    turns = [
        (turn, name not in own, name, mutant) for name, its in by_module.items() for turn, mutant in enumerate(its)
    ]
    return [mutant for *_, mutant in sorted(turns, key=lambda one: one[:3])]


@dataclass(frozen=True)
class Row:
    """One checker's line of the table."""

    checker: str
    outcomes: Sequence[Outcome]
    own: str
    planted: frozenset[str] = frozenset()
    """The anomalies that are planted for this checker to find."""

    def count(self, noticed: str) -> int:
        """How many of its mutants were noticed so."""
        return sum(one.noticed == noticed for one in self.outcomes)

    @property
    def proved(self) -> bool:
        """Whether a property test misses what the checker does not find without one of its comparisons.

        A guard is one only where it compares: that a checker says nothing at all is soon noticed.
        """
        return any(
            (one.mutant.module == self.own and not one.by.startswith(FALSE_ALARMS)) or one.by.startswith(self.meant)
            for one in self.noticed_comparisons()
        )

    @property
    def meant(self) -> tuple[str, ...]:
        """The tests of the anomalies that are planted for this checker."""
        return tuple(f"{PLANTED}[{name}]" for name in sorted(self.planted))

    def noticed_comparisons(self) -> list[Outcome]:
        """What a property test noticed, of the mutants that lack a comparison."""
        return [
            one
            for one in self.outcomes
            if one.noticed == "property" and (one.mutant.kind is not Kind.GUARD or compares(one.mutant.text))
        ]

    def line(self) -> str:
        """The line."""
        counts = (len(self.outcomes), self.count("property"), self.count("unit"), self.count(""))
        return f"| {self.checker} | " + " | ".join(map(str, counts)) + " |"


def looked_at_again(row: Row, tests: Sequence[Timed], jobs: int) -> Row:
    """Have the anomalies planted for a checker judge what another test was the first to notice.

    Which of several tests that notice a mutant is the first depends on how fast each was this time.
    """
    its = [test for test in tests if test.nodeid in row.meant]
    chosen = [(one, [test for test in its if test.runs(one.mutant)]) for one in row.noticed_comparisons()]
    due = [(one, wanted) for one, wanted in chosen if wanted]
    tasks = [_judged(one.mutant, wanted) for one, wanted in due]
    hows = [(due[number][0], _how(ended)) for number, ended in run_forked(tasks, jobs=jobs, seconds=MUTANT_SECONDS)]
    again = {one.mutant: dataclasses.replace(one, by=how) for one, how in hows if how}
    return dataclasses.replace(row, outcomes=[again.get(one.mutant, one) for one in row.outcomes])


def table(rows: Sequence[Row]) -> list[str]:
    """The table in Markdown, and what was noticed by nobody."""
    lines = ["| checker | mutants | noticed by property | by unit only | survived |", "|---|---|---|---|---|"]
    lines += [row.line() for row in rows]
    survivors = {one.mutant: one for row in rows for one in row.outcomes if not one.noticed}
    lines += [f"SURVIVED: {mutant}{f' - {one.by}' if one.by else ''}" for mutant, one in survivors.items()]
    return lines


def failures(rows: Sequence[Row]) -> list[str]:
    """What makes the exit code 1."""
    wrong = [f"{row.checker}: no property test notices that a comparison is missing" for row in rows if not row.proved]
    rules = {one.mutant for row in rows for one in row.outcomes if not one.noticed and one.mutant.kind is Kind.RULE}
    return wrong + ([f"{len(rules)} rules can be taken out and no test notices"] if rules else [])


def _only(task: Callable[[], Told], what: str) -> Told:
    [(_, ended)] = run_forked([task], jobs=1, seconds=BASELINE_SECONDS)
    if ended.told is None:
        raise SystemExit(f"{what}: the process {'took too long' if ended.timed_out else 'died'}; {ended.error}")
    return ended.told


def _chosen(options: argparse.Namespace, checkers: Mapping[str, str]) -> tuple[list[Mutant], dict[str, list[str]]]:
    modules = {
        f"{PACKAGE}.{path.stem}": Module.parse(f"{PACKAGE}.{path.stem}", path.read_text(encoding="utf-8"))
        for path in sorted(CHECKERS.glob("*.py"))
        if path.stem != "__init__"
    }
    unknown = sorted(set(options.checker) - checkers.keys())
    if unknown:
        raise SystemExit(f"No checker is named {', '.join(unknown)}; there are {', '.join(sorted(checkers))}.")
    lives = rule_modules(checkers, modules)
    wanted = {module for name in options.checker or checkers for module in lives[name]}
    kinds = list(Kind) if options.all else [Kind(kind) for kind in options.kind]
    mutants = [mutant for mutant in find(list(modules.values())) if mutant.module in wanted and mutant.kind in kinds]
    return in_turns(mutants, kinds, set(checkers.values())), lives


def run(options: argparse.Namespace) -> int:
    """Find, judge, print; return the exit code."""
    checkers = {str(name): str(module) for name, module in _only(_registered, "The checkers").items()}
    meant = {str(name): str(checker) for name, checker in _only(_meant, "What is planted").items()}
    mutants, lives = _chosen(options, checkers)
    told = _only(_baseline(options.tests or test_files()), "The tests as they are")
    if told["code"]:
        print(f"The tests fail as they are, so they can judge no mutant: {told['failed']}", file=sys.stderr)
        return 2
    tests = [
        Timed(one["id"], one["seconds"], frozenset((str(a), int(b)) for a, b in one["lines"])) for one in told["tests"]
    ]
    warm([*told["loaded"], *UNTOUCHED])
    assert PACKAGE not in sys.modules, "no child could swap a module that its parent imported"
    print(f"{len(mutants)} mutants, {len(tests)} tests", flush=True)
    outcomes: list[Outcome] = []
    try:
        for outcome in judge(mutants, tests, options.jobs):
            outcomes.append(outcome)
            print(f"{outcome.noticed or 'SURVIVED':8} {outcome.mutant}  {outcome.by[:100]}", flush=True)
    except (KeyboardInterrupt, SystemExit):
        print(f"BROKEN OFF: of {len(mutants)} mutants, {len(mutants) - len(outcomes)} were not judged to the end.")
    rows = [
        Row(
            name,
            [one for one in outcomes if one.mutant.module in lives[name]],
            own,
            frozenset(anomaly for anomaly, checker in meant.items() if checker == name),
        )
        for name, own in sorted(checkers.items())
        if name in (options.checker or checkers)
    ]
    # A run that was broken off says what it has; the rest of it is not judged any more.
    if len(outcomes) == len(mutants):
        rows = [row if row.proved else looked_at_again(row, tests, options.jobs) for row in rows]
    print("\n".join(table(rows)))
    if options.json is not None:
        options.json.write_text(json.dumps([dataclasses.asdict(one) for one in outcomes], indent=1), encoding="utf-8")
    wrong = failures(rows) + (["it was broken off"] if len(outcomes) < len(mutants) else [])
    print("\n".join(f"MISSED: {said}" for said in wrong) or "kept: every checker's tests can fail")
    return 1 if wrong else 0


def main() -> None:
    """Read the command line and run."""
    arguments = argparse.ArgumentParser(
        prog="bench.mutations", description=__doc__.partition("\n")[0] if __doc__ else ""
    )
    decisive = [kind.value for kind in Kind if kind is not Kind.OTHER]
    arguments.add_argument("--checker", nargs="+", default=[], metavar="NAME", help="only these checkers")
    arguments.add_argument("--kind", nargs="+", default=decisive, choices=decisive, help="only these conditions")
    arguments.add_argument("--all", action="store_true", help="every other condition as well, by True and by False")
    arguments.add_argument("--tests", nargs="+", metavar="FILE", help="only these files of tests, for a quick look")
    arguments.add_argument("--jobs", type=int, default=2, help="mutants at once (2)")
    arguments.add_argument("--json", type=Path, help="where every outcome is written")
    options = arguments.parse_args()
    os.chdir(ROOT)
    # As by Ctrl-C, the children end with their parent.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with tempfile.TemporaryDirectory(prefix="bench-mutations-") as folder:
        # Neither byte code nor examples go into the tree; nor does a plugin that these tests do without cost time.
        sys.pycache_prefix = folder
        os.environ |= {"HYPOTHESIS_STORAGE_DIRECTORY": folder, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        raise SystemExit(run(options))


if __name__ == "__main__":
    main()
