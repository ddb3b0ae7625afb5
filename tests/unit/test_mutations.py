"""The tool that takes conditions out of checkers: which it finds, and what each replacement does."""

from __future__ import annotations

import ast
import importlib
import sys
import typing
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from bench._forked import Swap, Told
from bench._mutants import Kind, Module, Mutant, find, mutated
from bench.mutations import (
    FALSE_ALARMS,
    PLANTED,
    Outcome,
    Row,
    Timed,
    compares,
    failures,
    in_turns,
    looked_at_again,
    rule_modules,
    table,
)

RULES = """
from ._help import limit_of

def sizes(run, findings):
    limit = limit_of(run)
    if run.blind:
        return
    for number in run.numbers:
        if number > limit and not number == 7:
            findings.append(Finding("too much", number))
    unknowns = [text for text in run.texts if text]
    return unknowns


def order(run):
    late = [number for number in run.numbers if number > 3]
    if late or run.odd:
        yield Finding("late", len(late))


def inside(run):
    if not 0 <= run.value <= 5:
        yield Finding("outside", run.value)


def first(run):
    if (value := run.value) > 1:
        return [Finding("first", value)]
    return [Finding("other", value)] if value < 0 else []
"""
HELP = """
def limit_of(run):
    if run.wide:
        return 100
    return 10


def unused(run):
    return run.odd > 3
"""


class Run:
    """What the sample's rules read."""

    blind = odd = wide = False
    numbers: tuple[int, ...] = (1, 20)
    texts: tuple[str, ...] = ("unread",)
    value = 9


def mutants(source: str = RULES) -> list[Mutant]:
    return find([Module.parse("made.rules", source), Module.parse("made._help", HELP)])


def at(text: str, *, value: bool | None = None, link: int = -1) -> Mutant:
    """The one mutant of a condition."""
    (found,) = [each for each in mutants() if each.text == text and value in (None, each.value) and each.link == link]
    return found


def played(mutant: Mutant | None, name: str) -> list[object]:
    """What a rule of the sample finds, changed by a mutant."""
    tree = mutated(RULES, mutant) if mutant else ast.parse(RULES)
    tree.body.pop(0)  # The neighbour is handed in.
    names: dict[str, typing.Any] = {"Finding": lambda *about: about, "limit_of": lambda run: 10}
    exec(compile(tree, "rules", "exec"), names)
    if name != "sizes":
        return list(names[name](Run()))
    found: list[object] = []
    names[name](Run(), found)
    return found


def test_a_condition_before_a_finding_is_a_rule_that_becomes_false() -> None:
    mutant = at("number > limit and (not number == 7)")
    assert (mutant.kind, mutant.value) == (Kind.RULE, False)
    assert played(None, "sizes") == [("too much", 20)]
    assert played(mutant, "sizes") == []


def test_what_leaves_before_a_finding_is_a_guard_that_becomes_true() -> None:
    mutant = at("run.blind")
    assert (mutant.kind, mutant.value) == (Kind.GUARD, True)
    assert played(mutant, "sizes") == []


def test_each_side_of_an_or_and_each_comparison_of_a_chain_is_taken_out_alone() -> None:
    assert {each.text for each in mutants() if each.kind is Kind.RULE} >= {"late", "run.odd"}
    assert played(None, "inside") == [("outside", 9)]
    assert played(at("0 <= run.value <= 5", link=0), "inside") == [("outside", 9)]
    assert played(at("0 <= run.value <= 5", link=1), "inside") == []


def test_a_filter_of_what_a_finding_is_made_of_feeds_it() -> None:
    mutant = at("number > 3")
    assert (mutant.kind, mutant.value) == (Kind.FEED, False)
    assert played(None, "order") == [("late", 1)]
    assert played(mutant, "order") == []


def test_a_filter_of_unknowns_is_a_rule() -> None:
    assert at("text").kind is Kind.RULE


def test_a_name_that_a_condition_binds_is_still_bound() -> None:
    assert played(None, "first") == [("first", 9)]
    assert played(at("(value := run.value) > 1"), "first") == []


def test_a_condition_of_which_nothing_is_known_is_tried_with_both_constants() -> None:
    found = [each for each in mutants() if each.text == "run.odd > 3"]
    assert [(each.kind, each.value) for each in found] == [(Kind.OTHER, False), (Kind.OTHER, True)]


def test_every_mutant_of_the_sample_keeps_its_lines() -> None:
    for mutant in mutants():
        if mutant.module == "made.rules":
            assert [node.lineno for node in mutated(RULES, mutant).body] == [2, 4, 15, 21, 26]


@pytest.mark.parametrize("nodeid", [FALSE_ALARMS, PLANTED])
def test_the_tests_that_prove_in_their_own_way_are_there(nodeid: str) -> None:
    path, _, name = nodeid.partition("::")
    assert f"def {name}(" in (Path(__file__).parents[2] / path).read_text(encoding="utf-8")


def test_a_swapped_module_is_run_in_place_of_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "swapped_rules.py"
    path.write_text("def broken(value):\n    if value > 1:\n        return Finding(value)\n", encoding="utf-8")
    (mutant,) = find([Module.parse("swapped_rules", path.read_text(encoding="utf-8"))])
    swap = Swap("swapped_rules", path, mutated(path.read_text(encoding="utf-8"), mutant))
    monkeypatch.setattr(sys, "meta_path", [swap, *sys.meta_path])
    module = importlib.import_module("swapped_rules")
    monkeypatch.delitem(sys.modules, "swapped_rules")
    broken: Callable[[int], object] = module.broken
    assert broken(5) is None
    assert module.__file__ == str(path)


def test_a_checker_has_the_rules_of_its_helpers_but_not_those_of_other_checkers() -> None:
    texts = {
        "p.one": "from ._help import a\nfrom .two import b",
        "p.two": "from ._other import c",
        "p._help": "from ._deep import d",
        "p._deep": "",
        "p._other": "",
    }
    modules = {name: Module.parse(name, text) for name, text in texts.items()}
    lives = rule_modules({"one": "p.one", "two": "p.two"}, modules)
    assert lives == {"one": ["p.one", "p._help", "p._deep"], "two": ["p.two", "p._other"]}


def test_each_checker_has_its_turn_before_any_has_another_and_helpers_come_last() -> None:
    found = [each for each in mutants() if each.kind in (Kind.RULE, Kind.FEED)]
    turns = in_turns(found, [Kind.RULE, Kind.FEED], {"made.rules"})
    assert [(each.module, each.kind) for each in turns[:3]] == [
        ("made.rules", Kind.RULE),
        ("made._help", Kind.FEED),
        ("made.rules", Kind.RULE),
    ]
    assert set(turns) == set(found)


def test_a_test_judges_only_mutants_of_lines_that_it_runs() -> None:
    mutant = at("number > 3")
    assert Timed("tests/unit/test_a.py::b", 0.1, frozenset({("rules", mutant.line)})).runs(mutant)
    assert not Timed("tests/unit/test_a.py::b", 0.1, frozenset({("rules", mutant.line + 1)})).runs(mutant)
    assert not Timed("tests/unit/test_a.py::b", 0.1, frozenset({("others", mutant.line)})).runs(mutant)


def test_a_test_that_never_comes_to_the_finding_cannot_miss_it() -> None:
    mutant = at("late")
    assert mutant.body_line == mutant.line + 1
    assert not Timed("tests/unit/test_a.py::b", 0.1, frozenset({("rules", mutant.line)})).runs(mutant)
    both = frozenset({("rules", mutant.line), ("rules", mutant.body_line)})
    assert Timed("tests/unit/test_a.py::b", 0.1, both).runs(mutant)


def test_a_rule_that_nobody_misses_and_a_checker_without_a_property_are_failures() -> None:
    rule, feed = at("run.odd"), at("number > 3")
    noticed = Outcome(at("late"), "property", "tests/property/test_a.py::b")
    kept = Row("order", [noticed, Outcome(feed, "")], "made.rules")
    assert failures([kept]) == []
    assert table([kept])[2:] == ["| order | 2 | 1 | 0 | 1 |", f"SURVIVED: {feed}"]
    assert failures([Row("order", [noticed, Outcome(rule, "")], "made.rules")]) == [
        "1 rules can be taken out and no test notices"
    ]
    alarmed = Outcome(at("late"), "property", f"{FALSE_ALARMS}: AssertionError")
    assert len(failures([Row("order", [alarmed], "made.rules")])) == 1, "a false alarm misses no complaint"
    unproved = ["order: no property test notices that a comparison is missing"]
    assert failures([Row("order", [noticed], "made.others")]) == unproved
    planted = Outcome(at("late"), "property", f"{PLANTED}[a late row]: AssertionError")
    assert failures([Row("order", [planted], "made.others", frozenset({"a late row"}))]) == []
    assert failures([Row("order", [planted], "made.others", frozenset({"a lost row"}))]) == unproved
    guard = Outcome(at("run.blind"), "property", "tests/property/test_a.py::b")
    assert guard.mutant.kind is Kind.GUARD
    assert failures([Row("order", [guard], "made.rules")]) == unproved, "it only says nothing"


def test_what_another_test_noticed_first_is_judged_by_what_is_planted_for_the_checker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mine, another = f"{PLANTED}[a late row]", f"{PLANTED}[a lost row]"
    mutant = at("late")
    row = Row("order", [Outcome(mutant, "property", f"{another}: gone")], "made.others", frozenset({"a late row"}))
    assert not row.proved
    asked: list[list[str]] = []

    def judged(which: Mutant, tests: Sequence[Timed]) -> Callable[[], Told]:
        assert which == mutant
        asked.append([test.nodeid for test in tests])
        return lambda: {"code": code, "failed": f"{mine}: missed" if code else ""}

    monkeypatch.setattr("bench.mutations._judged", judged)
    lines = frozenset({("rules", line) for line in range(100)})
    tests = [Timed(mine, 1.0, lines), Timed(another, 0.1, lines), Timed(f"{PLANTED}[elsewhere]", 0.1, lines)]
    code = 0
    assert looked_at_again(row, tests, 1) == row, "it notices nothing, so another's word stays"
    code = 1
    again = looked_at_again(row, tests, 1)
    assert again.proved
    assert [one.by for one in again.outcomes] == [f"{mine}: missed"]
    assert asked == [[mine], [mine]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a < b", True), ("x in allowed or cut(x)", True), ("found is not None", False), ("not run.blind", False)],
)
def test_a_condition_compares_values_or_only_asks_what_is_there(text: str, expected: bool) -> None:
    assert compares(text) is expected
