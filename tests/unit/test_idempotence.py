"""Re-sends and contradictions: which checker finds a service that treats them wrongly, and that honest ones pass."""

from __future__ import annotations

import pytest

from harness import events as ev
from harness.values import Promise
from tests.unit.histories import DECEMBER, JANUARY, History, content, event_id, good

from .test_checker_answers import found

RESEND, CONFLICT = ev.OpKind.RESEND, ev.OpKind.CONFLICT
JUDGES = ("honest-status", "isolation", "recovery", "conservation", "duplicates", "poison")


def stored_before(history: History) -> int:
    """An event of January that was answered 201, and is stored, before anything is wrong."""
    return history.ops(JANUARY, 4.0, 5.0)[0]


def queued_before(history: History) -> int:
    """An event of December that was answered 202 while the fault was on."""
    return history.ops(DECEMBER, 14.0, 15.0)[0]


def judged(history: History) -> dict[str, dict[Promise, set[str]]]:
    return {name: blamed for name in JUDGES if (blamed := found(name, history))}


@pytest.mark.parametrize(("kind", "status"), [(RESEND, 201), (CONFLICT, 409)])
def test_an_honest_second_send_of_a_stored_event_passes(kind: ev.OpKind, status: int) -> None:
    history = good()
    history.op(6.0, JANUARY, status, kind=kind, of=stored_before(history))
    assert judged(history) == {}


@pytest.mark.parametrize(
    ("kind", "status"),
    [(RESEND, 202), (RESEND, 409), (RESEND, 400), (RESEND, 503), (CONFLICT, 201), (CONFLICT, 202), (CONFLICT, 400)],
)
def test_a_wrong_answer_to_a_second_send_of_a_stored_event_is_found(kind: ev.OpKind, status: int) -> None:
    history = good()
    original = stored_before(history)
    changes = {"event_action": "contradicted"} if kind is CONFLICT else {}
    history.op(6.0, JANUARY, status, kind=kind, of=original, changes=changes)
    assert judged(history)["honest-status"] == {Promise.HONEST_STATUS: {event_id(original)}}


@pytest.mark.parametrize("status", [201, 202])
def test_a_resend_of_a_queued_event_answers_by_its_present_state(status: int) -> None:
    history = good()
    history.op(16.0, DECEMBER, status, kind=RESEND, of=queued_before(history))
    assert judged(history) == {}


@pytest.mark.parametrize("status", [202, 409])
def test_a_contradiction_of_a_queued_event_is_refused_or_becomes_its_dead_letter(status: int) -> None:
    history = good()
    rival = history.op(
        16.0, DECEMBER, status, kind=CONFLICT, of=queued_before(history), changes={"event_action": "contradicted"}
    )
    if status == 202:
        history.queued_row(rival, "dead", "conflict")
    assert judged(history) == {}


def test_a_resend_that_is_stored_a_second_time_is_found() -> None:
    history = good()
    original = stored_before(history)
    history.row(history.op(6.0, JANUARY, 201, kind=RESEND, of=original))
    assert judged(history) == {"duplicates": {Promise.NO_DUPLICATES: {event_id(original)}}}


def test_a_resend_that_is_stored_under_another_id_is_found() -> None:
    history = good()
    resent = history.op(6.0, JANUARY, 201, kind=RESEND, of=stored_before(history))
    history.row(resent, event_id=event_id(77_777))
    assert judged(history)["duplicates"] == {Promise.NO_DUPLICATES: {event_id(77_777)}}


def test_a_contradiction_that_overwrites_what_is_stored_is_found_whatever_it_was_answered() -> None:
    history = good()
    original = stored_before(history)
    history.op(6.0, JANUARY, 409, kind=CONFLICT, of=original, changes={"event_action": "contradicted"})
    day = history.invoke(original).event_date
    overwritten = content(original, day, event_action="contradicted")
    history.edit(ev.TableRow, lambda row: row.event_id == event_id(original), content=overwritten)
    assert judged(history) == {"conservation": {Promise.CONSERVATION: {event_id(original)}}}


def test_a_contradiction_that_was_acknowledged_and_dropped_is_found() -> None:
    history = good()
    original = queued_before(history)
    history.op(16.0, DECEMBER, 202, kind=CONFLICT, of=original, changes={"event_action": "contradicted"})
    assert judged(history) == {"conservation": {Promise.CONSERVATION: {event_id(original)}}}


def test_a_resend_that_kills_its_own_event_as_a_conflict_is_found() -> None:
    history = good()
    original = queued_before(history)
    resent = history.op(16.0, DECEMBER, 202, kind=RESEND, of=original)
    history.queued_row(resent, "dead", "conflict")
    blamed = judged(history)
    assert blamed["conservation"] == {Promise.CONSERVATION: {event_id(original)}}
    assert blamed["poison"] == {Promise.POISON: {event_id(original)}}
