"""Rule files and dashboards as typed values, read once for each text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import promql_parser
import yaml

from .problems import Unreadable

BUILT_IN = ("__", "timeFilter", "timezone")
"""How the names of Grafana's own variables begin."""


@dataclass(frozen=True)
class RuleRead:
    """One rule of a group: ``record`` or ``alert`` is its name, the other is empty."""

    group: str
    position: int
    record: str
    alert: str
    expression: str
    for_seconds: float = 0.0
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def place(self) -> str:
        """Where in the file it is."""
        return f"group {self.group}, " + (f"alert {self.alert}" if self.alert else f"record {self.record}")


@dataclass(frozen=True)
class RulesFile:
    """The rules of one file, in their order."""

    path: str
    rules: tuple[RuleRead, ...]


@dataclass(frozen=True)
class Query:
    """One query of a panel, a variable or an annotation; ``legend`` is the template of its legend."""

    place: str
    expression: str
    legend: str = ""


@dataclass(frozen=True)
class Dashboard:
    """The queries of one dashboard, and the names of its variables."""

    path: str
    queries: tuple[Query, ...]
    variables: frozenset[str]


@lru_cache(maxsize=64)
def read_rules(path: str, text: str) -> RulesFile:
    """Read a rule file of Prometheus; raise :class:`Unreadable` naming what is wrong."""
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        where = " ".join(str(error).split())
        raise Unreadable(f"{path} is no YAML: {where}. Mend it; `promtool check rules` says more.") from error
    try:
        rules = [
            _rule(path, str(group["name"]), position, {**rule, "labels": _labels(group) | _labels(rule)})
            for group in data["groups"]
            for position, rule in enumerate(group.get("rules") or ())
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise Unreadable(
            f"{path} is no rule file ({error!r}): it needs groups, each with a name and rules that have an expr."
        ) from error
    return RulesFile(path, tuple(rules))


def _rule(path: str, group: str, position: int, data: Mapping[str, Any]) -> RuleRead:
    record, alert = str(data.get("record") or ""), str(data.get("alert") or "")
    if bool(record) == bool(alert):
        raise Unreadable(f"{path}: rule {position + 1} of the group {group} needs either a record or an alert.")
    return RuleRead(
        group=group,
        position=position,
        record=record,
        alert=alert,
        expression=str(data["expr"]),
        for_seconds=_seconds(path, group, data.get("for")),
        labels=data["labels"],
        annotations={str(key): str(value) for key, value in (data.get("annotations") or {}).items()},
    )


def _labels(data: Mapping[str, Any]) -> dict[str, str]:
    """Those of a rule, or those that a group gives to each of its rules."""
    return {str(key): str(value) for key, value in (data.get("labels") or {}).items()}


def _seconds(path: str, group: str, value: object) -> float:
    if value in (None, 0, "0"):
        return 0.0
    try:
        return promql_parser.parse_duration(str(value)).total_seconds()
    except ValueError as error:
        raise Unreadable(f"{path}: for: {value} in the group {group} is no duration such as 5m.") from error


@lru_cache(maxsize=64)
def read_dashboard(path: str, text: str) -> Dashboard:
    """Read a dashboard as Grafana exports it; raise :class:`Unreadable` naming what is wrong."""
    try:
        data = json.loads(text)
        data = data.get("dashboard", data)
        listed = (data.get("templating") or {}).get("list") or []
        variables = frozenset(str(variable["name"]) for variable in listed)
        marked = (data.get("annotations") or {}).get("list") or []
        queries = (*_panels(data["panels"]), *_variables(listed), *_annotations(marked))
        return Dashboard(path, queries, variables)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Unreadable(f"{path} is no dashboard ({error!r}): export it from Grafana as JSON.") from error


def _panels(panels: list[dict[str, Any]]) -> Iterator[Query]:
    for panel in panels:
        title = str(panel.get("title") or f"number {panel.get('id')}")
        for target in panel.get("targets") or ():
            # Queries of most other data sources have no expr.
            if target.get("expr") and _of_prometheus(target, panel):
                legend = str(target.get("legendFormat") or "")
                place = f"panel {title}, query {target.get('refId', '?')}"
                yield Query(place, str(target["expr"]), "" if legend == "__auto" else legend)
        yield from _panels(panel.get("panels") or [])


def _of_prometheus(*owners: Mapping[str, Any]) -> bool:
    """Tell whether a query may be PromQL: the first that names the type of its data source decides.

    The type ``datasource`` is that of a panel whose queries have one each.
    """
    for owner in owners:
        source = owner.get("datasource")
        kind = str(source.get("type") or "") if isinstance(source, dict) else ""
        if kind and kind != "datasource":
            return "prometheus" in kind
    return True


def _variables(listed: list[dict[str, Any]]) -> Iterator[Query]:
    """What the values of a variable are asked of: ``label_values(selector, label)`` needs the label."""
    for variable in listed:
        query = variable.get("query")
        text = str(query.get("query", "")) if isinstance(query, dict) else str(query or "")
        found = re.fullmatch(r"\s*label_values\((.+),\s*(\w+)\s*\)\s*", text, re.DOTALL)
        if variable.get("type") == "query" and found is not None:
            yield Query(f"variable {variable['name']}", f"count by ({found[2]}) ({found[1]})")


def _annotations(listed: list[dict[str, Any]]) -> Iterator[Query]:
    for annotation in listed:
        if annotation.get("expr") and _of_prometheus(annotation):
            yield Query(f"annotation {annotation.get('name', '?')}", str(annotation["expr"]))
