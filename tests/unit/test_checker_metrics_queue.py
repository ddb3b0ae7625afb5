"""The metrics checker on the queue: what its series and its endpoint may show, given what was queued and stored."""

from __future__ import annotations

import dataclasses
import json

import pytest

from harness import events as ev
from harness.blast import BlastRadius, Dlq, Edge, ServiceState
from harness.values import Promise, Verdict
from tests.unit.histories import DECEMBER, END, JANUARY, RADIUS, History, check, dated, exported, gauge, good, promises

DEPTH = "datastorage_dlq_depth"
AGE = "datastorage_dlq_oldest_age_seconds"
CAPACITY = "datastorage_dlq_capacity"
DRAINED = "datastorage_dlq_drained_total"
DRAIN_FAILURES = "datastorage_dlq_drain_failures_total"
DEAD = 'datastorage_dlq_dead_letters{reason="conflict"}'
GONE = 31.0
"""When a drain in proportion to the backlog, begun after the recovery time, must be over."""


def of(name: str, month: object = DECEMBER) -> str:
    return f'{name}{{partition="{month}"}}'


def shown(history: History, text: str, value: float, start: float, end: float) -> None:
    """Have a series show a value in the scrapes of some time."""
    gauge(history, lambda t, series, old: value if series == text and start <= t <= end else old)


def endpoint(history: History, depth: int, start: float, end: float) -> None:
    """Have the endpoint show a depth, all of it December's, in some time."""
    history.edit(
        ev.DlqSample, lambda r: start <= r.t <= end, depth=depth, partitions={DECEMBER.label: depth} if depth else {}
    )


def said(history: History) -> str:
    return " ".join(finding.summary for finding in check("metrics", history).findings)


def test_an_honest_queue_passes_whatever_the_clock_of_the_database_shows() -> None:
    assert check("metrics", dated(good())).verdict is Verdict.PASS
    for ahead in (-40.0, 40.0):
        assert check("metrics", dated(good(), clock_ahead_seconds=ahead)).verdict is Verdict.PASS


def test_a_depth_below_what_surely_waits_is_a_finding() -> None:
    history = dated(good())
    shown(history, of(DEPTH), 0.0, 15, 15)
    assert f"{DEPTH} of 2025_12 shows less than surely waits" in said(history)
    just_answered = dated(good())
    gauge(just_answered, lambda t, text, old: old - 2 if text == of(DEPTH) and t == 15 else old)
    assert check("metrics", just_answered).verdict is Verdict.PASS, "the scrape may be a moment older"


def test_a_depth_above_what_may_wait_is_a_finding() -> None:
    history = dated(good())
    shown(history, of(DEPTH, JANUARY), 1.0, 15, 15)
    assert f"{DEPTH} of 2026_01 shows more than may wait" in said(history)
    stuck = dated(good())
    shown(stuck, of(DEPTH), 5.0, GONE, END)
    endpoint(stuck, 5, GONE, END)
    assert "shows more than may wait" in said(stuck)


def test_a_drain_in_proportion_to_the_backlog_is_no_finding() -> None:
    history = dated(good())
    shown(history, of(DEPTH), 5.0, 21, 24)
    shown(history, of(DRAINED), 96.0, 21, 24)
    shown(history, AGE, 12.0, 21, 24)
    endpoint(history, 5, 21, 24)
    assert check("metrics", history).verdict is Verdict.PASS


def test_the_endpoint_is_held_to_the_same_numbers() -> None:
    history = dated(good())
    endpoint(history, 1, 15, 15)
    assert "GET /api/v1/dlq of 2025_12 shows less than surely waits" in said(history)
    late = dated(good())
    endpoint(late, 3, GONE + 1, END)
    assert "GET /api/v1/dlq of 2025_12 shows more than may wait" in said(late)


def test_a_gauge_that_the_endpoint_belies_is_a_finding_though_no_row_is_dated() -> None:
    history = good()
    shown(history, of(DEPTH), 0.0, 15, 15)
    assert "disagree" in said(history)
    higher = good()
    shown(higher, of(DEPTH), 5.0, 25, 25)
    assert "disagree" in said(higher)
    assert check("metrics", good()).verdict is Verdict.PASS


def test_a_queue_that_a_fault_hides_or_destroys_is_not_held_to_it() -> None:
    for radius in (
        BlastRadius(months=None, dlq=Dlq.DESTROYED, edge=Edge.MONTHS),
        BlastRadius(months=frozenset(), service=ServiceState.DOWN, edge=Edge.MONTHS),
    ):
        history = dated(good())
        history.fault(radius, number=1, name="other", injecting=14.0, injected=14.1, confirmed=14.2)
        shown(history, of(DEPTH), 0.0, 15, 20)
        shown(history, AGE, 0.0, 15, 20)
        assert DEPTH not in said(history)


def test_a_new_process_has_the_recovery_time_to_tell_its_queue() -> None:
    history = dated(good())
    history.add(ev.ServiceMark(12.2, "started", 8))
    shown(history, of(DEPTH), 0.0, 12.5, 17)
    assert DEPTH not in said(history)
    shown(history, of(DEPTH), 0.0, 18, 18)
    assert f"{DEPTH} of 2025_12 shows less" in said(history)


def test_a_process_that_a_fault_replaces_need_not_tell_its_queue_on_the_way() -> None:
    history = dated(good())
    history.fault(BlastRadius(months=frozenset(), edge=Edge.MONTHS), number=1, name="replace", injecting=14.2)
    endpoint(history, 0, 14.5, 14.5)
    assert "GET /api/v1/dlq of 2025_12 shows less" in said(history)
    history.add(ev.ServiceMark(16.4, "started", 8))
    assert "GET /api/v1/dlq of 2025_12 shows less" not in said(history)


def test_an_unanswered_event_may_wait() -> None:
    history = dated(good())
    history.op(14.0, JANUARY, 0)
    shown(history, of(DEPTH, JANUARY), 1.0, 15, 15)
    history.edit(ev.DlqSample, lambda r: r.t in (14.5, 15.0), partitions={DECEMBER.label: 50, JANUARY.label: 1})
    assert "2026_01" not in said(history)


@pytest.mark.parametrize(("change", "side"), [(-9.0, "younger"), (9.0, "older")])
def test_the_age_of_the_oldest_event_is_that_of_the_one_that_waits(change: float, side: str) -> None:
    history = dated(good())
    gauge(history, lambda t, text, old: max(0.0, old + change) if text == AGE and t == 20 else old)
    assert f"{AGE} is {side}" in said(history)
    near = dated(good())
    gauge(near, lambda t, text, old: max(0.0, old + change / 10) if text == AGE and t == 20 else old)
    assert check("metrics", near).verdict is Verdict.PASS


def test_the_age_of_an_empty_queue_is_nought_but_for_a_shifted_clock() -> None:
    history = dated(good())
    shown(history, AGE, 30.0, 34, 34)
    assert f"{AGE} is older" in said(history)
    shifted = BlastRadius(months=frozenset(), edge=Edge.MONTHS, true_clock=False)
    history.fault(shifted, number=1, name="clock", injecting=9.0, injected=9.1, confirmed=9.2)
    assert AGE not in said(history)


def test_the_capacity_is_one_number_everywhere() -> None:
    history = good()
    shown(history, CAPACITY, 999.0, 15, 15)
    assert promises("metrics", history) == {Promise.TRUTH}
    history = good()
    history.edit(ev.DlqSample, lambda r: True, capacity=500)
    assert "says 500" in said(history)
    history.edit(ev.DlqSample, lambda r: True, capacity=1000)
    assert check("metrics", history).verdict is Verdict.PASS


def test_the_capacity_is_what_the_scenario_sets() -> None:
    history = good()
    scenario = json.dumps({"service_environment": {"DLQ_MAX_EVENTS": "90"}})
    history.edit(ev.RunStarted, lambda r: True, scenario_json=scenario)
    assert promises("metrics", history) == {Promise.TRUTH}
    assert promises("capacity", history) == {Promise.BOUNDS}, "and this one judges whether it is exceeded"
    history.edit(ev.RunStarted, lambda r: True, scenario_json=scenario.replace("90", "1000"))
    assert check("metrics", history).verdict is Verdict.PASS


def test_an_event_on_its_way_to_the_dead_letters_of_a_full_queue_is_counted_twice_for_a_moment() -> None:
    history = good()
    full = max(sample.depth for sample in history.run().of_kind(ev.DlqSample))
    history.edit(ev.RunStarted, lambda r: True, scenario_json=json.dumps({"service_environment": {}}))
    history.edit(ev.DlqSample, lambda r: True, capacity=full)
    gauge(history, lambda t, text, old: float(full) if text == CAPACITY else old)
    t = next(sample.t for sample in history.run().of_kind(ev.DlqSample) if sample.depth == full)
    history.edit(ev.DlqSample, lambda r: r.t == t, dead=1)
    assert Promise.BOUNDS not in promises("metrics", history) | promises("capacity", history)


def test_as_many_events_drained_as_came_from_the_queue_into_the_table() -> None:
    history = dated(good())
    shown(history, of(DRAINED), 0.0, 21, END)
    assert "queued events came into the table" in said(history)
    more = dated(good())
    gauge(more, lambda t, text, old: old + 1 if text == of(DRAINED, JANUARY) and t > 25 else old)
    assert "at most 0 events can have been queued" in said(more)


def test_what_a_resend_may_have_stored_need_not_count_as_drained() -> None:
    history = dated(good())
    for number in history.ops(DECEMBER, 10, 20.1):
        history.op(21.0, DECEMBER, 201, kind=ev.OpKind.RESEND, of=number)
    shown(history, of(DRAINED), 0.0, 21, END)
    assert DRAINED not in said(history)


def test_a_dead_letter_did_not_come_into_the_table_though_a_scrape_came_late() -> None:
    history = dated(good())
    shown(history, of(DRAINED), float(len(history.ops(DECEMBER, 10, 20.1))), 21, END + 1)
    history.queued_row(history.op(15.0, DECEMBER, 202, kind=ev.OpKind.POISON), "dead", "22003")
    final = history.run().final
    assert final is not None
    last = max(history.run().of_kind(ev.MetricsSample), key=lambda sample: sample.t)
    history.edit(ev.MetricsSample, lambda sample: sample.t == last.t, t=final.t - 0.1)
    assert "queued events came into the table" not in said(history)


def test_failed_drains_belong_to_months_that_may_have_had_something_queued() -> None:
    history = dated(good())
    gauge(history, lambda t, text, old: 7.0 if text == of(DRAIN_FAILURES) and t > 15 else old)
    assert check("metrics", history).verdict is Verdict.PASS
    gauge(history, lambda t, text, old: 1.0 if text == of(DRAIN_FAILURES, JANUARY) and t > 15 else old)
    assert "none of its events can have been queued" in said(history)


def test_a_poisoned_event_failed_to_drain_at_least_once() -> None:
    history = dated(good())
    number = history.op(15.0, DECEMBER, 202)
    history.queued_row(number, "dead", "22003")
    exported(history, DEAD, lambda t: float(t > 25))
    assert "died of failed drains" in said(history)
    gauge(history, lambda t, text, old: 5.0 if text == of(DRAIN_FAILURES) and t > 25 else old)
    assert "died of failed drains" not in said(history)


def test_dead_letters_are_those_of_the_final_read_and_of_the_endpoint() -> None:
    history = good()
    exported(history, DEAD, lambda t: float(t > 25))
    assert "0 dead letters" in said(history)
    history.edit(ev.DlqSample, lambda r: r.t > 24.9, dead=1)
    history.queued_row(history.ops(DECEMBER, 15, 16)[0], "dead", "conflict")
    assert check("metrics", history).verdict is Verdict.PASS
    history.edit(ev.DlqSample, lambda r: r.t > 26, dead=2)
    assert "GET /api/v1/dlq says 2 to 2" in said(history)


def test_dead_letters_of_before_the_run_are_not_counted_against_it() -> None:
    history = good()
    exported(history, DEAD, lambda t: 3.0)
    history.edit(ev.DlqSample, lambda r: True, dead=3)
    assert check("metrics", history).verdict is Verdict.PASS


@pytest.mark.parametrize("missing", [of(DEPTH, JANUARY), of(DRAINED, JANUARY), of(DRAIN_FAILURES), AGE, CAPACITY])
def test_a_missing_series_of_the_queue_is_a_finding(missing: str) -> None:
    history = good()
    gauge(history, lambda t, text, value: None if text == missing else value)
    assert promises("metrics", history) == {Promise.TRUTH}


def test_a_depth_that_only_a_database_fault_explains_is_honest() -> None:
    history = dated(good())
    history.drop(ev.FaultMark)
    history.fault(dataclasses.replace(RADIUS, months=None, edge=Edge.RESTART, outlives_clients=True))
    assert check("metrics", history).verdict is Verdict.PASS
