"""A condensed run is judged as the whole one is: the same findings, unknowns and facts from every checker."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from harness import events as ev
from harness.blast import BlastRadius, Write
from harness.checkers import DEFAULT_CHECKERS, fallback, isolation
from harness.checkers._queue_truth import QueueTruth
from harness.checkers.clocks import clocks
from harness.checkers.judge import judge
from harness.columnar.condense import condense
from harness.columnar.convert import convert
from harness.columnar.store import Store
from harness.jsonlines import encode
from harness.rundata import Run

from ..unit.histories import MONTHS, History
from ..unit.test_standstill import BEFORE, UNDER, hung
from .generated import Generated, histories, honest
from .observations import Plan
from .spoils import SPOILS


@contextmanager
def condensed(history: History) -> Iterator[Run]:
    """The condensed run of a history, as long as its columns are there."""
    folder = Path(tempfile.mkdtemp(prefix="condensed-"))
    try:
        convert((f"{encode(record)}\n" for record in history.records), folder / "columns")
        store = Store(folder / "columns")
        try:
            yield condense(store, DEFAULT_CHECKERS)
        finally:
            store.close()
    finally:
        shutil.rmtree(folder)


def judged_alike(history: History) -> None:
    """Judge a history whole and condensed, with latencies judged from a few samples on."""
    whole = history.run()
    with pytest.MonkeyPatch.context() as patch, condensed(history) as run:
        for module in (fallback, isolation):
            patch.setattr(module, "MIN_LATENCY_SAMPLES", 5)
            patch.setattr(module, "LATENCY_MARGIN_SECONDS", 0.0)
        assert run.sent == len(whole.operations)
        for expected, found in zip(judge(whole, DEFAULT_CHECKERS), judge(run, DEFAULT_CHECKERS), strict=True):
            assert found == expected
        assert clocks(run) == clocks(whole)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(histories())
def test_a_condensed_run_is_judged_as_the_whole_one(generated: Generated) -> None:
    judged_alike(generated.history)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(histories())
def test_what_a_run_is_asked_of_all_its_operations_does_not_depend_on_folding(generated: Generated) -> None:
    whole = generated.history.run()
    times = [0.0, 0.05, 0.5, 2.07, 3.0, 7.5600001, 11.11, 29.0]
    with condensed(generated.history) as run:
        assert run.begun_by(times) == whole.begun_by(times)
        for end, patience in ((math.inf, 0.0), (whole.end, 5.0)):
            over = run.over_before(times, end=end, patience=patience)
            assert over == whole.over_before(times, end=end, patience=patience)
        assert run.slow_spans(0.2) == whole.slow_spans(0.2)
        assert run.usual_201[0] == whole.usual_201[0]
        assert run.usual_201[1] == pytest.approx(whole.usual_201[1])
        assert QueueTruth(run).clock_ahead_seconds == pytest.approx(QueueTruth(whole).clock_ahead_seconds, abs=1e-9)
        assert run.writers == whole.writers
        assert run.began == whole.began
        assert run.tallied(times) == whole.tallied(times)
        for count in (1, 7):
            slowest = [[op.op for op in one.slowest(count)] for one in (run, whole)]
            assert slowest[0] == slowest[1]
        busiest = run.busiest_writer(1.0, 20.0), whole.busiest_writer(1.0, 20.0)
        assert busiest[0] == busiest[1]
        for month in MONTHS:
            first = [[op.op for op in one.first_created(month, 7)] for one in (run, whole)]
            assert first[0] == first[1]
            gaps = [_gaps(one.created_times(month, 0.0, 25.0, 0.6), 0.6) for one in (run, whole)]
            assert gaps[0] == gaps[1]


def _gaps(times: Sequence[float], longer_than: float) -> list[tuple[float, float]]:
    return [(one, two) for one, two in pairwise(times) if two - one > longer_than]


DETACHED = BlastRadius(months=frozenset({MONTHS[0]}), write=Write.NO)
PLAN = Plan(faults=((DETACHED, 8.0, 16.0),), every=5, restarted_at=None, recorded=True, judge_latency=False)


@pytest.mark.parametrize("name", sorted(SPOILS))
def test_no_spoil_is_folded_away(name: str) -> None:
    history = honest(PLAN)
    for number in (11, 24, 45):
        SPOILS[name](history, number)
    assert history.records != honest(PLAN).records
    judged_alike(history)


@pytest.mark.parametrize("begin", [BEFORE, UNDER])
def test_what_was_under_way_while_the_machine_hung_is_not_folded_with_what_was_not(begin: float) -> None:
    judged_alike(hung(begin, 0.3))


def test_honest_operations_are_folded_but_for_those_that_span_a_time_that_counts() -> None:
    history = honest(PLAN)
    with condensed(history) as run:
        assert len(run.operations) < run.sent / 10
        assert {group.like.kind for group in run.groups} == set(ev.OpKind) - {ev.OpKind.POISON}
