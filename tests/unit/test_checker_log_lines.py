"""The logs checker line by line: levels, SQLSTATE, causes, pace, pairs, and what no line may tell."""

from __future__ import annotations

import json

import pytest

from harness import events as ev
from harness.values import Month, Promise, Verdict
from tests.unit.histories import (
    DECEMBER,
    END,
    INJECTED,
    JANUARY,
    PROBED,
    History,
    check,
    event_id,
    gauge,
    good,
    promises,
)

FAILED = f"Failed to write to partition audit_events_{DECEMBER}"
ACTIVATED = f"DLQ fallback activated for partition {DECEMBER}"
ENDED = f"DLQ fallback ended for partition {DECEMBER}"
EXHAUSTED = "Connection pool exhausted (25/25 in use)"
QUEUED = "Request queued, waiting for available connection"


def with_line(t: float, message: str, level: str = "INFO", **fields: str) -> History:
    """The good run with one more line."""
    history = good()
    history.add(ev.LogLine(t, level, message, **fields))  # type: ignore[arg-type]
    return history


def said(history: History) -> str:
    return " ".join(finding.summary for finding in check("logs", history).findings)


@pytest.mark.parametrize(("message", "level"), [(FAILED, "INFO"), (ACTIVATED, "ERROR"), (ENDED, "WARNING")])
def test_each_line_has_the_level_of_the_contract(message: str, level: str) -> None:
    history = good()
    history.edit(ev.LogLine, lambda r: r.message == message, level=level)
    assert f"A line of level {level}" in said(history)


@pytest.mark.parametrize(("sqlstate", "honest"), [("55P03", True), ("null", True), ("", True), ("-", False)])
def test_a_failed_write_tells_its_sqlstate(sqlstate: str, honest: bool) -> None:
    history = good()
    history.edit(ev.LogLine, lambda r: r.message == FAILED, sqlstate=sqlstate)
    assert ("without an SQLSTATE" not in said(history)) is honest
    history.edit(ev.LogLine, lambda r: r.message != FAILED, sqlstate="-")
    assert ("without an SQLSTATE" not in said(history)) is honest, "other lines need none"


@pytest.mark.parametrize("share", ["24/25", "10/10", "?"])
def test_an_exhausted_pool_is_told_with_its_own_maximum(share: str) -> None:
    history = with_line(15.0, f"Connection pool exhausted ({share} in use)", "ERROR")
    assert "A line about the pool that is not '(25/25 in use)'" in said(history)
    assert check("logs", with_line(15.0, EXHAUSTED, "ERROR")).verdict is Verdict.PASS, "a fault is on"


@pytest.mark.parametrize(("message", "level"), [(EXHAUSTED, "ERROR"), (QUEUED, "INFO")])
def test_nobody_waits_for_a_connection_in_peace_at_low_load(message: str, level: str) -> None:
    history = with_line(6.0, message, level)
    assert "Nobody had to wait: at most 2 requests at a time" in said(history)
    for number in range(17):
        history.row(history.op(5.0, JANUARY, 201, writer=number))
    assert check("logs", history).verdict is Verdict.PASS, "with the background jobs they fill the pool"


def test_queries_of_many_months_may_fill_the_pool_but_not_again_and_again() -> None:
    history = with_line(6.0, QUEUED)
    history.records = [record for record in history.records if not isinstance(record, ev.QuerySample)]
    for number in range(20):
        month = Month(2026, 1).plus(number)
        history.add(ev.PartitionRow(f"audit_events_{month}", month.label, "FOR VALUES ..."))
    assert "Nobody had to wait" in said(history), "nobody asked"
    history.add(ev.QuerySample(5.5, 0.1, 200, limit=100))
    assert "Nobody had to wait" not in said(history)
    history.add(ev.LogLine(6.2, "INFO", QUEUED, suppressed=500))
    assert "Nobody had to wait" in said(history), "one query asks for so many connections once"


def test_a_write_that_stalls_or_a_process_that_begins_may_make_others_wait() -> None:
    stalled = with_line(6.0, QUEUED)
    stalled.row(stalled.op(4.5, JANUARY, 201, took=0.3))
    assert check("logs", stalled).verdict is Verdict.PASS
    begun = with_line(6.0, QUEUED)
    begun.add(ev.ServiceMark(3.0, "started", 8))
    assert check("logs", begun).verdict is Verdict.PASS


def test_a_failed_write_needs_an_event_that_was_not_simply_stored() -> None:
    history = with_line(33.0, FAILED, "ERROR")
    assert f"No event of {DECEMBER} near the line was anything but stored" in said(history)
    closing = with_line(21.5, FAILED, "ERROR")
    assert "near the line" not in said(closing), "the closing line of the storm"
    unanswered = with_line(33.0, FAILED, "ERROR")
    unanswered.op(28.5, DECEMBER, 0)
    assert "near the line" not in said(unanswered)


def test_a_line_comes_once_a_second_and_once_more_when_its_storm_ends() -> None:
    history = good()
    twice = [ev.LogLine(15.0 + step, "ERROR", FAILED) for step in (0.0, 0.4)]
    history.add(*twice)
    assert "within a second" not in said(history)
    history.add(ev.LogLine(15.8, "ERROR", FAILED))
    assert "A line came three times within a second" in said(history)


def test_a_new_process_begins_to_count_its_lines_anew() -> None:
    history = good()
    for t in (14.9, 15.2, 15.7):
        history.add(ev.LogLine(t, "ERROR", FAILED))
    history.add(ev.ServiceMark(15.1, "started", 8))
    assert "within a second" not in said(history)


def test_a_line_of_the_contract_that_is_no_json_is_a_finding() -> None:
    history = good()
    history.add(ev.LogLine(15.0, "RAW", f"ERROR:root:{FAILED}"))
    assert "are no JSON object" in said(history)
    other = good()
    other.add(ev.LogLine(15.0, "RAW", "Traceback (most recent call last):"))
    other.add(ev.LogLine(15.0, "RAW", f'{{"timestamp": "2026-02-01T00:00:15Z", "level": "ERROR", "message": "{FAILED}'))
    result = check("logs", other)
    assert (result.verdict, result.facts["lines_not_json"]) == (Verdict.PASS, 2), "half a line of a killed process"


def test_a_fallback_ends_once_for_each_that_was_activated() -> None:
    assert f"'{ENDED}' came 2 times" in said(with_line(25.0, ENDED))
    early = good()
    early.edit(ev.LogLine, lambda r: r.message == ENDED, t=INJECTED - 3)
    assert f"'{ENDED}' came 1 times" in said(early)
    going_on = with_line(PROBED + 4, ACTIVATED)
    assert "fallbacks ended" not in said(going_on)
    again = with_line(PROBED + 1, ACTIVATED)
    again.add(ev.LogLine(PROBED + 2, "INFO", ACTIVATED), ev.LogLine(PROBED + 3, "INFO", ENDED))
    assert f"'{ACTIVATED}' came 3 times, but 2 fallbacks ended" in said(again)


def test_an_episode_may_begin_in_one_process_and_end_in_the_next() -> None:
    history = good()
    history.add(ev.ServiceMark(15.0, "started", 8))
    history.add(ev.LogLine(15.5, "INFO", ACTIVATED))
    assert check("logs", history).verdict is Verdict.PASS


@pytest.mark.parametrize("ended", [False, True])
def test_an_episode_that_a_stall_began_may_go_on_when_the_fault_bites(ended: bool) -> None:
    history = good()
    for number in history.ops(DECEMBER, 8, 10):
        history.answer(number, 202)
    history.edit(ev.LogLine, lambda r: r.message == ACTIVATED, t=8.1)
    if ended:
        history.add(ev.LogLine(9.8, "INFO", ENDED))
    assert (f"No line '{ACTIVATED}'" in said(history)) == ended


@pytest.mark.parametrize("over", [True, False])
def test_the_closing_line_of_a_storm_tells_of_an_episode_that_ended_before_it(over: bool) -> None:
    history = good()
    for t in (21.0, 21.3):
        history.answer(history.ops(DECEMBER, t, t + 0.1)[0], 202)
    for t, message in ((21.0, ACTIVATED), (21.1, ENDED), (23.0, ACTIVATED)):
        history.add(ev.LogLine(t, "INFO", message))
    if over:
        history.add(ev.LogLine(22.2, "INFO", ENDED))
    assert (check("logs", history).verdict is Verdict.PASS) == over


def test_what_a_storm_has_still_to_tell_when_the_run_ends_is_not_missing() -> None:
    history = good()
    failures = f'datastorage_partition_write_failures_total{{partition="{DECEMBER}"}}'
    gauge(history, lambda t, text, old: old + 2 if text == failures and t > END - 1 else old)
    assert check("logs", history).verdict is Verdict.PASS
    gauge(history, lambda t, text, old: old + 2 if text == failures and END - 4 < t <= END - 1 else old)
    assert "counted 5 times" in said(history)


@pytest.mark.parametrize(("message", "late"), [(ACTIVATED, 13.0), (ENDED, 24.0)])
def test_a_fallback_is_told_when_it_begins_and_ends(message: str, late: float) -> None:
    history = good()
    history.edit(ev.LogLine, lambda r: r.message == message, t=late)
    assert promises("logs", history) == {Promise.TRUTH}
    in_time = good()
    in_time.edit(ev.LogLine, lambda r: r.message == message, t=late - 2)
    assert check("logs", in_time).verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("message", "fields"),
    [
        ("Connecting to postgresql://slm_user:hunter2@db/audit", ""),
        ("Connecting", '{"dsn": "host=db password=hunter2"}'),
        ("Connecting", f'{{"token": "{ev.HIDDEN}"}}'),
        (f"Authorization: Bearer {ev.HIDDEN}", ""),
        (f"Connecting to postgresql+asyncpg://slm_user:{ev.HIDDEN}@db/audit", ""),
        ("Connecting to postgresql://slm_user:xander@db/audit", ""),
    ],
)
def test_no_line_holds_a_credential(message: str, fields: str) -> None:
    assert "hold a credential" in said(with_line(15.0, message, fields=fields))


def test_a_connection_string_without_a_password_and_a_banner_are_honest() -> None:
    for message in (
        "Connecting to postgresql://slm_user@db/audit",
        "*** audit service ***",
        f"Signed in as {ev.HIDDEN} by the console",  # A token that is an everyday word stands in other places, too.
        "Engine(postgresql+asyncpg://slm_user:***@db/audit)",
        "Connecting to postgres://slm_user:xxxxx@db/audit",
        "host=db password=[REDACTED] user=slm_user",
        'token="***"',
        "password authentication failed",
    ):
        assert check("logs", with_line(15.0, message)).verdict is Verdict.PASS


def test_no_line_holds_the_payload_of_an_event_though_it_may_name_it() -> None:
    history = good()
    number = history.ops(DECEMBER, 15, 16)[0]
    payload = json.loads(history.invoke(number).content)
    payload["event_data"]["actor"] = "somebody's name"
    history.edit(ev.Invoke, lambda r: r.op == number, content=json.dumps(payload))
    history.add(ev.LogLine(15.0, "INFO", "Event queued", fields=f'{{"event_id": "{event_id(number)}"}}'))
    assert check("logs", history).verdict is Verdict.PASS
    history.add(ev.LogLine(15.0, "INFO", f"Event {event_id(number)} by somebody's name queued"))
    found = [finding for finding in check("logs", history).findings if "payload" in finding.summary]
    assert [finding.event_ids for finding in found] == [(event_id(number),)]


def test_no_line_holds_the_data_of_an_event_that_it_does_not_name() -> None:
    assert "payload" in said(with_line(15.0, "Rejected", fields='{"body": "{\\"event_data\\": {\\"n\\": 1}}"}'))
    assert check("logs", with_line(15.0, "event_data: must be an object")).verdict is Verdict.PASS
