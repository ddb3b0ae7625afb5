"""Answers: what came back for an event or a batch, parsed once, with the first thing wrong with its form.

The form is that of docs/reference/contract.md, "HTTP".  Whether an answer is true is not asked here: checkers judge
that, from the history.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_tz
from typing import Any

from ..events import BatchEnd, Complete, Completion
from ..workload import Planned

_ACCEPTED = {201: "created", 202: "queued"}
_ITEM_CODES = {"created": 201, "queued": 202, "rejected": 400, "conflict": 409, "unavailable": 503}
_PROBLEMS = (400, 409, 413, 503)
_OUTCOMES = ("not_stored", "unknown")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}").fullmatch


@dataclass(frozen=True)
class Reply:
    """What came over the wire; ``status`` is 0 when no whole answer did, and ``error`` then names the exception."""

    status: int = 0
    content_type: str = ""
    retry_after: str = ""
    body: bytes = b""
    error: str = ""


def completion(status: int, outcome: str) -> Completion:
    """Jepsen's three ends: accepted is ok, refused is fail, and no or an unsure answer is info."""
    if status in _ACCEPTED:
        return Completion.OK
    if status in (400, 401, 404, 405, 409, 413, 415, 422):
        return Completion.FAIL
    return Completion.FAIL if status == 503 and outcome == "not_stored" else Completion.INFO


def completed(t: float, op: int, planned: Planned, reply: Reply) -> Complete:
    """The end of an operation that had a request of its own; an answer cut in flight has no form to be judged."""
    data = _parsed(reply.body)
    flaw = ""
    if reply.status in _ACCEPTED:
        flaw = _accepted_flaw(planned, reply.status, data)
    elif reply.status in _PROBLEMS:
        flaw = _problem_flaw(reply, data)
    return _complete(t, op, planned, reply.status, data, reply.error, flaw)


def batch_completed(
    t: float, batch: int, sent: Sequence[tuple[int, Planned]], reply: Reply
) -> Iterator[Complete | BatchEnd]:
    """The end of each item of a batch, in order, and then that of the batch.

    Where no results can be read, the answer to the batch is the answer to each of its items.
    """
    data = _parsed(reply.body)
    results = data.get("results") if isinstance(data, dict) else None
    if not isinstance(results, list):
        for op, planned in sent:
            yield _complete(t, op, planned, reply.status, data, reply.error, "")
        flaw = "no array of results in the body" if reply.status in (*_ACCEPTED, 207, *_PROBLEMS) else ""
        yield BatchEnd(t, batch, reply.status, flaw)
        return
    codes: set[int] = set()
    for number, (op, planned) in enumerate(sent):
        item = results[number] if number < len(results) else None
        code, flaw = _item(planned, item)
        codes.add(code)
        yield _complete(t, op, planned, code, item, reply.error if code else "no result", flaw)
    yield BatchEnd(t, batch, reply.status, _batch_flaw(reply, len(results), len(sent), codes))


def batch_code(codes: set[int]) -> int:
    """The code that a batch owes for those of its items (201, 202, 400, 409, 503)."""
    if codes <= {201, 202}:
        return max(codes)
    if codes & {201, 202}:
        return 207
    return 400 if codes <= {400, 409} else 503


def _batch_flaw(reply: Reply, results: int, sent: int, codes: set[int]) -> str:
    if results != sent:
        return f"{results} results for {sent} events"
    if 0 in codes:
        return "a result without a status of the contract"
    due = batch_code(codes)
    if reply.status != due:
        items = ", ".join(str(code) for code in sorted(codes))
        return f"code {reply.status} for items of {items}, where {due} is due"
    return _retry_flaw(reply.retry_after) if due == 503 else ""


def _item(planned: Planned, item: Any) -> tuple[int, str]:
    """The code that an item stands for, 0 for none, and what is wrong with its form."""
    status = item.get("status") if isinstance(item, dict) else None
    code = _ITEM_CODES.get(status, 0) if isinstance(status, str) else 0
    if code in _ACCEPTED:
        return code, _accepted_flaw(planned, code, item)
    if not code:
        return 0, "" if item is None else f"status {_shown(status)} is none of the contract's"
    return code, _errors_flaw(item) or (_outcome_flaw(item) if code == 503 else "")


def _complete(t: float, op: int, planned: Planned, status: int, data: Any, error: str, flaw: str) -> Complete:
    fields = data if isinstance(data, dict) else {}
    outcome = fields.get("outcome", fields.get("status", ""))
    outcome = outcome if isinstance(outcome, str) else ""
    answered = fields.get("event_id") if status in _ACCEPTED and not planned.event_id else None
    answered_id = answered.lower() if isinstance(answered, str) else ""
    partition = str(fields.get("partition", ""))
    return Complete(t, op, completion(status, outcome), status, outcome, partition, error, flaw, answered_id)


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body) if body else None
    except (ValueError, RecursionError):
        return None


def _accepted_flaw(planned: Planned, status: int, data: Any) -> str:
    if not isinstance(data, dict):
        return "the body is no JSON object"
    event_id = data.get("event_id")
    if not isinstance(event_id, str) or not _UUID(event_id.lower()):
        return f"event_id {_shown(event_id)} is no UUID"
    if planned.event_id and event_id.lower() != planned.event_id.lower():
        return "event_id is not the one that was sent"
    moment = data.get("event_timestamp")
    if moment != planned.timestamp and not _same_instant(planned.timestamp, moment):
        return "event_timestamp is not the instant that was sent, in UTC with Z"
    if not isinstance(data.get("partition"), str) or not data["partition"]:
        return "partition is missing"
    if data.get("status") != _ACCEPTED[status]:
        return f"status {_shown(data.get('status'))} where {_ACCEPTED[status]} goes with {status}"
    return ""


def _problem_flaw(reply: Reply, data: Any) -> str:
    media_type = reply.content_type.partition(";")[0].strip().lower()
    if media_type != "application/problem+json":
        return f"media type {media_type or 'missing'} where application/problem+json is due"
    if not isinstance(data, dict):
        return "the body is no JSON object"
    wrong = next((name for name in ("type", "title", "detail") if not isinstance(data.get(name), str)), "")
    if wrong:
        return f"{wrong} {_shown(data.get(wrong))} is no text"
    if isinstance(data.get("status"), bool) or data.get("status") != reply.status:
        return f"status {_shown(data.get('status'))} in the body of a {reply.status}"
    return _errors_flaw(data) or (_outcome_flaw(data) or _retry_flaw(reply.retry_after) if reply.status == 503 else "")


def _errors_flaw(data: dict[str, Any]) -> str:
    errors = data.get("errors")
    if not isinstance(errors, list):
        return "errors is no array"
    for error in errors:
        if not isinstance(error, dict) or not all(isinstance(error.get(name), str) for name in ("field", "message")):
            return "errors holds something without field and message"
    return ""


def _outcome_flaw(data: dict[str, Any]) -> str:
    outcome = data.get("outcome")
    return "" if outcome in _OUTCOMES else f"outcome {_shown(outcome)} where not_stored or unknown is due"


def _retry_flaw(retry_after: str) -> str:
    value = retry_after.strip()
    known = (value.isascii() and value.isdigit()) or parsedate_tz(value) is not None
    return "" if known else f"Retry-After {_shown(value or None)} is neither seconds nor a date"


def _same_instant(sent: str, answered: object) -> bool:
    if not isinstance(answered, str) or not answered.upper().endswith("Z"):
        return False
    try:
        return datetime.fromisoformat(answered.upper()) == datetime.fromisoformat(sent)
    except ValueError:
        return False


def _shown(value: object) -> str:
    """A value of an answer in a few characters, without telling one event from another."""
    return "missing" if value is None else repr(value)[:40]
