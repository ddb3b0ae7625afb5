"""What the lint must not take for broken: rules and dashboards that a service of another make comes with."""

from __future__ import annotations

import json

import pytest

from harness.lint.exported import Exported
from harness.lint.files import read_dashboard, read_rules
from harness.lint.lint import lint
from harness.lint.problems import Level, Problem, Rule

SERIES = (
    *(("work_waiting_by_queue", (("queue", name),), 0.0) for name in ("mail", "print")),
    *(("door_state", (("state", name),), float(name == "open")) for name in ("open", "shut")),
    ("pool_max_size", (), 20.0),
    ("pool_size", (), 3.0),
    ("pool_limit_hits_total", (), 0.0),
)
TELLING = {"labels": {"team": "night"}}


def rules(*groups: dict[str, object], path: str = "r.yml") -> tuple[str, str]:
    return path, json.dumps({"groups": list(groups)})


def group(name: str, *made: tuple[str, str], **more: object) -> dict[str, object]:
    return {"name": name, "rules": [{"record": record, "expr": expr} for record, expr in made], **more}


def found(*files: tuple[str, str]) -> list[tuple[Rule, Level]]:
    told = lint(Exported(SERIES), [read_rules(*file) for file in files])
    return [(one.rule, one.level) for one in told]


def alert(expr: str, summary: str = "") -> list[tuple[Rule, Level]]:
    rule = {"alert": "A", "expr": expr, "annotations": {"summary": summary}}
    return found(rules({"name": "g", "rules": [rule]}))


def test_a_gauge_by_queue_that_was_0_whenever_it_was_read_is_no_state_set() -> None:
    assert alert("work_waiting_by_queue > 100") == []
    assert alert('work_waiting_by_queue{queue="scan"} > 0') == []
    # One state at a time is 1, so the others are all there will ever be.
    assert alert('door_state{state="ajar"} == 1') == [(Rule.UNKNOWN_VALUE, Level.ERROR)]
    assert alert('door_state{state="open"} == 2') == [(Rule.NEVER_TRUE, Level.ERROR)]


@pytest.mark.parametrize(
    "expr",
    [
        "pool_max_size < 10",
        "max(pool_max_size) < 10",
        "sum by (job) (pool_max_size) < 10",
        "pool_max_size * 1000 > 50000",
        "pool_max_size - on () count(pool_size) > 30",
        "(pool_max_size or vector(25)) < 10",
        "max_over_time(pool_max_size[5m]) < 10",
        "rate(pool_limit_hits_total[5m]) < pool_max_size - 25",
    ],
)
def test_what_is_made_of_a_setting_is_warned_of_as_the_setting_itself(expr: str) -> None:
    assert alert(expr) == [(Rule.CONSTANT, Level.WARNING)]


def test_a_record_of_a_setting_is_one_and_a_share_of_it_is_a_ratio() -> None:
    recorded = found(rules(group("a", ("job:it", "max(pool_max_size)"))), rules(group("b", ("x:y", "job:it < 10"))))
    assert recorded == [(Rule.CONSTANT, Level.WARNING)]
    share = group("a", ("job:used_ratio", "sum by (job) (pool_size) / sum by (job) (pool_max_size)"))
    assert found(rules(share), rules(group("b", ("x:y", "job:used_ratio > 80")))) == [(Rule.NEVER_TRUE, Level.ERROR)]


def test_a_counter_of_what_met_a_limit_is_no_setting() -> None:
    assert alert("pool_limit_hits_total > 100") == []
    assert alert("max(pool_limit_hits_total) > 100") == []


@pytest.mark.parametrize(
    ("whole", "expected"),
    [
        ("pool_limit_hits_total", [(Rule.NEVER_TRUE, Level.ERROR)]),
        ("pool_limit_hits_total @ end()", []),
        ('pool_limit_hits_total{job="b" or job="c"}', []),
    ],
)
def test_a_quotient_is_a_share_only_of_what_holds_the_part(whole: str, expected: list[tuple[Rule, Level]]) -> None:
    assert alert(f'sum(pool_limit_hits_total{{job="a"}}) / sum({whole}) > 2') == expected


def test_groups_of_two_files_may_have_one_name() -> None:
    first, second = group("g", ("x:use", "x:made * 2")), group("g", ("x:first", "pool_size"), ("x:made", "pool_size"))
    assert found(rules(first, path="a.yml"), rules(second, path="b.yml")) == []
    late = group("g", ("x:use", "x:made * 2"), ("x:made", "pool_size"))
    assert found(rules(late)) == [(Rule.RECORDED_LATER, Level.ERROR)]


def test_labels_of_a_group_are_those_of_each_of_its_rules() -> None:
    using = group("b", ("x:use", 'x:made{team="night"} * 2'))
    assert found(rules(group("a", ("x:made", "pool_size"), **TELLING), using)) == []
    assert found(rules(group("a", ("x:made", "pool_size")), using)) == [(Rule.UNKNOWN_LABEL, Level.ERROR)]


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ('{"text": {"now": "{{ $value }}"}}', False),
        ("{{/* $cost | of it */}}{{ $value }}", False),
        ('{{ "{{" }} $value', False),
        ("{{ $value } of {{ $labels.job }}", True),
        ("{{ $value ", True),
    ],
)
def test_only_an_action_that_does_not_close_is_a_mistake_of_braces(text: str, wrong: bool) -> None:
    assert ((Rule.TEMPLATE, Level.ERROR) in alert("pool_size > 3", text)) is wrong
    assert wrong or alert("pool_size > 3", text) == []


def panels(source: object, own: object = None) -> tuple[Problem, ...]:
    target = {"refId": "A", "expr": '{app="x"} |= "error"', **({"datasource": own} if own else {})}
    text = json.dumps(
        {
            "panels": [{"title": "P", "datasource": source, "targets": [target]}],
            "annotations": {"list": [{"name": "a", "expr": target["expr"], "datasource": own or source}]},
        }
    )
    return lint(Exported(SERIES), (), [read_dashboard("d.json", text)])


def test_queries_in_the_language_of_another_data_source_are_left_alone() -> None:
    loki, prometheus, mixed = ({"type": kind} for kind in ("loki", "prometheus", "datasource"))
    assert panels(loki) == ()
    assert panels(mixed, loki) == ()
    for told in (panels(prometheus), panels(mixed, prometheus), panels(loki, prometheus), panels("of old")):
        assert [one.rule for one in told] == [Rule.UNPARSABLE, Rule.UNPARSABLE]
