"""The metrics checker on partitions that nobody writes, on last writes, and on the failures of each life."""

from __future__ import annotations

import dataclasses

import pytest

from harness import events as ev
from harness.blast import BlastRadius, Edge, Write
from harness.values import Month, Verdict
from tests.unit.histories import (
    CONFIRMED,
    DECEMBER,
    END,
    JANUARY,
    RADIUS,
    STARTED_AT,
    History,
    check,
    dated,
    exported,
    gauge,
    good,
)

NOVEMBER = Month(2025, 11)
STATUS = "datastorage_partition_status"
LAST_WRITE = "datastorage_partition_last_write_timestamp"
FAILURES = "datastorage_partition_write_failures_total"
OF_EACH = (LAST_WRITE, FAILURES, "datastorage_dlq_depth", "datastorage_dlq_drained_total")
EPOCH = STARTED_AT.timestamp()


def said(history: History) -> str:
    return " ".join(finding.summary for finding in check("metrics", history).findings)


def with_november() -> History:
    """A good run beside an attached partition that nobody writes into, with all its series."""
    history = dated(good())
    history.add(ev.PartitionRow(f"audit_events_{NOVEMBER}", NOVEMBER.label, "FOR VALUES …"))
    for name in (*OF_EACH, "datastorage_dlq_drain_failures_total"):
        exported(history, f'{name}{{partition="{NOVEMBER}"}}', lambda t: 0.0)
    for status in ("healthy", "degraded", "unavailable"):
        value = float(status == "healthy")
        text = f'{STATUS}{{partition="{NOVEMBER}",status="{status}"}}'
        exported(history, text, lambda t, value=value: value)  # type: ignore[misc]
    return history


def test_a_partition_that_nobody_writes_passes_with_all_its_series_at_nought() -> None:
    assert check("metrics", with_november()).verdict is Verdict.PASS


@pytest.mark.parametrize("name", [*OF_EACH, STATUS])
def test_every_attached_partition_has_its_series_at_the_end(name: str) -> None:
    history = with_november()
    start = f'{name}{{partition="{NOVEMBER}"'
    gauge(history, lambda t, text, old: None if text.startswith(start) else old)
    assert f"series are missing for {NOVEMBER}, whose partition is attached: {name}" in said(history)


def test_a_partition_that_a_fault_has_only_just_given_back_may_still_be_missing() -> None:
    history = with_november()
    history.edit(ev.FaultMark, lambda r: r.step in ("healing", "healed", "probed"), t=END - 6)
    start = f'{OF_EACH[0]}{{partition="{NOVEMBER}"'
    gauge(history, lambda t, text, old: None if text.startswith(start) else old)
    assert "series are missing" not in said(history)


def test_exactly_one_status_of_a_partition_that_nobody_writes_is_1() -> None:
    history = with_november()
    name = f'{STATUS}{{partition="{NOVEMBER}",status="degraded"}}'
    gauge(history, lambda t, text, old: 1.0 if text == name and t == 15 else old)
    assert f"Not exactly one status of {NOVEMBER} is 1" in said(history)


def test_a_last_write_where_nobody_wrote_is_a_finding_unless_it_is_of_before_the_run() -> None:
    for value, honest in ((EPOCH + 20, False), (EPOCH - 600, True)):
        history = with_november()
        name = f'{LAST_WRITE}{{partition="{NOVEMBER}"}}'
        gauge(history, lambda t, text, old, name=name, value=value: value if text == name and t > 20 else old)  # type: ignore[misc]
        assert ("after anything that can have been written" not in said(history)) is honest


def test_a_last_write_may_be_of_a_drain_as_long_as_something_may_wait() -> None:
    history = dated(good(faulty=False))
    late = {*history.ops(JANUARY, 10, END)}
    history.drop(ev.Invoke, lambda r: r.op in late)
    history.drop(ev.Complete, lambda r: r.op in late)
    name = f'{LAST_WRITE}{{partition="{JANUARY}"}}'
    gauge(history, lambda t, text, old: EPOCH + min(t, 10) if text == name and t < 30 else old)
    assert f"{LAST_WRITE} of {JANUARY} is" in said(history)
    history.op(12.0, JANUARY, 202)
    assert "after anything that can have been written" not in said(history)


def _moving(radius: BlastRadius) -> History:
    history = good()
    history.drop(ev.FaultMark)
    history.fault(radius)
    name = f'{LAST_WRITE}{{partition="{DECEMBER}"}}'
    gauge(history, lambda t, text, old: EPOCH + t if text == name and CONFIRMED + 1 < t < 20 else old)
    return history


def test_a_last_write_that_moves_while_nothing_can_be_written_is_a_finding() -> None:
    for months in (RADIUS.months, None):
        radius = BlastRadius(months=months, write=Write.NO, edge=Edge.RESTART, outlives_clients=True)
        assert f"{LAST_WRITE} of {DECEMBER} moves" in said(_moving(radius))
    partly = dataclasses.replace(RADIUS, write=Write.PARTIAL)
    assert "moves" not in said(_moving(partly))


def test_a_last_write_moves_honestly_where_an_event_got_past_the_fault() -> None:
    history = _moving(RADIUS)
    history.row(history.op(15.0, DECEMBER, 201))
    assert "moves" not in said(history)


def test_failures_are_held_against_the_answers_of_each_life() -> None:
    history = good()
    history.add(ev.ServiceMark(30.0, "started", 8))
    name = f'{FAILURES}{{partition="{DECEMBER}"}}'
    gauge(history, lambda t, text, old: 0.0 if text == name and t > 30 else old)
    assert FAILURES not in said(history)
    gauge(history, lambda t, text, old: 2.0 if text == name and t > 33 else old)
    assert f"{FAILURES} of {DECEMBER} grew by 2, at most 0 can have failed" in said(history)


def test_a_month_that_nobody_wrote_has_no_failed_write() -> None:
    history = with_november()
    gauge(history, lambda t, text, old: 1.0 if NOVEMBER.label in text and FAILURES in text and t > CONFIRMED else old)
    assert f"{FAILURES} of {NOVEMBER} grew by 1, although no event of that month was sent" in said(history)


@pytest.mark.parametrize(("reads", "found"), [(False, True), (True, False)])
def test_what_an_outage_of_the_whole_database_turned_away_failed_for_no_partitions_fault(
    reads: bool, found: bool
) -> None:
    history = good()
    history.drop(ev.FaultMark)
    history.fault(BlastRadius(months=None, write=Write.NO, read=reads, edge=Edge.RESTART, outlives_clients=True))
    gauge(history, lambda t, text, old: 40.0 if FAILURES in text and DECEMBER.label in text and t > 19.0 else old)
    assert (f"{FAILURES} of {DECEMBER} grew by 40" in said(history)) is found
