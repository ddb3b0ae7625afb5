"""Which series and labels a PromQL expression names, and the rules and panels of ``service/ops`` as expressions.

A tokenizer, since Prometheus tells no client how it parsed: the integration tests hand the same selectors to a real
Prometheus, which knows whether they are read rightly.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

OPS = Path(__file__).parents[2] / "service" / "ops"
RULE_FILES = (OPS / "recording.rules.yml", OPS / "alerts.rules.yml")
GET_PROMETHEUS = (
    "{} is missing; `apt-get install prometheus` on Debian has it, or put the programs of a Prometheus release on PATH"
)

_TOKEN = re.compile(
    r"""\s*(?P<string>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`[^`]*`)
      |\s*(?P<number>\d[\w.]*)
      |\s*(?P<name>\$?[A-Za-z_:][A-Za-z0-9_:]*)
      |\s*(?P<operator>=~|!~|!=|==|>=|<=|[-+*/%^=<>(){}\[\],@:])""",
    re.VERBOSE,
)
_LABEL_LISTS = {"by", "without", "on", "ignoring", "group_left", "group_right"}
_WORDS = {"and", "or", "unless", "bool", "offset", "atan2", "inf", "nan", "start", "end"}
_MATCHES = {"=", "!=", "=~", "!~"}


@dataclass(frozen=True)
class Matcher:
    """One condition on a label."""

    label: str
    operator: str
    value: str

    @property
    def values(self) -> tuple[str, ...]:
        """The values it names: the alternatives of a regular expression that is nothing but alternatives."""
        return tuple(self.value.split("|")) if self.operator in ("=~", "!~") else (self.value,)


@dataclass(frozen=True)
class Selector:
    """One selection of series."""

    metric: str
    matchers: tuple[Matcher, ...]

    def __str__(self) -> str:
        """Return it as PromQL."""
        inside = ", ".join(f"{one.label}{one.operator}{json.dumps(one.value)}" for one in self.matchers)
        return f"{self.metric}{{{inside}}}"


@dataclass(frozen=True)
class Expression:
    """What an expression names: its selectors, and the labels of its grouping and matching clauses."""

    text: str
    selectors: tuple[Selector, ...]
    clauses: tuple[tuple[str, str], ...]

    @property
    def dropped(self) -> frozenset[str]:
        """Labels that the result no longer has."""
        quantile = {"le"} if "histogram_quantile" in self.text else set()
        return frozenset(quantile | {label for word, label in self.clauses if word == "without"})


def tokens(text: str) -> list[str]:
    """Split an expression; raises ValueError where it cannot be PromQL."""
    found, at = [], 0
    text = text.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise ValueError(f"no PromQL at {text[at : at + 20]!r} of {text!r}")
        found.append(match.group().strip())
        at = match.end()
    return found


def parse(text: str) -> Expression:
    """Read one expression; raises ValueError or IndexError where it is none."""
    words = [*tokens(text), "", ""]
    selectors: list[Selector] = []
    clauses: list[tuple[str, str]] = []
    at = 0
    while words[at]:
        word, after = words[at], words[at + 1]
        at += 1
        if word == "[":
            at = words.index("]", at) + 1
        elif word == "{":
            raise ValueError(f"a selector without a name in {text!r}")
        elif not re.match(r"[A-Za-z_:]", word) or word.lower() in _WORDS:
            continue
        elif word.lower() in _LABEL_LISTS:
            if after == "(":
                end = words.index(")", at)
                clauses += [(word.lower(), label) for label in words[at + 1 : end] if label != ","]
                at = end + 1
        elif after != "(" and after not in ("by", "without"):
            matchers, at = _matchers(words, at) if after == "{" else ((), at)
            selectors.append(Selector(word, matchers))
    return Expression(text, tuple(selectors), tuple(clauses))


def _matchers(words: list[str], at: int) -> tuple[tuple[Matcher, ...], int]:
    found = []
    at += 1
    while words[at] != "}":
        label, operator, value = words[at : at + 3]
        if operator not in _MATCHES or value[:1] not in "\"'`":
            raise ValueError(f"{label} {operator} {value} is no matcher")
        found.append(Matcher(label, operator, value[1:-1]))
        at += 4 if words[at + 3] == "," else 3
    return tuple(found), at + 1


@dataclass(frozen=True)
class Rule:
    """One rule: ``kind`` is ``record`` or ``alert``; ``text`` is all of its lines."""

    kind: str
    name: str
    expression: Expression
    text: str


def rules() -> Iterator[Rule]:
    """Every rule.  The files keep to one layout, so that no YAML library is needed to find their expressions."""
    for path in RULE_FILES:
        for text in re.split(r"\n(?=      - )", path.read_text(encoding="utf-8"))[1:]:
            head = re.match(r"      - (record|alert): (\S+)\n", text)
            expression = re.search(r"^        expr: (?:\|\n((?:          .*\n?)+)|(.*))", text, re.MULTILINE)
            if head is None or expression is None:
                raise ValueError(f"{path.name}: a rule in another layout than the others:\n{text}")
            yield Rule(head[1], head[2], parse(" ".join((expression[1] or expression[2]).split())), text)


@dataclass(frozen=True)
class Panel:
    """One panel of the dashboard that shows series."""

    title: str
    description: str
    thresholds: frozenset[float]
    expressions: tuple[Expression, ...]


def dashboard() -> dict[str, object]:
    """Read the whole dashboard."""
    data = json.loads((OPS / "dashboard.json").read_text(encoding="utf-8"))
    assert isinstance(data, dict)
    return data


def panels() -> list[Panel]:
    """Every panel with its queries, the dashboard's variables still in them."""
    found = []
    for panel in json.loads((OPS / "dashboard.json").read_text(encoding="utf-8"))["panels"]:
        if panel["type"] == "row":
            continue
        steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
        found.append(
            Panel(
                panel["title"],
                panel["description"],
                frozenset(float(step["value"]) for step in steps if step["value"] is not None),
                tuple(parse(target["expr"]) for target in panel["targets"]),
            )
        )
    return found


def variable_queries() -> list[tuple[Selector, str]]:
    """What the dashboard's variables list: ``label_values(selector, label)``."""
    found = []
    for variable in json.loads((OPS / "dashboard.json").read_text(encoding="utf-8"))["templating"]["list"]:
        if variable["type"] == "query":
            match = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
            assert match is not None, variable
            (selector,) = parse(match[1]).selectors
            found.append((selector, match[2]))
    return found
