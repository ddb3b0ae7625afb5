"""The metrics checker: pool and partition series, counters against answers."""

from __future__ import annotations

import dataclasses

import pytest

from harness import events as ev
from harness.blast import BlastRadius, ServiceState
from harness.values import Month, Promise, Verdict
from tests.unit.histories import (
    CONFIRMED,
    DECEMBER,
    END,
    JANUARY,
    PROBED,
    RADIUS,
    REQUESTS,
    WAIT,
    History,
    check,
    exported,
    gauge,
    good,
    promises,
)


def test_metrics_are_not_checked_when_undeclared_and_unknown_when_declared_but_unseen() -> None:
    history = good()
    history.edit(ev.MetricsSample, lambda r: True, error="refused", series={})
    assert check("metrics", history).verdict is Verdict.UNKNOWN
    history.drop(ev.MetricsSample)
    assert check("metrics", history).verdict is Verdict.UNKNOWN
    assert check("metrics", history).not_checked == ""
    assert check("metrics", history.without("metrics")).not_checked == "metrics"
    mostly = good()
    mostly.edit(ev.MetricsSample, lambda r: r.t < 10 or r.t > 26, error="refused", series={})
    assert check("metrics", mostly).verdict is Verdict.UNKNOWN


def test_a_fault_during_which_no_scrape_succeeded_leaves_metrics_unknown() -> None:
    history = good()
    history.edit(ev.MetricsSample, lambda r: 10 <= r.t <= 26, error="refused", series={})
    reasons = check("metrics", history).unknowns
    assert any("No scrape succeeded between the injection" in reason for reason in reasons)


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
    begun_anew = _restarted(18.0)
    gauge(begun_anew, lambda t, text, old: 0.0 if t == 18.5 and text == f"{WAIT}_sum" else old)
    assert promises("metrics", begun_anew) == set()
    library = good()
    exported(library, "nodejs_active_handles_total", lambda t: 9.0 if t < 18 else 7.0)
    assert promises("metrics", library) == set(), "a gauge of another's, whatever it is called"


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
    _status(early, DECEMBER.label, 0, FIFTH + 0.5, "healthy")
    assert check("metrics", early).verdict is Verdict.PASS


FIFTH = 10.46
"""When the fifth event of December is answered 202: from then on its breaker is open."""


def test_a_month_must_show_soon_after_its_fifth_202() -> None:
    history = good()
    _status(history, DECEMBER.label, 11.0, 11.0, "healthy")
    assert promises("metrics", history) == {Promise.TRUTH}
    slow = good()
    slow.edit(ev.MetricsSample, lambda r: r.t in (11.0, 19.5), seconds=0.6)
    _status(slow, DECEMBER.label, 19.5, 19.5, "healthy")
    assert check("metrics", slow).verdict is Verdict.PASS, "its answer came after the heal had begun"


def test_a_month_that_turns_nobody_away_must_show_when_the_maintenance_loop_has_looked() -> None:
    history = good()
    for number in history.ops(DECEMBER, 10, 20):
        history.answer(number, 201)
    _status(history, DECEMBER.label, 13.0, 13.5, "healthy")
    assert not any("shown healthy" in finding.summary for finding in check("metrics", history).findings)
    _status(history, DECEMBER.label, 14.0, 14.0, "healthy")
    assert any("shown healthy" in finding.summary for finding in check("metrics", history).findings)


def test_a_month_that_takes_nothing_is_at_some_moment_shown_unavailable() -> None:
    history = good()
    _status(history, DECEMBER.label, 10, PROBED, "degraded")
    assert promises("metrics", history) == set(), "a lock makes writes stall"
    history.edit(ev.FaultMark, lambda r: True, name="revoke-insert")
    assert promises("metrics", history) == {Promise.TRUTH}
    _status(history, DECEMBER.label, 15, 15, "unavailable")
    assert check("metrics", history).verdict is Verdict.PASS


def test_a_month_whose_status_under_the_fault_nobody_saw_is_unknown() -> None:
    history = good()
    history.drop(ev.MetricsSample, lambda r: FIFTH + 0.5 < r.t < 20)
    assert check("metrics", history).verdict is Verdict.UNKNOWN


def test_a_new_process_gets_its_own_time_to_notice() -> None:
    history = good()
    history.fault(
        BlastRadius(months=None, service=ServiceState.DOWN),
        number=1,
        name="crash-service",
        injecting=14.2,
        injected=14.3,
        confirmed=14.4,
        healing=14.5,
        healed=14.6,
        probed=14.7,
    )
    history.add(ev.ServiceMark(14.7, "started", 8))
    _status(history, DECEMBER.label, 15.0, 15.5, "healthy")
    assert not any("shown healthy" in finding.summary for finding in check("metrics", history).findings)
    _status(history, DECEMBER.label, 16.0, 16.0, "healthy")
    assert any("shown healthy" in finding.summary for finding in check("metrics", history).findings)


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


@pytest.mark.parametrize(
    ("status", "month", "sent", "honest"),
    [
        ("degraded", JANUARY, 14.9, True),
        ("degraded", JANUARY, 13.4, True),
        ("degraded", JANUARY, 9.5, False),
        ("unavailable", JANUARY, 14.9, False),
        ("degraded", DECEMBER, 14.9, False),
    ],
)
def test_a_month_is_honestly_degraded_while_one_of_its_writes_stalls_and_for_the_recovery_time_after_it(
    status: str, month: Month, sent: float, honest: bool
) -> None:
    history = good(faulty=False)
    _status(history, JANUARY.label, 15, 15, status)
    history.row(history.op(sent, month, 201, took=0.4))
    assert (check("metrics", history).verdict is Verdict.PASS) is honest


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


@pytest.mark.parametrize(("extra", "verdict"), [(0.0, Verdict.PASS), (1.0, Verdict.PASS), (40.0, Verdict.FAIL)])
def test_a_lost_answer_widens_the_event_counters_by_one(extra: float, verdict: Verdict) -> None:
    history = good()
    name = 'datastorage_events_total{outcome="queued"}'
    gauge(history, lambda t, text, old: old + extra if text == name and t == END else old)
    history.op(15.0, DECEMBER, 0)
    assert check("metrics", history).verdict is verdict


def _restarted(t: float) -> History:
    """A service that was killed and begins to count anew at ``t``."""
    history = good(faulty=False)
    history.add(ev.ServiceMark(t, "started", 8))
    shown = max((r for r in history.records if isinstance(r, ev.MetricsSample) and r.t <= t), key=lambda r: r.t).series

    def anew(at: float, text: str, old: float) -> float:
        counts = text.startswith(("datastorage_events_total", WAIT, REQUESTS))
        return old - shown[text] if at > t and counts else old

    gauge(history, anew)
    return history


def test_each_life_of_the_process_is_counted_by_itself() -> None:
    assert check("metrics", _restarted(18.0)).findings == ()
    history = _restarted(18.0)
    name = 'datastorage_events_total{outcome="queued"}'
    gauge(history, lambda t, text, old: old + 5 if text == name and t == END else old)
    assert promises("metrics", history) == {Promise.TRUTH}


def test_a_life_with_one_scrape_is_said_not_to_be_counted() -> None:
    assert check("metrics", _restarted(END - 0.2)).facts["events_total_not_judged"] == 1
    assert "events_total_not_judged" not in check("metrics", good()).facts


def test_a_scrape_is_of_some_moment_while_it_was_under_way() -> None:
    history = good()
    missing = f'datastorage_partition_write_failures_total{{partition="{JANUARY}"}}'
    gauge(history, lambda t, text, old: None if text == missing and t == 0.5 else old)
    assert promises("metrics", history) == {Promise.TRUTH}, "half a second after the month's first 201"
    slow = good()
    slow.edit(ev.MetricsSample, lambda r: r.t == 8.5, seconds=1.6)
    _status(slow, DECEMBER.label, 8.5, 8.5, "degraded")
    assert check("metrics", slow).verdict is Verdict.PASS, "answered after the injection had begun"
    slow.edit(ev.MetricsSample, lambda r: r.t == 8.5, seconds=0.6)
    assert promises("metrics", slow) == {Promise.TRUTH}


@pytest.mark.parametrize(
    ("bucket", "value", "said"),
    [("+Inf", None, "no +Inf bucket"), ("0.001", 1e6, "a wider bucket counts less")],
)
def test_a_broken_histogram_is_told_by_what_is_broken(bucket: str, value: float | None, said: str) -> None:
    history = good()
    gauge(history, lambda t, text, old: value if text == f'{WAIT}_bucket{{le="{bucket}"}}' and t == 15.0 else old)
    assert any(said in finding.summary for finding in check("metrics", history).findings)


def test_a_fault_that_comes_again_has_to_be_seen_in_the_status_once() -> None:
    history = good()
    for t in (27.02, 27.04):
        history.row(history.op(t, DECEMBER, 202))
    history.fault(number=1, injecting=27, injected=27, confirmed=27, healing=27.1, healed=27.1, probed=27.2)
    assert not [said for said in check("metrics", history).unknowns if "No scrape shows" in said]
    history.edit(ev.FaultMark, lambda mark: mark.fault == 1, name="another")
    assert [said for said in check("metrics", history).unknowns if "No scrape shows" in said]
