"""The metrics checker on requests, pool and labels: what was answered, what the database lists, what none may hold."""

from __future__ import annotations

import dataclasses
import uuid

import pytest

from harness import events as ev
from harness.blast import BlastRadius, Edge, Write
from harness.values import Verdict
from tests.unit.histories import (
    CONFIRMED,
    DECEMBER,
    END,
    HEALING,
    JANUARY,
    RADIUS,
    REQUESTS,
    WAIT,
    History,
    check,
    event_id,
    exported,
    gauge,
    good,
    request_series,
)

OPEN, IN_USE, IDLE = (f"datastorage_db_connections_{name}" for name in ("open", "in_use", "idle"))
ERRORS = "datastorage_db_connection_errors_total"
CREATED = 'route="/api/v1/audit/events",status="201"'


def said(history: History) -> str:
    return " ".join(finding.summary for finding in check("metrics", history).findings)


def requests(history: History, labels: str, extra: float, start: float = END) -> None:
    """Have one histogram of requests count so many more from some time on."""

    def change(t: float, text: str, old: float) -> float:
        if not text.startswith(REQUESTS) or labels not in text or 'le="0.005"' in text or t < start:
            return old
        return old + (0.008 * extra if text.startswith(f"{REQUESTS}_sum") else extra)

    gauge(history, change)


def pool(history: History, in_use: float, idle: float, start: float, end: float) -> None:
    """Have the pool show other sizes in some time."""
    sizes = {OPEN: in_use + idle, IN_USE: in_use, IDLE: idle}
    gauge(history, lambda t, text, old: sizes.get(text, old) if start <= t <= end else old)


@pytest.mark.parametrize("extra", [-40.0, 40.0])
def test_requests_that_do_not_fit_the_answers_are_a_finding(extra: float) -> None:
    history = good()
    requests(history, CREATED, extra)
    assert "/api/v1/audit/events with 201" in said(history)
    history = good()
    history.drop(ev.MetricsSample, lambda r: r.t > 33.5)
    requests(history, CREATED, extra / 40, start=33.5)
    assert check("metrics", history).verdict is Verdict.PASS, "the last scrape may be a moment older or younger"


def test_requests_that_nobody_heard_answered_may_be_counted_as_any() -> None:
    history = good()
    for _ in range(40):
        history.op(15.0, DECEMBER, 0)
    requests(history, CREATED, 40.0)
    assert check("metrics", history).verdict is Verdict.PASS


@pytest.mark.parametrize("route", ["/health/ready", "/api/v1/dlq", "/metrics"])
def test_the_harness_s_own_questions_are_counted_and_those_of_others_may_be(route: str) -> None:
    history = good()
    requests(history, f'route="{route}"', -10.0)
    assert f"{route} with 200 grew by" in said(history)
    history = good()
    requests(history, f'route="{route}"', 500.0)
    assert check("metrics", history).verdict is Verdict.PASS


def test_a_route_may_be_named_with_its_method() -> None:
    history = good()
    for index, record in enumerate(history.records):
        if isinstance(record, ev.MetricsSample):
            renamed = {text.replace('route="/api', 'route="POST /api'): value for text, value in record.series.items()}
            history.records[index] = dataclasses.replace(record, series=renamed)
    assert "audit/events" not in said(history)


def test_requests_took_no_longer_than_their_clients_waited() -> None:
    history = good()
    name = f"{REQUESTS}_sum{{{CREATED}}}"
    gauge(history, lambda t, text, old: old + 1000 if text == name and t == END else old)
    assert "clients waited" in said(history)


@pytest.mark.parametrize(
    ("part", "value", "what"),
    [
        ("sum", 0.001, "its buckets allow"),
        ("count", 1.0, "the +Inf bucket differs from the count"),
        ('bucket{le="0.005",', 1e6, "a wider bucket counts less"),
        ('bucket{le="+Inf",', None, "no +Inf bucket"),
    ],
)
def test_a_histogram_of_requests_adds_up(part: str, value: float | None, what: str) -> None:
    history = good()
    start = f"{REQUESTS}_{part}"
    gauge(history, lambda t, text, old: value if text.startswith(start) and CREATED in text and t == END else old)
    assert what in said(history)


def test_a_status_that_nobody_was_answered_is_no_finding() -> None:
    history = good()
    for text, value in request_series("/api/v1/audit/events", 200, 3.0).items():
        exported(history, text, lambda t, value=value: value)  # type: ignore[misc]
    assert check("metrics", history).verdict is Verdict.PASS


def test_open_connections_are_those_that_the_database_lists_but_for_a_moment() -> None:
    history = good()
    pool(history, 2, 3, 14, 15)
    assert check("metrics", history).verdict is Verdict.PASS, "three scrapes"
    pool(history, 2, 3, 14, 16)
    assert "but the database lists 20 connections" in said(history)
    more = good()
    pool(more, 2, 22, 14, 16)
    assert "but the database lists 20 connections" in said(more)
    near = good()
    pool(near, 2, 20, 14, 16)
    assert check("metrics", near).verdict is Verdict.PASS, "two may just be opened"


def test_connections_that_a_fault_lets_outlive_their_clients_prove_nothing() -> None:
    history = good()
    history.drop(ev.FaultMark)
    history.fault(dataclasses.replace(RADIUS, outlives_clients=True))
    pool(history, 2, 3, 14, 16)
    assert check("metrics", history).verdict is Verdict.PASS


def test_the_sockets_of_the_process_tell_where_others_share_its_role() -> None:
    history = good()
    pool(history, 2, 8, 0, END)
    history.edit(ev.ConnectionSample, lambda r: True, sockets=10)
    assert check("metrics", history).verdict is Verdict.PASS
    history.edit(ev.ConnectionSample, lambda r: True, sockets=-1)
    assert "but the database lists 20 connections" in said(history)


def test_no_more_connections_are_in_use_than_requests_and_jobs_can_hold() -> None:
    history = good()
    pool(history, 24, 1, 30.5, 30.5)
    assert "requests and background jobs can hold" in said(history)
    busy = good()
    pool(busy, 24, 1, 30, 30)
    for number in range(10):
        busy.row(busy.op(29.9, JANUARY, 201, writer=number))
    assert "requests and background jobs" not in said(busy)
    unanswered = good()
    pool(unanswered, 24, 1, 30, 30)
    for number in range(10):
        unanswered.op(26.0, JANUARY, 0, writer=number)
    assert "requests and background jobs" not in said(unanswered)


@pytest.mark.parametrize(("asked_at", "status", "honest"), [(29.95, 200, True), (28.5, 200, False), (28.5, 0, True)])
def test_a_query_may_hold_a_connection_for_each_month(asked_at: float, status: int, honest: bool) -> None:
    history = good()
    history.drop(ev.QuerySample)
    for number in range(16):
        history.add(ev.PartitionRow(f"audit_events_{number}", f"{2026 + number // 12}_{number % 12 + 1:02}", ""))
    history.add(ev.QuerySample(asked_at, 0.05, status, "", DECEMBER.label, 10))
    pool(history, 22, 1, 30, 30)
    assert ("requests and background jobs can hold" not in said(history)) == honest


def test_acquisitions_are_at_least_the_writes_of_one_writer() -> None:
    history = good()
    gauge(history, lambda t, text, old: 0.0 if text.startswith(WAIT) else old)
    assert "one writer alone" in said(history)
    shared = good()
    gauge(shared, lambda t, text, old: old * 0.6 if text.startswith(WAIT) else old)
    assert check("metrics", shared).verdict is Verdict.PASS, "two writers may share one acquisition"


def test_no_connection_breaks_before_the_first_fault() -> None:
    history = good()
    gauge(history, lambda t, text, old: float(t > 5) if text == ERRORS else old)
    assert f"{ERRORS} grew by 1 before any fault" in said(history)
    later = good()
    gauge(later, lambda t, text, old: float(t > 10) if text == ERRORS else old)
    assert check("metrics", later).verdict is Verdict.PASS
    stalled = good()
    stalled.add(ev.CanarySample(2.5, JANUARY.label, 1.0))
    gauge(stalled, lambda t, text, old: float(t > 3) if text == ERRORS else old)
    assert ERRORS not in said(stalled), "a connection that was given up on a time-out may count"
    before = good()
    gauge(before, lambda t, text, old: 30.0 if text == ERRORS else old)
    assert check("metrics", before).verdict is Verdict.PASS, "it began before the run"


def _outage(*, backends: int) -> History:
    history = good()
    history.drop(ev.FaultMark)
    radius = BlastRadius(months=None, write=Write.NO, edge=Edge.RESTART, outlives_clients=True)
    history.fault(radius, name="stop-database")
    history.edit(ev.ConnectionSample, lambda r: CONFIRMED < r.t < HEALING, backends=backends, sockets=backends)
    return history


def test_cut_connections_are_found_broken_when_events_come() -> None:
    assert f"{ERRORS} did not grow" in said(_outage(backends=0))
    counted = _outage(backends=0)
    gauge(counted, lambda t, text, old: float(t > 12) if text == ERRORS else old)
    assert check("metrics", counted).verdict is Verdict.PASS
    assert check("metrics", _outage(backends=20)).verdict is Verdict.PASS, "connections that hang are not broken"


def test_a_database_that_refuses_the_harness_has_cut_the_service_too() -> None:
    history = _outage(backends=-1)
    assert check("metrics", history).verdict is Verdict.PASS, "not read is not gone"
    for step in range(3):
        history.add(ev.CanarySample(15.0 + step, DECEMBER.label, 0.01, "08006"))
    assert f"{ERRORS} did not grow" in said(history)


@pytest.mark.parametrize(
    ("labels", "what"),
    [
        (f'event="{event_id(3)}"', "the id of an event"),
        ('correlation="r1/17"', "the id of an event"),
        ('dsn="host=db password=x"', "a credential or a connection string"),
        ('dsn="postgresql://slm_user@db/audit"', "a credential or a connection string"),
        (f'key="{ev.HIDDEN}"', "a credential or a connection string"),
        ('row="{\\"event_data\\":{}}"', "an event's payload"),
        ('event_data="17"', "an event's payload"),
    ],
)
def test_no_label_holds_an_id_a_payload_or_a_credential(labels: str, what: str) -> None:
    history = good()
    exported(history, f"service_builds{{{labels}}}", lambda t: 1.0 if t == 20 else None)
    assert f"service_builds holds {what}" in said(history)


@pytest.mark.parametrize(
    "labels",
    ['field="event_data"', f'instance="{uuid.UUID(int=2**80)}"', 'auth="password=***"', 'to="db://a:xxxxx@db/b"'],
)
def test_a_label_may_name_a_field_or_an_instance_or_hide_a_password_by_itself(labels: str) -> None:
    history = good()
    exported(history, f"service_event_data{{{labels}}}", lambda t: 1.0)
    assert check("metrics", history).verdict is Verdict.PASS


def test_further_series_with_a_handful_of_labels_are_the_service_s_own_affair() -> None:
    history = good()
    for number in range(60):
        exported(history, f'service_pool{{worker="{number}"}}', lambda t: 1.0)
    assert check("metrics", history).verdict is Verdict.PASS


def test_a_label_whose_values_grow_with_the_events_is_a_finding() -> None:
    history = good()
    for number in range(60):
        name = f'datastorage_events_total{{outcome="created",user="u{number}"}}'
        exported(history, name, lambda t, number=number: 1.0 if t > number / 2 else None)  # type: ignore[misc]
    assert "Label user of datastorage_events_total has 60 values" in said(history)


def test_a_table_of_many_months_may_get_one_more() -> None:
    history = good()
    for number in range(60):
        name = f'service_pages{{partition="{2019 + number // 12}_{number % 12 + 1:02}"}}'
        exported(history, name, lambda t, number=number: 1.0 if number or t > 30 else None)  # type: ignore[misc]
    assert check("metrics", history).verdict is Verdict.PASS
