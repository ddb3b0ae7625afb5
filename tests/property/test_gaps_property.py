"""A harness that could not look for a while accuses nobody: an honest run has no finding, whatever samples it lacks."""

from __future__ import annotations

import random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.checkers.judge import judge
from harness.checking import CHECKERS

from .gaps import KINDS, WAYS
from .generated import honest, simple_plans
from .observations import Plan
from .test_planted_property import NEED_THEIR_OWN_SCENARIO


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(plan=simple_plans(), way=st.sampled_from(sorted(WAYS)), seed=st.integers(0, 2**32))
def test_an_honest_run_with_samples_missing_has_no_finding(plan: Plan, way: str, seed: int) -> None:
    history = honest(plan)
    history.records = WAYS[way](history.records, random.Random(seed))
    for result in judge(history.run(), sorted(set(CHECKERS) - NEED_THEIR_OWN_SCENARIO)):
        assert result.findings == (), way


@given(plan=simple_plans(), way=st.sampled_from(sorted(WAYS)), seed=st.integers(0, 2**32))
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_only_samples_are_taken_out(plan: Plan, way: str, seed: int) -> None:
    records = honest(plan).records
    left = WAYS[way](records, random.Random(seed))
    assert [one for one in records if not isinstance(one, KINDS)] == [one for one in left if not isinstance(one, KINDS)]


def test_every_way_takes_something_out() -> None:
    records = honest(Plan(faults=(), every=9, restarted_at=None, recorded=True, judge_latency=False)).records
    for name, way in WAYS.items():
        assert any(len(way(records, random.Random(seed))) < len(records) for seed in range(20)), name
