"""The oracle's rules one by one: sides, phases, second requests."""

from __future__ import annotations

import dataclasses

import pytest

from harness import events as ev
from harness.blast import BlastRadius, Dlq, Edge, ServiceState, Write
from harness.oracle import Oracle, Side, State, _choices, answers_for_write, side_of
from harness.rundata import FaultWindow, Operation
from harness.targets.model import Limits
from harness.values import Month, Phase
from tests.unit.histories import CONFIRMED, DECEMBER, HEALING, INJECTING, JANUARY, PROBED, RADIUS, History

WINDOW = FaultWindow(0, "lock-partition", RADIUS, INJECTING, 10.1, CONFIRMED, HEALING, 20.1, PROBED)


def operation(start: float, end: float, month: Month = DECEMBER) -> Operation:
    return Operation(0, ev.OpKind.WRITE, 0, "id", month.first_day, "{}", start, end)


@pytest.mark.parametrize(
    ("start", "end", "side"),
    [
        (9.0, 9.9, Side.OFF),
        (9.0, 10.0, Side.EDGE),
        (10.1, 10.3, Side.EDGE),
        (10.3, 19.9, Side.ON),
        (19.9, 20.0, Side.EDGE),
        (22.0, 22.1, Side.EDGE),
        (PROBED + 5.1, PROBED + 5.2, Side.OFF),
    ],
)
def test_a_covered_operation_is_placed_by_the_marks(start: float, end: float, side: Side) -> None:
    assert side_of(WINDOW, operation(start, end), Limits()) is side


@pytest.mark.parametrize(
    ("edge", "start", "side"),
    [
        (Edge.MONTHS, 10.1, Side.OFF),
        (Edge.DDL, 10.1, Side.EDGE),
        (Edge.DDL, 15.0, Side.OFF),
        (Edge.DDL, 20.05, Side.EDGE),
        (Edge.DDL, 21.0, Side.OFF),
        (Edge.RESTART, 15.0, Side.OFF),
        (Edge.RESTART, 21.0, Side.EDGE),
        (Edge.RESTART, PROBED + 5.5, Side.OFF),
    ],
)
def test_an_uncovered_operation_meets_only_the_declared_edges(edge: Edge, start: float, side: Side) -> None:
    window = dataclasses.replace(WINDOW, radius=dataclasses.replace(RADIUS, edge=edge))
    assert side_of(window, operation(start, start + 0.01, JANUARY), Limits()) is side


@pytest.mark.parametrize(
    ("confirmed", "healed", "start", "side"),
    [
        (10.2, 20.9, 20.95, Side.OFF),
        (10.2, 21.0, 21.01, Side.EDGE),
        (10.2, 21.0, 25.9, Side.EDGE),
        (10.2, 21.0, 26.1, Side.OFF),
        (10.9, 20.1, 10.95, Side.OFF),
        (11.0, 20.1, 11.01, Side.EDGE),
        (11.0, 20.1, 15.9, Side.EDGE),
        (11.0, 20.1, 16.1, Side.OFF),
    ],
)
def test_statements_that_outlast_a_lock_time_out_are_an_edge_of_other_months_until_their_recovery(
    confirmed: float, healed: float, start: float, side: Side
) -> None:
    radius = dataclasses.replace(RADIUS, edge=Edge.DDL)
    window = dataclasses.replace(WINDOW, radius=radius, confirmed=confirmed, healed=healed)
    assert side_of(window, operation(start, start + 0.01, JANUARY), Limits()) is side


@pytest.mark.parametrize(
    ("start", "side"), [(9.0, Side.OFF), (15.0, Side.EDGE), (21.0, Side.EDGE), (PROBED + 5.5, Side.OFF)]
)
@pytest.mark.parametrize("month", [DECEMBER, JANUARY])
def test_flapping_is_an_edge_from_its_inject_to_its_recovery(month: Month, start: float, side: Side) -> None:
    window = dataclasses.replace(WINDOW, radius=dataclasses.replace(RADIUS, edge=Edge.FLAPPING))
    assert side_of(window, operation(start, start + 0.01, month), Limits()) is side


def test_flapping_allows_both_answers_and_nothing_strictly() -> None:
    history = History()
    history.fault(radius=dataclasses.replace(RADIUS, write=Write.PARTIAL, edge=Edge.FLAPPING))
    for month in (DECEMBER, JANUARY):
        allowed, strict, _ = expect(history, history.op(15.0, month, 201))
        assert (allowed, strict) == (frozenset({201, 202}), False)


def test_a_fault_never_confirmed_leaves_only_edges() -> None:
    window = dataclasses.replace(WINDOW, confirmed=None)
    assert side_of(window, operation(15, 15.1), Limits()) is Side.EDGE


def test_a_fault_never_probed_never_ends() -> None:
    window = dataclasses.replace(WINDOW, probed=None)
    assert side_of(window, operation(500, 500.1), Limits()) is Side.EDGE


@pytest.mark.parametrize(
    ("edge", "at_edge"), [(Edge.MONTHS, {201}), (Edge.DDL, {201, 202}), (Edge.RESTART, {201, 202})]
)
def test_a_month_that_stays_writable_may_queue_while_statements_of_its_fault_run(edge: Edge, at_edge: set[int]) -> None:
    radius = BlastRadius(months=frozenset({DECEMBER}), write=Write.YES, edge=edge)
    window = dataclasses.replace(WINDOW, radius=radius)
    sides = (Side.EDGE, Side.ON, Side.OFF)
    answers = [
        {answer for one in _choices(window, side, operation(10.1, 10.2)) for answer in _answers_under(one)}
        for side in sides
    ]
    assert answers == [at_edge, {201}, {201}]


def _answers_under(radius: BlastRadius | None) -> frozenset[int]:
    return answers_for_write(State.under([] if radius is None else [radius]), Limits(), writers_fit=True)


def expect(history: History, number: int) -> tuple[frozenset[int], bool, Phase]:
    run = history.run()
    found = Oracle(run).expect(run.by_op[number])
    return found.allowed, found.strict, found.phase


@pytest.mark.parametrize(
    ("t", "allowed", "strict", "phase"),
    [
        (5.0, {201}, True, Phase.BEFORE),
        (10.05, {201, 202}, False, Phase.DURING),
        (15.0, {202}, True, Phase.DURING),
        (21.0, {201, 202}, False, Phase.AFTER),
        (26.0, {201}, True, Phase.AFTER),
    ],
)
def test_a_write_is_judged_by_its_phase(t: float, allowed: set[int], strict: bool, phase: Phase) -> None:
    history = History()
    history.fault()
    history.add(ev.PhaseMark(0.0, "before"), ev.PhaseMark(INJECTING, "during"), ev.PhaseMark(HEALING, "after"))
    assert expect(history, history.op(t, DECEMBER, 201)) == (frozenset(allowed), strict, phase)


@pytest.mark.parametrize(
    ("first", "t", "allowed"),
    [(201, 6.0, {201}), (202, 6.0, {201, 202}), (0, 6.0, {201, 202}), (201, 15.0, {201, 202})],
)
def test_a_resend_answers_by_the_present_state(first: int, t: float, allowed: set[int]) -> None:
    history = History()
    history.fault()
    number = history.op(5.0, DECEMBER, first)
    again = history.op(t, DECEMBER, 201, kind=ev.OpKind.RESEND, of=number)
    assert expect(history, again)[0] == allowed


@pytest.mark.parametrize(
    ("first", "t", "allowed"),
    [(201, 6.0, {409}), (202, 6.0, {409, 202}), (0, 6.0, {409, 201}), (201, 15.0, {409, 202})],
)
def test_a_conflict_is_refused_or_found_while_draining(first: int, t: float, allowed: set[int]) -> None:
    history = History()
    history.fault()
    number = history.op(5.0, DECEMBER, first)
    again = history.op(t, DECEMBER, 409, kind=ev.OpKind.CONFLICT, of=number)
    assert expect(history, again)[0] == allowed


def test_a_resend_beside_its_original_may_find_it_or_not() -> None:
    history = History()
    number = history.op(5.0, DECEMBER, 201, took=2.0)
    again = history.op(6.0, DECEMBER, 201, kind=ev.OpKind.RESEND, of=number)
    assert expect(history, again)[0] == {201, 202}


def test_an_invalid_event_is_rejected_whatever_the_fault() -> None:
    history = History()
    history.fault(dataclasses.replace(RADIUS, dlq=Dlq.NO))
    assert expect(history, history.op(15.0, DECEMBER, 400, kind=ev.OpKind.INVALID))[0] == {400}


def test_nobody_answers_for_a_silenced_service() -> None:
    history = History()
    history.fault(BlastRadius(months=None, service=ServiceState.PAUSED))
    assert expect(history, history.op(15.0, JANUARY, 0))[0] == {0}


def test_a_service_short_of_something_answers_honestly_or_not_at_all() -> None:
    history = History()
    history.fault(
        BlastRadius(months=None, write=Write.PARTIAL, dlq=Dlq.PARTIAL, service=ServiceState.PARTIAL, edge=Edge.RESTART)
    )
    assert expect(history, history.op(15.0, JANUARY, 0))[0] == {0, 201, 202, 503}
    assert expect(history, history.op(15.0, JANUARY, 400, kind=ev.OpKind.INVALID))[0] == {0, 400}


@pytest.mark.parametrize(
    ("dlq", "allowed"),
    [(Dlq.YES, {202}), (Dlq.PARTIAL, {202, 503}), (Dlq.NO, {503}), (Dlq.DESTROYED, {503})],
)
def test_a_queue_that_takes_little_leaves_the_answers_that_its_state_allows(dlq: Dlq, allowed: set[int]) -> None:
    history = History()
    history.fault(RADIUS)
    history.fault(BlastRadius(months=None, dlq=dlq, edge=Edge.MONTHS), number=1)
    assert expect(history, history.op(15.0, DECEMBER, 503))[0] == allowed
    assert expect(history, history.op(15.0, JANUARY, 201))[0] == {201}


def test_overlapping_faults_intersect() -> None:
    history = History()
    history.fault()
    history.fault(BlastRadius(months=None, dlq=Dlq.NO), number=1)
    assert expect(history, history.op(15.0, DECEMBER, 503))[0] == {503}
    assert expect(history, history.op(15.0, JANUARY, 201))[0] == {201}


def test_a_delay_demands_direct_writes_only_from_writers_that_fit_the_share() -> None:
    history = History()
    history.fault(BlastRadius(months=frozenset({DECEMBER}), write=Write.DELAYED, delay_ms=50))
    numbers = [history.op(15.0, DECEMBER, 201, writer=writer) for writer in range(4)]
    assert expect(history, numbers[0])[0] == {201}
    history.op(15.0, DECEMBER, 201, writer=4)
    assert expect(history, numbers[0])[0] == {201, 202}


def test_the_probes_of_the_harness_are_no_writers_beside_the_load() -> None:
    history = History()
    history.fault(BlastRadius(months=frozenset({DECEMBER}), write=Write.DELAYED, delay_ms=50))
    history.op(0.1, DECEMBER, 201, writer=-1)
    numbers = [history.op(15.0, DECEMBER, 201, writer=writer) for writer in range(4)]
    assert expect(history, numbers[0])[0] == {201}


def test_a_fault_on_some_dates_spares_the_rest_of_its_month() -> None:
    history = History()
    dates = (DECEMBER.first_day, DECEMBER.first_day.replace(day=2))
    history.fault(dataclasses.replace(RADIUS, dates=dates))
    first, second = history.op(15.0, DECEMBER, 202), history.op(15.0, DECEMBER, 201)
    assert expect(history, first)[0] == {202}
    assert expect(history, second)[0] == {201}


def test_the_rest_of_a_month_may_be_spared_with_it_where_the_radius_says_so() -> None:
    history = History()
    dates = (DECEMBER.first_day, DECEMBER.first_day.replace(day=2))
    history.fault(dataclasses.replace(RADIUS, dates=dates, rest=Write.PARTIAL))
    first, second, other = (
        history.op(15.0, DECEMBER, 202),
        history.op(15.0, DECEMBER, 201),
        history.op(15.0, JANUARY, 201),
    )
    assert expect(history, first)[0] == {202}
    assert expect(history, second)[0] == {201, 202}
    assert expect(history, other)[0] == {201}
