"""From counts to decisions: shares, counts and expressions, with what they may claim."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.gating import statistics
from harness.gating.config import load_config
from harness.gating.rows import (
    Counted,
    Decision,
    Exposure,
    Row,
    Source,
    Tally,
    Window,
    count_row,
    expression_row,
    share_row,
    span_text,
)
from harness.gating.slo import (
    DAY_SECONDS,
    HOUR_SECONDS,
    MONTH_SECONDS,
    Comparison,
    CountSlo,
    ExpressionSlo,
    Feature,
    Selector,
    ShareSlo,
    Unit,
    percent_text,
)

SHARE = load_config(None).slos[0]
assert isinstance(SHARE, ShareSlo)
ERRORS = CountSlo(
    name="errors",
    counter=Selector("errors_total"),
    limit=10,
    inclusive=False,
    unit=Unit.DAY,
    minimum_share=1.0,
    feature=Feature.POOL_METRICS,
)
FAILURES = CountSlo(
    name="failures",
    counter=Selector("failures_total"),
    limit=0,
    inclusive=True,
    unit=Unit.MONTH,
    minimum_share=1.0,
    feature=Feature.PARTITION_METRICS,
)
OLDEST = ExpressionSlo(
    name="oldest",
    promql="…",
    exposure="…",
    selectors=(),
    comparison=Comparison.MAXIMUM,
    bound=900,
    unit="s",
    minimum_operations=1000,
    feature=Feature.RECOVERY,
)
ORDER = [Decision.PASS, Decision.INSUFFICIENT, Decision.FAIL]
TRAFFIC = Exposure(operations=5000, seconds=DAY_SECONDS)


def share(bad: float, of: float, source: Source = Source.PROMETHEUS, most: float | None = None) -> Row:
    assert isinstance(SHARE, ShareSlo)
    most = bad if most is None else most
    counted = Counted(bad=Tally(bad, most), good=Tally.exactly(of - bad), exposure=Exposure(operations=of))
    return share_row(SHARE, source, counted)


def at_most(failed: int, of: int, share: float) -> float:
    """The chance of so few failures, summed up."""
    return sum(math.comb(of, k) * share**k * (1 - share) ** (of - k) for k in range(failed + 1))


@settings(deadline=None)
@given(of=st.integers(1, 60), data=st.data())
def test_the_bounds_of_a_share_are_those_of_clopper_and_pearson(of: int, data: st.DataObject) -> None:
    failed = data.draw(st.integers(0, of))
    low, high = statistics.share_at_least(failed, of), statistics.share_at_most(failed, of)
    assert 0 <= low <= failed / of <= high <= 1
    if failed < of:
        assert at_most(failed, of, high) == pytest.approx(statistics.ERROR, rel=1e-6)
    if failed:
        assert 1 - at_most(failed - 1, of, low) == pytest.approx(statistics.ERROR, rel=1e-6)


def test_without_a_failure_the_bound_is_the_rule_of_three() -> None:
    assert statistics.rule_of_three(0.001) == 3000
    assert statistics.share_at_most(0, 3000) < 0.001 < statistics.share_at_most(0, 2990)
    assert statistics.share_at_most(0, 0) == 1.0


def test_the_bounds_of_a_mean_are_those_of_garwood() -> None:
    # Garwood, "Fiducial limits for the Poisson distribution", Biometrika 28, 1936.
    assert statistics.mean_at_most(0) == pytest.approx(2.996, abs=0.001)
    assert statistics.mean_at_most(10) == pytest.approx(16.96, abs=0.01)
    assert statistics.mean_at_least(10) == pytest.approx(5.425, abs=0.001)
    assert statistics.mean_at_least(0) == 0.0


@pytest.mark.parametrize("failed", [0, 1, 7, 100])
def test_so_many_operations_as_are_said_to_be_needed_are_enough(failed: int) -> None:
    needed = statistics.operations_needed(failed, 0.001)
    assert statistics.share_at_most(failed, needed) < 0.001
    assert statistics.share_at_most(failed, int(needed * 0.995)) >= 0.001


@pytest.mark.parametrize(
    ("bad", "of", "source", "decision"),
    [
        (0, 3000, Source.PROMETHEUS, Decision.PASS),
        (0, 2999, Source.PROMETHEUS, Decision.INSUFFICIENT),
        (0, 0, Source.PROMETHEUS, Decision.INSUFFICIENT),
        (9, 10_000, Source.PROMETHEUS, Decision.PASS),
        (10, 10_000, Source.PROMETHEUS, Decision.FAIL),
        (1, 100, Source.PROMETHEUS, Decision.FAIL),
        (0, 3000, Source.RUNS, Decision.PASS),
        (0, 2999, Source.RUNS, Decision.INSUFFICIENT),
        (1, 100, Source.RUNS, Decision.INSUFFICIENT),
        (9, 10_000, Source.RUNS, Decision.INSUFFICIENT),
        (4, 10_000, Source.RUNS, Decision.PASS),
        (20, 10_000, Source.RUNS, Decision.FAIL),
        (3, 100, Source.RUNS, Decision.FAIL),
    ],
)
def test_a_share_is_a_fact_in_a_prometheus_and_a_sample_in_runs(
    bad: int, of: int, source: Source, decision: Decision
) -> None:
    assert share(bad, of, source).decision is decision


@settings(deadline=None, max_examples=40)
@given(of=st.integers(1, 20_000), source=st.sampled_from(Source), data=st.data())
def test_a_bad_operation_more_never_betters_a_decision(of: int, source: Source, data: st.DataObject) -> None:
    bad = data.draw(st.integers(0, min(of - 1, 60)))
    worse = data.draw(st.integers(bad + 1, min(of, 120)))
    assert ORDER.index(share(worse, of, source).decision) >= ORDER.index(share(bad, of, source).decision)


@settings(deadline=None, max_examples=40)
@given(of=st.integers(0, 20_000), bad=st.integers(0, 60), doubtful=st.integers(1, 60), source=st.sampled_from(Source))
def test_doubt_can_keep_from_passing_and_never_fails(of: int, bad: int, doubtful: int, source: Source) -> None:
    bad = min(bad, of)
    doubted, sure = share(bad, of, source, most=bad + doubtful), share(bad, of, source)
    if doubted.decision is Decision.PASS:
        assert sure.decision is Decision.PASS
    assert (doubted.decision is Decision.FAIL) == (sure.decision is Decision.FAIL)


def test_where_something_is_missing_nothing_passes_but_what_is_proved_fails() -> None:
    assert isinstance(SHARE, ShareSlo)
    good = Counted(good=Tally.exactly(9000), exposure=Exposure(operations=9000), missing=("stale",))
    assert share_row(SHARE, Source.PROMETHEUS, good).decision is Decision.INSUFFICIENT
    bad = Counted(bad=Tally.exactly(100), good=Tally.exactly(9000), missing=("stale",))
    row = share_row(SHARE, Source.PROMETHEUS, bad)
    assert row.decision is Decision.FAIL
    assert row.reasons == ("100 of 9,100 are bad", "stale")


def days(*counts: float | Tally, seconds: float = DAY_SECONDS) -> list[Window]:
    return [Window(seconds, one if isinstance(one, Tally) else Tally.exactly(one)) for one in counts]


@pytest.mark.parametrize(
    ("windows", "decision"),
    [
        (days(0), Decision.PASS),
        (days(9), Decision.PASS),
        (days(10), Decision.FAIL),
        # Nine days of nothing do not make up for one.
        (days(0, 0, 0, 0, 10, 0, 0, 0, 0, 0), Decision.FAIL),
        (days(9, 9, 9), Decision.PASS),
        (days(Tally(3, 12)), Decision.INSUFFICIENT),
        (days(Tally(10, 12)), Decision.FAIL),
        (days(0, seconds=HOUR_SECONDS), Decision.INSUFFICIENT),
        (days(12, seconds=HOUR_SECONDS), Decision.FAIL),
        # Of three days with 40 one day had at least 13; of those with 12 no day had more than 12.
        (days(40, seconds=3 * DAY_SECONDS), Decision.FAIL),
        (days(12, seconds=3 * DAY_SECONDS), Decision.INSUFFICIENT),
        ([], Decision.INSUFFICIENT),
    ],
)
def test_the_worst_day_decides_about_a_count_a_day(windows: list[Window], decision: Decision) -> None:
    assert count_row(ERRORS, Source.PROMETHEUS, windows, exposure=TRAFFIC).decision is decision


@pytest.mark.parametrize(
    ("count", "seconds", "decision"),
    [
        (0, MONTH_SECONDS, Decision.PASS),
        (0, MONTH_SECONDS - HOUR_SECONDS, Decision.INSUFFICIENT),
        (1, MONTH_SECONDS, Decision.FAIL),
        (1, 30.0, Decision.FAIL),
        (1, 3 * MONTH_SECONDS, Decision.FAIL),
    ],
)
def test_none_a_month_needs_a_month_and_one_breaks_it_at_once(count: int, seconds: float, decision: Decision) -> None:
    windows = days(count, seconds=seconds)
    assert count_row(FAILURES, Source.PROMETHEUS, windows, exposure=TRAFFIC).decision is decision


def test_a_part_of_a_day_is_scaled_up_where_it_is_enough() -> None:
    half = replace(ERRORS, minimum_share=0.5)
    for count, decision in ((4, Decision.PASS), (5, Decision.INSUFFICIENT), (10, Decision.FAIL)):
        row = count_row(half, Source.RUNS, days(count, seconds=DAY_SECONDS / 2), exposure=TRAFFIC)
        assert row.decision is decision, count


def test_a_count_beside_no_traffic_proves_nothing() -> None:
    row = count_row(ERRORS, Source.PROMETHEUS, days(0), exposure=Exposure(seconds=DAY_SECONDS))
    assert row.decision is Decision.INSUFFICIENT
    assert "no traffic proves nothing" in row.reasons[0]


@pytest.mark.parametrize(
    ("values", "operations", "decision"),
    [
        ([3.0, 900.0], 1000, Decision.PASS),
        ([3.0, 900.1], 1000, Decision.FAIL),
        ([901.0], 10, Decision.FAIL),
        ([901.0], 0, Decision.INSUFFICIENT),
        ([3.0], 999, Decision.INSUFFICIENT),
        ([], 1000, Decision.INSUFFICIENT),
        ([math.nan], 1000, Decision.INSUFFICIENT),
        ([3.0, math.nan], 1000, Decision.INSUFFICIENT),
        ([math.inf], 1000, Decision.INSUFFICIENT),
    ],
)
def test_the_worst_value_of_an_expression_decides(values: list[float], operations: int, decision: Decision) -> None:
    assert expression_row(OLDEST, values, exposure=Exposure(operations=operations)).decision is decision


def test_an_expression_is_held_against_its_bound_as_its_key_says() -> None:
    broken = {word: [value for value in (1.0, 2.0, 3.0) if word.broken_by(value, 2.0)] for word in Comparison}
    assert broken == {
        Comparison.BELOW: [2.0, 3.0],
        Comparison.ABOVE: [1.0, 2.0],
        Comparison.MAXIMUM: [3.0],
        Comparison.MINIMUM: [1.0],
    }


def test_figures_are_shown_so_that_near_ones_differ() -> None:
    assert [percent_text(one) for one in (0.999, 0.99983, 1.0, 0.001, 0.0009999, 0.0)] == [
        "99.9 %",
        "99.983 %",
        "100 %",
        "0.1 %",
        "0.09999 %",
        "0 %",
    ]
    assert [span_text(one) for one in (34.2, 90.0, 7200.0, DAY_SECONDS, 36 * HOUR_SECONDS, MONTH_SECONDS)] == [
        "34.2 s",
        "90 s",
        "2 h",
        "1 d",
        "36 h",
        "30 d",
    ]
