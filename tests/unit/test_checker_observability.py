"""The checker that lints the target's own rules and dashboards against what a run has scraped."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import events as ev
from harness.checkers import DEFAULT_CHECKERS
from harness.errors import TargetError
from harness.history import Clock
from harness.jsonlines import decode, encode
from harness.runner import watched_by
from harness.session import REFERENCE_TARGET
from harness.targets.model import load_target
from harness.values import Promise, Verdict
from tests.unit import observed
from tests.unit.histories import History, check, gauge, good

FILES = {observed.RECORDING: "rules", observed.ALERTS: "rules", observed.DASHBOARD: "dashboard"}


def watched(**more: tuple[str, ...]) -> History:
    """The good run of a target with the service's own files, which exports all of its series."""
    history = good()
    for path, kind in FILES.items():
        history.add(ev.RulesRead(0.0, path.name, kind, path.read_text(encoding="utf-8"), **more))
    whole = dict(line.rpartition(" ")[::2] for line in observed.page().splitlines() if line[0] != "#")
    values = {text: float(value) for text, value in whole.items()}
    for index, record in enumerate(history.records):
        if isinstance(record, ev.MetricsSample):
            history.records[index] = ev.MetricsSample(record.t, {**values, **record.series})
    return history


def test_the_files_of_the_service_are_clean_against_a_run_of_it() -> None:
    result = check("observability", watched())
    assert (result.verdict, result.not_checked) == (Verdict.PASS, "")
    assert result.facts["rules"] > 20
    assert result.facts["queries"] > 20


def test_a_renamed_series_is_a_finding_that_names_every_rule_and_panel() -> None:
    history = watched()
    for index, record in enumerate(history.records):
        if isinstance(record, ev.MetricsSample):
            series = {
                text.replace("datastorage_dlq_oldest_age", "datastorage_dlq_age"): value
                for text, value in record.series.items()
            }
            history.records[index] = ev.MetricsSample(record.t, series)
    (finding,) = check("observability", history).findings
    assert finding.promise is Promise.TRUTH
    assert finding.summary.startswith("Nobody exports datastorage_dlq_oldest_age_seconds (alerts.rules.yml: group ")
    assert "DatastorageDlqNotDraining" in finding.summary
    assert "dashboard.json: panel Age of the oldest queued event" in finding.summary


def test_a_label_value_that_is_gone_is_a_finding() -> None:
    history = watched()
    gauge(history, lambda _, text, value: None if 'outcome="unavailable"' in text else value)
    (finding,) = check("observability", history).findings
    assert "no series datastorage_events_total has outcome='unavailable'" in finding.summary.lower()


def test_a_series_that_one_scrape_of_the_run_showed_is_exported() -> None:
    history = watched()
    gauge(history, lambda t, text, value: None if t < 30 and text.startswith("datastorage_dlq") else value)
    assert check("observability", history).verdict is Verdict.PASS


def test_a_file_that_prometheus_would_not_load_is_a_finding() -> None:
    history = watched()
    history.add(ev.RulesRead(0.0, "bad.yml", "rules", "groups: ["))
    (finding,) = check("observability", history).findings
    assert "bad.yml is no YAML" in finding.summary


def test_series_of_the_process_and_of_others_are_not_missed() -> None:
    text = '{"groups": [{"name": "g", "rules": [{"alert": "A", "expr": "%s > 0"}]}]}'
    for name, foreign in (("process_open_fds", ()), ("pg_up", ("pg_",))):
        history = watched()
        history.add(ev.RulesRead(0.0, "more.yml", "rules", text % name, (), foreign))
        assert check("observability", history).verdict is Verdict.PASS
    history.edit(ev.RulesRead, lambda record: True, foreign=())
    assert check("observability", history).verdict is Verdict.FAIL


def test_a_warning_is_counted_and_is_no_finding() -> None:
    history = watched()
    text = '{"groups": [{"name": "g", "rules": [{"alert": "A", "expr": "datastorage_db_max_open_connections < 9"}]}]}'
    history.add(ev.RulesRead(0.0, "more.yml", "rules", text))
    result = check("observability", history)
    assert (result.verdict, result.facts["warnings"]) == (Verdict.PASS, 1.0)


def test_without_files_or_without_metrics_nothing_is_checked() -> None:
    assert "[observability]" in check("observability", good()).not_checked
    assert check("observability", watched().without("metrics")).not_checked == "metrics"
    assert "observability" in DEFAULT_CHECKERS


def test_what_was_never_scraped_under_load_is_unknown() -> None:
    history = watched()
    history.drop(ev.MetricsSample, lambda sample: sample.t > 0)
    assert check("observability", history).verdict is Verdict.UNKNOWN
    history = watched()
    history.edit(ev.MetricsSample, lambda sample: True, error="ReadTimeout")
    assert check("observability", history).verdict is Verdict.UNKNOWN


def test_the_files_of_a_target_come_into_the_history_and_back() -> None:
    target = load_target(REFERENCE_TARGET)
    records = list(watched_by(target, Clock().now()))
    assert [(record.path, record.kind) for record in records] == [(path.name, kind) for path, kind in FILES.items()]
    assert [decode(encode(record)) for record in records] == records


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('rules = ["none.yml"]', r"observability\.rules names .*none\.yml, which is no file"),
        ('rules = "none.yml"', r"observability\.rules must be a list of strings"),
        ("boards = []", r"unknown key observability\.boards"),
    ],
)
def test_a_mistaken_section_is_refused_with_its_key(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "target.toml"
    path.write_text(f'name = "x"\nurl = "http://127.0.0.1:1"\n[observability]\n{line}\n')
    with pytest.raises(TargetError, match=said):
        load_target(path)


def test_paths_are_those_beside_the_target_file(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text("groups: []")
    path = tmp_path / "target.toml"
    path.write_text(
        'name = "x"\nurl = "http://127.0.0.1:1"\n'
        '[observability]\nrules = ["a.yml", "{root}/a.yml"]\nlabels = ["pod"]\nforeign = ["pg_"]\n'
    )
    (one, other) = watched_by(load_target(path), 1.0)
    assert one == other == ev.RulesRead(1.0, "a.yml", "rules", "groups: []", ("pod",), ("pg_",))
