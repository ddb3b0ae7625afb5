"""Checkers of what else was watched: logs, connections, exhaustion, faults, strictness, catalog."""

from __future__ import annotations

import dataclasses
import json

import pytest

from harness import events as ev
from harness.blast import BlastRadius, Write
from harness.values import Month, Promise, Verdict
from tests.unit.histories import (
    DECEMBER,
    END,
    JANUARY,
    RADIUS,
    WAIT,
    History,
    check,
    event_id,
    gauge,
    good,
    promises,
)


def test_logs_are_not_checked_when_undeclared_and_unknown_when_declared_but_empty() -> None:
    history = good()
    history.drop(ev.LogLine)
    assert (check("logs", history).verdict, check("logs", history).not_checked) == (Verdict.UNKNOWN, "")
    assert check("logs", history.without("logs")).not_checked == "logs"


def test_what_the_target_does_not_declare_is_listed() -> None:
    assert check("reads", good()).not_checked == ""
    assert check("reads", good().without("dlq", "logs")).not_checked.startswith("dlq (")
    assert "logs (" in check("reads", good().without("dlq", "logs")).not_checked


@pytest.mark.parametrize("kind", [ev.ReadySample, ev.DlqSample, ev.CanarySample])
def test_declared_samples_that_are_missing_leave_the_run_unproved(kind: type[ev.Record]) -> None:
    history = good()
    history.drop(kind)
    assert check("evidence", history).verdict is Verdict.UNKNOWN
    allowed = kind is not ev.ReadySample
    assert (check("evidence", history.without("dlq", "sql")).verdict is Verdict.PASS) == allowed


def test_samples_that_mostly_failed_leave_the_run_unproved_unless_a_fault_made_them() -> None:
    history = good()
    history.edit(ev.DlqSample, lambda r: r.t < 19, depth=-1)
    assert check("evidence", history).verdict is Verdict.UNKNOWN
    down = good()
    down.drop(ev.FaultMark)
    down.fault(dataclasses.replace(RADIUS, months=None))
    down.edit(ev.DlqSample, lambda r: 6 < r.t < 26, depth=-1)
    assert check("evidence", down).verdict is Verdict.PASS
    stuck = good()
    stuck.edit(ev.CanarySample, lambda r: r.month == JANUARY.label or r.t < 8, sqlstate="42501")
    assert check("evidence", stuck).verdict is Verdict.UNKNOWN


@pytest.mark.parametrize("topic", ["sampler", "load", "abort", "harness"])
def test_a_failure_of_the_harness_itself_is_unknown_with_its_text(topic: str) -> None:
    history = good()
    history.add(ev.Note(12.0, topic, "the pipe broke"), ev.Note(13.0, topic, "and again"))
    (reason,) = check("evidence", history).unknowns
    assert "the pipe broke" in reason
    assert "2 times" in reason


@pytest.mark.parametrize("message", ["DLQ fallback activated", "DLQ fallback ended", "Failed to write"])
def test_a_missing_line_is_a_finding(message: str) -> None:
    history = good()
    history.drop(ev.LogLine, lambda r: r.message.startswith(message))
    assert promises("logs", history) == {Promise.TRUTH}


def test_more_activations_than_episodes_are_a_finding() -> None:
    history = good()
    line = f"DLQ fallback activated for partition {DECEMBER}"
    ended = line.replace("activated", "ended")
    history.add(ev.LogLine(11.9, "INFO", ended), ev.LogLine(12.0, "INFO", line))
    assert check("logs", history).verdict is Verdict.PASS
    history.add(ev.LogLine(12.9, "INFO", ended), ev.LogLine(13.0, "INFO", line))
    assert promises("logs", history) == {Promise.TRUTH}


def test_each_fault_has_its_own_episode_and_statements_of_another_months_fault_may_cause_one() -> None:
    history = good()
    history.fault(number=1, injecting=26, injected=26.1, confirmed=26.2, healing=28, healed=28.1, probed=28.2)
    history.drop(ev.LogLine, lambda r: "fallback" in r.message)
    history.answer(history.ops(DECEMBER, 26.2, 26.3)[0], 202)
    for begun, over in ((10.3, 20.5), (26.3, 28.4)):
        history.add(ev.LogLine(begun, "INFO", f"DLQ fallback activated for partition {DECEMBER}"))
        history.add(ev.LogLine(over, "INFO", f"DLQ fallback ended for partition {DECEMBER}"))
    for t in (10.1, 20.05):
        number = history.ops(JANUARY, t, t + 0.1)[0]
        history.answer(number, 202)
        history.add(ev.LogLine(t, "INFO", f"DLQ fallback activated for partition {JANUARY}"))
        history.add(ev.LogLine(t + 0.2, "INFO", f"DLQ fallback ended for partition {JANUARY}"))
    assert check("logs", history).findings == ()


def test_a_fallback_that_comes_and_goes_at_the_edges_is_honest() -> None:
    history = good()
    for t in (10.05, 21.5, 22.5, 23.5):
        history.answer(history.ops(DECEMBER, t - 0.1, t)[0], 202)
        history.add(ev.LogLine(t, "INFO", f"DLQ fallback activated for partition {DECEMBER}"))
        history.add(ev.LogLine(t + 0.01, "INFO", f"DLQ fallback ended for partition {DECEMBER}"))
    assert check("logs", history).verdict is Verdict.PASS
    for t in (30.0, 31.0):
        history.add(ev.LogLine(t, "INFO", f"DLQ fallback activated for partition {DECEMBER}"))
        history.add(ev.LogLine(t + 0.1, "INFO", f"DLQ fallback ended for partition {DECEMBER}"))
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


def test_more_connections_than_the_pool_may_hold_are_a_finding_when_they_last() -> None:
    history = good()
    history.edit(ev.ConnectionSample, lambda r: r.t in (15.0, 15.1), backends=30)
    assert check("bounds", history).verdict is Verdict.PASS, "0.1 s may be a backend that is not yet reaped"
    history.edit(ev.ConnectionSample, lambda r: 15.1 < r.t < 15.35, backends=26)
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


def test_connections_never_seen_or_not_readable_are_unknown() -> None:
    history = History()
    assert check("bounds", history).verdict is Verdict.UNKNOWN
    assert not check("bounds", history).not_checked
    history.add(ev.ConnectionSample(1.0, -1))
    assert check("bounds", history).verdict is Verdict.UNKNOWN


def exhausted() -> History:
    history = good(faulty=False)
    history.fault(BlastRadius(months=None, write=Write.DELAYED, delay_ms=25), name="latency")

    def change(t: float, text: str, old: float) -> float:
        if text == "datastorage_db_connections_in_use":
            return 25.0
        return old * 0.5 if text == f'{WAIT}_bucket{{le="0.001"}}' else old

    gauge(history, change)
    history.edit(ev.ConnectionSample, lambda r: True, backends=25)
    history.add(
        ev.LogLine(15.0, "ERROR", "Connection pool exhausted (25/25 in use)"),
        ev.LogLine(15.0, "INFO", "Request queued, waiting for available connection"),
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


def test_an_exhaustion_before_the_fault_proves_nothing() -> None:
    early = exhausted()
    gauge(early, lambda t, text, old: 3.0 if text.endswith("_in_use") and 10 < t <= 20 else old)
    assert check("exhaustion", early).verdict is Verdict.UNKNOWN
    backends = exhausted()
    backends.edit(ev.ConnectionSample, lambda r: 10 < r.t <= 20, backends=20)
    assert check("exhaustion", backends).verdict is Verdict.UNKNOWN
    waits = exhausted()
    gauge(waits, lambda t, text, old: 7.0 if text.startswith(WAIT) and 10 < t <= 20 else old)
    assert check("exhaustion", waits).verdict is Verdict.UNKNOWN
    lines = exhausted()
    lines.edit(ev.LogLine, lambda r: r.t == 15.0, t=5.0)
    assert promises("exhaustion", lines) == {Promise.TRUTH}
    few = exhausted()
    few.drop(ev.MetricsSample, lambda r: 12.6 < r.t <= 20)
    (reason,) = check("exhaustion", few).unknowns
    assert "6 are needed" in reason


def test_exhaustion_is_judged_without_what_the_target_does_not_declare() -> None:
    history = exhausted()
    history.drop(ev.LogLine)
    history.drop(ev.ConnectionSample)
    assert check("exhaustion", history.without("logs", "sql")).verdict is Verdict.PASS
    assert check("exhaustion", history.without("metrics")).not_checked == "metrics"


def test_too_many_backends_for_a_moment_belong_to_bounds_and_too_long_waits_are_a_finding() -> None:
    many = exhausted()
    many.edit(ev.ConnectionSample, lambda r: r.t == 15.0, backends=26)
    assert check("exhaustion", many).verdict is Verdict.PASS
    long = exhausted()
    gauge(long, lambda t, text, old: old - 3 if t == END and 'le="2.5"' in text else old)
    assert promises("exhaustion", long) == {Promise.BOUNDS}


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
    # A DDL fault that took so long to bite is an edge of January as well, which has no other event in that phase.
    few, *reasons = check("strictness", history).unknowns
    assert f"{JANUARY} 0" in few
    assert len(reasons) == 2
    assert all("half" in reason for reason in reasons)


def test_each_month_owes_half_of_its_own_events() -> None:
    history = good()
    dropped = history.ops(DECEMBER, 13, 20)
    history.drop(ev.Invoke, lambda r: r.op in dropped)
    for step in range(40):
        history.op(10.05 + step / 1000, DECEMBER, 202)
    (reason,) = check("strictness", history).unknowns
    assert f"events of {DECEMBER} during" in reason


def test_a_month_that_the_scenario_names_and_nobody_wrote_is_unknown() -> None:
    history = good()
    load = {"months": [DECEMBER.label, JANUARY.label], "late_months": ["2027_03"]}
    history.edit(ev.RunStarted, lambda r: True, scenario_json=json.dumps({"min_strict_events": 20, "load": load}))
    reasons = check("strictness", history).unknowns
    assert [("2027_03 0" in reason) for reason in reasons] == [True, True], "during and after; late, so not before"


def test_the_harness_own_trial_writes_do_not_count_as_judged() -> None:
    history = good()
    history.edit(ev.Invoke, lambda r: r.t < 9, writer=-1)
    (reason,) = check("strictness", history).unknowns
    assert "before" in reason


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


@pytest.mark.parametrize(
    ("extra", "unsure"),
    [
        (ev.PartitionRow("audit_events_harness_default", "", "DEFAULT"), True),
        (ev.PartitionRow("audit_events_default", "", "DEFAULT"), False),
        (ev.PartitionRow("audit_events_2025_12_b", "2025_12", "FOR VALUES IN ('2025-12-01')"), True),
        (ev.PartitionRow("audit_events_2026_02", "2026_02", "FOR VALUES IN ('2026-02-01')"), False),
    ],
)
def test_what_a_fault_that_was_not_repaired_may_have_left_is_not_the_services(
    extra: ev.PartitionRow, unsure: bool
) -> None:
    history = good()
    history.add(extra)
    history.drop(ev.FaultMark, lambda r: r.step is ev.FaultStep.PROBED)
    assert check("partition-hygiene", history).verdict is (Verdict.UNKNOWN if unsure else Verdict.FAIL)


@pytest.mark.parametrize("month", [DECEMBER, JANUARY])
def test_a_row_beside_its_month_is_not_the_services_where_the_fault_was_not_repaired(month: Month) -> None:
    history = good()
    number = history.ops(month, 1, 2)[0]
    history.edit(ev.TableRow, lambda r: r.event_id == event_id(number), month="")
    assert promises("conservation", history) == {Promise.CONSERVATION}
    history.drop(ev.FaultMark, lambda r: r.step is ev.FaultStep.PROBED)
    assert check("conservation", history).verdict is (Verdict.UNKNOWN if month is DECEMBER else Verdict.FAIL)


def test_a_restored_copy_under_another_name_is_fine() -> None:
    history = good()
    history.edit(ev.PartitionRow, lambda r: r.month == "2025_12", name="audit_events_2025_12_restored")
    assert check("partition-hygiene", history).verdict is Verdict.PASS


def test_a_catalog_without_partitions_is_unknown() -> None:
    history = good()
    history.drop(ev.PartitionRow)
    assert check("partition-hygiene", history).verdict is Verdict.UNKNOWN


def test_a_default_partition_breaks_conservation_and_names_its_events() -> None:
    history = good()
    history.add(ev.PartitionRow("audit_events_default", "", "DEFAULT"))
    history.edit(ev.TableRow, lambda r: r.event_id == event_id(0), month="")
    (finding,) = check("partition-hygiene", history).findings
    assert (finding.promise, finding.event_ids) == (Promise.CONSERVATION, (event_id(0),))


def test_exhaustion_is_unknown_beside_a_stalled_canary_or_without_log_lines() -> None:
    stalled = exhausted()
    stalled.answer(30, 202)
    stalled.edit(ev.CanarySample, lambda r: r.t < 3, seconds=1.5)
    assert check("exhaustion", stalled).verdict is Verdict.UNKNOWN
    unread = exhausted()
    unread.drop(ev.LogLine)
    assert check("exhaustion", unread).verdict is Verdict.UNKNOWN
