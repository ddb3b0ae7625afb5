"""The timeline: every operation is in it, one by one or counted, beside what the harness measured and the faults."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

import pytest
from plotly.graph_objects import Figure

from harness import events as ev
from harness.report import concerned, gauges, happenings, lanes, points
from harness.report.logs import Entry, Part
from harness.report.timeline import Timeline, build_timeline
from harness.rundata import Run, build_run
from tests.unit import report_samples as samples

LOST = "00000000-0000-4000-8000-000000000302"


def built(run: Run, *ids: str) -> Timeline:
    findings = [dataclasses.replace(samples.lost().findings[0], event_ids=ids)] if ids else []
    return build_timeline(run, concerned.named_operations(run, findings), happenings.happenings(run, ()))


def traces(timeline: Timeline, name: str) -> list[dict[str, Any]]:
    return [trace for trace in timeline.figure["data"] if trace["name"] == name]


def drawn_ids(timeline: Timeline) -> set[str]:
    texts = itertools.chain.from_iterable(trace.get("text", ()) for trace in timeline.figure["data"])
    return {text.rsplit(" ", 1)[-1] for text in texts}


def test_plotly_accepts_the_figure() -> None:
    timeline = built(samples.sample_run(), LOST)
    figure = Figure(timeline.figure)
    assert {trace.xaxis for trace in figure.data} == {"x"}
    assert not timeline.aggregated
    assert timeline.drawn.single == timeline.total == 781
    names = {trace.name for trace in figure.data}
    assert {
        "201 created",
        "202 queued",
        "no answer",
        "DLQ pending",
        "pool in use",
        "named by a finding",
    } <= names
    notes = " ".join(note.text for note in figure.layout.annotations)
    for mark in (
        "inject",
        "confirm",
        "heal",
        "probe",
        "detach-partition",
        "2025_12",
        "2026_01",
        "service and database",
    ):
        assert mark in notes


def test_no_answer_and_no_line_is_told_by_colour_alone() -> None:
    assert len({symbol for _, symbol in points.MARKERS.values()}) == len(points.MARKERS)
    assert len({sort.value[2] for sort in happenings.Sort}) == len(happenings.Sort)
    timeline = built(samples.sample_run())
    lines = [trace for trace in timeline.figure["data"] if trace["name"].startswith("pool ")]
    assert len({trace["line"]["dash"] for trace in lines}) == len(lines) == 3


@pytest.fixture
def long_run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run that is longer than what is drawn one by one."""
    monkeypatch.setattr(points, "MAX_OPERATIONS", 500)
    monkeypatch.setattr(points, "SLOWEST_DRAWN", 8)
    return samples.sample_run(operations_per_second=200)


def test_a_long_run_is_counted_and_keeps_slow_and_concerned_operations(long_run: Run) -> None:
    named = {operation.event_id for operation in long_run.operations[::97]}
    timeline = built(long_run, *named)
    assert timeline.aggregated
    assert timeline.drawn.single < timeline.total == len(long_run.operations)
    assert named <= drawn_ids(timeline)
    assert max(long_run.operations, key=lambda operation: operation.seconds).event_id in drawn_ids(timeline)
    assert Figure(timeline.figure).data


def test_every_operation_of_a_long_run_is_in_a_mark_or_a_point(long_run: Run) -> None:
    drawn = built(long_run).drawn
    marked = {(one.month, one.status) for one in drawn.tallies}
    alone = [each for group in drawn.points.values() for each in group if (each.month, each.status) not in marked]
    assert sum(one.count for one in drawn.tallies) + len(alone) == len(long_run.operations)
    assert alone
    assert marked


def test_a_mark_stands_at_the_median_reaches_to_the_99th_percentile_and_says_its_number(long_run: Run) -> None:
    timeline = built(long_run)
    tally = max(timeline.drawn.tallies, key=lambda one: one.count)
    alike = sorted(
        operation.seconds
        for operation in long_run.operations
        if (operation.month, operation.status) == (tally.month, tally.status)
        and timeline.drawn.begins[tally.span] <= operation.invoked < timeline.drawn.begins[tally.span + 1]
    )
    assert len(alike) == tally.count
    assert tally.median_seconds == alike[math.ceil(len(alike) / 2) - 1]
    assert tally.slowest_seconds == alike[-1]
    marks = [trace for trace in timeline.figure["data"] if "error_y" in trace]
    shown = [
        (y, round(y + bar, 5))
        for trace in marks
        for y, bar, text in zip(trace["y"], trace["error_y"]["array"], trace["text"], strict=True)
        if text.startswith(f"{tally.count} sent from {timeline.drawn.begins[tally.span]:.2f} ")
    ]
    assert (round(tally.median_seconds, 5), round(tally.p99_seconds, 5)) in shown


def test_no_span_of_a_long_run_reaches_over_a_mark_of_a_fault(long_run: Run) -> None:
    begins = points.spans(long_run)
    assert begins == sorted(set(begins))
    for mark in (4.0, samples.CONFIRMED_AT, 8.4, samples.HEALED_AT, samples.PROBED_AT):
        assert mark in begins


def lasting(seconds: float, **marks: Any) -> Run:
    """The sample run, with other times of its fault, until so much later."""
    run = build_run([*samples.sample_run().records, ev.ConnectionSample(seconds, 12)])
    return dataclasses.replace(run, windows=(dataclasses.replace(run.windows[0], **marks),))


def test_spans_are_shorter_while_a_fault_is_on() -> None:
    begins = points.spans(lasting(60.0, injecting=4.0, confirmed=4.1, healing=4.5, healed=4.6, probed=4.8))
    in_fault = [t for t in begins if 4.0 <= t < 4.8]
    assert len(in_fault) > 2 * 0.8 / 60.0 * len(begins)


def test_a_fault_that_nobody_saw_end_makes_no_short_spans_of_a_long_rest() -> None:
    assert len(points.spans(lasting(3_600.0, healing=None, healed=None, probed=None))) < 400


def test_requests_a_second_add_up_to_all_of_a_long_run(long_run: Run) -> None:
    drawn = built(long_run).drawn
    widths = [stop - start for start, stop in itertools.pairwise([*drawn.begins, long_run.end])]
    rates = points.rates(drawn, long_run.end).values()
    total = sum(
        rate * width for each in rates for (_, rate), width in zip(each, widths, strict=True) if rate is not None
    )
    assert total == pytest.approx(len(long_run.operations))


def test_many_months_and_many_faults_keep_the_number_of_marks_bounded() -> None:
    run = samples.sample_run()
    windows = tuple(
        dataclasses.replace(
            run.windows[0], fault=n, injecting=n * 0.1, confirmed=n * 0.1 + 0.02, healing=None, healed=None, probed=None
        )
        for n in range(100)
    )
    assert len(points.spans(dataclasses.replace(run, windows=windows))) < 1_000


def test_a_metric_that_is_no_number_is_a_gap() -> None:
    sample = samples.started()
    sample.write(1.0, samples.DECEMBER, 201, 0.01)
    sample.records.append(ev.MetricsSample(1.0, {"datastorage_db_connections_open": math.nan}))
    (line,) = traces(built(build_run(sample.records)), "pool open")
    assert line["y"] == [None]


def test_a_line_of_very_many_samples_keeps_what_says_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "POINTS_DRAWN", 60)
    line: list[tuple[float, float | None]] = [(float(t), 5.0) for t in range(10_000)]
    line[1_234], line[5_678], line[9_012] = (1_234.0, 99.0), (5_678.0, 0.0), (9_012.0, None)
    kept = lanes.thinned(line)
    assert len(kept) <= 60
    assert {line[0], line[1_234], line[5_678], line[9_012], line[-1]} <= set(kept)
    assert kept == sorted(kept, key=lambda point: point[0])
    assert lanes.thinned(line[:60]) == line[:60]


def test_a_lane_without_anything_has_its_axis_all_the_same() -> None:
    sample = samples.started()
    sample.write(1.0, samples.DECEMBER, 201, 0.01)
    figure = built(build_run(sample.records)).figure
    # Of an axis that no trace is on plotly knows nothing, and a zoom that names it throws.
    axes = {key.replace("axis", "") for key in figure["layout"] if key.startswith("yaxis")}
    assert {trace["yaxis"] for trace in figure["data"]} == axes
    assert figure["layout"]["xaxis"]["anchor"] in axes
    assert Figure(figure).data


def test_who_waits_for_the_pool_is_told_by_the_waits_that_ended_and_a_new_life_is_a_gap() -> None:
    name = "datastorage_db_connection_wait_duration_seconds_sum"
    scrapes = [(0.0, 0.0), (1.0, 3.0), (3.0, 4.0), (4.0, 0.5), (5.0, 0.5)]
    waiting = gauges.waiting_requests([ev.MetricsSample(t, {name: value}) for t, value in scrapes])
    assert waiting == [(0.0, 3.0), (1.0, 0.5), (3.0, None), (4.0, 0.0), (5.0, None)]
    failed = ev.MetricsSample(0.5, {}, "ReadTimeout")
    begun = [ev.MetricsSample(0.0, {name: 0.0}), failed, ev.MetricsSample(1.0, {name: 2.0})]
    assert gauges.waiting_requests(begun) == [(0.0, 2.0), (1.0, None)]
    assert gauges.waiting_requests([failed]) == []


def test_the_lower_lanes_are_a_table_as_well() -> None:
    rows = gauges.gauge_rows(samples.sample_run())
    assert [row[0] for row in rows] == ["before", "during", "after"]
    assert all(len(row) == len(gauges.GAUGE_TITLES) for row in rows)
    pending = {row[0]: row[1] for row in rows}
    # The queue grows by 30 events a second from 4.3 s to 8.8 s, sampled every 0.2 s; 8.4 s is already after.
    assert pending == {"before": "0", "during": "116", "after": "135"}
    assert {row[4] for row in rows} == {"–"}
    assert {row[5] for row in rows} == {"12"}
    assert gauges.gauge_rows(build_run(samples.started().records)) == []


def told(*records: ev.Record, entries: tuple[Entry, ...] = ()) -> list[tuple[float, str, str, str]]:
    run = build_run([*samples.started().records, *records])
    return [(one.t, one.who, one.sort.name, one.told) for one in happenings.happenings(run, entries)]


def test_deaths_and_new_lives_of_the_service_are_told_apart() -> None:
    marks = [ev.ServiceMark(t, what, pid) for t, what, pid in (
        (1.0, "started", 7), (2.0, "down", 0), (3.0, "restarted", 8), (4.0, "ended", 0)
    )]  # fmt: skip
    assert told(*marks) == [
        (1.0, "service", "UP", "started (process 7)"),
        (2.0, "service", "DOWN", "ended by a fault"),
        (3.0, "service", "UP", "started anew (process 8)"),
        (4.0, "service", "DIED", "ended by itself"),
    ]


def test_readiness_and_a_database_that_does_not_answer_are_told_when_they_change() -> None:
    ready = [ev.ReadySample(t, status, degraded) for t, status, degraded in (
        (1.0, 200, ()), (2.0, 200, ()), (3.0, 503, ("dlq",)), (4.0, 0, ())
    )]  # fmt: skip
    seen = [ev.ConnectionSample(t, backends) for t, backends in ((1.0, 5), (2.5, -1), (2.7, -1), (3.5, 4))]
    assert told(*ready, *seen) == [
        (2.5, "database", "DOWN", "does not answer the harness"),
        (3.0, "service", "CHANGED", "not ready (503), degraded: dlq"),
        (3.5, "database", "UP", "answers again"),
        (4.0, "service", "CHANGED", "does not say whether it is ready"),
    ]


def line(t: float, text: str, label: str = "LOG", count: int = 1) -> Entry:
    return Entry(t=t, part=Part.DATABASE, label=label, text=text, count=count, until=t)


def test_what_the_database_log_says_of_its_processes_is_told_and_counted() -> None:
    entries = (
        line(1.0, "database system is ready to accept connections"),
        line(2.0, "terminating connection due to administrator command", "FATAL", 3),
        line(2.2, "terminating connection due to administrator command", "FATAL"),
        line(3.0, "server process (PID 12) was terminated by signal 9: Killed"),
        line(4.0, "could not fsync", "PANIC"),
        line(5.0, "checkpoint starting: time"),
        dataclasses.replace(line(6.0, "database system is shut down"), part=Part.SERVICE),
    )
    assert told(entries=entries) == [
        (1.0, "database", "UP", "ready for connections"),
        (2.0, "database", "CUT", "connections terminated (4 times until 2.20 s)"),
        (3.0, "database", "DIED", "a process was killed by signal 9"),
        (4.0, "database", "DIED", "PANIC: could not fsync"),
    ]


def test_happenings_share_the_axis_of_the_requests() -> None:
    sample = samples.started()
    sample.write(1.0, samples.DECEMBER, 201, 0.01)
    sample.records.append(ev.ServiceMark(2.0, "ended"))
    timeline = built(build_run(sample.records))
    (died,) = traces(timeline, "died")
    assert (died["x"], died["y"], died["xaxis"]) == ([2.0], ["service"], "x")
    assert Figure(timeline.figure).data


def test_hostile_ids_are_escaped_in_the_chart_too() -> None:
    sample = samples.started()
    sample.write(1.0, samples.DECEMBER, 201, 0.01, event_id="<img src=x>")
    run = build_run(sample.records)
    assert not [text for trace in built(run).figure["data"] for text in trace.get("text", ()) if "<img" in text]
