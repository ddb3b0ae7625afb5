"""Rules and dashboard against the page that a real service exports, and the rules' own unit tests."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

import harness
from harness.stacks.embedded import EmbeddedStack
from harness.targets.model import load_target

from .promql import (
    GET_PROMETHEUS,
    OPS,
    RULE_FILES,
    Expression,
    Matcher,
    Rule,
    Selector,
    dashboard,
    panels,
    parse,
    rules,
    variable_queries,
)

REFERENCE = Path(harness.__file__).parent / "targets/reference.toml"
UNIT_TESTS = sorted((OPS / "tests").glob("*.test.yml"))
TARGET_LABELS = frozenset({"job", "instance"})
# Series that Prometheus itself makes.
OF_PROMETHEUS = {"up": TARGET_LABELS, "ALERTS": TARGET_LABELS | {"alertname", "alertstate"}}
RULES = tuple(rules())
ALERTS = tuple(rule for rule in RULES if rule.kind == "alert")
RECORDS = tuple(rule for rule in RULES if rule.kind == "record")

Page = dict[str, list[dict[str, str]]]
Labels = dict[str, frozenset[str]]


@pytest.fixture(scope="module")
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip(GET_PROMETHEUS.format("promtool"))
    return found


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    """The labels of every series of a service that has just started: missing is not zero."""

    def read(url: str) -> str:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return str(answer.read(), "utf-8")

    async def play() -> str:
        folder = tmp_path_factory.mktemp("ops")
        async with EmbeddedStack().environment(
            load_target(REFERENCE), name="ops", artifacts=folder, environment_overrides={}
        ) as environment:
            return await asyncio.to_thread(read, environment.service.metrics_url)

    series: Page = {}
    for family in text_string_to_metric_families(asyncio.run(play())):
        for sample in family.samples:
            series.setdefault(sample.name, []).append(dict(sample.labels))
    return series


@pytest.fixture(scope="module")
def known(page: Page) -> Labels:
    """Labels by series: those of the page, of Prometheus, and of the recording rules."""
    labels = {name: frozenset(label for one in found for label in one) | TARGET_LABELS for name, found in page.items()}
    labels |= OF_PROMETHEUS
    for rule in RECORDS:
        labels[rule.name] = result_labels(rule.expression, labels)
    return labels


def result_labels(expression: Expression, labels: Labels) -> frozenset[str]:
    """What labels the result of an expression may have."""
    if "absent" in expression.text:
        return frozenset(one.label for selector in expression.selectors for one in selector.matchers)
    named = [labels.get(selector.metric, frozenset()) for selector in expression.selectors]
    return frozenset().union(*named) - expression.dropped


def unknown_names(expression: Expression, labels: Labels) -> Iterator[str]:
    """Series and labels of an expression that nothing exports."""
    for selector in expression.selectors:
        if selector.metric not in labels:
            yield f"{selector.metric} in {expression.text}"
        for matcher in selector.matchers:
            if matcher.label not in labels.get(selector.metric, frozenset()):
                yield f"label {matcher.label} of {selector} in {expression.text}"
    everything = frozenset().union(*(labels.get(selector.metric, frozenset()) for selector in expression.selectors))
    for word, label in expression.clauses:
        if label not in everything:
            yield f"label {label} in {word} (…) of {expression.text}"


def unknown_values(expression: Expression, page: Page) -> Iterator[str]:
    """Values of fixed sets (a matcher of an exported series, but no variable) that the service does not have."""
    for selector in expression.selectors:
        for matcher in selector.matchers:
            if selector.metric in page and matcher.label not in TARGET_LABELS:
                has = {series.get(matcher.label, "") for series in page[selector.metric]}
                yield from (f"{value!r} in {selector}" for value in matcher.values if value not in has)


def all_expressions() -> list[Expression]:
    shown = [expression for panel in panels() for expression in panel.expressions]
    listed = [Expression(str(selector), (selector,), (("by", label),)) for selector, label in variable_queries()]
    return [rule.expression for rule in RULES] + shown + listed


def test_promtool_accepts_the_rules_and_finds_as_many_as_these_tests_do(promtool: str) -> None:
    done = subprocess.run([promtool, "check", "rules", *RULE_FILES], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [int(count) for count in re.findall(r"(\d+) rules found", done.stdout)] == [len(RECORDS), len(ALERTS)]


@pytest.mark.parametrize("path", UNIT_TESTS, ids=lambda path: path.name)
def test_the_rules_pass_their_unit_tests(promtool: str, path: Path) -> None:
    done = subprocess.run([promtool, "test", "rules", path], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_rule_has_unit_tests_of_both_kinds() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in UNIT_TESTS)
    quiet = Counter(re.findall(r"alertname: (\w+)\n\s+exp_alerts: \[\]", text))
    firing = Counter(re.findall(r"alertname: (\w+)\n\s+exp_alerts:\n", text))
    for alert in ALERTS:
        assert firing[alert.name], alert.name
        assert quiet[alert.name] >= 2, f"{alert.name} must be seen quiet before and after"
    for record in RECORDS:
        assert re.search(rf"expr: (round\()?{re.escape(record.name)}", text), record.name


def test_every_series_and_label_that_is_named_exists(known: Labels) -> None:
    assert [problem for expression in all_expressions() for problem in unknown_names(expression, known)] == []


def test_every_value_of_a_fixed_set_that_is_named_exists(page: Page) -> None:
    assert [problem for expression in all_expressions() for problem in unknown_values(expression, page)] == []


def test_every_series_of_the_service_is_watched_or_shown(page: Page) -> None:
    used = {selector.metric for expression in all_expressions() for selector in expression.selectors}
    histograms = {name.removesuffix("_bucket") for name in page if name.endswith("_bucket")}
    parts = {f"{name}_{part}" for name in histograms for part in ("bucket", "sum", "count")}
    named = {name.removesuffix(part) for name in used for part in ("_bucket", "_count")}
    assert (set(page) - parts | histograms) - used - named == set()


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule.name)
def test_an_alert_says_what_happened_and_what_to_do(rule: Rule, known: Labels) -> None:
    assert re.search(r"severity: (critical|warning|info)\n", rule.text)
    assert re.search(r"summary: \".+\"\n", rule.text)
    description = " ".join(rule.text.partition("description: >-")[2].split())
    assert len(re.findall(r"[.;] ", description)) >= 2, "one sentence for what happened, others for what to do next"
    # A rule outlives lost scrapes only when it looks back over several, itself or by a recorded rate.
    assert "[" in rule.expression.text or ":" in rule.expression.text
    labels = result_labels(rule.expression, known)
    used = set(re.findall(r"\$labels\.(\w+)", rule.text))
    assert used <= labels
    if "partition" in labels:
        assert "partition" in used
    assert "$labels" in rule.text or "absent" in rule.expression.text


def test_every_alert_is_on_the_dashboard_with_its_threshold() -> None:
    shown = panels()
    for alert in ALERTS:
        if alert.name == "DatastorageMetricsAbsent":
            continue  # There is nothing to draw.
        drawn = [panel for panel in shown if alert.name in panel.description]
        assert drawn, alert.name
        limits = {float(value) for value in re.findall(r"> ([\d.]+)", alert.expression.text)} - {0.0}
        assert limits <= frozenset().union(*(panel.thresholds for panel in drawn)), alert.name


def test_the_dashboard_is_whole() -> None:
    data = dashboard()
    assert data["schemaVersion"] == 42
    listed = json.loads((OPS / "dashboard.json").read_text(encoding="utf-8"))
    variables = {variable["name"] for variable in listed["templating"]["list"]}
    assert variables == {"datasource", "job", "instance"}
    ids = [panel["id"] for panel in listed["panels"]]
    assert len(set(ids)) == len(ids)
    cells: Counter[tuple[int, int]] = Counter()
    for panel in listed["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        across, down = range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
        cells.update((x, y) for x in across for y in down)
        if panel["type"] != "row":
            assert panel["datasource"]["uid"] == "${datasource}"
            assert panel["description"]
            assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]) > 0
    assert max(cells.values()) == 1, "two panels overlap"
    for panel in panels():
        for expression in panel.expressions:
            for selector in expression.selectors:
                chosen = {matcher.value for matcher in selector.matchers}
                assert {"$job", "$instance"} <= chosen, f"{panel.title}: {selector} leaves out what is chosen"


def test_the_reader_of_expressions_names_what_they_name() -> None:
    read = parse(
        "sum without (status) (rate(a_total{x=\"1\", y=~'b|c'}[5m])) / on (job) group_left (z) max by (job) (b:c:d)"
        " > bool 0.5 and histogram_quantile(0.99, c_bucket) unless time() - d offset 5m > 1e3 or vector(0)"
    )
    assert read.selectors == (
        Selector("a_total", (Matcher("x", "=", "1"), Matcher("y", "=~", "b|c"))),
        Selector("b:c:d", ()),
        Selector("c_bucket", ()),
        Selector("d", ()),
    )
    assert read.clauses == (("without", "status"), ("on", "job"), ("group_left", "z"), ("by", "job"))
    assert read.dropped == {"status", "le"}


def test_a_series_a_label_or_a_value_that_nothing_exports_is_found() -> None:
    page = {"a_total": [{"outcome": "created"}, {"outcome": "queued"}]}
    labels = {"a_total": frozenset({"outcome"})}
    assert list(unknown_names(parse("rate(b_total[5m]) > 0"), labels)) == ["b_total in rate(b_total[5m]) > 0"]
    assert len(list(unknown_names(parse('a_total{state="x"}'), labels))) == 1
    assert len(list(unknown_names(parse("sum by (state) (a_total)"), labels))) == 1
    assert list(unknown_values(parse('a_total{outcome=~"created|lost"}'), page)) == [
        "'lost' in a_total{outcome=~\"created|lost\"}"
    ]
    assert list(unknown_values(parse('a_total{outcome="queued"}'), page)) == []
