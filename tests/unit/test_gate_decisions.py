"""``harness gate`` on stored runs: decisions that are seldom met, each by the command, and its JSON by its schema."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from harness.checking import CheckResult, Finding
from harness.gating.slo import Feature
from harness.report import schema
from harness.values import Promise
from tests.unit import gate_samples as samples
from tests.unit.gate_samples import BOOKS, KNOWN, OPTIONAL, Traffic, gate, last_line, lost, row, slow, store


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return samples.config(tmp_path)


COUNT = """
[[count]]
name = "rejected"
counter = 'datastorage_db_connection_errors_total'
{bound}
feature = "recovery"
"""


@pytest.mark.parametrize(
    ("bound", "errors", "code", "said"),
    [
        # A run of 34 s is less than an hour; what it proves, it proves at once.
        ("maximum_per_hour = 5", 6.0, 1, "failed: rejected; prioritise recovery (S5)"),
        ("maximum_per_hour = 5", 5.0, 3, "observed for 34 s, less than the 1 h needed"),
        ("maximum_per_hour = 5\nminimum_share_of_hour = 0.005", 0.0, 0, "PASS"),
        ("maximum_per_hour = 5\nminimum_share_of_hour = 0.005", 1.0, 3, "it may have been 105.9 an hour"),
        ("maximum_per_hour = 200\nminimum_share_of_hour = 0.005", 1.0, 0, "PASS"),
    ],
)
def test_a_count_of_a_user_is_judged_on_runs(tmp_path: Path, bound: str, errors: float, code: int, said: str) -> None:
    path = samples.config(tmp_path, OPTIONAL + COUNT.format(bound=bound))
    store(tmp_path, "one", traffic=Traffic(errors=lambda t: errors if t > 5 else 0.0))
    done = gate("one", "--reports", tmp_path, "--config", path)
    assert done.exit_code == code, done.output
    assert said in done.stdout


@pytest.mark.parametrize(
    ("errors", "code", "said"),
    [(0.0, 0, " 0 in 34 s"), (1.0, 3, "it may have been 2,541 a day"), (10.0, 1, "10 in 34 s")],
)
def test_a_part_of_a_day_is_enough_where_the_file_says_so(tmp_path: Path, errors: float, code: int, said: str) -> None:
    text = 'optional = ["partition_write_failures"]\n[connection_errors]\nminimum_share_of_day = 0.0003\n'
    store(tmp_path, "one", traffic=Traffic(errors=lambda t: errors if t > 5 else 0.0))
    done = gate("one", "--reports", tmp_path, "--config", samples.config(tmp_path, text))
    assert done.exit_code == code, done.output
    assert said in done.stdout


def test_counters_that_nobody_scraped_tell_nothing(tmp_path: Path, config: Path) -> None:
    path = samples.config(tmp_path, 'optional = ["partition_write_failures"]')
    store(tmp_path, "one", traffic=Traffic(scraped=False))
    done = gate("one", "--reports", tmp_path, "--config", path)
    assert done.exit_code == 3
    assert "connection_errors (runs): no scrape of its page lies outside the faults" in done.stdout
    assert "PASS" in row(done, "persistence_success")


def test_where_no_event_was_acknowledged_none_can_be_seen_to_be_kept(tmp_path: Path, config: Path) -> None:
    store(tmp_path, "one", replace(BOOKS, facts={"events_acknowledged": 0.0, "lost": 0.0}))
    done = gate("one", "--reports", tmp_path, "--config", config)
    assert done.exit_code == 3
    assert "lost_events (runs): no event was acknowledged, and no traffic proves nothing" in done.stdout
    assert last_line(done).endswith("to decide: lost_events")


@pytest.mark.parametrize(("ended", "said"), [(3190, "10 operations"), (3199, "1 operation")])
def test_what_had_no_end_counts_for_nothing_and_is_told(tmp_path: Path, config: Path, ended: int, said: str) -> None:
    store(tmp_path, "one", traffic=Traffic(answers=dict.fromkeys(range(ended, 3200), -1)))
    done = gate("one", "--reports", tmp_path, "--config", config)
    assert done.exit_code == 0, done.output
    assert f"{ended:,} operations of 1 run" in row(done, "persistence_success")
    assert f"· outside the faults {said} had no end when the run ended: not counted" in done.stdout


def test_a_failure_names_what_could_not_be_decided_beside_it(tmp_path: Path) -> None:
    store(tmp_path, "one", lost(1))
    done = gate("one", "--reports", tmp_path)
    assert done.exit_code == 1
    assert last_line(done) == (
        "✗ FAIL  failed: lost_events; prioritise partition isolation (S3) and recovery (S5); "
        "insufficient: connection_errors, partition_write_failures"
    )


def _changed(run: Path, **fields: object) -> None:
    path = run / "result.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


@pytest.mark.parametrize("verdict", ["FAIL", "UNKNOWN"])
def test_a_verdict_that_nothing_explains_is_not_passed_over(tmp_path: Path, config: Path, verdict: str) -> None:
    store(tmp_path, "one")
    _changed(tmp_path / "one", verdict=verdict)
    done = gate("one", "--reports", tmp_path, "--config", config)
    assert done.exit_code == 3
    assert f"judged_runs (runs): one: its verdict is {verdict}, without a finding or a reason" in done.stdout


def test_a_suite_is_a_baseline(tmp_path: Path, config: Path) -> None:
    runs = [store(tmp_path, "before", BOOKS, slow(0.3)), store(tmp_path, "good")]
    samples.store_suite(tmp_path, "20260101-000000-suite-aaaa", *runs)
    store(tmp_path, "after", BOOKS, slow(0.4))
    arguments = ("after", "--reports", tmp_path, "--config", config)
    done = gate(*arguments, "--baseline", "suite-aaaa")
    assert done.exit_code == 0, done.output
    assert "not new: suite-aaaa has it too" in done.stdout
    assert "only what is new against suite-aaaa fails" in done.stdout
    assert gate(*arguments, "--baseline", "good").exit_code == 1


def test_a_run_of_the_baseline_that_is_gone_is_told(tmp_path: Path, config: Path) -> None:
    runs = [store(tmp_path, "before", BOOKS, slow(0.3)), store(tmp_path, "gone")]
    samples.store_suite(tmp_path, "20260101-000000-suite-aaaa", *runs)
    shutil.rmtree(tmp_path / "gone")
    store(tmp_path, "after", BOOKS, slow(0.4))
    done = gate("after", "--baseline", "suite-aaaa", "--reports", tmp_path, "--config", config)
    assert done.exit_code == 0, done.output
    assert "· baseline: gone: its folder is not stored any more" in done.stdout


def test_a_baseline_without_a_run_that_can_be_read_is_none(tmp_path: Path, config: Path) -> None:
    gone = store(tmp_path, "gone")
    samples.store_suite(tmp_path, "20260101-000000-suite-aaaa", gone)
    shutil.rmtree(tmp_path / "gone")
    store(tmp_path, "one")
    done = gate("one", "--baseline", "suite-aaaa", "--reports", tmp_path, "--config", config)
    assert done.exit_code == 2
    assert "The baseline 'suite-aaaa' has no run that can be read: gone: its folder is not stored" in done.output


def test_the_file_of_the_working_directory_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store(tmp_path, "one")
    monkeypatch.chdir(tmp_path)
    bare = gate("one", "--reports", tmp_path)
    assert bare.exit_code == 3
    assert bare.stdout.splitlines()[0] == "judged: 1 run; bounds of the assessment"
    samples.config(tmp_path)
    done = gate("one", "--reports", tmp_path)
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[0] == "judged: 1 run; bounds of gate.toml"
    other = tmp_path / "other.toml"
    other.write_text("")
    assert gate("one", "--reports", tmp_path, "--config", other).exit_code == 3


def test_what_a_suite_skipped_is_told_and_does_not_decide(tmp_path: Path, config: Path) -> None:
    path = samples.store_suite(tmp_path, "20260201-suite-aaaa", store(tmp_path, "one")) / "suite.json"
    suite = json.loads(path.read_text())
    suite["skipped"] = [{"scenario": "disk-full", "reason": "needs root"}]
    path.write_text(json.dumps(suite))
    done = gate("suite", "--reports", tmp_path, "--config", config)
    assert done.exit_code == 0, done.output
    assert "· skipped in 20260201-suite-aaaa: disk-full needs root" in done.stdout


def broken(promise: Promise) -> CheckResult:
    return CheckResult("c", findings=(Finding(promise, "It is broken."),))


PRIORITIES = {
    Promise.CONSERVATION: Feature.RECOVERY,
    Promise.HONEST_STATUS: Feature.ISOLATION,
    Promise.ISOLATION: Feature.ISOLATION,
    Promise.FALLBACK: Feature.ISOLATION,
    Promise.RECOVERY: Feature.RECOVERY,
    Promise.NO_DUPLICATES: Feature.RECOVERY,
    Promise.POISON: Feature.RECOVERY,
    Promise.TRUTH: Feature.PARTITION_METRICS,
    Promise.BOUNDS: Feature.POOL_METRICS,
}


@pytest.mark.parametrize("promise", Promise)
def test_a_finding_names_a_feature_though_its_scenario_proves_none(
    tmp_path: Path, config: Path, promise: Promise
) -> None:
    store(tmp_path, "one", BOOKS, broken(promise), requirements=("S6", "C3"))
    done = gate("one", "--reports", tmp_path, "--config", config)
    assert done.exit_code == 1
    assert last_line(done).endswith(f"; prioritise {PRIORITIES[promise].text}")


def test_one_lost_event_that_is_listed_is_one(tmp_path: Path) -> None:
    path = samples.config(tmp_path, OPTIONAL + KNOWN)
    store(tmp_path, "one", lost(1))
    done = gate("one", "--reports", tmp_path, "--config", path, "--now", "2026-03-01T00:00:00Z")
    assert done.exit_code == 0, done.output
    assert "PASS  1 LOST EVENT was let through, since gate.toml lists it; 5 rows passed; 2 are" in last_line(done)


def written(folder: Path, *arguments: object) -> Any:
    """What ``--json`` wrote."""
    path = folder / "out" / "gate.json"
    gate(*arguments, "--reports", folder, "--json", path)
    return json.loads(path.read_text(encoding="utf-8"))


def refused(data: Any, *, closed: bool = True) -> list[str]:
    """What the schema has against it; a closed one also has something against a field that it does not know."""
    found = jsonschema_rs.validator_for(schema.schema_of("gate", closed=closed)).iter_errors(data)
    return [f"{error.instance_path}: {error.message}" for error in found]


def test_what_is_written_for_programs_is_as_its_schema_says(tmp_path: Path, config: Path) -> None:
    store(tmp_path, "good")
    store(tmp_path, "bad", lost(2), slow(0.5), traffic=Traffic(answers=dict.fromkeys(range(0, 3200, 32), 202)))
    store(tmp_path, "empty", traffic=Traffic(operations=0))
    known = tmp_path / "known.toml"
    known.write_text(OPTIONAL + KNOWN)
    asked = {
        "PASS": ("good", "--config", config),
        "FAIL": ("bad", "good", "--config", known, "--now", "2026-03-01T00:00:00Z"),
        "INSUFFICIENT": ("empty", "--config", config),
    }
    for decision, arguments in asked.items():
        data = written(tmp_path, *arguments)
        assert data["decision"] == decision
        assert refused(data) == []
    decisions = {one["decision"] for one in written(tmp_path, *asked["FAIL"])["findings"]}
    assert decisions == {"KNOWN", "FAIL"}


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("decision",), "GREEN"),
        (("rows", 0, "source"), "guess"),
        (("rows", 0, "exposure", "operations"), "3,200"),
        (("rows", 0, "features"), ["pool"]),
    ],
)
def test_the_schema_refuses_what_is_not_as_it_says(
    tmp_path: Path, config: Path, place: tuple[str | int, ...], value: object
) -> None:
    store(tmp_path, "one")
    data = written(tmp_path, "one", "--config", config)
    assert refused(data, closed=False) == []
    inside = data
    for step in place[:-1]:
        inside = inside[step]
    inside[place[-1]] = value
    assert len(refused(data, closed=False)) == 1
