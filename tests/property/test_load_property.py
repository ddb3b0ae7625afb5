"""Properties of what is sent and answered: no answer crashes the client, no grouping into batches changes a verdict."""

from __future__ import annotations

import dataclasses
import itertools
import json
import uuid
from datetime import UTC, date, datetime, timedelta, timezone

from hypothesis import given, settings
from hypothesis import strategies as st

from harness import events as ev
from harness.blast import BlastRadius, Dlq, Write
from harness.checkers.answers import answers
from harness.checkers.conservation import conservation
from harness.checkers.duplicates import duplicates
from harness.checkers.honest_status import honest_status
from harness.checkers.poison import poison
from harness.jsonlines import decode, encode
from harness.load.answers import Reply, batch_code, batch_completed, completed
from harness.load.batches import BatchStream
from harness.oracle import Oracle, State, answers_for_write
from harness.rundata import Run, build_run
from harness.scenario import Load
from harness.targets.model import Limits
from harness.values import Month, Verdict, utc_timestamp
from harness.workload import Planned
from service.models import InvalidError, parse_event, parse_json

MONTHS = (Month(2025, 12), Month(2026, 1))
DAY = date(2025, 12, 5)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
named = st.sampled_from(
    ["event_id", "event_timestamp", "partition", "status", "outcome", "errors", "type", "title", "detail", "results"]
)
bodies = st.one_of(
    st.binary(max_size=40),
    json_values.map(lambda value: json.dumps(value).encode()),
    st.dictionaries(named, json_values).map(lambda value: json.dumps(value).encode()),
    st.lists(st.dictionaries(named, json_values), max_size=4).map(
        lambda items: json.dumps({"results": items}).encode()
    ),
)
replies = st.builds(
    Reply,
    status=st.sampled_from([0, 200, 201, 202, 207, 400, 409, 413, 500, 503]),
    content_type=st.sampled_from(["", "application/json", "application/problem+json", "text/html"]),
    retry_after=st.text(max_size=5),
    body=bodies,
)
planned = st.builds(
    Planned,
    kind=st.sampled_from(ev.OpKind),
    event_id=st.one_of(st.just(""), st.uuids().map(str)),
    event_date=st.just(DAY),
    content=st.just("{}"),
    timestamp=st.just("2025-12-05T00:00:00.000000Z"),
)


@settings(max_examples=300)
@given(planned, replies)
def test_whatever_comes_back_is_one_end_with_the_answers_own_status(sent: Planned, reply: Reply) -> None:
    end = completed(1.0, 3, sent, reply)
    assert (end.op, end.status) == (3, reply.status)
    assert decode(encode(end)) == end
    if reply.status not in (201, 202):
        assert end.answered_id == ""
    if reply.status == 0:
        assert end.flaw == ""


@settings(max_examples=300)
@given(st.lists(planned, min_size=1, max_size=5), replies)
def test_whatever_comes_back_for_a_batch_ends_each_item_once_and_the_batch(sent: list[Planned], reply: Reply) -> None:
    items = list(enumerate(sent, 10))
    found = list(batch_completed(1.0, 10, items, reply))
    assert [end.op for end in found if isinstance(end, ev.Complete)] == [op for op, _ in items]
    assert isinstance(found[-1], ev.BatchEnd)
    assert [decode(encode(end)) for end in found] == found


@given(
    st.uuids(),
    st.datetimes(datetime(2025, 12, 1), datetime(2025, 12, 31)),
    st.integers(0, 3),
    st.booleans(),
    st.booleans(),
)
def test_every_spelling_of_the_same_id_and_instant_is_right_and_any_other_instant_is_not(
    event_id: uuid.UUID, moment: datetime, zeros: int, upper: bool, whole: bool
) -> None:
    moment = moment.replace(tzinfo=UTC, microsecond=0 if whole else moment.microsecond)
    sent = Planned(ev.OpKind.WRITE, str(event_id), moment.date(), "{}", timestamp=utc_timestamp(moment))
    text = moment.isoformat().replace("+00:00", "") + ("" if moment.microsecond == 0 else "0" * zeros) + "Z"
    body = {"event_id": str(event_id), "event_timestamp": text, "partition": "2025_12", "status": "created"}
    if upper:
        body["event_id"] = str(event_id).upper()
    assert completed(1.0, 1, sent, Reply(201, body=json.dumps(body).encode())).flaw == ""
    later = moment + timedelta(microseconds=1)
    abroad = moment.astimezone(timezone(timedelta(hours=1))).isoformat()
    for wrong in (utc_timestamp(later), abroad):
        body["event_timestamp"] = wrong
        assert "instant" in completed(1.0, 1, sent, Reply(201, body=json.dumps(body).encode())).flaw


@given(st.sets(st.sampled_from([201, 202, 400, 409, 503]), min_size=1))
def test_a_batchs_code_follows_from_whether_all_some_or_none_were_accepted(codes: set[int]) -> None:
    accepted = codes & {201, 202}
    if codes == accepted:
        assert batch_code(codes) == (202 if 202 in codes else 201)
    elif accepted:
        assert batch_code(codes) == 207
    else:
        assert batch_code(codes) == (503 if 503 in codes else 400)


@settings(max_examples=50)
@given(st.integers(0, 2**32))
def test_only_invalid_events_are_wrong_by_shape(seed: int) -> None:
    load = Load(months=MONTHS, batch_size=40, poison_share=0.1, invalid_share=0.1, anonymous_share=0.1)
    earliest, latest = datetime(2025, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
    for _, each in BatchStream(seed, 1, load, "run").next(itertools.count(1)).items:
        try:
            parse_event(parse_json(each.content), earliest, latest)
            valid = True
        except InvalidError:
            valid = False
        assert valid == (each.kind is not ev.OpKind.INVALID)


@given(st.sampled_from(Write), st.floats(0, 10_000), st.sampled_from(Dlq), st.booleans())
def test_poison_may_be_refused_anywhere_and_created_nowhere(
    write: Write, delay_ms: float, dlq: Dlq, fits: bool
) -> None:
    records: list[ev.Record] = [ev.RunStarted(0.0, "r", "s", 1, "", "{}", "t", {})]
    radius = BlastRadius(months=frozenset(MONTHS[:1]), write=write, delay_ms=delay_ms, dlq=dlq)
    declared = json.dumps({**dataclasses.asdict(radius), "months": [MONTHS[0].label], "dates": None})
    for step, t in (("injecting", -10.0), ("confirmed", -9.0), ("healing", 900.0)):
        records.append(ev.FaultMark(t, 0, "f", ev.FaultStep(step), "", declared if step == "injecting" else ""))
    for writer in range(1 if fits else 5):
        invoke = ev.Invoke(1.0, writer, writer, ev.OpKind.POISON, f"id{writer}", DAY, "{}")
        records += [invoke, ev.Complete(1.1, writer, ev.Completion.OK, 400)]
    run = build_run(records)
    due = answers_for_write(State(write, delay_ms if write is Write.DELAYED else 0.0, dlq), Limits(), writers_fit=fits)
    assert Oracle(run).expect(run.operations[0]).allowed == (due - {201}) | {400}


def story(plan: list[tuple[str, int, str]], batch_size: int) -> Run:
    """One event each: its kind, its answer, and where it is at the end; in batches of a size, or alone for 0."""
    records: list[ev.Record] = [ev.RunStarted(0.0, "r", "s", 1, "", "{}", "t", {})]
    ends: list[ev.Record] = []
    for op, (kind, status, place) in enumerate(plan, 1):
        event_id = str(uuid.UUID(int=op))
        anonymous = kind == "anonymous"
        means = ev.OpKind.POISON if kind == "poison" else ev.OpKind.WRITE
        batch = 1 + (op - 1) // batch_size * batch_size if batch_size else 0
        content = json.dumps({"event_id": event_id, "correlation_id": f"c{op}", "event_data": {"op": op}})
        sent = json.dumps({"correlation_id": f"c{op}", "event_data": {"op": op}}) if anonymous else content
        records.append(ev.Invoke(1.0, op, 0, means, "" if anonymous else event_id, DAY, sent, None, batch))
        answered = event_id if anonymous and status in (201, 202) else ""
        records.append(ev.Complete(2.0, op, ev.Completion.INFO, status, "", "2025_12", answered_id=answered))
        if place in ("table", "elsewhere"):
            stored = str(uuid.UUID(int=10_000 + op)) if place == "elsewhere" else event_id
            ends.append(ev.TableRow(stored, DAY, "2025_12", content.replace(event_id, stored), f"c{op}"))
        elif place in ("pending", "dead"):
            ends.append(ev.DlqRow(event_id, DAY, place, "", content))
    return build_run([*records, *ends, ev.FinalRead(3.0, True, True)])


plans = st.lists(
    st.tuples(
        st.sampled_from(["named", "anonymous", "poison"]),
        st.sampled_from([201, 202, 400, 0]),
        st.sampled_from(["table", "elsewhere", "pending", "dead", "nowhere"]),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=200)
@given(plans)
def test_conservation_loses_exactly_what_was_acknowledged_and_is_not_kept_under_its_id(
    plan: list[tuple[str, int, str]],
) -> None:
    result = conservation(story(plan, 0))
    lost = {i for finding in result.findings if "lost" in finding.summary for i in finding.event_ids}
    assert lost == {
        str(uuid.UUID(int=op))
        for op, (_, status, place) in enumerate(plan, 1)
        if status in (201, 202) and place in ("elsewhere", "nowhere")
    }


@settings(max_examples=200)
@given(plans)
def test_poison_and_dead_letters_are_told_apart(plan: list[tuple[str, int, str]]) -> None:
    result = poison(story(plan, 0))
    wrong = {
        str(uuid.UUID(int=op))
        for op, (kind, status, place) in enumerate(plan, 1)
        if (kind == "poison" and (place == "table" or (status in (201, 202) and place != "dead")))
        # Nobody can tell whose dead letter it is when no id was sent and none answered; its correlation id can.
        or (kind != "poison" and place == "dead")
    }
    assert {i for finding in result.findings for i in finding.event_ids} == wrong


@settings(max_examples=100)
@given(plans, st.integers(1, 5))
def test_how_events_are_grouped_into_batches_changes_no_verdict(plan: list[tuple[str, int, str]], size: int) -> None:
    alone, grouped = story(plan, 0), story(plan, size)
    for checker in (conservation, duplicates, honest_status, poison, answers):
        one, other = checker(alone), checker(grouped)
        assert one.findings == other.findings
        assert one.verdict == other.verdict
    assert answers(grouped).verdict is Verdict.PASS
