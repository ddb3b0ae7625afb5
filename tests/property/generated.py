"""Histories made by Hypothesis: a run as an honest service leaves it, of any mix of requests and faults, then spoilt.

``histories()`` gives a :class:`Generated`: the history, and by name what was done to it.  Without spoils it is honest.
Times lie on a grid, so that ties and times equal to a fault's marks do occur.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from hypothesis import strategies as st

from harness import events as ev
from harness.blast import BlastRadius, Dlq, Edge, ServiceState, Write
from harness.values import Month, utc_timestamp

from ..unit.histories import MONTHS, STARTED_AT, History, content, event_id, series

SECONDS = 30
STEP_SECONDS = 0.5
"""The grid on which requests begin."""


@dataclass(frozen=True)
class Generated:
    """A history with the names of the spoils that were applied to it, in their order."""

    history: History
    spoils: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What an honest run is made of."""

    faults: tuple[tuple[BlastRadius, float, float], ...]
    """Radius, and the times of injection and healing."""
    every: int
    """A re-send, a contradiction or an invalid request comes after so many writes."""
    restarted_at: float | None
    recorded: bool
    """Whether rows say when they were stored."""
    judge_latency: bool


def radii() -> st.SearchStrategy[BlastRadius]:
    """Radii of one month, or of the whole database."""
    return st.builds(
        BlastRadius,
        months=st.sampled_from([None, frozenset(MONTHS[:1]), frozenset(MONTHS[1:])]),
        write=st.sampled_from([Write.NO, Write.NO, Write.PARTIAL, Write.YES]),
        dlq=st.sampled_from([Dlq.YES, Dlq.YES, Dlq.NO]),
        service=st.sampled_from([ServiceState.UP] * 3 + [ServiceState.DOWN]),
        dates=st.sampled_from([None, None, (MONTHS[0].first_day, MONTHS[0].first_day.replace(day=12))]),
        edge=st.sampled_from(Edge),
    )


def plans() -> st.SearchStrategy[Plan]:
    """Plans with no fault, one or two."""
    times = st.integers(4, 24).map(float)
    spans = st.tuples(radii(), times, times).map(lambda one: (one[0], min(one[1:]), max(one[1:]) + 1.0))
    return st.builds(
        Plan,
        faults=st.lists(spans, max_size=2).map(tuple),
        every=st.integers(3, 40),
        restarted_at=st.one_of(st.none(), times),
        recorded=st.booleans(),
        judge_latency=st.booleans(),
    )


def honest(plan: Plan) -> History:
    """Play a plan as an honest service would."""
    history = History(
        min_strict_events=3, schedule=[{"fault": "x"}] * len(plan.faults), judge_latency=plan.judge_latency
    )
    history.add(ev.ServiceMark(-1.0, "started", 7))
    _traffic(history, plan)
    for number, (radius, begin, end) in enumerate(plan.faults):
        marks: dict[str, Any] = {"injecting": begin, "injected": begin + 0.1, "confirmed": begin + 0.2}
        marks |= {"healing": end, "healed": end + 0.1, "probed": end + 0.2}
        history.fault(radius, number=number, **marks)
        history.add(ev.PhaseMark(begin, "during"), ev.PhaseMark(end, "after"))
    if plan.restarted_at is not None:
        history.add(ev.ServiceMark(plan.restarted_at, "restarted", 8))
    _observations(history, plan)
    if plan.recorded:
        _recorded(history, -0.004)
    for month in MONTHS:
        bounds = f"FOR VALUES FROM ('{month.first_day}') TO ('{month.end}')"
        history.add(ev.PartitionRow(f"audit_events_{month}", month.label, bounds))
    history.add(ev.FinalRead(float(SECONDS), True, True))
    return history


def _recorded(history: History, after_seconds: float) -> None:
    """Date every row so long after the answer to its first send."""
    sent = {r.op: r.event_id for r in history.records if isinstance(r, ev.Invoke) and r.kind is ev.OpKind.WRITE}
    done = {sent[r.op]: r.t for r in history.records if isinstance(r, ev.Complete) and r.op in sent}
    for place, row in enumerate(history.records):
        if isinstance(row, ev.TableRow) and row.event_id in done:
            moment = STARTED_AT + timedelta(seconds=done[row.event_id] + after_seconds)
            history.records[place] = dataclasses.replace(row, recorded_at=utc_timestamp(moment))


def _met(plan: Plan, t: float, number: int, month: Month) -> int:
    """What an honest service answers a write at ``t``."""
    day = month.first_day.replace(day=1 + number % 28)
    for radius, begin, end in plan.faults:
        met = radius.on(day)
        if begin < t < end and met is not None and met.service is ServiceState.DOWN:
            return 0
        if begin < t < end and met is not None and met.write is Write.NO:
            return 202 if met.dlq is Dlq.YES else 503
    return 201


def _traffic(history: History, plan: Plan) -> None:
    created: dict[Month, int] = {}
    for step in range(int((SECONDS - 2) / STEP_SECONDS)):
        for writer, month in enumerate(MONTHS):
            t = step * STEP_SECONDS + 0.05
            number = history.next_op
            status = _met(plan, t, number, month)
            # Some take as long as others do, so that two of one month end at once.
            took = 0.01 if number % 7 else 0.01 + STEP_SECONDS
            outcome = "not_stored" if status == 503 else ""
            history.op(t, month, status, writer=writer, took=took, outcome=outcome)
            if status in (201, 202):
                history.row(number)
            if status == 201:
                created[month] = number
            if number % plan.every == 0:
                _second_look(history, plan, t + 0.2, month, created.get(month))


def _second_look(history: History, plan: Plan, t: float, month: Month, earlier: int | None) -> None:
    """A re-send, a contradiction or an invalid request, by turns, where a healthy month answers it."""
    number = history.next_op
    if earlier is None or _met(plan, t, earlier, month) != 201:
        return
    if number % 3 == 0:
        history.op(t, month, 201, kind=ev.OpKind.RESEND, of=earlier)
    elif number % 3 == 1:
        changed = {"event_action": "contradicted"}
        history.op(t, month, 409, kind=ev.OpKind.CONFLICT, of=earlier, changes=changed)
    else:
        history.op(t, month, 400, kind=ev.OpKind.INVALID, changes={"event_outcome": "perhaps"})


def _observations(history: History, plan: Plan) -> None:
    answers = sorted((r.t, r.status, r.partition) for r in history.records if isinstance(r, ev.Complete))
    for second in range(SECONDS + 1):
        t = float(second)
        begin = plan.restarted_at if plan.restarted_at is not None and plan.restarted_at <= t else -1.0
        done = [answer for answer in answers if begin <= answer[0] <= t]
        last = {Month.parse(label): STARTED_AT.timestamp() + at for at, status, label in done if status == 201}
        ill = {
            month
            for month in MONTHS
            for radius, start, end in plan.faults
            if start + 0.2 < t < end and radius.on(month.first_day) and radius.write is Write.NO
        }
        totals = {"created": 0.0, "queued": 0.0}
        for _, status, _ in done:
            if status in (201, 202):
                totals["created" if status == 201 else "queued"] += 1
        silent = any(r.service is ServiceState.DOWN and start < t < end for r, start, end in plan.faults)
        scrape = {} if silent else series(last, dict.fromkeys(MONTHS, 0.0), ill, **totals)
        history.add(ev.MetricsSample(t, scrape, "refused" if silent else ""))
        history.add(ev.DlqSample(t, -1 if silent else 0), ev.ReadySample(t, 0 if silent else 200))
        history.add(ev.ConnectionSample(t, 5, 5))
    for step in range(SECONDS * 2):
        for month in MONTHS:
            history.add(ev.CanarySample(step / 2, month.label, 0.002))
    history.add(ev.LogLine(0.0, "INFO", "Listening"))


Spoil = Callable[[History, int], None]
"""Changes a history; the number chooses which record."""


def _pick(history: History, kind: type[ev.Record], number: int) -> int | None:
    """The place of one record of a kind."""
    places = [place for place, record in enumerate(history.records) if isinstance(record, kind)]
    return places[number % len(places)] if places else None


def _drop(kind: type[ev.Record]) -> Spoil:
    def spoil(history: History, number: int) -> None:
        place = _pick(history, kind, number)
        if place is not None:
            del history.records[place]

    return spoil


def _again(kind: type[ev.Record], **changes: object) -> Spoil:
    """Write one record again, changed."""

    def spoil(history: History, number: int) -> None:
        place = _pick(history, kind, number)
        if place is not None:
            history.add(dataclasses.replace(history.records[place], **changes))  # type: ignore[arg-type]

    return spoil


def _change(kind: type[ev.Record], **changes: object) -> Spoil:
    def spoil(history: History, number: int) -> None:
        place = _pick(history, kind, number)
        if place is not None:
            history.records[place] = dataclasses.replace(history.records[place], **changes)  # type: ignore[arg-type]

    return spoil


def _late(seconds: float) -> Spoil:
    """Date a row so long after the run began."""
    return _change(ev.TableRow, recorded_at=utc_timestamp(STARTED_AT).replace("00:00:00", f"00:00:{seconds:02.0f}"))


def _clock_ahead(history: History, number: int) -> None:
    """The database's clock is some seconds ahead of the run's."""
    _recorded(history, float(1 + number % 5))


def _slow(history: History, number: int) -> None:
    place = _pick(history, ev.Complete, number)
    if place is not None:
        record = history.records[place]
        assert isinstance(record, ev.Complete)
        history.records[place] = dataclasses.replace(record, t=record.t + (0.3 if number % 2 else 7.0))


def _queue(history: History, number: int) -> None:
    """An event is left in the queue, pending or dead."""
    place = _pick(history, ev.Invoke, number)
    if place is not None:
        record = history.records[place]
        assert isinstance(record, ev.Invoke)
        history.queued_row(record.op, "dead" if number % 2 else "pending", "conflict" if number % 3 else "")


def _copy(history: History, number: int) -> None:
    """An event is stored again under another id."""
    place = _pick(history, ev.TableRow, number)
    if place is not None:
        record = history.records[place]
        assert isinstance(record, ev.TableRow)
        history.add(dataclasses.replace(record, event_id=event_id(10_000 + number)))


def _destroy(history: History, number: int) -> None:
    place = _pick(history, ev.TableRow, number)
    if place is not None:
        record = history.records[place]
        assert isinstance(record, ev.TableRow)
        history.add(ev.Destroyed(float(number % SECONDS), 0, (record.event_id,), restored=number % 3 == 0))
        if number % 2:
            del history.records[place]


def _respelt(history: History, number: int) -> None:
    """A row has the same content, spelt otherwise."""
    place = _pick(history, ev.TableRow, number)
    if place is not None:
        record = history.records[place]
        assert isinstance(record, ev.TableRow)
        data = json.loads(record.content)
        data["event_data"]["x"] = 15e-1
        text = json.dumps(dict(reversed(data.items())), indent=1).replace("1.5", "150e-2")
        history.records[place] = dataclasses.replace(record, content=text)


def _without_id(history: History, number: int) -> None:
    """The service makes the id of an event; its row is found by its correlation id."""
    place = _pick(history, ev.Invoke, number)
    if place is not None:
        record = history.records[place]
        assert isinstance(record, ev.Invoke)
        data = json.loads(record.content)
        data.pop("event_id", None)
        history.records[place] = dataclasses.replace(record, event_id="", content=json.dumps(data))


def _metric(history: History, number: int) -> None:
    """One series of one scrape is missing or another."""
    place = _pick(history, ev.MetricsSample, number)
    if place is None:
        return
    record = history.records[place]
    assert isinstance(record, ev.MetricsSample)
    names = sorted(record.series)
    if names:
        name = names[number * 7 % len(names)]
        changed = {key: value for key, value in record.series.items() if key != name or number % 2}
        history.records[place] = dataclasses.replace(record, series={**changed, **({name: 77.0} if number % 2 else {})})


def _degraded(history: History, number: int) -> None:
    """One scrape shows a month degraded."""
    place = _pick(history, ev.MetricsSample, number)
    if place is None:
        return
    record = history.records[place]
    assert isinstance(record, ev.MetricsSample)
    state = 'datastorage_partition_status{partition="2025_12",status="%s"}'
    changes = {state % "healthy": 0.0, state % "degraded": 1.0, state % "unavailable": 0.0}
    if record.series:
        history.records[place] = dataclasses.replace(record, series={**record.series, **changes})


def _logged(history: History, number: int) -> None:
    texts = (
        f"DLQ fallback activated for partition {MONTHS[number % 2]}",
        f"DLQ fallback ended for partition {MONTHS[number % 2]}",
        f"Failed to write to partition audit_events_{MONTHS[number % 2]}",
    )
    history.add(ev.LogLine(float(number % SECONDS), "INFO", texts[number % 3], number % 2))


def _excess(history: History, number: int) -> None:
    for offset in (0.0, 0.2, 0.4):
        history.add(ev.ConnectionSample(number % SECONDS + offset, 99, 99))


def _stranger(history: History, number: int) -> None:
    """A row that nobody sent."""
    text = content(20_000 + number, MONTHS[0].first_day)
    history.add(ev.TableRow(event_id(20_000 + number), MONTHS[0].first_day, "2025_12", text, f"other/{number}"))


SPOILS: dict[str, Spoil] = {
    "lost row": _drop(ev.TableRow),
    "doubled row": _again(ev.TableRow),
    "stranger": _stranger,
    "copied": _copy,
    "other content": _change(ev.TableRow, content="{}"),
    "respelt content": _respelt,
    "wrong month": _change(ev.TableRow, month="2026_03"),
    "default partition": _change(ev.TableRow, month=""),
    "partition of two months": _change(ev.PartitionRow, bounds="FOR VALUES FROM ('2025-12-01') TO ('2026-02-01')"),
    "stored late": _late(29.0),
    "clock ahead": _clock_ahead,
    "created": _change(ev.Complete, status=201, type=ev.Completion.OK),
    "queued": _change(ev.Complete, status=202, type=ev.Completion.OK),
    "rejected": _change(ev.Complete, status=400, type=ev.Completion.FAIL),
    "conflicting": _change(ev.Complete, status=409, type=ev.Completion.FAIL),
    "server error": _change(ev.Complete, status=500, type=ev.Completion.INFO),
    "not answered": _change(ev.Complete, status=0, type=ev.Completion.INFO, error="TimeoutError"),
    "never completed": _drop(ev.Complete),
    "completed twice": _again(ev.Complete, status=202),
    "number given twice": _again(ev.Invoke, t=3.0),
    "other partition named": _change(ev.Complete, partition="2025_11"),
    "slow": _slow,
    "without id": _without_id,
    "in the queue": _queue,
    "destroyed": _destroy,
    "metric": _metric,
    "degraded": _degraded,
    "logged": _logged,
    "too many connections": _excess,
    "mark missing": _drop(ev.FaultMark),
    "no final read": _drop(ev.FinalRead),
    "broken off": lambda history, number: history.add(ev.Note(20.0, "recovery" if number % 2 else "abort", "x")),
}
"""What may be done to a history, by name."""


@st.composite
def histories(draw: st.DrawFn, most_spoils: int = 4) -> Generated:
    """Honest histories, spoilt up to so many times."""
    history = honest(draw(plans()))
    names = draw(st.lists(st.sampled_from(sorted(SPOILS)), max_size=most_spoils))
    for name in names:
        SPOILS[name](history, draw(st.integers(0, 500)))
    return Generated(history, tuple(names))
