"""The checker of poison, and how the queue's page tells why an event is dead."""

from __future__ import annotations

import json

import pytest

from harness import events as ev
from harness.probes.http import parse_dlq_page
from harness.values import Promise, Verdict
from tests.unit.histories import DECEMBER, JANUARY, History, check, content, event_id, good

POISON = ev.OpKind.POISON


def poisoned(status: int = 202, *, dead: bool = True) -> tuple[History, int]:
    """A run with one poison event into the damaged month, kept as a dead letter at the end."""
    history = good()
    number = history.op(15.0, DECEMBER, status, kind=POISON)
    if dead:
        history.queued_row(number, "dead", "poison")
    return history, number


def blamed(name: str, history: History) -> dict[Promise, set[str]]:
    found: dict[Promise, set[str]] = {}
    for finding in check(name, history).findings:
        found.setdefault(finding.promise, set()).update(finding.event_ids)
    return found


@pytest.mark.parametrize("name", ["poison", "conservation", "recovery", "honest-status", "duplicates"])
def test_poison_that_was_queued_and_is_a_dead_letter_is_honest(name: str) -> None:
    history, _ = poisoned()
    assert check(name, history).verdict is Verdict.PASS


def test_poison_that_was_refused_is_nowhere_and_honest() -> None:
    history, _ = poisoned(400, dead=False)
    history.op(5.0, JANUARY, 400, kind=POISON)
    assert check("poison", history).verdict is Verdict.PASS
    assert check("conservation", history).verdict is Verdict.PASS


def test_acknowledged_poison_that_is_nowhere_is_lost() -> None:
    history, number = poisoned(dead=False)
    assert blamed("poison", history) == {Promise.POISON: {event_id(number)}}
    assert blamed("conservation", history) == {Promise.CONSERVATION: {event_id(number)}}


def test_poison_that_is_tried_for_ever_is_a_finding() -> None:
    history, number = poisoned(dead=False)
    history.queued_row(number, "pending")
    assert check("poison", history).facts["dead_letters"] == 0
    assert blamed("poison", history) == {Promise.POISON: {event_id(number)}}
    assert blamed("recovery", history) == {Promise.RECOVERY: {event_id(number)}}


def test_poison_in_the_table_is_a_finding() -> None:
    history, number = poisoned()
    history.row(number)
    assert blamed("poison", history) == {Promise.POISON: {event_id(number)}}


def test_a_dead_letter_whose_content_was_changed_is_a_finding() -> None:
    history, number = poisoned()
    day = history.invoke(number).event_date
    history.edit(ev.DlqRow, lambda row: True, content=content(number, day, event_type="other"))
    assert blamed("conservation", history) == {Promise.CONSERVATION: {event_id(number)}}


def test_an_ordinary_event_that_a_partitions_fault_killed_is_a_finding_with_its_error() -> None:
    history, _ = poisoned()
    number = history.op(15.5, DECEMBER, 202)
    history.add(
        ev.DlqRow(
            event_id(number), history.invoke(number).event_date, "dead", "55P03", history.invoke(number).content,
            "55P03 canceling statement due to lock timeout",
        )
    )  # fmt: skip
    assert blamed("poison", history) == {Promise.POISON: {event_id(number)}}
    assert "55P03 canceling statement" in check("poison", history).findings[0].summary


def test_the_dead_letter_of_a_conflict_is_no_ordinary_event() -> None:
    history = good()
    original = history.ops(DECEMBER, 15.0, 15.5)[0]
    rival = history.op(16.0, DECEMBER, 202, kind=ev.OpKind.CONFLICT, of=original, changes={"event_action": "b"})
    history.queued_row(rival, "dead", "conflict")
    assert check("poison", history).verdict is Verdict.PASS
    assert check("conservation", history).verdict is Verdict.PASS


def test_a_poison_load_that_sent_none_proves_nothing() -> None:
    history = good()
    scenario = json.dumps({"min_strict_events": 20, "schedule": [], "load": {"poison_share": 0.1}})
    history.edit(ev.RunStarted, lambda record: True, scenario_json=scenario)
    assert check("poison", history).verdict is Verdict.UNKNOWN


def test_dead_letters_that_nobody_read_are_unknown() -> None:
    history, _ = poisoned()
    history.edit(ev.FinalRead, lambda record: True, dlq=False)
    assert check("poison", history).verdict is Verdict.UNKNOWN


def test_without_a_queue_to_look_into_the_table_is_still_looked_at() -> None:
    history, number = poisoned(dead=False)
    history.without("dlq")
    assert check("poison", history).verdict is Verdict.PASS
    history.row(number)
    assert blamed("poison", history) == {Promise.POISON: {event_id(number)}}


@pytest.mark.parametrize(
    ("state", "error", "reason"),
    [
        ("dead", {"sqlstate": "22003", "message": "value overflows numeric format"}, "poison"),
        ("dead", {"sqlstate": None, "message": "another event has this event_id and date"}, "conflict"),
        ("dead", {"sqlstate": "23505", "message": "duplicate key"}, "conflict"),
        ("dead", {"sqlstate": "57014", "message": "canceling statement"}, "57014"),
        ("dead", None, "conflict"),
        ("pending", {"sqlstate": "22003", "message": "value overflows"}, "22003"),
        ("pending", None, ""),
    ],
)
def test_the_queues_page_tells_by_its_last_error_why_an_event_is_dead(
    state: str, error: dict[str, str | None] | None, reason: str
) -> None:
    item = {"event_id": event_id(1), "event_date": "2025-12-05", "state": state, "last_error": error, "event": {}}
    rows, _ = parse_dlq_page(json.dumps({"events": [item]}).encode())
    assert rows[0].reason == reason


def test_a_dead_letters_numbers_are_read_as_they_were_spelt() -> None:
    event = '{"event_data":{"a":1e200000,"b":[1.50,-7,true,null],"c":"\\u00e4 1.5"}}'
    page = (
        f'{{"events":[{{"event_id":"{event_id(1)}","event_date":"2025-12-05","state":"dead","event":{event}}}],'
        '"next_cursor":"7"}'
    )
    rows, cursor = parse_dlq_page(page.encode())
    assert cursor == "7"
    assert rows[0].content == '{"event_data":{"a":1e200000,"b":[1.50,-7,true,null],"c":"ä 1.5"}}'
