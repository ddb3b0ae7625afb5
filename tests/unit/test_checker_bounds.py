"""Checkers of what must not grow: the queue beyond its capacity, and what a service holds over faults and cycles."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import events as ev
from harness.blast import Dlq
from harness.checkers.leaks import LAST_RISES, MEMORY_SLOPE_BYTES, MIN_CYCLES
from harness.checking import CheckResult
from harness.values import Promise, Verdict
from tests.unit.histories import DECEMBER, END, INJECTING, RADIUS, History, check, gauge, good, promises

FULL = dataclasses.replace(RADIUS, dlq=Dlq.NO)
IN_USE = "datastorage_db_connections_in_use"


def with_capacity(capacity: int) -> History:
    """The good run, whose queue of about a hundred events says this capacity."""
    history = good()
    history.edit(ev.DlqSample, lambda sample: True, capacity=capacity)
    return history


def test_a_queue_within_its_capacity_passes_and_one_above_it_is_a_finding_with_numbers() -> None:
    most = int(check("capacity", good()).facts["queue_most_events"])
    assert check("capacity", good()).facts["capacity_not_told"] == 1.0
    assert check("capacity", with_capacity(most)).verdict is Verdict.PASS
    (finding,) = check("capacity", with_capacity(most - 1)).findings
    assert finding.promise is Promise.BOUNDS
    assert f"more than its capacity of {most - 1}" in finding.summary


def test_an_event_counted_twice_while_it_moves_to_the_dead_letters_is_no_excess() -> None:
    history = with_capacity(100)
    history.edit(ev.DlqSample, lambda sample: True, depth=50, dead=50)
    history.edit(ev.DlqSample, lambda sample: sample.t == 15.0, dead=51)
    assert check("capacity", history).verdict is Verdict.PASS
    history.edit(ev.DlqSample, lambda sample: sample.t == 15.5, dead=51)
    assert promises("capacity", history) == {Promise.BOUNDS}


def test_a_depth_above_the_capacity_is_one_figure_and_so_a_finding_in_a_single_sample() -> None:
    history = with_capacity(1000)
    history.edit(ev.DlqSample, lambda sample: sample.t == 15.0, depth=1001)
    assert promises("capacity", history) == {Promise.BOUNDS}


def test_more_queued_rows_at_the_end_than_there_is_room_are_named() -> None:
    history = with_capacity(10**6)
    history.edit(ev.RunStarted, lambda record: True, scenario_json='{"service_environment": {"DLQ_MAX_EVENTS": "120"}}')
    for number in history.ops(DECEMBER, 0, 40)[:121]:
        history.queued_row(number)
    (finding,) = check("capacity", history).findings
    assert len(finding.event_ids) == 1


def refusing(held: int, capacity: int, count: int, name: str = "dlq-full") -> History:
    """A run in which a queue that holds so much refuses so many events of December under a fault of that name."""
    history = with_capacity(capacity)
    history.drop(ev.FaultMark)
    history.fault(FULL, name=name)
    history.edit(ev.DlqSample, lambda sample: INJECTING <= sample.t <= 21, depth=held)
    history.edit(ev.DlqSample, lambda sample: not INJECTING <= sample.t <= 21, depth=0)
    for number in history.ops(DECEMBER, 14, 16)[:count]:
        history.answer(number, 503, type=ev.Completion.FAIL, outcome="not_stored")
    return history


def test_events_refused_while_there_was_room_are_a_finding() -> None:
    (finding,) = check("capacity", refusing(60, 120, 10)).findings
    assert "10 events were refused with 503 while the queue held at most 60 of 120" in finding.summary
    assert len(finding.event_ids) == 10


@pytest.mark.parametrize(
    "history",
    [
        refusing(120, 120, 10),
        refusing(115, 120, 10),
        refusing(60, 120, 4),
        refusing(60, 120, 10, name="dlq-locked"),
    ],
    ids=["full", "perhaps full between two samples", "a stall of the disk", "another fault of the queue"],
)
def test_refusals_that_may_be_honest_are_none(history: History) -> None:
    assert check("capacity", history).verdict is Verdict.PASS


def test_a_queue_that_may_not_be_looked_at_is_not_checked_and_one_never_seen_is_unknown() -> None:
    assert check("capacity", good().without("dlq")).not_checked == "dlq"
    history = good()
    history.drop(ev.DlqSample)
    assert check("capacity", history).verdict is Verdict.UNKNOWN


def watched(held: Callable[[float], tuple[int, int]] = lambda t: (60, 2**26), *, pid: int = 7) -> History:
    """The good run with its process looked at ten times a second: descriptors and memory by time."""
    history = good()
    for step in range(int(END * 10)):
        descriptors, memory = held(step / 10)
        history.add(ev.ProcessSample(step / 10, pid, memory, descriptors, 4))
    return history


def test_what_is_held_after_the_heal_as_before_passes_and_descriptors_not_given_back_are_a_finding() -> None:
    assert check("leaks", watched()).facts["descriptors_after"] == 60
    assert check("leaks", watched()).facts["descriptors_allowed"] == 40 + 25 + 16 + 2
    assert check("leaks", watched(lambda t: (60 + 23 * (t > 12), 2**26))).verdict is Verdict.PASS
    (finding,) = check("leaks", watched(lambda t: (60 + 24 * (t > 12), 2**26))).findings
    assert "84 descriptors at least after the last recovery, where 83 at most" in finding.summary
    assert finding.event_ids


def test_a_connection_more_for_each_writer_and_what_is_held_for_a_while_are_no_leak() -> None:
    joined = watched(lambda t: (60 + 24 * (t > 12), 2**26))
    joined.op(25.0, DECEMBER, 201, writer=9)
    assert check("leaks", joined).verdict is Verdict.PASS
    assert check("leaks", watched(lambda t: (60 + 90 * (12 < t < 35), 2**26))).verdict is Verdict.PASS


def test_another_life_of_the_process_is_not_compared_with_the_one_before() -> None:
    history = watched(lambda t: (60 + 100 * (t > 12), 2**26))
    history.add(ev.ServiceMark(15.0, "restarted", 8))
    assert check("leaks", history).verdict is Verdict.PASS


def test_connections_of_the_pool_that_are_never_given_back_are_a_finding() -> None:
    history = watched()
    gauge(history, lambda t, text, value: 3.0 if text == IN_USE and t > 12 else 0.0 if text == IN_USE else value)
    assert promises("leaks", history) == {Promise.BOUNDS}
    gauge(history, lambda t, text, value: 2.0 if text == IN_USE and t == 33 else value)
    assert promises("leaks", history) == set(), "once it was seen to be given back"


def test_a_service_that_nobody_can_look_into_is_not_checked() -> None:
    history = good()
    history.drop(ev.MetricsSample)
    assert check("leaks", history).not_checked == "process"


def cycled(floors: Sequence[int], memory: Sequence[int] = (), *, restarted_at: float | None = None) -> History:
    """One fault again and again, 2 s each; between them and around the process holds so much at its quietest."""
    history = History()
    history.add(ev.ServiceMark(-1.0, "started", 7), ev.FinalRead(100.0, True, True))
    history.op(5.0, DECEMBER, 201)
    for number in range(len(floors) - 1):
        t = 10.0 + 4 * number
        history.fault(number=number, injecting=t, injected=t, confirmed=t, healing=t + 2, healed=t + 2, probed=t + 2)
    for number, floor in enumerate(floors):
        t = 9.5 + 4 * number if number < len(floors) - 1 else 90.0
        bytes_held = memory[number] if memory else 2**26
        for look in range(5):
            at = t + look / 20
            history.add(ev.ConnectionSample(at, 20), ev.ProcessSample(at, 7, bytes_held, floor + 20 + look % 3, 4))
    if restarted_at is not None:
        history.add(ev.ServiceMark(restarted_at, "restarted", 8))
    return history


def slopes(floors: Sequence[int], memory: Sequence[int] = (), **more: float) -> CheckResult:
    return check("leaks", cycled(floors, memory, **more))


def test_one_descriptor_a_cycle_is_found_with_its_numbers() -> None:
    (finding,) = slopes([40, 40, 41, 42, 43, 44, 45]).findings
    assert "40, 41, 42, 43, 44, 45" in finding.summary
    assert finding.promise is Promise.BOUNDS


@pytest.mark.parametrize(
    "floors",
    [
        [40, 48, 50, 50, 50, 50, 50],
        [40, 41, 42, 43, 44, 44, 45],
        [40, 42, 41, 43, 42, 43, 42],
    ],
    ids=["what warms up", "a cycle that adds nothing", "noise"],
)
def test_what_does_not_grow_with_each_of_the_last_cycles_is_no_leak(floors: list[int]) -> None:
    assert slopes(floors).verdict is Verdict.PASS


@pytest.mark.parametrize(("mebibytes", "leaks"), [(1.0, True), (0.5, False)])
def test_memory_slopes_upward_only_by_more_than_an_allocator_does(mebibytes: float, leaks: bool) -> None:
    held = [2**26 + int(number * mebibytes * 2**20) for number in range(7)]
    assert bool(slopes([40] * 7, held).findings) == leaks


def test_fewer_cycles_prove_no_slope_and_a_restart_begins_another_life() -> None:
    assert slopes(list(range(MIN_CYCLES))).verdict is Verdict.PASS
    assert slopes([40, 40, 41, 42, 43, 44, 45], restarted_at=25.0).facts["cycles_of_several_lives"] == 1.0


def test_cycles_whose_quiet_nobody_looked_at_prove_nothing() -> None:
    history = cycled([40] * 7)
    history.drop(ev.ProcessSample, lambda sample: 20 < sample.t < 22)
    assert check("leaks", history).verdict is Verdict.UNKNOWN


@settings(deadline=None)
@given(st.lists(st.integers(0, LAST_RISES - 1), min_size=7, max_size=12), st.integers(0, MEMORY_SLOPE_BYTES // 2))
def test_noise_narrower_than_the_cycles_are_many_never_alarms(noise: list[int], jitter: int) -> None:
    held = [2**26 + (jitter if value % 2 else 0) for value in noise]
    assert slopes([40 + value for value in noise], held).verdict is Verdict.PASS


@settings(deadline=None)
@given(st.lists(st.integers(1, 9), min_size=6, max_size=10), st.integers(0, 5))
def test_whatever_each_cycle_adds_is_found(rises: list[int], first: int) -> None:
    floors = [40 + first + sum(rises[:number]) for number in range(len(rises) + 1)]
    assert slopes(floors).verdict is Verdict.FAIL
