"""The stream of events: seeded, of the contract's shape, and aware of what it has sent."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from harness.events import OpKind
from harness.scenario import Load
from harness.values import Month, utc_timestamp
from harness.workload import Planned, Stream

MONTH = Month(2025, 12)
LOAD = Load(months=(MONTH,))


def planned(seed: int, writer: int = 1, load: Load = LOAD, count: int = 300) -> list[Planned]:
    stream = Stream(seed, writer, MONTH, load, "run")
    sent = []
    for op in range(1, count + 1):
        request = stream.next(op)
        stream.remember(op, request)
        sent.append(request)
    return sent


@given(st.integers(0, 2**32), st.integers(1, 50))
def test_the_same_seed_and_writer_send_the_same_requests(seed: int, writer: int) -> None:
    assert planned(seed, writer, count=30) == planned(seed, writer, count=30)


def test_another_seed_or_writer_sends_other_identities() -> None:
    ids = [
        {request.event_id for request in planned(seed, writer) if request.event_id}
        for seed, writer in ((1, 1), (1, 2), (2, 1))
    ]
    assert not ids[0] & ids[1]
    assert not ids[0] & ids[2]


@given(st.integers(0, 2**32), st.sampled_from([Month(2024, 2), Month(2025, 11), Month(2025, 12), Month(2026, 1)]))
def test_every_first_send_lies_in_its_month_and_names_its_operation(seed: int, month: Month) -> None:
    stream = Stream(seed, 1, month, Load(months=(month,), invalid_share=0.0, anonymous_share=0.0), "run")
    request = stream.next(7)
    body = json.loads(request.content)
    moment = datetime.fromisoformat(body["event_timestamp"]).astimezone(UTC)
    assert month.first_day <= request.event_date < month.end
    assert moment.date() == request.event_date
    assert body["correlation_id"] == "run/7"
    assert request.timestamp == utc_timestamp(moment)
    assert str(uuid.UUID(request.event_id)) == request.event_id


def test_some_events_lie_at_the_very_ends_of_their_month_and_some_are_dated_in_another_zone() -> None:
    sent = [request for request in planned(5, count=3000) if request.kind is OpKind.WRITE]
    spelt = [str(json.loads(request.content)["event_timestamp"]) for request in sent]
    assert {"2025-12-01T00:00:00.000000Z", "2025-12-31T23:59:59.999999Z"} <= {request.timestamp for request in sent}
    abroad = [text for text in spelt if not text.endswith("Z")]
    assert 50 < len(abroad) < 300
    assert any(datetime.fromisoformat(text).month != 12 for text in abroad)


def test_resends_repeat_conflicts_contradict_and_invalid_ones_break_a_rule() -> None:
    requests = planned(3, load=replace(LOAD, poison_share=0.02), count=3000)
    by_op = dict(enumerate(requests, 1))
    kinds = {kind: [request for request in requests if request.kind is kind] for kind in OpKind}
    assert all(len(found) > 10 for found in kinds.values())
    for request in kinds[OpKind.RESEND]:
        original = by_op[request.of or 0]
        assert original.kind is OpKind.WRITE
        assert (request.event_id, request.event_date, request.content) == (
            original.event_id,
            original.event_date,
            original.content,
        )
    for request in kinds[OpKind.CONFLICT]:
        original = by_op[request.of or 0]
        assert request.event_id == original.event_id
        assert json.loads(request.content) != json.loads(original.content)
    for request in kinds[OpKind.INVALID]:
        body = json.loads(request.content)
        broken = (
            "event_type" not in body
            or body["event_outcome"] not in ("success", "failure", "pending")
            or "unknown_field" in body
            or len(body["event_action"]) > 50
        )
        assert broken


def test_anonymous_events_carry_no_id_and_are_never_repeated() -> None:
    requests = planned(5, load=replace(LOAD, anonymous_share=0.2), count=1000)
    anonymous = {op for op, request in enumerate(requests, 1) if not request.event_id}
    assert len(anonymous) > 100
    for op in anonymous:
        request = requests[op - 1]
        assert request.kind is OpKind.WRITE
        assert "event_id" not in json.loads(request.content)
    assert not anonymous & {request.of for request in requests}


def test_poison_is_valid_json_with_a_number_that_no_float_holds() -> None:
    requests = planned(5, load=replace(LOAD, poison_share=0.2), count=500)
    poison = [request for request in requests if request.kind is OpKind.POISON]
    assert len(poison) > 50
    for request in poison:
        amount = json.loads(request.content, parse_float=str)["event_data"]["amount"]
        assert int(amount.partition("e")[2]) > 131072, "the digits before the point that PostgreSQL's numeric holds"
        assert request.event_id in request.content


def test_a_load_without_poison_sends_none() -> None:
    assert all(request.kind is not OpKind.POISON for request in planned(5, count=1000))
