"""``harness gate`` on stored runs: every exit code and every decision, by the command itself."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from harness.checking import CheckResult
from tests.unit import gate_samples as samples
from tests.unit.gate_samples import BOOKS, KNOWN, OPTIONAL, UNSURE, Traffic, gate, last_line, lost, row, slow, store

REFUSED = "PostgreSQL refused postgresql://slm:hunter2@127.0.0.1/audit."


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return samples.config(tmp_path)


def test_a_run_that_kept_everything_passes(tmp_path: Path, config: Path) -> None:
    store(tmp_path, "one")
    done = gate("one", "--reports", tmp_path, "--config", config)
    assert done.exit_code == 0, done.output
    assert last_line(done).startswith("✓ PASS")
    assert "100 %" in row(done, "persistence_success")
    assert "3,200 operations of 1 run" in row(done, "persistence_success")
    assert "INSUFFICIENT (not needed)" in row(done, "partition_write_failures")
    assert "or list it as optional" not in done.stdout


def test_without_a_day_and_a_month_of_data_it_is_insufficient(tmp_path: Path) -> None:
    store(tmp_path, "one")
    done = gate("one", "--reports", tmp_path)
    assert done.exit_code == 3, done.output
    assert last_line(done) == (
        "? INSUFFICIENT  not enough was seen to decide: connection_errors, partition_write_failures"
    )
    assert "connection_errors (runs): observed for 34 s, less than the 1 d needed" in done.stdout
    assert "connection_errors (runs): --prometheus can tell" in done.stdout
    assert "less than the 30 d needed" in done.stdout


def test_an_average_never_hides_a_lost_event(tmp_path: Path, config: Path) -> None:
    store(tmp_path, "one", lost(1))
    done = gate("one", "--reports", tmp_path, "--config", config)
    assert done.exit_code == 1
    assert "PASS" in row(done, "persistence_success")
    assert "FAIL" in row(done, "lost_events")
    assert f"explain: harness explain {tmp_path / 'one'} 00000000-0000-4000-8000-000000000000" in done.stdout
    assert "3,200 acknowledged events of 1 run" in row(done, "lost_events")
    assert last_line(done) == "✗ FAIL  failed: lost_events; prioritise partition isolation (S3) and recovery (S5)"


def test_a_lost_event_in_one_run_of_many_fails(tmp_path: Path, config: Path) -> None:
    for name in ("a", "b", "c"):
        store(tmp_path, name, lost(1) if name == "b" else BOOKS)
    assert gate("a", "b", "c", "--reports", tmp_path, "--config", config).exit_code == 1


def test_any_other_broken_promise_fails_too(tmp_path: Path, config: Path) -> None:
    store(tmp_path, "one", BOOKS, slow(0.5))
    done = gate("one", "--reports", tmp_path, "--config", config)
    assert done.exit_code == 1
    assert "FAIL" in row(done, "broken_promises")
    assert "PASS" in row(done, "lost_events")


def test_a_rate_that_is_proved_too_high_fails_and_names_the_feature(tmp_path: Path, config: Path) -> None:
    store(tmp_path, "one", traffic=Traffic(answers=dict.fromkeys(range(0, 3200, 32), 503)))
    done = gate("one", "--reports", tmp_path, "--config", config)
    assert done.exit_code == 1
    assert "96.875 %" in row(done, "persistence_success")
    assert last_line(done) == "✗ FAIL  failed: persistence_success; prioritise partition isolation (S3)"


def test_events_that_fall_back_in_health_are_a_rate_too_high(tmp_path: Path, config: Path) -> None:
    store(tmp_path, "one", traffic=Traffic(answers=dict.fromkeys(range(0, 3200, 32), 202)))
    done = gate("one", "--reports", tmp_path, "--config", config)
    assert done.exit_code == 1
    assert "PASS" in row(done, "persistence_success")
    assert last_line(done) == "✗ FAIL  failed: dlq_fallback; prioritise recovery (S5)"


def test_what_the_database_itself_may_have_done_proves_nothing(tmp_path: Path, config: Path) -> None:
    store(tmp_path, "one", traffic=Traffic(answers=dict.fromkeys(range(0, 3200, 32), 202), unseen=True))
    done = gate("one", "--reports", tmp_path, "--config", config)
    assert done.exit_code == 3
    assert "0 to 100 are bad" in done.stdout


def test_chaos_is_not_production(tmp_path: Path, config: Path) -> None:
    store(tmp_path, "one", traffic=Traffic(operations=4600, faulty=True))
    done = gate("one", "--reports", tmp_path, "--config", config)
    assert done.exit_code == 0, done.output
    assert "0 %" in row(done, "dlq_fallback")
    counted = int(row(done, "dlq_fallback").split("< 0.1 %")[1].split()[0].replace(",", ""))
    # 500 of December fell back, and those of the recovery after it are of neither kind.
    assert 3000 < counted < 4600 - 740


def test_another_month_is_judged_while_december_is_damaged(tmp_path: Path, config: Path) -> None:
    while_damaged = range(1100, 1800)
    answers = {number: 202 for number in while_damaged if number % 2}
    store(tmp_path, "one", traffic=Traffic(operations=4600, faulty=True, answers=answers))
    assert gate("one", "--reports", tmp_path, "--config", config).exit_code == 1


def test_one_failure_more_needs_more_operations(tmp_path: Path, config: Path) -> None:
    store(tmp_path, "one", traffic=Traffic(answers={50: 503}))
    done = gate("one", "--reports", tmp_path, "--config", config)
    assert done.exit_code == 3
    assert "with 1 bad, 4,744 operations are needed" in done.stdout
    store(tmp_path, "two")
    assert gate("one", "two", "--reports", tmp_path, "--config", config).exit_code == 0


@pytest.mark.parametrize(("operations", "said"), [(2990, "2,990 operations are too few"), (0, "no traffic proves")])
def test_few_or_no_operations_are_insufficient(tmp_path: Path, config: Path, operations: int, said: str) -> None:
    store(tmp_path, "one", traffic=Traffic(operations=operations))
    done = gate("one", "--reports", tmp_path, "--config", config)
    assert done.exit_code == 3
    assert said in done.stdout


def test_connection_errors_over_the_limit_of_a_day_fail_in_half_a_minute(tmp_path: Path, config: Path) -> None:
    store(tmp_path, "one", traffic=Traffic(errors=lambda t: 12.0 if t > 5 else 0.0))
    done = gate("one", "--reports", tmp_path, "--config", config)
    assert done.exit_code == 1
    assert "12 in 34 s" in row(done, "connection_errors")
    assert last_line(done) == "✗ FAIL  failed: connection_errors; prioritise pool metrics (S1, S2)"


def test_a_restart_of_the_service_hides_no_error(tmp_path: Path, config: Path) -> None:
    store(tmp_path, "one", traffic=Traffic(errors=lambda t: 6.0 if 5 < t < 15 else 7.0 if t > 20 else 0.0))
    done = gate("one", "--reports", tmp_path, "--config", config)
    assert done.exit_code == 1
    assert "13 in 34 s" in row(done, "connection_errors")


def test_connections_found_broken_after_a_fault_may_be_its_aftermath(tmp_path: Path, config: Path) -> None:
    traffic = Traffic(operations=4600, faulty=True, errors=lambda t: 12.0 if t > 30 else 0.0)
    store(tmp_path, "one", traffic=traffic)
    done = gate("one", "--reports", tmp_path, "--config", config)
    assert "0 to 12 in" in row(done, "connection_errors")
    assert "INSUFFICIENT" in row(done, "connection_errors")
    assert done.exit_code == 0


def test_errors_while_a_fault_is_on_do_not_count(tmp_path: Path, config: Path) -> None:
    traffic = Traffic(operations=4600, faulty=True, errors=lambda t: 12.0 if t > 15 else 0.0)
    store(tmp_path, "one", traffic=traffic)
    done = gate("one", "--reports", tmp_path, "--config", config)
    assert " 0 in " in row(done, "connection_errors")


def test_one_failed_write_of_a_partition_fails_though_no_month_was_seen(tmp_path: Path, config: Path) -> None:
    store(tmp_path, "one", traffic=Traffic(failures=lambda t: 1.0 if t > 5 else 0.0))
    done = gate("one", "--reports", tmp_path, "--config", config)
    assert done.exit_code == 1
    assert "prioritise partition metrics (S4)" in last_line(done)


def test_a_series_that_is_missing_is_not_zero(tmp_path: Path) -> None:
    store(tmp_path, "one", traffic=Traffic(lacks=frozenset({samples.ERRORS})))
    done = gate("one", "--reports", tmp_path)
    assert done.exit_code == 3
    assert f"no {samples.ERRORS} in 1 of 1 runs, such as one; missing is not zero" in done.stdout


def test_an_optional_metric_that_fails_still_fails(tmp_path: Path) -> None:
    path = samples.config(tmp_path, 'optional = ["dlq_fallback"]')
    store(tmp_path, "one", traffic=Traffic(answers=dict.fromkeys(range(0, 3200, 32), 202)))
    assert gate("one", "--reports", tmp_path, "--config", path).exit_code == 1


def test_an_event_that_nobody_can_look_for_is_no_event_kept(tmp_path: Path, config: Path) -> None:
    store(tmp_path, "one", replace(BOOKS, facts={**BOOKS.facts, "queued_not_checked": 2.0}))
    done = gate("one", "--reports", tmp_path, "--config", config)
    assert done.exit_code == 3
    assert "lost_events (runs): 2 events answered 202 are not in the table" in done.stdout


def test_where_all_may_be_insufficient_and_nothing_passed_nothing_passes(tmp_path: Path) -> None:
    store(tmp_path, "one", CheckResult("conservation", not_checked="sql"), traffic=Traffic(operations=100))
    done = gate("one", "--reports", tmp_path)
    assert done.exit_code == 3
    assert "conservation was not judged in 1 run, such as one" in done.stdout


SLOS = (
    OPTIONAL
    + """
[[latency]]
name = "latency-p99"
quantile = 0.99
maximum_seconds = 0.5
feature = "pool_metrics"

[[share]]
name = "rejected"
bad = 'datastorage_events_total{outcome="rejected"}'
all = "datastorage_events_total"
below_percent = 1
feature = "partition_isolation"
"""
)


def test_a_users_own_slos_are_judged_on_runs(tmp_path: Path) -> None:
    path = samples.config(tmp_path, SLOS)
    store(tmp_path, "good")
    store(tmp_path, "slow", traffic=Traffic(took_seconds=dict.fromkeys(range(0, 3200, 20), 0.7)))
    done = gate("good", "--reports", tmp_path, "--config", path)
    assert done.exit_code == 0, done.output
    assert "p99 0.004 s" in row(done, "latency-p99")
    assert "0 %" in row(done, "rejected")
    done = gate("slow", "--reports", tmp_path, "--config", path)
    assert done.exit_code == 1
    assert "p99 0.7 s" in row(done, "latency-p99")
    assert "prioritise pool metrics (S1, S2)" in last_line(done)


def test_slow_writes_beside_a_stalled_database_prove_nothing(tmp_path: Path) -> None:
    path = samples.config(tmp_path, SLOS)
    took = dict.fromkeys(range(1000, 1100), 0.7)
    store(tmp_path, "one", traffic=Traffic(took_seconds=took, stalls_at=11.5))
    done = gate("one", "--reports", tmp_path, "--config", path)
    assert done.exit_code == 3
    assert "INSUFFICIENT" in row(done, "latency-p99")


def test_an_expression_is_for_a_prometheus_to_tell(tmp_path: Path) -> None:
    text = """
[[expression]]
name = "oldest"
promql = "max(max_over_time(datastorage_dlq_oldest_age_seconds[$period]))"
exposure_promql = "sum(increase(datastorage_events_total[$period]))"
maximum_seconds = 900
minimum_operations = 1000
feature = "recovery"
"""
    store(tmp_path, "one")
    done = gate("one", "--reports", tmp_path, "--config", samples.config(tmp_path, OPTIONAL + text))
    assert done.exit_code == 3
    assert "oldest (runs): only a Prometheus can tell it" in done.stdout


def test_a_run_that_could_not_be_judged_is_insufficient(tmp_path: Path, config: Path) -> None:
    store(tmp_path, "one", BOOKS, UNSURE)
    done = gate("one", "--reports", tmp_path, "--config", config)
    assert done.exit_code == 3
    assert "judged_runs (runs): one: fallback: only 120 of 200" in done.stdout


def test_a_known_failure_does_not_hide_what_could_not_be_judged(tmp_path: Path) -> None:
    path = samples.config(tmp_path, OPTIONAL + KNOWN)
    store(tmp_path, "one", lost(1), UNSURE)
    done = gate("one", "--reports", tmp_path, "--config", path, "--now", "2026-03-01T00:00:00Z")
    assert done.exit_code == 3
    assert gate("one", "--reports", tmp_path).exit_code == 1


def test_a_run_without_a_history_is_no_run_without_failures(tmp_path: Path, config: Path) -> None:
    store(tmp_path, "one")
    store(tmp_path, "two", traffic=None)
    done = gate("one", "two", "--reports", tmp_path, "--config", config)
    assert done.exit_code == 3
    assert "two: The run" in done.stdout


def test_a_suite_is_judged_as_its_runs(tmp_path: Path, config: Path) -> None:
    runs = [store(tmp_path, f"20260201-run-{name}") for name in ("a", "b")]
    samples.store_suite(tmp_path, "20260201-suite-aaaa", *runs)
    for name in ("suite", "20260201-suite-aaaa", tmp_path / "20260201-suite-aaaa", "last"):
        done = gate(name, "--reports", tmp_path, "--config", config)
        assert done.exit_code == 0, done.output
        assert "6,400 operations of 2 runs" in row(done, "persistence_success")


def test_the_last_suite_is_judged_though_none_of_its_runs_began(tmp_path: Path, config: Path) -> None:
    samples.store_suite(tmp_path, "20251205-110000-suite-aaaa", store(tmp_path, "good"))
    failed = store(tmp_path, "failed", setup_error=REFUSED, traffic=None)
    samples.store_suite(tmp_path, "20251205-120000-suite-bbbb", failed)
    assert gate("last", "--reports", tmp_path, "--config", config).exit_code == 3
    shutil.rmtree(tmp_path / "20251205-120000-suite-bbbb")
    assert gate("last", "--reports", tmp_path, "--config", config).exit_code == 0


def test_the_last_suite_is_judged_whole_though_its_runs_began_after_it(tmp_path: Path, config: Path) -> None:
    runs = [store(tmp_path, name) for name in ("a", "b")]
    # Both began at 10:15, and the suite, which took 40 s, half a minute before.
    samples.store_suite(tmp_path, "20251205-101430-suite-aaaa", *runs)
    done = gate("last", "--reports", tmp_path, "--config", config)
    assert "6,400 operations of 2 runs" in row(done, "persistence_success")


def test_the_last_is_a_run_that_began_after_every_suite(tmp_path: Path, config: Path) -> None:
    runs = [store(tmp_path, name) for name in ("a", "b")]
    # Both began at 10:15, and the suite had ended at 10:00:40.
    samples.store_suite(tmp_path, "20251205-100000-suite-aaaa", *runs)
    done = gate("last", "--reports", tmp_path, "--config", config)
    assert "3,200 operations of 1 run" in row(done, "persistence_success")


def test_a_suite_that_lost_a_run_or_could_not_start_one_is_insufficient(tmp_path: Path, config: Path) -> None:
    good = store(tmp_path, "good")
    failed = store(tmp_path, "failed", setup_error=REFUSED, traffic=None)
    gone = store(tmp_path, "gone")
    samples.store_suite(tmp_path, "20260201-suite-aaaa", good, failed, gone)
    shutil.rmtree(tmp_path / "gone")
    done = gate("suite", "--reports", tmp_path, "--config", config)
    assert done.exit_code == 3
    assert "1 of 3" in row(done, "judged_runs")
    assert "gone: its folder is not stored any more" in done.stdout
    assert "failed: it could not be set up" in done.stdout
    assert "hunter2" not in done.output


def test_a_run_that_could_not_be_set_up_is_found_and_judged(tmp_path: Path, config: Path) -> None:
    store(tmp_path, "failed", setup_error=REFUSED, traffic=None)
    done = gate("failed", "--reports", tmp_path, "--config", config)
    assert (done.exit_code, "failed: it could not be set up" in done.stdout) == (3, True)


def test_a_suite_that_reached_no_state_it_owes_is_insufficient(tmp_path: Path, config: Path) -> None:
    path = samples.store_suite(tmp_path, "20260201-suite-aaaa", store(tmp_path, "one")) / "suite.json"
    suite = json.loads(path.read_text())
    suite["reached"] = [{"name": "pool-exhausted", "sentence": "…", "runs": 0, "of": 1, "owed": True}]
    path.write_text(json.dumps(suite))
    done = gate("suite", "--reports", tmp_path, "--config", config)
    assert done.exit_code == 3
    assert "no run reached the state pool-exhausted" in done.stdout


def test_a_github_job_gets_a_summary_that_no_text_of_a_run_can_break(tmp_path: Path, config: Path) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("# before\n")
    hostile = lost(1, month="2025_12 <script>|`x`")
    store(tmp_path, "one", hostile)
    assert gate("one", "--reports", tmp_path, "--config", config, summary=summary).exit_code == 1
    text = summary.read_text()
    assert text.startswith("# before\n\n## ❌ Gate: FAIL\n")
    assert "| persistence_success | runs |" in text
    assert "\\<script\\>\\|\\`x\\`" in text
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.replace("\\|", "").count("|") for line in table}) == 1


def test_a_summary_that_cannot_be_written_does_not_change_the_decision(tmp_path: Path, config: Path) -> None:
    store(tmp_path, "one")
    done = gate("one", "--reports", tmp_path, "--config", config, summary=tmp_path)
    assert done.exit_code == 0
    assert "cannot be written" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "There is nothing to judge"),
        (("none",), "There is no run 'none'"),
        (("one", "--config", "{tmp}/none.toml"), "none.toml cannot be read"),
        (("one", "--period", "30"), "'30' is no period; write it as 30d"),
        (("one", "--now", "yesterday"), "is no time"),
        (("one", "--now", "2026-01-01T00:00:00"), "does not say which time zone"),
        (("one", "--baseline", "one"), "against itself nothing is new"),
        (("one", "--baseline", "none"), "There is no run 'none'"),
        (("one", "--baseline", "{tmp}/other.json"), "as the result of an earlier gate"),
        (("one", "--prometheus", "http://127.0.0.1:1"), "does not answer"),
        (("one", "--prometheus", "nowhere"), "does not answer"),
        (("--prometheus", ""), "--prometheus has no address"),
        (("one", "--baseline", "{tmp}/later.json"), "is of format 99, this version reads 1"),
        (("one", "--json", "{tmp}"), "cannot be written"),
        (("--no-such-option",), "No such option"),
    ],
)
def test_what_cannot_be_done_ends_with_2_and_says_why(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    store(tmp_path, "one")
    (tmp_path / "other.json").write_text('{"runs": []}')
    (tmp_path / "later.json").write_text('{"gate_format": 99}')
    done = gate(*(one.format(tmp=tmp_path) for one in arguments), "--reports", tmp_path)
    assert done.exit_code == 2
    assert said in done.output


def test_a_run_is_not_written_to(tmp_path: Path, config: Path) -> None:
    store(tmp_path, "one")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "one").iterdir()}
    gate("one", "--reports", tmp_path, "--config", config)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "one").iterdir()} == before


def test_a_run_that_nobody_judged_is_judged_now(tmp_path: Path, config: Path) -> None:
    store(tmp_path, "one")
    (tmp_path / "one" / "result.json").unlink()
    done = gate("one", "--reports", tmp_path, "--config", config)
    # None of its events is in the table.
    assert done.exit_code == 1
    assert "FAIL" in row(done, "lost_events")
    assert not (tmp_path / "one" / "result.json").exists()
