"""In any honest run no checker has a finding, and of one planted anomaly the checker that is meant finds just that."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.checkers.judge import judge
from harness.checking import CHECKERS, CheckResult

from .generated import honest, simple_plans
from .observations import Plan
from .planted import PLANTED, Known, runs

NEED_THEIR_OWN_SCENARIO = {"exhaustion", "interrupted"}
few = settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@functools.cache
def undisturbed(known: Known) -> Mapping[str, CheckResult]:
    """What each checker says of an honest run: the same for whatever is then planted in it."""
    return {result.checker: result for result in judge(honest(known.plan).run(), tuple(CHECKERS))}


def told(result: CheckResult) -> set[str]:
    """Everything that a checker says in words, and the states that were reached."""
    facts = {name for name, value in result.facts.items() if name.startswith("reached_") and value}
    said = {*(finding.summary for finding in result.findings), *result.unknowns, result.not_checked, *facts}
    return said - {""}


@settings(parent=few, max_examples=30)
@given(simple_plans())
def test_of_an_honest_run_no_checker_has_a_finding(plan: Plan) -> None:
    # That a short run proves too little is honest to say.
    for result in judge(honest(plan).run(), sorted(set(CHECKERS) - NEED_THEIR_OWN_SCENARIO)):
        assert result.findings == ()


@pytest.mark.parametrize("name", sorted(PLANTED))
@few
@given(known=runs(), number=st.integers(0, 500))
def test_what_is_planted_is_found_by_its_checker_and_broken_by_no_other(name: str, known: Known, number: int) -> None:
    planted = PLANTED[name]
    before = undisturbed(known)
    history = honest(known.plan)
    planted.spoil(history, number, known)
    for result in judge(history.run(), tuple(CHECKERS)):
        more = told(result) - told(before[result.checker])
        if result.checker == planted.checker:
            assert any(planted.says in said for said in more), more
        elif result.checker not in planted.also | NEED_THEIR_OWN_SCENARIO:
            assert {finding.summary for finding in result.findings} <= told(before[result.checker])


def test_something_is_planted_for_every_checker() -> None:
    assert {planted.checker for planted in PLANTED.values()} == set(CHECKERS)
