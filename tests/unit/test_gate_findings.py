"""When two findings are the same: figures and ids do not count, months, statuses and names do."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.gating.findings import general


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("12 events of 2025_12 answered 202 are lost.", "3 events of 2025_12 answered 202 are lost."),
        ("The median 202 takes 0.120 s; bound 0.060 s.", "The median 202 takes 1.5 s; bound 0.055 s."),
        ("No answer within 5s (412 ms over).", "No answer within 5s (9 ms over)."),
        (
            "Event 00000000-0000-4000-8000-000000000302 is twice in the table.",
            "Event 7f3c2d10-aaaa-4bbb-8ccc-0123456789AB is twice in the table.",
        ),
        ("created grew by 202; the answers allow 190 to 201.", "created grew by 8; the answers allow 9 to 10."),
        ("Memory grew by 1e+06 bytes.", "Memory grew by 2.5e+07 bytes."),
    ],
)
def test_figures_and_ids_do_not_make_another_finding(one: str, other: str) -> None:
    assert general(one) == general(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("12 events of 2025_12 answered 202 are lost.", "12 events of 2026_01 answered 202 are lost."),
        ("12 events of 2025_12 answered 202 are lost.", "12 events of 2025_12 answered 201 are lost."),
        ("3 events answered 201/202 are lost.", "3 events answered 202 are lost."),
        ("4 x write got 503 where 201 or 202 is due.", "4 x write got 503 where 201 is due."),
        ("Failed to write to audit_events_2025_12.", "Failed to write to audit_events_2026_01."),
        ("No line 'A' although B.", "No line 'C' although B."),
    ],
)
def test_months_statuses_and_words_make_another_finding(one: str, other: str) -> None:
    assert general(one) != general(other)


@settings(deadline=None)
@given(counts=st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), seconds=st.floats(0, 1000))
def test_a_defect_stays_the_same_from_run_to_run(counts: tuple[int, int], seconds: float) -> None:
    said = [f"{count} events of 2025_12 answered 202 were stored {seconds:.3f} s late." for count in counts]
    assert general(said[0]) == general(said[1])
