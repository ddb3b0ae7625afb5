"""What counters grew by through restarts, gaps and beginnings, and the period of a Prometheus in windows."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.gating.counters import Seen, between, growth, total
from harness.gating.rows import Tally
from harness.gating.server import Period, parse_span
from harness.gating.slo import DAY_SECONDS, HOUR_SECONDS, MONTH_SECONDS, Selector


def nobody(number: int) -> list[float]:
    raise AssertionError(f"window {number} was asked for its samples, although nothing fell in it")


def test_increase_through_a_restart_is_what_was_counted_on_both_sides() -> None:
    assert between(5, [7, 2, 3]) == Tally.exactly(5)


def test_a_restart_between_two_windows_is_seen_though_the_counter_is_higher_after_it() -> None:
    # 3, then a new process that counted from 1 to 7: last minus first would be 4.
    assert growth(3, [Seen(last=7, least=1)], nobody) == [Tally.exactly(7)]


def test_a_restart_within_a_window_is_counted_sample_by_sample() -> None:
    grown = growth(3, [Seen(last=4, least=1, fell=True)], lambda number: [3, 9, 1, 4])
    assert grown == [Tally.exactly(6 + 1 + 3)]


def test_samples_that_are_no_longer_kept_leave_what_is_surely_known() -> None:
    assert growth(3, [Seen(last=4, least=1, fell=True)], lambda number: []) == [Tally.exactly(4)]


def test_what_a_counter_shows_when_it_is_first_seen_may_be_from_before() -> None:
    assert growth(None, [Seen(last=9, least=7)], nobody) == [Tally(2, 9)]
    assert growth(0, [Seen(last=9, least=7)], nobody) == [Tally.exactly(9)]


def test_a_gap_between_scrapes_loses_nothing() -> None:
    grown = growth(2, [Seen(5, 3), None, None, Seen(11, 11)], nobody)
    assert grown == [Tally.exactly(3), Tally(), Tally(), Tally.exactly(6)]


lives = st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=12), min_size=1, max_size=4)


@settings(deadline=None)
@given(lives=lives, size=st.integers(1, 6), known=st.booleans())
def test_windows_tell_what_every_sample_tells(lives: list[list[int]], size: int, known: bool) -> None:
    """Each life of a process counts from 0; its samples are the sums of its steps."""
    samples = [float(value) for steps in lives for value in itertools.accumulate(steps)]
    windows = [samples[at : at + size] for at in range(0, len(samples), size)]
    seen = [
        Seen(last=values[-1], least=min(values), fell=any(b < a for a, b in itertools.pairwise(values)))
        for values in windows
    ]
    before = 0.0 if known else None
    grown = growth(before, seen, lambda number: windows[number])
    assert total(grown) == between(before, samples)
    true = float(sum(sum(steps) for steps in lives))
    # A life that begins at or above where the last one ended cannot be told from one that went on.
    noticed = all(steps[0] < sum(before) for before, steps in itertools.pairwise(lives))
    if noticed:
        assert total(grown).most == true
    assert total(grown).least <= true
    if known and noticed:
        assert total(grown).least == true


@pytest.mark.parametrize(
    ("seconds", "windows"),
    [
        (MONTH_SECONDS, 720),
        (7 * DAY_SECONDS, 672),
        (DAY_SECONDS, 288),
        (36 * HOUR_SECONDS, 432),
        (HOUR_SECONDS, 12),
        (60.0, 10),
        (365 * DAY_SECONDS, 365),
    ],
)
def test_a_period_is_cut_into_windows_of_which_days_consist(seconds: float, windows: int) -> None:
    period = Period.of(1_700_000_000.0, seconds)
    assert period.windows == windows
    assert period.over(-1) == period.start
    assert period.over(period.windows - 1) == pytest.approx(period.end)
    assert [period.number_at(period.over(number)) for number in range(-1, windows)] == list(range(-1, windows))
    if seconds % DAY_SECONDS == 0:
        assert (DAY_SECONDS / period.step_seconds).is_integer()


@pytest.mark.parametrize(("text", "seconds"), [("30d", MONTH_SECONDS), ("1d12h", 36 * HOUR_SECONDS), ("90s", 90.0)])
def test_a_period_is_read_as_prometheus_writes_one(text: str, seconds: float) -> None:
    assert parse_span(text) == seconds


@pytest.mark.parametrize("text", ["30", "", "0d", "-1d", "a month", "1.5d", "30 d"])
def test_what_is_no_period_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no period"):
        parse_span(text)


def test_a_selector_is_written_as_it_was_read_and_picks_series() -> None:
    selector = Selector.parse('events_total{outcome=~"created|queued",path!="a\\"b\\\\c"}')
    assert Selector.parse(str(selector)) == selector
    assert selector.matches("events_total", {"outcome": "queued", "path": "x"})
    assert not selector.matches("events_total", {"outcome": "rejected"})
    assert not selector.matches("events_total", {"outcome": "queued", "path": 'a"b\\c'})
    assert not selector.matches("events", {"outcome": "queued"})


@pytest.mark.parametrize("text", ["a[5m]", "sum(a)", '{b="c"}', 'a{b="c" or d="e"}', "a offset 5m", "a b", "3"])
def test_what_is_no_selector_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="selector"):
        Selector.parse(text)
