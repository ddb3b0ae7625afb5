"""The status of a lab says what is, what cannot be known, and what a human has to see first."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.checkers._pool_series import IDLE, IN_USE, MAX_OPEN, WAIT
from harness.events import (
    Complete,
    Completion,
    DlqRow,
    FaultMark,
    FaultStep,
    Invoke,
    MetricsSample,
    OpKind,
    Record,
    TableRow,
)
from harness.lab.book import Book
from harness.lab.looking import pool_state
from harness.lab.status import PoolState, QueueState, answers_text, duration_text, lines_of, pace_text
from harness.probes.tables import TableLook
from harness.values import Month
from tests.unit.test_lab_protocol import STATUS


def text(**changes: object) -> str:
    return "\n".join(lines_of(replace(STATUS, **changes)))  # type: ignore[arg-type]


def test_everything_that_is_on_is_told() -> None:
    said = text()
    assert "lab lab: reference, up 3 s, ends itself in 2 h unless it is used" in said
    assert "ready: 503, degraded: dlq" in said
    assert "3 of 10 pending (2025_12 3), 1 dead" in said
    assert "2 in use, – idle, at most 25; 7 acquisitions in the last 1.0 s, 1.0 ms waited on average" in said
    assert "50 events a second into 2025_12, 4 writers a month; slow at the edge of a fault" in said
    assert "so far 5 x 201, 1 x no answer" in said
    assert "fault 0   detach-partition, on for 1 s" in said
    assert "proof: 23514" in said
    row = next(line for line in said.splitlines() if line.startswith("audit_events_2025_12"))
    assert row.split() == ["audit_events_2025_12", "NO", "locked", "0", "–"]


def test_what_cannot_be_known_is_said_and_never_a_zero() -> None:
    said = text(queue=QueueState(depth=-1), pool=PoolState(), tables=(), database_problem="08006 no connection")
    assert "queue     cannot be read" in said
    assert "its metrics cannot be read" in said
    assert "tables    cannot be read: 08006 no connection" in said


def test_a_quiet_lab_says_that_nothing_is_on() -> None:
    said = text(faults=(), load=None, answers={})
    assert "faults    none is on" in said
    assert "load      none; so far nothing was sent yet" in said


def test_a_heal_that_failed_cannot_be_overlooked() -> None:
    (fault,) = STATUS.faults
    assert "NOT HEALED: no table" in text(faults=(replace(fault, problem="no table"),))


def test_queued_events_stand_beside_their_table() -> None:
    table = TableLook(name="audit_events_2025_12", attached=True, month="2025_12", rows=7, bounds="FOR VALUES FROM")
    row = next(line for line in text(tables=(table,)).splitlines() if line.startswith("audit_events_2025_12"))
    assert row.split()[1:4] == ["yes", "7", "3"]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-1, "0 s"), (59.9, "59 s"), (61, "1 min 1 s"), (600, "10 min"), (7080, "1 h 58 min"), (7200, "2 h")],
)
def test_durations_are_told_to_the_unit_that_matters(seconds: float, said: str) -> None:
    assert duration_text(seconds) == said


def test_paces_and_answers_in_words() -> None:
    assert pace_text(0, 1, ["2025_12"]) == "as fast as answers come into 2025_12, 1 writer a month"
    assert pace_text(2.5, 4, ["a", "b"]) == "2.5 events a second into each of a, b, 4 writers a month"
    assert answers_text({"0": 1, "202": 3, "201": 2}) == "2 x 201, 3 x 202, 1 x no answer"


def scrape(t: float, count: float, waited: float) -> MetricsSample:
    series = {IN_USE: 3.0, IDLE: 2.0, MAX_OPEN: 25.0, f"{WAIT}_count": count, f"{WAIT}_sum": waited}
    return MetricsSample(t, series)


def test_the_pool_is_told_by_what_was_scraped_lately() -> None:
    told = pool_state([scrape(10.0, 100, 1.0), scrape(11.0, 120, 1.5)], 4, 11.2)
    assert (told.in_use, told.idle, told.maximum, told.waiting_for_locks) == (3, 2, 25, 4)
    assert (told.acquisitions, told.mean_wait_seconds, told.over_seconds) == (20, 0.025, 1.0)
    assert pool_state([scrape(1.0, 1, 1.0)], 4, 60.0) == PoolState(waiting_for_locks=4)
    reborn = pool_state([scrape(10.0, 100, 1.0), scrape(11.0, 2, 0.1)], 0, 11.2)
    assert reborn.acquisitions is None, "the counters of another life say nothing"


def mark(t: float, fault: int, step: FaultStep, detail: str = "") -> FaultMark:
    return FaultMark(t, fault, "f", step, detail)


def test_a_book_knows_the_last_words_of_each_fault_and_whose_rows_are_strange() -> None:
    book, day = Book("run-1"), Month(2025, 12).first_day
    records: tuple[Record, ...] = (
        Invoke(1.0, 7, 1, OpKind.WRITE, "a", day, "{}"),
        Complete(1.1, 7, Completion.OK, 201),
        Complete(1.1, -1, Completion.OK, 201),
        mark(2.0, 0, FaultStep.INJECTING),
        mark(3.0, 0, FaultStep.HEALING),
        mark(3.1, 0, FaultStep.HEAL_FAILED, "not yet"),
        mark(4.0, 0, FaultStep.HEALING),
        mark(4.1, 0, FaultStep.HEALED),
    )
    for record in records:
        book.take(record)
    assert book.last_op == 7
    assert dict(book.answers) == {"201": 1}, "the harness's own probes are no load"
    assert book.healed_at(0) is None, "no probe has seen health"
    book.take(mark(4.2, 0, FaultStep.PROBED))
    assert book.healed_at(0) == 4.0
    assert book.healing_began() == 4.0
    assert book.last(0, FaultStep.HEAL_FAILED) == mark(3.1, 0, FaultStep.HEAL_FAILED, "not yet")
    assert book.last(1, FaultStep.HEALED) is None
    for correlation in ("run-1/7", "run-10/7", "curl"):
        content = f'{{"correlation_id": "{correlation}"}}'
        book.take(TableRow(f"t {correlation}", day, "2025_12", content, correlation))
        book.take(DlqRow(f"q {correlation}", day, "pending", "", content))
    book.take(DlqRow("q none", day, "pending", "", "null"))
    assert book.strangers == ["t run-10/7", "q run-10/7", "t curl", "q curl", "q none"]
