"""The figures of one run: which writes count where, and what the scrapes add up to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from harness import events as ev
from harness.checkers._pool_series import WAIT
from harness.checkers._series import Scrape
from harness.report.figures import (
    DRAINED,
    EVENTS,
    answers,
    canary_times,
    direct_writes,
    grown,
    key_metrics,
    latencies,
    pool_use,
    scrapes_of,
)
from tests.unit.histories import CONFIRMED, DECEMBER, HEALING, INJECTING, JANUARY, PROBED, History, good


def scrapes(*pages: dict[str, float]) -> list[Scrape]:
    return [Scrape(ev.MetricsSample(float(t), page)) for t, page in enumerate(pages)]


def test_writes_outside_are_all_but_those_of_the_covered_month_until_it_has_recovered() -> None:
    run = good().run()
    found = latencies(run)
    edge = PROBED + run.limits.recovery_seconds
    spared = len(good().ops(JANUARY, 0.0, 100.0))
    before, after = len(good().ops(DECEMBER, 0.0, INJECTING - 0.02)), len(good().ops(DECEMBER, edge, 100.0))
    assert before > 90
    assert after > 80
    assert len(found.outside) == spared + before + after
    assert all(seconds == pytest.approx(0.01) for _, seconds in found.outside)


def test_control_and_under_are_of_the_spared_month_alone() -> None:
    run = good().run()
    found = latencies(run)
    assert len(found.control) == len(good().ops(JANUARY, 0.0, INJECTING - 0.01))
    settled = CONFIRMED + run.limits.lock_timeout_seconds + 0.5
    assert len(found.under) == len(good().ops(JANUARY, settled, HEALING - 0.01))
    assert latencies(good(faulty=False).run()).control == ()


def test_probes_batches_and_what_was_not_stored_at_once_are_no_direct_writes() -> None:
    history = History()
    history.op(1.0, DECEMBER, 201)
    history.op(2.0, DECEMBER, 202)
    history.op(3.0, DECEMBER, 201, batch=1)
    history.op(4.0, DECEMBER, 201, writer=-1)
    history.op(5.0, DECEMBER, 201, kind=ev.OpKind.RESEND, of=0)
    assert [op.op for op in direct_writes(history.run())] == [0]


def test_answers_leave_edges_out_and_tell_inside_from_outside() -> None:
    history = good()
    history.answer(history.ops(DECEMBER, 15.0, 15.1)[0], 503)
    # Before its confirmation nobody knows whether the fault was met.
    history.answer(history.ops(DECEMBER, INJECTING + 0.04, CONFIRMED)[0], 503)
    found = answers(history.run())
    assert found.inside[503] == 1
    assert set(found.inside) == {202, 503}
    assert set(found.outside) == {201}
    assert found.inside.total() + found.outside.total() < len(history.run().operations)


def test_the_canary_counts_where_no_fault_is() -> None:
    history = good()
    history.add(ev.CanarySample(3.0, DECEMBER.label, 0.5, "57014"))
    times = canary_times(history.run())
    assert times
    assert {seconds for _, seconds in times} == {0.002}
    covered = [t for t, _ in canary_times(good().run()) if INJECTING < t < PROBED]
    assert len(covered) == len([s for s in good().run().of_kind(ev.CanarySample) if INJECTING < s.t < PROBED])


@pytest.mark.parametrize(
    ("values", "growth"),
    [((3.0, 5.0, 9.0), 6.0), ((3.0, 5.0, 1.0, 4.0), 6.0), ((3.0,), None), ((), None)],
    ids=["rising", "a restart", "one scrape", "none"],
)
def test_a_counter_grows_by_its_steps_and_begins_anew_with_another_process(
    values: tuple[float, ...], growth: float | None
) -> None:
    pages = scrapes(*({"x_total": value} for value in values))
    assert grown(pages, "x_total") == growth


def test_labels_choose_and_new_ones_count_from_nothing() -> None:
    pages = scrapes(
        {f'{EVENTS}{{outcome="queued"}}': 1.0, f'{EVENTS}{{outcome="created"}}': 7.0, f'{DRAINED}{{partition="a"}}': 0},
        {
            f'{EVENTS}{{outcome="queued"}}': 4.0,
            f'{EVENTS}{{outcome="created"}}': 9.0,
            f'{DRAINED}{{partition="a"}}': 1,
            f'{DRAINED}{{partition="b"}}': 2,
        },
    )
    assert grown(pages, EVENTS, outcome="queued") == 3.0
    assert grown(pages, DRAINED) == 3.0
    assert grown(pages, "nowhere_total") is None


def waits(*steps: tuple[float, float, float]) -> Iterator[dict[str, float]]:
    """Scrapes with so many acquisitions, of which so many within a millisecond, and so many connections in use."""
    for count, quick, in_use in steps:
        yield {
            f"{WAIT}_count": count,
            f"{WAIT}_sum": 0.05 * (count - quick),
            f'{WAIT}_bucket{{le="0.001"}}': quick,
            f'{WAIT}_bucket{{le="0.1"}}': count - 1,
            f'{WAIT}_bucket{{le="+Inf"}}': count,
            "datastorage_db_connections_in_use": in_use,
        }


def test_the_pool_is_told_by_its_histogram_and_its_gauge() -> None:
    use = pool_use(scrapes(*waits((101, 100, 3), (201, 150, 10), (301, 200, 10))), 10)
    assert use is not None
    assert (use.scrapes, use.acquisitions, use.waited) == (3, 200, 100)
    assert use.mean_wait_seconds == pytest.approx(0.025)
    assert use.p99_at_most_seconds == 0.1
    assert use.most_in_use == 10
    assert use.full_share == pytest.approx(2 / 3)


def test_scrapes_without_waits_say_nothing_of_the_pool() -> None:
    assert pool_use(scrapes({"x": 1.0}, {"x": 2.0}), 10) is None
    assert pool_use([], 10) is None


def test_scrapes_of_a_time_lie_within_it_and_could_be_read() -> None:
    history = good()
    history.add(ev.MetricsSample(12.2, {}, "ReadTimeout"), ev.MetricsSample(14.9, {"x": 1.0}, "", 0.2))
    assert {scrape.t for scrape in scrapes_of(history.run(), 12.0, 15.0)} == {12.0 + n / 2 for n in range(7)}


def test_key_metrics_are_those_of_the_run_and_none_where_nobody_looked() -> None:
    run = good().run()
    assert key_metrics(run)["drained (events)"] == key_metrics(run)["deepest queue (events)"] == 101
    blind = History()
    blind.op(1.0, DECEMBER, 201)
    assert set(key_metrics(blind.run()).values()) == {None}


def test_a_write_that_nobody_heard_answered_is_no_latency() -> None:
    history = good(faulty=False)
    number = history.ops(JANUARY, 5.0, 5.1)[0]
    whole = len(latencies(history.run()).outside)
    history.records = [
        replace(record, status=0, type=ev.Completion.INFO)
        if isinstance(record, ev.Complete) and record.op == number
        else record
        for record in history.records
    ]
    assert len(latencies(history.run()).outside) == whole - 1
