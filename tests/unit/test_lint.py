"""The lint finds what is broken in rules and dashboards, and says nothing of what may be meant."""

from __future__ import annotations

import json

import pytest

from harness.lint.files import read_dashboard, read_rules
from harness.lint.problems import Level, Problem, Rule, Unreadable
from tests.unit.observed import (
    ALERTS,
    DASHBOARD,
    RECORDING,
    exported,
    own_dashboard,
    own_rules,
    page,
    problems,
)


def alert(expr: str, **more: object) -> tuple[Problem, ...]:
    """The problems of one alert beside the recording rules of the service."""
    rule = {"alert": "Mine", "expr": expr, **more}
    text = json.dumps({"groups": [{"name": "mine", "rules": [rule]}]})
    return problems(own_rules()[0], read_rules("mine.yml", text))


def rules_of(found: tuple[Problem, ...]) -> set[Rule]:
    return {problem.rule for problem in found}


def panel(expr: str, legend: str = "") -> tuple[Problem, ...]:
    """The problems of a dashboard with one panel and the variable ``job``."""
    target = {"refId": "A", "expr": expr, "legendFormat": legend}
    data = {
        "templating": {"list": [{"name": "job", "type": "custom"}]},
        "panels": [{"title": "P", "targets": [target]}],
    }
    return problems(own_rules()[0], board=read_dashboard("mine.json", json.dumps(data)))


def test_the_rules_and_the_dashboard_of_the_service_have_no_problem() -> None:
    assert problems(*own_rules(), board=own_dashboard()) == ()


# Each is a copy of the service's own files with one thing broken, and what is then found.
BROKEN_ALERTS = [
    ("datastorage_dlq_oldest_age_seconds", "datastorage_dlq_age_seconds", Rule.UNKNOWN_SERIES),
    ("datastorage_db_connections_open[", "datastorage_db_open_connections[", Rule.UNKNOWN_SERIES),
    ("avg_over_time(instance:datastorage_dlq:fill_ratio", "avg_over_time(instance:dlq:fill_ratio", Rule.UNRECORDED),
    ('status{status="unavailable"}', 'status{state="unavailable"}', Rule.UNKNOWN_LABEL),
    ('status{status="degraded"}', 'status{status="degradd"}', Rule.UNKNOWN_VALUE),
    ('events_total{outcome="unavailable"}', 'events_total{outcome="refused"}', Rule.UNKNOWN_VALUE),
    ("in_use_ratio[2m]) > 0.8\n", "in_use_ratio[2m]) > 80\n", Rule.NEVER_TRUE),
    ("fill_ratio[2m]) > 0.8\n", "fill_ratio[2m]) > 80\n", Rule.NEVER_TRUE),
    ('unavailable"}[1m]) == 1', 'unavailable"}[1m]) == 2', Rule.NEVER_TRUE),
    ('up{job="audit-service"}[1m]) == 0', 'up{job="audit-service"}[1m]) < 0', Rule.NEVER_TRUE),
    (
        "increase(datastorage_dlq_drain_failures_total[5m]) > 0",
        "sum(increase(datastorage_dlq_drain_failures_total[5m])) > 0",
        Rule.TEMPLATE_LABEL,
    ),
    ("{{ $labels.reason }}", "{{ $labels.cause }}", Rule.TEMPLATE_LABEL),
    ("{{ $labels.job }}", "{{ $labels.instance }}", Rule.TEMPLATE_LABEL),
    ("{{ $value | humanizePercentage }} full", "{{ $value | humanizePercent }} full", Rule.TEMPLATE),
    ("{{ $value | humanizePercentage }} of", "{{ $values | humanizePercentage }} of", Rule.TEMPLATE),
    ("{{ $labels.instance }}: the database", "{{ $labels.instance }: the database", Rule.TEMPLATE),
    (
        "and instance:datastorage_db_connection_wait",
        "and on (partition) instance:datastorage_db_connection_wait",
        Rule.NEVER_MATCHES,
    ),
    ("deriv5m * 60 > 1", "deriv5m * 60 > bool 1", Rule.ALWAYS_TRUE),
    ("delta(datastorage_dlq_dead_letters[15m]) > 0", "delta(datastorage_dlq_dead_letters[15m) > 0", Rule.UNPARSABLE),
]

BROKEN_RECORDS = [
    ("histogram_quantile(0.5, sum without (status)", "histogram_quantile(0.5, sum without (le)", Rule.NO_BUCKETS),
    (
        "sum without (partition) (datastorage_dlq_depth) +",
        "sum by (partition) (datastorage_dlq_depth) +",
        Rule.NEVER_MATCHES,
    ),
    (
        "sum without (partition) (datastorage_dlq_depth)\n",
        "sum by (months) (datastorage_dlq_depth)\n",
        Rule.GROUPED_BY_UNKNOWN,
    ),
    ("_in_use / datastorage", "_in_use / on (partition) datastorage", Rule.NEVER_MATCHES),
    ("_in_use / datastorage", "_in_use / instance:datastorage_dlq:fill_ratio / datastorage", Rule.RECORDED_LATER),
    (
        "rate(datastorage_db_connection_wait_duration_seconds_bucket[5m])",
        "rate(datastorage_db_connection_wait_duration_seconds[5m])",
        Rule.UNKNOWN_SERIES,
    ),
]

BROKEN_PANELS = [
    ("datastorage_db_connections_idle{", "datastorage_db_idle{", Rule.UNKNOWN_SERIES),
    ("sum by (outcome) (instance_outcome", "sum by (result) (instance_outcome", Rule.GROUPED_BY_UNKNOWN),
    ('status=\\"unavailable\\", job', 'status=\\"down\\", job', Rule.UNKNOWN_VALUE),
    ('"legendFormat": "{{partition}}"', '"legendFormat": "{{month}}"', Rule.TEMPLATE_LABEL),
    (
        'datastorage_dlq_oldest_age_seconds{job=~\\"$job\\"',
        'datastorage_dlq_oldest_age_seconds{job=~\\"$jobs\\"',
        Rule.UNKNOWN_VARIABLE,
    ),
    (
        "label_values(datastorage_db_max_open_connections{",
        "label_values(datastorage_db_max_connections{",
        Rule.UNKNOWN_SERIES,
    ),
]


@pytest.mark.parametrize(("old", "new", "rule"), BROKEN_ALERTS)
def test_a_broken_alert_is_found(old: str, new: str, rule: Rule) -> None:
    text = ALERTS.read_text(encoding="utf-8")
    assert old in text
    found = problems(own_rules()[0], read_rules("alerts.yml", text.replace(old, new, 1)))
    assert rules_of(found) == {rule}
    assert all(problem.place.startswith("group datastorage-") and problem.remedy for problem in found)
    assert {problem.level for problem in found} == {Level.ERROR}


@pytest.mark.parametrize(("old", "new", "rule"), BROKEN_RECORDS)
def test_a_broken_recording_rule_is_found(old: str, new: str, rule: Rule) -> None:
    text = RECORDING.read_text(encoding="utf-8")
    text = text.replace(old, new, 1) if old in text else " ".join(text.split()).replace(old, new, 1)
    assert new in text
    assert rule in rules_of(problems(read_rules("recording.yml", text)))


@pytest.mark.parametrize(("old", "new", "rule"), BROKEN_PANELS)
def test_a_broken_panel_is_found(old: str, new: str, rule: Rule) -> None:
    text = DASHBOARD.read_text(encoding="utf-8")
    assert old in text
    found = problems(*own_rules(), board=read_dashboard("dashboard.json", text.replace(old, new)))
    assert rule in rules_of(found)


def test_a_series_that_the_service_renamed_is_found_wherever_it_is_used() -> None:
    renamed = exported(page().replace("datastorage_dlq_depth", "datastorage_queue_depth"))
    found = problems(*own_rules(), board=own_dashboard(), known=renamed)
    assert rules_of(found) == {Rule.UNKNOWN_SERIES}
    assert {problem.path for problem in found} == {"recording.rules.yml", "alerts.rules.yml", "dashboard.json"}
    assert all("nobody exports datastorage_dlq_depth" in problem.said for problem in found)


IMPOSSIBLE = [
    ("count(up) == 0", Rule.NEVER_TRUE),
    ("rate(datastorage_dlq_drained_total[5m]) < 0", Rule.NEVER_TRUE),
    ("absent(up{job='a'}) == 0", Rule.NEVER_TRUE),
    ("datastorage_db_connections_in_use > 20 < 10", Rule.NEVER_TRUE),
    ("datastorage_db_connections_in_use > 20 and datastorage_db_connections_in_use < 10", Rule.NEVER_TRUE),
    ("50 < instance:datastorage_dlq:fill_ratio", Rule.NEVER_TRUE),
    ("hour() > 23", Rule.NEVER_TRUE),
    (
        'sum(rate(datastorage_events_total{outcome="queued"}[5m])) / sum(rate(datastorage_events_total[5m])) > 1',
        Rule.NEVER_TRUE,
    ),
    ("datastorage_dlq_depth == on () group_left (reason) datastorage_dlq_capacity", Rule.NEVER_MATCHES),
    ("datastorage_dlq_depth > datastorage_dlq_capacity", Rule.NEVER_MATCHES),
    ("datastorage_dlq_depth > ignoring (partition, month) datastorage_dlq_capacity", Rule.NEVER_MATCHES),
    ("datastorage_dlq_depth unless datastorage_dlq_capacity > 5", Rule.NEVER_MATCHES),
    ('datastorage_dlq_depth{partition="2025_12", month="x"} > 0', Rule.UNKNOWN_LABEL),
    ('datastorage_events_total{outcome=~"created|lost"} > 0', Rule.UNKNOWN_VALUE),
    ('datastorage_events_total{outcome=~"lost.*"} > 0', Rule.UNKNOWN_VALUE),
    ('datastorage_request_duration_seconds_bucket{le="0.3"} > 0', Rule.UNKNOWN_VALUE),
    ('partition:datastorage_dlq_depth:deriv5m{status="x"} > 0', Rule.UNKNOWN_LABEL),
]


@pytest.mark.parametrize(("expr", "rule"), IMPOSSIBLE)
def test_what_cannot_come_true_is_found(expr: str, rule: Rule) -> None:
    assert rules_of(alert(expr)) == {rule}


@pytest.mark.parametrize(
    "expr",
    [
        "instance:datastorage_dlq:fill_ratio > 1",
        "instance:datastorage_dlq:fill_ratio < -5",
        "instance:datastorage_dlq:fill_ratio >= 0.999",
        "up == 0",
        "count(up == 0) > 0",
        "sum(up) == 0",
        "rate(datastorage_dlq_drained_total[5m]) <= 0",
        "datastorage_dlq_depth > ignoring (partition) group_left datastorage_dlq_capacity",
        "datastorage_dlq_depth / on (job, instance) group_left datastorage_dlq_capacity > 0.5",
        "sum without (partition) (datastorage_dlq_depth) > 0.9 * datastorage_dlq_capacity",
        "datastorage_dlq_depth > scalar(datastorage_dlq_capacity)",
        "datastorage_dlq_depth > 0 or datastorage_dlq_capacity < 0",
        'datastorage_dlq_drained_total{partition="2026_09"} > 0',
        'datastorage_request_duration_seconds_count{status="503"} > 0',
        'datastorage_request_duration_seconds_bucket{status="503", le="1"} > 0',
        'datastorage_request_duration_seconds_count{status=~"5.."} > 0',
        'datastorage_events_total{outcome!="lost"} > 0',
        'datastorage_events_total{outcome=~"created|queued"} > 0',
        'datastorage_events_total{outcome=~"un.*"} > 0',
        'datastorage_events_total{pod=""} > 0',
        '{__name__=~"datastorage_.+"} == 0',
        'datastorage_dlq_dead_letters{reason="expired"} > 0',
        "datastorage_db_connections_in_use > 10 and datastorage_db_connections_in_use < 20",
        "datastorage_db_connections_in_use > 20 or datastorage_db_connections_in_use < 10",
        "datastorage_db_connections_idle - datastorage_db_connections_in_use < 0",
        "deriv(datastorage_dlq_depth[5m]) < 0",
        "abs(datastorage_db_connections_idle - 5) > 3",
        "time() - datastorage_partition_last_write_timestamp > 300",
        "datastorage_dlq_drained_total offset 1h > 5",
        "max_over_time(rate(datastorage_events_total[5m])[1h:1m]) > 3",
        "absent(datastorage_nothing_of_the_kind) unless on () vector(1)",
        "predict_linear(datastorage_dlq_depth[1h], 3600) < 0",
        "vector(1)",
        "hour() == 3",
    ],
)  # fmt: skip
def test_what_may_come_true_is_left_alone(expr: str) -> None:
    errors = {p.said for p in alert(expr) if p.level is Level.ERROR and "datastorage_nothing" not in p.said}
    assert errors == set()


def test_what_may_be_meant_is_only_warned_of() -> None:
    (found,) = alert("datastorage_db_max_open_connections < 10")
    assert (found.rule, found.level) == (Rule.CONSTANT, Level.WARNING)
    assert alert("datastorage_db_max_open_connections < 100") == ()
    (found,) = alert("instance:datastorage_dlq:fill_ratio > 2")
    assert (found.rule, found.level) == (Rule.NEVER_TRUE, Level.WARNING)
    (found,) = alert("sum without (pod) (datastorage_dlq_depth) > 3")
    assert (found.rule, found.level) == (Rule.GROUPED_BY_UNKNOWN, Level.WARNING)


@pytest.mark.parametrize(
    ("expr", "lasts", "found"),
    [
        ("hour() == 3", "1h", False),
        ("hour() == 3", "90m", True),
        ("hour() >= 22 and up == 0", "3h", True),
        ("hour() != 3", "20h", False),
        ("hour() < 2 or up == 0", "3h", False),
        ("day_of_week() == 0", "25h", True),
        ("minute() < 5", "5m", False),
        ("minute() < 5", "6m", True),
        ("increase(datastorage_dlq_drain_failures_total[5m]) > 0", "10m", False),
    ],
)  # fmt: skip
def test_a_time_of_day_must_last_as_long_as_the_alert_waits(expr: str, lasts: str, found: bool) -> None:
    said = alert(expr, **{"for": lasts})
    assert (Rule.FOR_TOO_LONG in rules_of(said)) is found
    assert rules_of(said) <= {Rule.FOR_TOO_LONG, Rule.NEVER_MATCHES}


@pytest.mark.parametrize(
    "text",
    [
        "{{ $labels.partition }} {{ $value | humanize }} {{ $externalURL }}",
        '{{ index $labels "partition" }} {{ .Labels.job }}',
        '{{ with query "up{job=\\"x\\"}" }}{{ . | first | value | humanize }}{{ end }}',
        "{{ $month := $labels.partition }}{{ $month }} costs $5",
        '{{ range query "up" }}{{ .Labels.other }}{{ end }}',
        '{{ range $i, $s := query "up" }}{{ $s.Labels.other }}{{ end }}',
        '{{ printf "%.2f" $value }} {{ "$notvariable" }}',
    ],
)
def test_templates_that_prometheus_fills_are_left_alone(text: str) -> None:
    assert alert("datastorage_dlq_depth > 0", annotations={"summary": text}) == ()


def test_a_label_by_any_spelling_is_found() -> None:
    for text in (
        "{{ .Labels.nope }}",
        '{{ index $labels "nope" }}',
        '{{ range query "up" }}{{ $labels.nope }}{{ end }}',
    ):
        found = alert("datastorage_dlq_depth > 0", annotations={"summary": text})
        assert rules_of(found) == {Rule.TEMPLATE_LABEL}, text


def test_labels_of_an_alert_are_templates_as_well() -> None:
    found = alert("datastorage_dlq_depth > 0", labels={"team": "{{ $labels.team }}"})
    assert [(p.rule, p.place) for p in found] == [(Rule.TEMPLATE_LABEL, "group mine, alert Mine, team")]


@pytest.mark.parametrize(
    ("expr", "legend"),
    [
        ("rate(datastorage_dlq_drained_total[$__rate_interval])", "{{partition}} {{job}}"),
        ("rate(datastorage_dlq_drained_total[${__rate_interval}] offset $job)", "{{partition}}"),
        ('datastorage_dlq_depth{job=~"${job:regex}"} > $job', "{{whatever}}"),
        ('sum by ($job) (datastorage_dlq_depth{job=~"[[job]]"})', "{{partition}}"),
        ('label_replace(datastorage_dlq_depth, "month", "$1", "partition", "(.*)")', "{{month}}"),
        ('sum(ALERTS{alertname=~"Datastorage.+", alertstate="firing"}) or vector(0)', ""),
        ("up", "__auto"),
    ],
)
def test_queries_with_variables_are_read_as_grafana_fills_them(expr: str, legend: str) -> None:
    assert panel(expr, legend) == ()


def test_series_of_others_and_labels_of_the_scrape_are_known_when_they_are_named() -> None:
    text = json.dumps({"groups": [{"name": "g", "rules": [
        {"alert": "A", "expr": 'sum by (pod) (pg_up{cluster="x"}) == 0 and on (pod) up{pod="y"} > 0',
         "annotations": {"summary": "{{ $labels.pod }}"}},
    ]}]})  # fmt: skip
    rules = read_rules("a.yml", text)
    assert problems(rules, known=exported(labels=("pod",), foreign=("pg_",))) == ()
    assert {Rule.UNKNOWN_SERIES, Rule.UNKNOWN_LABEL} <= rules_of(problems(rules))


def test_a_rule_may_use_what_an_earlier_one_of_its_group_or_another_group_records() -> None:
    def group(name: str, *rules: tuple[str, str]) -> dict[str, object]:
        return {"name": name, "rules": [{"record": record, "expr": expr} for record, expr in rules]}

    honest = [group("a", ("x:y", "up"), ("x:z", "x:y * 2")), group("b", ("x:w", "x:q"), ("x:v", "up")),
              group("c", ("x:q", "up"))]  # fmt: skip
    assert problems(read_rules("r.yml", json.dumps({"groups": honest}))) == ()
    late = [group("a", ("x:z", "x:y * 2"), ("x:y", "up"))]
    assert rules_of(problems(read_rules("r.yml", json.dumps({"groups": late})))) == {Rule.RECORDED_LATER}
    itself = [group("a", ("x:y", "x:y + 1"))]
    assert problems(read_rules("r.yml", json.dumps({"groups": itself}))) == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("groups: [", "no YAML"),
        ("rules: []", "no rule file"),
        ("groups:\n- name: g\n  rules:\n  - alert: A\n", "no rule file"),
        ("groups:\n- name: g\n  rules:\n  - expr: up\n", "either a record or an alert"),
        ("groups:\n- name: g\n  rules:\n  - {alert: A, expr: up, for: soon}\n", "is no duration"),
        ("", "no rule file"),
    ],
)
def test_a_file_that_is_no_rule_file_is_unreadable(text: str, said: str) -> None:
    with pytest.raises(Unreadable, match=said):
        read_rules("r.yml", text)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"panels": 1}', ""])
def test_a_file_that_is_no_dashboard_is_unreadable(text: str) -> None:
    with pytest.raises(Unreadable, match=r"d\.json is no dashboard"):
        read_dashboard("d.json", text)


def test_a_dashboard_is_read_whole() -> None:
    target = {"expr": "nothing", "refId": "B"}
    inner = {"type": "row", "title": "Row", "panels": [{"id": 7, "targets": [target]}]}
    data = {"dashboard": {"panels": [inner], "annotations": {"list": [{"name": "mark", "expr": "nothing_else"}]}}}
    found = problems(board=read_dashboard("d.json", json.dumps(data)))
    assert [problem.place for problem in found] == ["panel number 7, query B", "annotation mark"]
