"""What a command and its lab say to each other is exactly what either understands, or it is refused with the reason."""

from __future__ import annotations

import dataclasses
import json
import typing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import FaultNotConfirmed, LabError, UsageError
from harness.lab import protocol
from harness.lab.codec import decode, encode, read
from harness.lab.order import LabOrder
from harness.lab.protocol import (
    AskAccess,
    AskRecording,
    AskStatus,
    Down,
    Heal,
    Inject,
    MakeSnapshot,
    PlayLoad,
    Request,
    StopLoad,
    Told,
    done_line,
    error_line,
    parse_answer,
    parse_request,
    request_line,
    say_line,
)
from harness.lab.state import LabRecord
from harness.lab.status import FaultState, LoadState, PoolState, QueueState, ServiceState, Status
from harness.probes.tables import TableLook
from harness.values import Month

DECEMBER = Month(2025, 12)
REQUESTS: tuple[Request, ...] = (
    AskStatus(),
    AskAccess(),
    PlayLoad(rate_per_month=0.5, writers_per_month=3, months=(DECEMBER, Month(2026, 1)), seconds=None),
    PlayLoad(rate_per_month=0, writers_per_month=1, seconds=1.25),
    StopLoad(),
    Inject(fault={"fault": "latency", "delay_ms": 20, "directions": ["upstream"], "more": None}),
    Heal(which="detach-partition"),
    Heal(everything=True),
    MakeSnapshot(wait=False),
    AskRecording(name="mine", longest_gap_seconds=3.0),
    Down(),
)
STATUS = Status(
    name="lab",
    target="reference",
    up_seconds=3.5,
    ends_in_seconds=7200.0,
    folder="reports/x",
    service=ServiceState(url="http://127.0.0.1:1", pid=None, status=503, degraded=("dlq",)),
    queue=QueueState(depth=3, dead=1, capacity=10, by_month={"2025_12": 3}),
    pool=PoolState(in_use=2, idle=None, maximum=25, acquisitions=7, mean_wait_seconds=0.001, over_seconds=1.0),
    tables=(TableLook(name="audit_events_2025_12", attached=False, problem="locked"),),
    faults=(FaultState(number=0, name="detach-partition", parameters="", since_seconds=1.0, evidence="23514"),),
    load=LoadState(
        months=("2025_12",),
        writers_per_month=4,
        rate_per_month=50.0,
        since_seconds=2.0,
        left_seconds=None,
        slowed=True,
    ),
    answers={"201": 5, "0": 1},
)


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: type(request).__name__)
def test_a_request_comes_out_as_it_went_in_on_one_line(request_: Request) -> None:
    line = request_line(request_)
    assert "\n" not in line
    assert parse_request(f"{line}\n".encode()) == request_


def test_every_kind_of_request_is_tried_above() -> None:
    assert {type(request) for request in REQUESTS} == set(typing.get_args(Request)) == set(protocol._KINDS.values())


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "no JSON"),
        ("[]", "must be an object"),
        ("[" * 100_000, "no JSON"),
        ('{"do": "status"}', "arguments is missing"),
        ('{"do": "dance", "arguments": {}}', "does not know 'dance'"),
        ('{"do": "status", "arguments": {"loud": true}}', "has no 'loud'"),
        ('{"do": "load", "arguments": {"writers_per_month": 1}}', "load.rate_per_month is missing"),
        ('{"do": "load", "arguments": {"rate_per_month": "5", "writers_per_month": 1}}', "must be a number, not '5'"),
        ('{"do": "load", "arguments": {"rate_per_month": 5, "writers_per_month": true}}', "must be a whole number"),
        ('{"do": "load", "arguments": {"rate_per_month": 5, "writers_per_month": 1.5}}', "must be a whole number"),
        (
            '{"do": "load", "arguments": {"rate_per_month": 5, "writers_per_month": 1, "months": ["2025-13"]}}',
            r"load.months\[0\].*is not a month",
        ),
        ('{"do": "load", "arguments": {"rate_per_month": 5, "writers_per_month": 1, "months": "x"}}', "must be a list"),
        ('{"do": "heal", "arguments": {"everything": 1}}', "must be true or false"),
        ('{"do": "inject", "arguments": {"fault": []}}', "must be an object"),
    ],
)
def test_what_is_no_request_is_refused_with_its_place(line: str, said: str) -> None:
    with pytest.raises(LabError, match=said):
        parse_request(line)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_no_json_at_all_raises_anything_but_a_lab_error(data: object) -> None:
    with pytest.raises(LabError):
        parse_request(json.dumps({"do": "load", "arguments": {"rate_per_month": data, "nonsense": data}}))


def test_answers_are_progress_a_result_or_an_error_with_its_exit_code() -> None:
    assert parse_answer(say_line("waits\nfor “it”")) == ("say", "waits\nfor “it”")
    kind, data = parse_answer(done_line(Told(lines=("a", "b"))))
    assert (kind, read(Told, data)) == ("done", Told(lines=("a", "b")))
    with pytest.raises(LabError, match="did not bite") as caught:
        parse_answer(error_line(FaultNotConfirmed("it did not bite")))
    assert caught.value.exit_code == FaultNotConfirmed.exit_code == 3
    with pytest.raises(LabError) as caught:
        parse_answer(error_line(UsageError("no")))
    assert caught.value.exit_code == 2
    for strange in ("{}", '{"say": 1}', '{"shout": "x"}', '{"say": "x", "done": {}}', "7"):
        with pytest.raises(LabError):
            parse_answer(strange)


def test_a_status_crosses_the_wire_whole() -> None:
    assert decode(Status, encode(STATUS)) == STATUS


def test_records_and_orders_keep_paths_and_leave_nothing_to_a_default_that_was_not_meant() -> None:
    record = LabRecord(
        name="x",
        pid=7,
        started_at="now",
        target="t",
        folder=Path("/a b"),
        ledger=Path("/a b/ledger"),
        harness="0",
        root="/r",
        socket="/s",
    )
    assert decode(LabRecord, encode(record)) == record
    order = LabOrder(
        name="x",
        state=Path("/s"),
        target=Path("/t"),
        reports=Path("/r"),
        seed=1,
        max_age_seconds=5.0,
        lock_descriptor=3,
        pipe_descriptor=4,
        pg_port=None,
        service_environment={"HARNESS_CLOCK": "1"},
    )
    assert decode(LabOrder, encode(order)) == order
    for field in dataclasses.fields(LabRecord):
        if field.default is dataclasses.MISSING:
            data = json.loads(encode(record))
            del data[field.name]
            with pytest.raises(LabError, match=field.name):
                decode(LabRecord, json.dumps(data))
