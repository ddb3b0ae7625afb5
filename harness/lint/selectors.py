"""Selectors against what is exported: does the series exist, and can the matchers match any of it?"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass

import promql_parser as promql

from .exported import Exported, Series
from .problems import Rule, Told

_FILLED_IN = re.compile(r"\$\{?[A-Za-z_]|\[\[\w")
_LITERALS = re.compile(r"[\w ./:+-]+(?:\|[\w ./:+-]+)*\Z")


@dataclass(frozen=True)
class Condition:
    """One matcher of a selector."""

    label: str
    operator: str
    value: str

    @property
    def filled_in(self) -> bool:
        """Whether a variable of a dashboard gives its value."""
        return _FILLED_IN.search(self.value) is not None

    def matches(self, value: str) -> bool:
        """Tell whether a value passes; a regular expression that only Prometheus can read passes everything."""
        if self.operator in ("=", "!="):
            return (value == self.value or _same_number(self.label, value, self.value)) is (self.operator == "=")
        try:
            return (re.fullmatch(self.value, value, re.DOTALL) is not None) is (self.operator == "=~")
        except re.error:
            return True

    @property
    def takes_absence(self) -> bool:
        """Whether a series without the label passes."""
        return self.matches("")

    @property
    def alternatives(self) -> tuple[str, ...]:
        """The values that it asks for by name: of a regular expression only if it is nothing but alternatives."""
        if self.operator == "=":
            return (self.value,)
        if self.operator == "=~" and _LITERALS.match(self.value) and "." not in self.value and "+" not in self.value:
            return tuple(self.value.split("|"))
        return ()

    def __str__(self) -> str:
        """Return it as PromQL."""
        return f'{self.label}{self.operator}"{self.value}"'


def _same_number(label: str, one: str, other: str) -> bool:
    """Buckets are named by numbers, which have several spellings."""
    try:
        return label == "le" and float(one) == float(other)
    except ValueError:
        return False


_OPERATORS = {"Equal": "=", "NotEqual": "!=", "Re": "=~", "NotRe": "!~"}


def conditions(selector: promql.VectorSelector) -> tuple[str, tuple[Condition, ...]]:
    """Return the name, "" when it has none that is fixed, and the matchers; alternatives by ``or`` are left out."""
    found = [
        Condition(one.name, _OPERATORS[str(one.op).rpartition(".")[2]], one.value) for one in selector.matchers.matchers
    ]
    named = [one.value for one in found if one.label == "__name__" and one.operator == "="]
    name = selector.name or (named[0] if named else "")
    return name, tuple(one for one in found if one.label != "__name__")


def examine_selector(name: str, asked: tuple[Condition, ...], exported: Exported) -> Iterator[Told]:
    """Find labels and values that no series of the name has."""
    series = exported.series(name)
    labels = frozenset(label for one in series for label in one.labels) | exported.scrape_labels
    for condition in asked:
        if condition.label not in labels:
            if condition.operator == "=" and not condition.value:
                continue
            yield Told(
                Rule.UNKNOWN_LABEL,
                f"{name} has no label {condition.label}",
                f"It has {', '.join(sorted(labels))}; a label that the scrape adds is named with --label.",
            )
        elif not condition.filled_in:
            yield from _values(name, condition, exported)


def _values(name: str, condition: Condition, exported: Exported) -> Iterator[Told]:
    known = exported.closed_values(name, condition.label)
    if known is None or condition.label in exported.scrape_labels:
        return
    remedy = f"Its values are {', '.join(sorted(known))}."
    wrong = [
        value
        for value in condition.alternatives
        if value and not any(value == one or _same_number(condition.label, value, one) for one in known)
    ]
    if wrong:
        said = f"no series {name} has {condition.label}={' or '.join(map(repr, wrong))}"
        yield Told(Rule.UNKNOWN_VALUE, said, remedy)
    elif not condition.takes_absence and not any(condition.matches(value) for value in known):
        yield Told(Rule.UNKNOWN_VALUE, f"no series {name} passes {condition}", remedy)


def matching(name: str, asked: tuple[Condition, ...], exported: Exported) -> tuple[Series, ...]:
    """Return the known series that pass all matchers; those on labels that only the scrape adds pass."""
    return tuple(
        one
        for one in exported.series(name)
        if all(
            condition.label in exported.scrape_labels
            or condition.filled_in
            or condition.matches(one.labels.get(condition.label, ""))
            for condition in asked
        )
    )


def unknown_series(name: str, known: list[str]) -> Told:
    """Say that nobody exports a series, and which it might be."""
    parts = [f"{name}{ending}" for ending in ("_bucket", "_count", "_sum", "_total") if f"{name}{ending}" in known]
    near = parts or difflib.get_close_matches(name, known, n=3, cutoff=0.8)
    hint = f"Did you mean {' or '.join(near)}? " if near else ""
    if ":" in name:
        remedy = f"{hint}Add the recording rule, or give the file that has it."
        return Told(Rule.UNRECORDED, f"no recording rule of these files makes {name}", remedy)
    return Told(
        Rule.UNKNOWN_SERIES,
        f"nobody exports {name}",
        f"{hint}Name what is exported; what another exporter has is named with --foreign, and what comes only with its "
        "first event needs a page read after it.",
    )
