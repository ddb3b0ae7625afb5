"""Properties that hold the oracle to its table, conservation to set arithmetic, and records to their JSON."""

from __future__ import annotations

import dataclasses
import json
import typing
import uuid
from datetime import date

from hypothesis import given, settings
from hypothesis import strategies as st

from harness import events as ev
from harness.blast import BlastRadius, Dlq, Edge, ServiceState, Write
from harness.checkers.conservation import conservation
from harness.jsonlines import KINDS, decode, encode
from harness.oracle import Oracle, State, answers_for_write
from harness.rundata import Run, build_run
from harness.targets.model import Limits
from harness.values import Month, Verdict

MONTHS = (Month(2025, 12), Month(2026, 1))
LIMITS = Limits()

radii = st.builds(
    BlastRadius,
    months=st.one_of(st.none(), st.frozensets(st.sampled_from(MONTHS), min_size=1)),
    write=st.sampled_from(Write),
    delay_ms=st.floats(0, 10_000),
    dlq=st.sampled_from(Dlq),
    service=st.sampled_from(ServiceState),
    edge=st.sampled_from(Edge),
)


def table_row(write: Write, dlq: Dlq, service: ServiceState, share: float, fits: bool) -> set[int]:
    """The table of docs/reference/oracle.md, row by row; ``share`` is the delay over the smallest time-out."""
    fallback = {Dlq.YES: {202}, Dlq.PARTIAL: {202, 503}}.get(dlq, {503})
    rows: list[tuple[bool, set[int]]] = [
        (service in (ServiceState.PAUSED, ServiceState.DOWN), {0}),
        (write is Write.YES, {201}),
        (write is Write.NO, fallback),
        (write is Write.PARTIAL, {201} | fallback),
        (write is Write.DELAYED and share >= 2, fallback),
        (write is Write.DELAYED and share <= 0.5 and fits, {201}),
        (write is Write.DELAYED, {201} | fallback),
    ]
    return next(answers for applies, answers in rows if applies)


@given(st.sampled_from(Write), st.sampled_from(Dlq), st.sampled_from(ServiceState), st.floats(0, 10_000), st.booleans())
def test_the_oracle_is_its_table(write: Write, dlq: Dlq, service: ServiceState, delay_ms: float, fits: bool) -> None:
    share = delay_ms / 1000 / min(2.0, 2.0, 5.0)
    state = State(write, delay_ms, dlq, service)
    assert answers_for_write(state, LIMITS, writers_fit=fits) == table_row(write, dlq, service, share, fits)


def radius_json(radius: BlastRadius) -> str:
    months = None if radius.months is None else sorted(month.label for month in radius.months)
    return json.dumps({**dataclasses.asdict(radius), "months": months, "dates": None})


def played(faults: list[tuple[BlastRadius, dict[str, float]]], start: float, took: float, month: Month) -> Run:
    """One operation among faults, each given by its marks."""
    records: list[ev.Record] = [ev.RunStarted(0.0, "r", "s", 1, "", "{}", "t", {})]
    for number, (radius, marks) in enumerate(faults):
        for step, t in marks.items():
            declared = radius_json(radius) if step == "injecting" else ""
            records.append(ev.FaultMark(t, number, "fault", ev.FaultStep(step), "", declared))
    records.append(ev.Invoke(start, 0, 0, ev.OpKind.WRITE, "id", month.first_day, "{}"))
    records.append(ev.Complete(start + took, 0, ev.Completion.OK, 201))
    return build_run(records)


def marks_from(start: float, gaps: list[float]) -> dict[str, float]:
    steps = ("injecting", "injected", "confirmed", "healing", "healed", "probed")
    times = [start]
    for gap in gaps:
        times.append(times[-1] + gap)
    return dict(zip(steps, times, strict=True))


fault_plays = st.tuples(
    radii, st.builds(marks_from, st.floats(0, 20), st.lists(st.floats(0.01, 10), min_size=5, max_size=5))
)
ALWAYS_ON = {"injecting": -10.0, "injected": -9.0, "confirmed": -8.0, "healing": 900.0}


def allowed(run: Run) -> frozenset[int]:
    return Oracle(run).expect(run.operations[0]).allowed


@settings(max_examples=150)
@given(st.lists(fault_plays, max_size=3), st.floats(0, 60), st.floats(0, 6), st.sampled_from(MONTHS))
def test_a_longer_operation_is_allowed_no_less(
    faults: list[tuple[BlastRadius, dict[str, float]]], start: float, took: float, month: Month
) -> None:
    assert allowed(played(faults, start, took, month)) <= allowed(played(faults, start - 1, took + 2, month))


@settings(max_examples=150)
@given(st.lists(fault_plays, max_size=3), st.integers(0, 2), st.floats(0, 60), st.sampled_from(MONTHS))
def test_losing_a_confirmation_turns_a_fault_into_an_edge_and_shrinks_nothing(
    faults: list[tuple[BlastRadius, dict[str, float]]], which: int, start: float, month: Month
) -> None:
    blurred = [
        (radius, {step: t for step, t in marks.items() if index != which or step != "confirmed"})
        for index, (radius, marks) in enumerate(faults)
    ]
    assert allowed(played(faults, start, 0.1, month)) <= allowed(played(blurred, start, 0.1, month))


@given(radii, radii, st.sampled_from(MONTHS))
def test_an_edge_is_the_union_of_both_sides(one: BlastRadius, other: BlastRadius, month: Month) -> None:
    edge = {"injecting": 0.0, "healing": 900.0}
    on = allowed(played([(one, ALWAYS_ON), (other, ALWAYS_ON)], 5, 0.1, month))
    off = allowed(played([(one, ALWAYS_ON)], 5, 0.1, month))
    at_edge = allowed(played([(one, ALWAYS_ON), (other, edge)], 5, 0.1, month))
    if other.covers(month.first_day) and other.edge is not Edge.MONTHS:
        # Such a fault locks or breaks connections while it comes and goes: an honest fallback is due as well.
        broken = dataclasses.replace(other, write=Write.NO, dlq=Dlq.YES, service=ServiceState.UP)
        assert at_edge == on | off | allowed(played([(one, ALWAYS_ON), (broken, ALWAYS_ON)], 5, 0.1, month))
    elif other.covers(month.first_day):
        assert at_edge == on | off
    else:
        assert at_edge >= off


# Flapping is an edge for as long as it lasts.
steady = radii.filter(lambda radius: radius.edge is not Edge.FLAPPING)


@given(steady, steady, st.sampled_from(MONTHS))
def test_overlapping_faults_intersect_in_any_order(one: BlastRadius, other: BlastRadius, month: Month) -> None:
    covering = [radius for radius in (one, other) if radius.covers(month.first_day)]
    worst = max((radius.write for radius in covering), key=_badness, default=Write.YES)
    delay = sum(radius.delay_ms for radius in covering if radius.write is Write.DELAYED)
    queue = max(
        (radius.dlq for radius in covering), key=[Dlq.YES, Dlq.PARTIAL, Dlq.NO, Dlq.DESTROYED].index, default=Dlq.YES
    )
    states = [ServiceState.UP, ServiceState.PARTIAL, ServiceState.PAUSED, ServiceState.DOWN]
    service = max((radius.service for radius in covering), key=states.index, default=ServiceState.UP)
    # Where it is not sure that anybody answers, no answer is honest as well.
    silent = {0} if service is ServiceState.PARTIAL else set()
    expected = table_row(worst, queue, service, delay / 2000, True) | silent
    for pair in ((one, other), (other, one)):
        assert allowed(played([(radius, ALWAYS_ON) for radius in pair], 5, 0.1, month)) == expected


def _badness(write: Write) -> int:
    return {Write.YES: 0, Write.DELAYED: 1, Write.PARTIAL: 2, Write.NO: 3}[write]


@settings(max_examples=100)
@given(st.lists(st.tuples(st.sampled_from([201, 202, 400, 503, 0]), st.sampled_from(["table", "dlq", "none"]))))
def test_lost_events_are_the_acknowledged_without_the_found(plan: list[tuple[int, str]]) -> None:
    records: list[ev.Record] = [ev.RunStarted(0.0, "r", "s", 1, "", "{}", "t", {})]
    acknowledged: set[str] = set()
    refused: set[str] = set()
    stored: set[str] = set()
    pending: set[str] = set()
    day = date(2025, 12, 5)
    for op, (status, place) in enumerate(plan):
        event_id = str(uuid.UUID(int=op))
        content = json.dumps({"event_id": event_id, "correlation_id": f"c{op}", "event_data": {"op": op}})
        records.append(ev.Invoke(op, op, 0, ev.OpKind.WRITE, event_id, day, content))
        outcome = "not_stored" if status == 503 else ""
        records.append(ev.Complete(op + 0.1, op, ev.Completion.OK, status, outcome))
        if status:
            (acknowledged if status in (201, 202) else refused).add(event_id)
        if place == "table":
            records.append(ev.TableRow(event_id, day, "2025_12", content, f"c{op}"))
            stored.add(event_id)
        elif place == "dlq":
            records.append(ev.DlqRow(event_id, day, "pending", "", content))
            pending.add(event_id)
    records.append(ev.FinalRead(len(plan) + 1.0, True, True))
    result = conservation(build_run(records))
    by_kind = {
        word: {i for f in result.findings if word in f.summary for i in f.event_ids}
        for word in ("lost", "still queued", "not stored")
    }
    assert by_kind["lost"] == acknowledged - stored - pending
    assert by_kind["still queued"] == pending
    assert by_kind["not stored"] == refused & (stored | pending)
    if plan:
        assert (result.verdict is Verdict.PASS) == (not result.findings)


@given(
    st.sampled_from([201, 202]),
    st.sampled_from([202, 409]),
    st.sampled_from(["none", "first", "rival"]),
    st.sets(st.sampled_from(["first", "rival"])),
)
def test_two_contents_of_one_identity_are_conserved_only_where_one_owns_it(
    first: int, rival: int, row: str, dead: set[str]
) -> None:
    event_id, day = str(uuid.UUID(int=1)), date(2025, 12, 5)
    content = {
        name: json.dumps({"event_id": event_id, "correlation_id": name, "event_data": {"of": name}})
        for name in ("first", "rival")
    }
    records: list[ev.Record] = [ev.RunStarted(0.0, "r", "s", 1, "", "{}", "t", {})]
    records.append(ev.Invoke(1, 0, 0, ev.OpKind.WRITE, event_id, day, content["first"]))
    records.append(ev.Complete(1.1, 0, ev.Completion.OK, first))
    records.append(ev.Invoke(2, 1, 0, ev.OpKind.CONFLICT, event_id, day, content["rival"], 0))
    records.append(ev.Complete(2.1, 1, ev.Completion.OK if rival == 202 else ev.Completion.FAIL, rival))
    if row != "none":
        records.append(ev.TableRow(event_id, day, "2025_12", content[row], row))
    records += [ev.DlqRow(event_id, day, "dead", "conflict", content[name]) for name in sorted(dead)]
    records.append(ev.FinalRead(3.0, True, True))
    kept = {row} | dead
    owned = row == "first" if first == 201 or rival == 409 else row != "none"
    conserved = owned and "first" in kept and (rival == 409 or "rival" in kept)
    assert (conservation(build_run(records)).verdict is Verdict.PASS) == conserved


finite = st.floats(allow_nan=False, allow_infinity=False)
strategies: dict[object, st.SearchStrategy[object]] = {
    float: finite,
    int: st.integers(-(2**53), 2**53),
    str: st.text(),
    bool: st.booleans(),
    date: st.dates(),
    int | None: st.one_of(st.none(), st.integers(0, 10**6)),
    tuple[str, ...]: st.lists(st.text()).map(tuple),
    tuple[ev.AttachedTable, ...]: st.lists(
        st.builds(ev.AttachedTable, oid=st.integers(0, 2**32), name=st.text(), month=st.text())
    ).map(tuple),
    dict[str, str]: st.dictionaries(st.text(), st.text()),
    dict[str, float]: st.dictionaries(st.text(), finite),
    dict[str, int]: st.dictionaries(st.text(), st.integers()),
    ev.OpKind: st.sampled_from(ev.OpKind),
    ev.Completion: st.sampled_from(ev.Completion),
    ev.FaultStep: st.sampled_from(ev.FaultStep),
}


def records_of(kind: type[ev.Record]) -> st.SearchStrategy[ev.Record]:
    hints = typing.get_type_hints(kind)
    return st.builds(kind, **{field.name: strategies[hints[field.name]] for field in dataclasses.fields(kind)})


@settings(max_examples=300)
@given(st.sampled_from(sorted(KINDS)).flatmap(lambda name: records_of(KINDS[name])))
def test_every_record_survives_its_json_line(record: ev.Record) -> None:
    line = encode(record)
    assert "\n" not in line
    assert decode(line) == record
