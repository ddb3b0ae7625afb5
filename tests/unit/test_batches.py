"""Batches as they are planned: seeded, mixed of all months, each item an operation of its own."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from harness.errors import UsageError
from harness.events import OpKind
from harness.load.batches import Batch, BatchStream
from harness.scenario import Load
from harness.values import Month

MONTHS = (Month(2025, 12), Month(2026, 1), Month(2026, 2))
LOAD = Load(months=MONTHS, batch_writers=1, batch_size=12, poison_share=0.05)


def batches(count: int, seed: int = 3, load: Load = LOAD) -> list[Batch]:
    stream, ops = BatchStream(seed, 9, load, "run"), itertools.count(1)
    return [stream.next(ops) for _ in range(count)]


def test_the_same_seed_plans_the_same_batches() -> None:
    assert batches(20) == batches(20)
    assert batches(20) != batches(20, seed=4)


def test_a_batch_mixes_all_months_and_numbers_its_items_on() -> None:
    planned = batches(30)
    assert [op for batch in planned for op, _ in batch.items] == list(range(1, 30 * 12 + 1))
    assert [batch.number for batch in planned] == [batch.items[0][0] for batch in planned]
    assert sum({Month.of(each.event_date) for _, each in batch.items} == set(MONTHS) for batch in planned) > 20


def test_a_month_that_joins_is_mixed_in_from_then_on() -> None:
    stream, ops = BatchStream(3, 9, Load(months=MONTHS[:1]), "run"), itertools.count(1)
    before = [stream.next(ops) for _ in range(10)]
    stream.join(MONTHS[1])
    after = [stream.next(ops) for _ in range(10)]
    assert {Month.of(each.event_date) for batch in before for _, each in batch.items} == {MONTHS[0]}
    assert {Month.of(each.event_date) for batch in after for _, each in batch.items} == set(MONTHS[:2])


def test_the_body_is_an_array_of_the_events_as_they_would_be_sent_alone() -> None:
    for batch in batches(20):
        assert json.loads(batch.body) == [json.loads(planned.content) for _, planned in batch.items]


def test_some_batches_hold_one_identity_twice_and_every_kind_comes() -> None:
    planned = batches(200)
    twice = [
        batch
        for batch in planned
        if any(each.kind is OpKind.RESEND and each.of in {op for op, _ in batch.items} for _, each in batch.items)
    ]
    assert len(twice) > 20
    assert {each.kind for batch in planned for _, each in batch.items} == set(OpKind)


@pytest.mark.parametrize("wish", [{"batch_writers": 1}, {"poison_share": 0.1}, {"late_months": MONTHS[:1]}])
def test_what_locust_would_not_send_is_refused(wish: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="locust_users"):
        Load(months=MONTHS, locust_users=1, **wish)


def test_each_item_is_invoked_as_an_operation_of_the_batch() -> None:
    for batch in batches(20):
        invokes = list(batch.invokes(4.0, 9))
        assert [(each.op, each.content, each.of) for each in invokes] == [
            (op, planned.content, planned.of) for op, planned in batch.items
        ]
        assert {(each.t, each.writer, each.batch) for each in invokes} == {(4.0, 9, batch.number)}
