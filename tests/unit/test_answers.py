"""The form of answers, as the client sees it: single events and batches."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import pytest

from harness.events import BatchEnd, Complete, Completion, OpKind
from harness.load.answers import Reply, batch_code, batch_completed, completed
from harness.workload import Planned

ID = "0b3c8a52-1111-4222-8333-abcdefabcdef"
OTHER = "0b3c8a52-1111-4222-8333-abcdefabcdee"
MOMENT = "2025-12-05T10:00:00.250000Z"
SENT = Planned(OpKind.WRITE, ID, date(2025, 12, 5), "{}", timestamp=MOMENT)
ANONYMOUS = Planned(OpKind.WRITE, "", date(2025, 12, 5), "{}", timestamp=MOMENT)
ACCEPTED = {"event_id": ID, "event_timestamp": MOMENT, "partition": "2025_12", "status": "created"}
PROBLEM = {
    "type": "about:blank",
    "title": "Bad Request",
    "status": 400,
    "detail": "no",
    "errors": [{"field": "event_type", "message": "is required"}],
}
UNSURE = {**PROBLEM, "status": 503, "outcome": "unknown"}


def reply(status: int, body: Any, *, media: str | None = None, retry: str | None = None) -> Reply:
    """An answer; problems have their media type, and a 503 its Retry-After, unless they are given."""
    usual = "application/problem+json" if status >= 400 else "application/json"
    waits = "1" if status == 503 else ""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Reply(status, usual if media is None else media, waits if retry is None else retry, content)


def one(status: int, body: Any, planned: Planned = SENT, /, **headers: str) -> Complete:
    return completed(1.0, 7, planned, reply(status, body, **headers))


def without(body: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name != key}


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (201, ACCEPTED),
        (202, {**ACCEPTED, "status": "queued"}),
        (201, {**ACCEPTED, "event_id": ID.upper()}),
        (201, {**ACCEPTED, "event_timestamp": "2025-12-05T10:00:00.25Z"}),
        (201, {**ACCEPTED, "event_timestamp": "2025-12-05t10:00:00.250000000z"}),
        (201, {**ACCEPTED, "more": 1}),
        (400, PROBLEM),
        (409, {**PROBLEM, "status": 409, "errors": []}),
        (413, {**PROBLEM, "status": 413, "errors": []}),
        (503, UNSURE),
        (503, {**UNSURE, "outcome": "not_stored"}),
    ],
)
def test_the_contracts_own_forms_have_no_flaw(status: int, body: dict[str, Any]) -> None:
    assert one(status, body).flaw == ""


@pytest.mark.parametrize(
    ("status", "body", "flaw"),
    [
        (201, b"", "no JSON object"),
        (201, b"[]", "no JSON object"),
        (201, b"created", "no JSON object"),
        (201, without(ACCEPTED, "event_id"), "event_id missing"),
        (201, {**ACCEPTED, "event_id": ID.replace("-", "")}, "no UUID"),
        (201, {**ACCEPTED, "event_id": OTHER}, "not the one that was sent"),
        (201, {**ACCEPTED, "event_timestamp": "2025-12-05T10:00:00Z"}, "not the instant"),
        (201, {**ACCEPTED, "event_timestamp": "2025-12-05T11:00:00.25+01:00"}, "with Z"),
        (201, without(ACCEPTED, "event_timestamp"), "not the instant"),
        (201, without(ACCEPTED, "partition"), "partition is missing"),
        (201, {**ACCEPTED, "status": "queued"}, "'queued' where created"),
        (202, ACCEPTED, "'created' where queued"),
        (400, b"", "no JSON object"),
        *[(400, without(PROBLEM, key), key) for key in PROBLEM],
        (400, {**PROBLEM, "status": 422}, "422 in the body of a 400"),
        (400, {**PROBLEM, "errors": [{"field": "x"}]}, "without field and message"),
        (400, {**PROBLEM, "errors": ["x"]}, "without field and message"),
        (503, without(UNSURE, "outcome"), "outcome missing"),
        (503, {**UNSURE, "outcome": "maybe"}, "outcome 'maybe'"),
    ],
)
def test_each_departure_from_the_form_is_named(status: int, body: Any, flaw: str) -> None:
    assert flaw in one(status, body).flaw


@pytest.mark.parametrize(
    ("status", "body", "headers", "flaw"),
    [
        (400, PROBLEM, {"media": "application/json"}, "application/problem+json is due"),
        (400, PROBLEM, {"media": ""}, "missing"),
        (400, PROBLEM, {"media": "Application/Problem+JSON; charset=utf-8"}, ""),
        (503, UNSURE, {"retry": ""}, "Retry-After"),
        (503, UNSURE, {"retry": "soon"}, "Retry-After"),
        (503, UNSURE, {"retry": "Fri, 05 Dec 2025 10:00:00 GMT"}, ""),
    ],
)
def test_headers_belong_to_the_form(status: int, body: Any, headers: dict[str, str], flaw: str) -> None:
    found = one(status, body, **headers).flaw
    assert (flaw in found) if flaw else found == ""


def test_an_answer_cut_in_flight_is_no_flaw_and_no_status() -> None:
    ended = completed(1.0, 7, SENT, Reply(error="ClientPayloadError"))
    assert (ended.status, ended.type, ended.error, ended.flaw) == (0, Completion.INFO, "ClientPayloadError", "")


@pytest.mark.parametrize(("status", "word"), [(201, "created"), (202, "queued")])
def test_an_anonymous_event_has_the_id_that_was_answered(status: int, word: str) -> None:
    ended = one(status, {**ACCEPTED, "event_id": OTHER.upper(), "status": word}, ANONYMOUS)
    assert (ended.answered_id, ended.flaw) == (OTHER, "")


def test_an_anonymous_event_that_is_refused_has_no_id() -> None:
    assert one(400, PROBLEM, ANONYMOUS).answered_id == ""


def test_a_named_event_does_not_repeat_its_id_in_the_history() -> None:
    assert one(201, ACCEPTED).answered_id == ""


REJECTED = {"status": "rejected", "errors": [{"field": "event_type", "message": "is required"}]}
TAKEN = {"status": "conflict", "errors": []}
NOWHERE = {"status": "unavailable", "errors": [], "outcome": "not_stored"}
QUEUED = {**ACCEPTED, "status": "queued"}


def batch(status: int, items: Any, sent: int | None = None, **headers: str) -> tuple[list[Complete], BatchEnd]:
    body = items if isinstance(items, dict) else {"results": items}
    count = len(items) if sent is None else sent
    found = list(batch_completed(1.0, 7, [(7 + n, SENT) for n in range(count)], reply(status, body, **headers)))
    ends = [record for record in found if isinstance(record, BatchEnd)]
    assert found[-1:] == ends, "the batch ends once, after its items"
    return [record for record in found if isinstance(record, Complete)], ends[0]


@pytest.mark.parametrize(
    ("status", "items"),
    [
        (201, [ACCEPTED, ACCEPTED]),
        (202, [ACCEPTED, QUEUED]),
        (202, [QUEUED]),
        (400, [REJECTED, TAKEN]),
        (400, [TAKEN]),
        (503, [NOWHERE, REJECTED]),
        (207, [ACCEPTED, REJECTED]),
        (207, [QUEUED, NOWHERE]),
    ],
)
def test_a_batch_has_the_code_that_its_items_owe(status: int, items: list[Any]) -> None:
    ended, end = batch(status, items)
    assert (end.status, end.flaw) == (status, "")
    assert [each.flaw for each in ended] == [""] * len(items)
    for wrong in {201, 202, 207, 400, 503} - {status}:
        assert f"where {status} is due" in batch(wrong, items)[1].flaw


def test_items_are_answered_one_by_one_in_order() -> None:
    ended, _ = batch(207, [ACCEPTED, QUEUED, REJECTED, TAKEN, NOWHERE])
    assert [(each.op, each.status, each.outcome) for each in ended] == [
        (7, 201, "created"),
        (8, 202, "queued"),
        (9, 400, "rejected"),
        (10, 409, "conflict"),
        (11, 503, "not_stored"),
    ]


@pytest.mark.parametrize(
    ("item", "flaw"),
    [
        ({**ACCEPTED, "event_id": OTHER}, "not the one that was sent"),
        (without(REJECTED, "errors"), "errors is no array"),
        (without(NOWHERE, "outcome"), "outcome missing"),
        ({"status": "done"}, "'done' is none of the contract's"),
    ],
)
def test_an_items_form_is_judged_like_an_answers(item: dict[str, Any], flaw: str) -> None:
    ended, _ = batch(207, [ACCEPTED, item])
    assert ended[0].flaw == ""
    assert flaw in ended[1].flaw


def test_results_and_events_must_be_as_many() -> None:
    ended, end = batch(201, [ACCEPTED], sent=2)
    assert "1 results for 2 events" in end.flaw
    assert [each.status for each in ended] == [201, 0]
    assert "3 results for 2 events" in batch(201, [ACCEPTED] * 3, sent=2)[1].flaw


def test_an_unavailable_batch_says_when_to_come_back() -> None:
    assert "Retry-After" in batch(503, [NOWHERE], retry="")[1].flaw


def test_a_batch_without_results_answers_each_event_alike() -> None:
    ended, end = batch(503, UNSURE, sent=2)
    assert [(each.status, each.outcome, each.flaw) for each in ended] == [(503, "unknown", "")] * 2
    assert end.flaw == "no array of results in the body"


def test_a_batch_cut_in_flight_is_no_flaw() -> None:
    found = list(batch_completed(1.0, 7, [(7, SENT), (8, SENT)], Reply(error="ServerDisconnectedError")))
    assert [record.status for record in found] == [0, 0, 0]
    assert all(record.flaw == "" for record in found)


def test_the_batchs_code_is_the_contracts_table() -> None:
    assert [batch_code(codes) for codes in ({201}, {202}, {201, 202}, {400, 409}, {409, 503}, {202, 503})] == [
        201,
        202,
        202,
        400,
        503,
        207,
    ]
