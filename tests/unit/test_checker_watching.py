"""Checkers about times, series, lines and connections: fallback, recovery, metrics, logs, bounds, and the rest."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable

import pytest

from harness import events as ev
from harness.checkers.clocks import clocks
from harness.checkers.judge import judge
from harness.checking import CheckResult
from harness.values import Promise, Verdict
from tests.unit.histories import CONFIRMED, DECEMBER, END, HEALING, JANUARY, PROBED, RADIUS, History, event_id, good

WAIT = "datastorage_db_connection_wait_duration_seconds"


def check(name: str, history: History) -> CheckResult:
    return judge(history.run(), [name])[0]


def promises(name: str, history: History) -> set[Promise]:
    return {finding.promise for finding in check(name, history).findings}


def gauge(history: History, change: Callable[[float, str, float], float | None]) -> None:
    """Rewrite every series of every scrape; None removes it."""
    for index, record in enumerate(history.records):
        if isinstance(record, ev.MetricsSample):
            changed = {text: change(record.t, text, value) for text, value in record.series.items()}
            kept = {text: value for text, value in changed.items() if value is not None}
            history.records[index] = dataclasses.replace(record, series=kept)


# Fallback and recovery


def test_an_answer_after_the_deadline_is_a_finding() -> None:
    history = good()
    history.edit(ev.Complete, lambda r: r.op == 3, t=5.6)
    result = check("fallback", history)
    assert [(f.promise, f.event_ids) for f in result.findings] == [(Promise.FALLBACK, (event_id(3),))]


def test_an_answer_just_inside_the_deadline_is_none() -> None:
    history = good()
    number = history.op(5.0, JANUARY, 201, took=5.2)
    history.row(number)
    assert check("fallback", history).verdict is Verdict.PASS


def test_a_month_never_queued_within_the_deadline_of_the_bite_is_a_finding() -> None:
    history = good()
    for number in history.ops(DECEMBER, 10.0, 15.5):
        history.answer(number, 503)
    (finding,) = check("fallback", history).findings
    assert finding.promise is Promise.FALLBACK
    assert event_id(history.ops(DECEMBER, 12, 13)[0]) in finding.event_ids


def test_a_first_202_late_but_in_time_for_the_first_write_is_none() -> None:
    history = good()
    for number in history.ops(DECEMBER, 10.0, 14.0):
        history.answer(number, 503)
    assert check("fallback", history).verdict is Verdict.PASS


def _queueing(took: float) -> History:
    history = History(judge_latency=True)
    history.fault()
    for i in range(2100):
        history.op(1 + i * 0.004, JANUARY, 201, took=0.02)
    for i in range(300):
        history.op(11 + i * 0.02, DECEMBER, 202, took=took)
    return history


def test_a_slow_median_202_is_a_finding_when_latency_is_judged() -> None:
    assert check("fallback", _queueing(0.05)).verdict is Verdict.PASS
    assert check("fallback", _queueing(0.065)).verdict is Verdict.PASS, "over 3 times, but not by more than 50 ms"
    assert promises("fallback", _queueing(0.2)) == {Promise.FALLBACK}
    stalled = _queueing(0.2)
    stalled.add(ev.CanarySample(12.0, JANUARY.label, 2.0))
    assert check("fallback", stalled).verdict is Verdict.UNKNOWN
    few = good()
    few.edit(ev.RunStarted, lambda r: True, scenario_json='{"judge_latency": true}')
    assert check("fallback", few).verdict is Verdict.UNKNOWN


def test_a_month_that_does_not_resume_is_a_finding() -> None:
    history = good()
    tried = history.ops(DECEMBER, HEALING, PROBED + 5.5)
    for number in tried:
        history.answer(number, 202)
    (finding,) = [f for f in check("recovery", history).findings if "No direct write" in f.summary]
    assert finding.promise is Promise.RECOVERY
    assert event_id(tried[-5]) in finding.event_ids


def test_a_month_resumed_within_the_recovery_time_is_none() -> None:
    history = good()
    for number in history.ops(DECEMBER, HEALING, PROBED + 4.5):
        history.answer(number, 202)
    assert check("recovery", history).verdict is Verdict.PASS


def test_a_202_later_than_the_recovery_edge_breaks_recovery_only() -> None:
    history = good()
    said = history.answer(history.ops(DECEMBER, PROBED + 6, END)[0], 202)
    assert [(f.promise, f.event_ids) for f in check("recovery", history).findings] == [(Promise.RECOVERY, (said,))]
    assert check("honest-status", history).verdict is Verdict.PASS


def test_recovery_that_nobody_saw_is_unknown() -> None:
    unprobed = good()
    unprobed.drop(ev.FaultMark, lambda r: r.step is ev.FaultStep.PROBED)
    assert check("recovery", unprobed).verdict is Verdict.UNKNOWN
    unwritten = good()
    late = set(unwritten.ops(DECEMBER, HEALING, END))
    unwritten.drop(ev.Invoke, lambda r: r.op in late)
    assert check("recovery", unwritten).verdict is Verdict.UNKNOWN


def test_a_depth_above_zero_after_an_empty_final_read_is_a_finding() -> None:
    history = good()
    history.add(ev.DlqSample(END + 1, 3))
    assert promises("recovery", history) == {Promise.RECOVERY}


def test_a_steady_state_that_does_not_return_is_a_finding() -> None:
    history = good()
    history.add(ev.Note(END, "recovery", "partition 2025_12 is unavailable"))
    assert promises("recovery", history) == {Promise.RECOVERY}
    history.drop(ev.FaultMark, lambda r: r.step is ev.FaultStep.PROBED)
    assert check("recovery", history).verdict is Verdict.UNKNOWN


def test_a_month_that_another_fault_still_hurts_recovers_on_that_faults_clock() -> None:
    history = good()
    history.fault(number=1, injecting=12, injected=12.1, confirmed=12.2, healing=13, healed=13.1, probed=13.2)
    first, second = clocks(history.run())
    assert first.recover_seconds == pytest.approx(0.06)
    assert (second.recover_seconds, second.drain_seconds) == (None, None)
    assert check("recovery", history).verdict is Verdict.PASS


def test_clocks_measure_each_window() -> None:
    (clock,) = clocks(good().run())
    assert clock.detect_seconds == pytest.approx(0.1)
    assert clock.fallback_seconds == 0.0
    assert clock.recover_seconds == pytest.approx(0.06)
    assert clock.drain_seconds == pytest.approx(1.3)


def test_clocks_are_none_where_nothing_happened() -> None:
    history = History()
    history.fault(injected=None, confirmed=None, healing=None, healed=None, probed=None)
    (clock,) = clocks(history.run())
    assert (clock.detect_seconds, clock.fallback_seconds, clock.recover_seconds, clock.drain_seconds) == (None,) * 4


# Metrics


def test_without_any_scrape_metrics_are_not_checked_and_with_failed_ones_unknown() -> None:
    history = good()
    history.edit(ev.MetricsSample, lambda r: True, error="refused", series={})
    assert check("metrics", history).verdict is Verdict.UNKNOWN
    history.drop(ev.MetricsSample)
    assert check("metrics", history).not_checked == "metrics"


@pytest.mark.parametrize(
    "missing",
    [
        "datastorage_db_connections_open",
        "datastorage_db_connections_in_use",
        "datastorage_db_connections_idle",
        "datastorage_db_max_open_connections",
        f"{WAIT}_count",
        f"{WAIT}_sum",
        f'{WAIT}_bucket{{le="+Inf"}}',
        f'datastorage_partition_status{{partition="{JANUARY}",status="degraded"}}',
        f'datastorage_partition_write_failures_total{{partition="{JANUARY}"}}',
        f'datastorage_partition_last_write_timestamp{{partition="{JANUARY}"}}',
        'datastorage_events_total{outcome="duplicate"}',
    ],
)
def test_a_missing_series_is_a_finding(missing: str) -> None:
    history = good()
    gauge(history, lambda t, text, value: None if text == missing else value)
    assert promises("metrics", history) == {Promise.TRUTH}


@pytest.mark.parametrize(
    ("series", "value", "promise"),
    [
        ("datastorage_db_max_open_connections", 30.0, Promise.BOUNDS),
        ("datastorage_db_max_open_connections", 20.0, Promise.TRUTH),
        ("datastorage_db_connections_idle", 4.0, Promise.TRUTH),
        ("datastorage_db_connections_in_use", 26.0, Promise.BOUNDS),
        (f'{WAIT}_bucket{{le="0.001"}}', 1e6, Promise.TRUTH),
        (f'{WAIT}_bucket{{le="+Inf"}}', 1e6, Promise.TRUTH),
        (f'datastorage_partition_status{{partition="{JANUARY}",status="degraded"}}', 1.0, Promise.TRUTH),
        (f'datastorage_partition_status{{partition="{JANUARY}",status="healthy"}}', 0.0, Promise.TRUTH),
        (f'datastorage_partition_last_write_timestamp{{partition="{JANUARY}"}}', 0.0, Promise.TRUTH),
        (f'datastorage_partition_last_write_timestamp{{partition="{JANUARY}"}}', 1e9, Promise.TRUTH),
        (f'datastorage_partition_last_write_timestamp{{partition="{JANUARY}"}}', 9e9, Promise.TRUTH),
    ],
)
def test_a_wrong_number_in_one_scrape_is_a_finding(series: str, value: float, promise: Promise) -> None:
    history = good()
    gauge(history, lambda t, text, old: value if text == series and t == 15.0 else old)
    assert promise in promises("metrics", history)


def test_a_counter_that_falls_is_a_finding_unless_the_process_restarted() -> None:
    history = good()
    gauge(history, lambda t, text, old: 0.0 if t == 18.0 and text == f"{WAIT}_sum" else old)
    assert promises("metrics", history) == {Promise.TRUTH}
    gauge(history, lambda t, text, old: old if t < 18.0 or not text.startswith(WAIT) else 0.0)
    history.add(ev.ServiceMark(17.8, "started", 8))
    assert promises("metrics", history) == set()


def _status(history: History, label: str, start: float, end: float, status: str) -> None:
    def change(t: float, text: str, old: float) -> float:
        if start <= t <= end and text.startswith(f'datastorage_partition_status{{partition="{label}"'):
            return float(f'status="{status}"' in text)
        return old

    gauge(history, change)


def test_a_month_shown_healthy_while_it_takes_nothing_is_a_finding() -> None:
    history = good()
    _status(history, DECEMBER.label, CONFIRMED + 5, 19, "healthy")
    assert promises("metrics", history) == {Promise.TRUTH}
    early = good()
    _status(early, DECEMBER.label, 0, CONFIRMED + 2, "healthy")
    assert check("metrics", early).verdict is Verdict.PASS


def test_a_status_stuck_after_recovery_is_a_finding() -> None:
    history = good()
    _status(history, DECEMBER.label, PROBED, END, "unavailable")
    findings = check("metrics", history).findings
    assert findings
    assert all(finding.promise is Promise.TRUTH and finding.event_ids for finding in findings)
    in_time = good()
    _status(in_time, DECEMBER.label, PROBED, PROBED + 4, "unavailable")
    assert check("metrics", in_time).verdict is Verdict.PASS


def test_a_status_not_healthy_when_the_scrapes_end_too_early_is_unknown() -> None:
    history = good()
    _status(history, DECEMBER.label, PROBED, END, "unavailable")
    history.drop(ev.MetricsSample, lambda r: r.t > PROBED + 3)
    assert check("metrics", history).verdict is Verdict.UNKNOWN


def test_another_month_shown_ill_is_a_finding_unless_the_canary_stalled() -> None:
    history = good()
    _status(history, JANUARY.label, 15, 16, "degraded")
    assert promises("metrics", history) == {Promise.TRUTH}
    history.edit(ev.CanarySample, lambda r: r.month == JANUARY.label and 14 < r.t < 15, seconds=1.2)
    assert check("metrics", history).verdict is Verdict.UNKNOWN


def test_any_status_is_honest_while_the_whole_database_is_away() -> None:
    history = good()
    history.drop(ev.FaultMark)
    history.fault(dataclasses.replace(RADIUS, months=None))
    _status(history, JANUARY.label, 15, 16, "degraded")
    assert check("metrics", history).verdict is Verdict.PASS


FAILURES = "datastorage_partition_write_failures_total"


@pytest.mark.parametrize(("month", "value"), [(JANUARY, 1.0), (DECEMBER, 500.0), (DECEMBER, 0.0)])
def test_write_failures_that_do_not_fit_the_answers_are_a_finding(month: object, value: float) -> None:
    history = good()
    gauge(history, lambda t, text, old: value if t > 11 and text == f'{FAILURES}{{partition="{month}"}}' else old)
    assert promises("metrics", history) == {Promise.TRUTH}


def test_no_write_failure_is_demanded_where_the_maintenance_loop_may_have_noticed_first() -> None:
    history = good()
    history.edit(ev.FaultMark, lambda r: True, name="detach-partition")
    gauge(history, lambda t, text, old: 0.0 if text.startswith(FAILURES) else old)
    assert check("metrics", history).verdict is Verdict.PASS


def test_a_depth_that_stays_above_zero_is_a_finding() -> None:
    history = good()
    gauge(history, lambda t, text, old: 2.0 if "dlq_depth" in text and t > 30 else old)
    assert promises("metrics", history) == {Promise.TRUTH}


@pytest.mark.parametrize(
    ("outcome", "extra"),
    [
        ("created", 40.0),
        ("created", -60.0),
        ("queued", 1.0),
        ("queued", -1.0),
        ("duplicate", 400.0),
        ("rejected", 1.0),
        ("unavailable", 1.0),
    ],
)
def test_event_counters_that_do_not_fit_the_answers_are_a_finding(outcome: str, extra: float) -> None:
    history = good()
    name = f'datastorage_events_total{{outcome="{outcome}"}}'
    gauge(history, lambda t, text, old: old + extra if text == name and t == END else old)
    assert Promise.TRUTH in promises("metrics", history)


def test_probe_writes_of_the_harness_widen_the_created_events() -> None:
    history = good()
    name = 'datastorage_events_total{outcome="created"}'
    gauge(history, lambda t, text, old: old + 40 if text == name and t == END else old)
    history.add(ev.Note(1.0, "probe-writes", "40"))
    assert check("metrics", history).verdict is Verdict.PASS


def test_event_counters_are_not_judged_after_a_lost_answer() -> None:
    history = good()
    name = 'datastorage_events_total{outcome="created"}'
    gauge(history, lambda t, text, old: old + 40 if text == name and t == END else old)
    history.op(15.0, DECEMBER, 0)
    assert check("metrics", history).verdict is Verdict.PASS


# Logs


def test_without_any_line_logs_are_not_checked() -> None:
    history = good()
    history.drop(ev.LogLine)
    assert check("logs", history).not_checked == "logs"


@pytest.mark.parametrize("message", ["DLQ fallback activated", "DLQ fallback ended", "Failed to write"])
def test_a_missing_line_is_a_finding(message: str) -> None:
    history = good()
    history.drop(ev.LogLine, lambda r: r.message.startswith(message))
    assert promises("logs", history) == {Promise.TRUTH}


def test_more_activations_than_episodes_are_a_finding() -> None:
    history = good()
    line = f"DLQ fallback activated for partition {DECEMBER}"
    history.add(ev.LogLine(12.0, "INFO", line))
    assert check("logs", history).verdict is Verdict.PASS
    history.add(ev.LogLine(13.0, "INFO", line))
    assert promises("logs", history) == {Promise.TRUTH}


@pytest.mark.parametrize(("month", "t"), [(JANUARY, 15.0), (DECEMBER, 5.0)])
@pytest.mark.parametrize(
    "message", ["DLQ fallback activated for partition ", "Failed to write to partition audit_events_"]
)
def test_a_line_without_a_fault_is_a_finding(month: object, t: float, message: str) -> None:
    history = good()
    history.add(ev.LogLine(t, "ERROR", f"{message}{month}"))
    assert promises("logs", history) == {Promise.TRUTH}


@pytest.mark.parametrize("suppressed", [0, 2])
def test_logged_failures_that_differ_from_the_counter_are_a_finding(suppressed: int) -> None:
    history = good()
    history.edit(ev.LogLine, lambda r: r.message.startswith("Failed") and r.suppressed == 1, suppressed=suppressed)
    assert promises("logs", history) == {Promise.TRUTH}


# Connections


def test_more_connections_than_the_pool_may_hold_are_a_finding_when_they_last() -> None:
    history = good()
    history.edit(ev.ConnectionSample, lambda r: r.t in (15.0, 15.1), backends=30)
    assert check("bounds", history).verdict is Verdict.PASS, "0.1 s may be a backend that is not yet reaped"
    history.edit(ev.ConnectionSample, lambda r: r.t == 15.2, backends=26)
    (finding,) = check("bounds", history).findings
    assert finding.promise is Promise.BOUNDS
    assert event_id(history.ops(JANUARY, 15.0, 15.1)[0]) in finding.event_ids


def test_sockets_count_where_backends_outlive_their_clients() -> None:
    history = good(faulty=False)
    history.fault(dataclasses.replace(RADIUS, outlives_clients=True))
    history.edit(ev.ConnectionSample, lambda r: 12 < r.t < 24, backends=60)
    assert check("bounds", history).verdict is Verdict.PASS
    history.edit(ev.ConnectionSample, lambda r: 12 < r.t < 13, sockets=26)
    assert promises("bounds", history) == {Promise.BOUNDS}
    history.edit(ev.ConnectionSample, lambda r: 12 < r.t < 13, sockets=-1)
    assert check("bounds", history).verdict is Verdict.PASS


def test_excesses_far_apart_are_none() -> None:
    history = History()
    history.add(ev.ConnectionSample(1.0, 30), ev.ConnectionSample(4.0, 30), ev.ConnectionSample(5.0, 3))
    assert check("bounds", history).verdict is Verdict.PASS


def test_connections_never_seen_are_not_checked_and_unreadable_ones_unknown() -> None:
    history = History()
    assert check("bounds", history).not_checked
    history.add(ev.ConnectionSample(1.0, -1))
    assert check("bounds", history).verdict is Verdict.UNKNOWN


# Exhaustion


def exhausted() -> History:
    history = good(faulty=False)

    def change(t: float, text: str, old: float) -> float:
        if text == "datastorage_db_connections_in_use":
            return 25.0
        return old * 0.5 if text == f'{WAIT}_bucket{{le="0.001"}}' else old

    gauge(history, change)
    history.edit(ev.ConnectionSample, lambda r: True, backends=25)
    history.add(
        ev.LogLine(5.0, "ERROR", "Connection pool exhausted (25/25 in use)"),
        ev.LogLine(5.0, "INFO", "Request queued, waiting for available connection"),
    )
    return history


def test_a_proved_exhaustion_without_refusals_passes() -> None:
    assert check("exhaustion", exhausted()).verdict is Verdict.PASS


def test_a_pool_that_was_not_exhausted_is_unknown() -> None:
    assert check("exhaustion", good(faulty=False)).verdict is Verdict.UNKNOWN
    for part in ("datastorage_db_connections_in_use", f'{WAIT}_bucket{{le="0.001"}}'):
        history = exhausted()
        gauge(history, lambda t, text, old, part=part: {True: 24.0}.get(text == part, old))  # type: ignore[misc]
        if part.startswith(WAIT):
            gauge(history, lambda t, text, old: 0.0 if text.startswith(WAIT) else old)
        assert check("exhaustion", history).verdict is Verdict.UNKNOWN
    idle = exhausted()
    idle.edit(ev.ConnectionSample, lambda r: True, backends=24)
    assert check("exhaustion", idle).verdict is Verdict.UNKNOWN


@pytest.mark.parametrize(("status", "promise"), [(202, 2), (503, 2), (500, 2), (0, 9)])
def test_any_answer_but_201_under_exhaustion_is_a_finding(status: int, promise: int) -> None:
    history = exhausted()
    said = history.answer(30, status)
    (finding,) = check("exhaustion", history).findings
    assert (finding.promise, finding.event_ids) == (promise, (said,))


@pytest.mark.parametrize("message", ["Connection pool exhausted", "Request queued"])
def test_an_exhaustion_that_is_not_logged_is_a_finding(message: str) -> None:
    history = exhausted()
    history.drop(ev.LogLine, lambda r: r.message.startswith(message))
    assert promises("exhaustion", history) == {Promise.TRUTH}


def test_too_many_backends_or_too_long_waits_are_findings() -> None:
    many = exhausted()
    many.edit(ev.ConnectionSample, lambda r: r.t == 5.0, backends=26)
    assert promises("exhaustion", many) == {Promise.BOUNDS}
    long = exhausted()
    gauge(long, lambda t, text, old: old - 3 if t == END and 'le="2.5"' in text else old)
    assert promises("exhaustion", long) == {Promise.BOUNDS}


# Confirmed, strictness, hygiene


@pytest.mark.parametrize("step", ["confirmed", "healing", "healed", "probed"])
def test_a_fault_without_one_of_its_marks_is_unknown(step: str) -> None:
    history = good()
    history.drop(ev.FaultMark, lambda r: r.step == step)
    assert check("confirmed", history).verdict is Verdict.UNKNOWN


def test_a_fault_that_was_never_injected_is_unknown() -> None:
    history = good()
    history.drop(ev.FaultMark)
    assert check("confirmed", history).verdict is Verdict.UNKNOWN


def test_a_fault_that_did_not_bite_says_why() -> None:
    history = good()
    history.edit(ev.FaultMark, lambda r: r.step == "confirmed", step=ev.FaultStep.NOT_CONFIRMED, detail="insert worked")
    assert "insert worked" in check("confirmed", history).unknowns[0]


def test_too_few_strict_events_in_a_phase_are_unknown() -> None:
    history = good()
    history.edit(ev.RunStarted, lambda r: True, scenario_json='{"min_strict_events": 96}')
    (reason,) = check("strictness", history).unknowns
    assert f"after: {DECEMBER} 88" in reason
    history.edit(ev.RunStarted, lambda r: True, scenario_json='{"min_strict_events": 96, "strict_phases": ["before"]}')
    assert check("strictness", history).verdict is Verdict.PASS


def test_a_phase_that_is_mostly_edge_is_unknown() -> None:
    history = good()
    history.edit(ev.FaultMark, lambda r: r.step == "confirmed", t=19.0)
    history.edit(ev.RunStarted, lambda r: True, scenario_json='{"min_strict_events": 1}')
    (reason,) = check("strictness", history).unknowns
    assert "half" in reason


def test_a_scenario_without_faults_needs_only_the_phases_it_marks() -> None:
    history = good(faulty=False)
    history.edit(ev.RunStarted, lambda r: True, scenario_json=json.dumps({"min_strict_events": 300}))
    assert check("strictness", history).verdict is Verdict.PASS
    history.add(ev.PhaseMark(20.0, "during"))
    assert check("strictness", history).verdict is Verdict.UNKNOWN


@pytest.mark.parametrize(
    "extra",
    [
        ev.PartitionRow("audit_events_default", "", "DEFAULT"),
        ev.PartitionRow("audit_events_2025_12_b", "2025_12", "FOR VALUES FROM ('2025-12-01') TO ('2026-01-01')"),
        ev.PartitionRow("audit_events_2026_02", "2026_02", "FOR VALUES FROM ('2026-02-01') TO ('2026-02-15')"),
        ev.PartitionRow("audit_events_2026_02", "2026_02", "FOR VALUES IN ('2026-02-01')"),
    ],
)
def test_a_wrong_partition_is_a_finding(extra: ev.PartitionRow) -> None:
    history = good()
    history.add(extra)
    assert promises("partition-hygiene", history) <= {Promise.CONSERVATION, Promise.ISOLATION} != set()
    assert check("partition-hygiene", history).verdict is Verdict.FAIL


def test_a_restored_copy_under_another_name_is_fine() -> None:
    history = good()
    history.edit(ev.PartitionRow, lambda r: r.month == "2025_12", name="audit_events_2025_12_restored")
    assert check("partition-hygiene", history).verdict is Verdict.PASS


def test_a_catalog_without_partitions_is_unknown() -> None:
    history = good()
    history.drop(ev.PartitionRow)
    assert check("partition-hygiene", history).verdict is Verdict.UNKNOWN
