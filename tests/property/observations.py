"""What samplers and readers see of a generated run: its numbers, words, queue, catalog and what a query finds."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import timedelta

from harness import events as ev
from harness.blast import BlastRadius, Dlq, ServiceState, Write
from harness.values import Month, utc_timestamp

from ..unit.histories import MONTHS, STARTED_AT, History, event_id, request_series, series
from .spoils import SECONDS

QUERY_LIMIT = 4
AHEAD = tuple(MONTHS[1].plus(number) for number in range(1, 5))
"""Months that nobody writes, and that have to be there before anybody does."""


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


def drained_at(plan: Plan, t: float) -> float:
    """When an event that was queued at ``t`` is stored: a little after the fault that it met."""
    return max((end + 0.7 for _, begin, end in plan.faults if begin <= t <= end), default=t + 2.0)


def recorded(history: History, plan: Plan, after_seconds: float) -> None:
    """Date every row so long after the answer to its first send; what was queued is stored when it drained."""
    sent = {
        record.op: record.event_id or event_id(record.op)
        for record in history.records
        if isinstance(record, ev.Invoke) and record.kind is ev.OpKind.WRITE
    }
    done = {
        sent[record.op]: (record.t if record.status == 201 else drained_at(plan, record.t)) - record.op % 7 / 1000
        for record in history.records
        if isinstance(record, ev.Complete) and record.op in sent
    }
    for place, row in enumerate(history.records):
        if isinstance(row, ev.TableRow) and row.event_id in done:
            moment = STARTED_AT + timedelta(seconds=done[row.event_id] + after_seconds)
            history.records[place] = dataclasses.replace(row, recorded_at=utc_timestamp(moment))


def observed(history: History, plan: Plan) -> None:
    """Add every sample, line and answer that an honest service leaves."""
    alone = {r.op for r in history.records if isinstance(r, ev.Invoke) and not r.batch}
    answers = sorted((r.t, r.status, r.partition, r.op in alone) for r in history.records if isinstance(r, ev.Complete))
    for second in range(SECONDS + 1):
        _second(history, plan, float(second), answers)
    for step in range(SECONDS * 2):
        for month in MONTHS:
            history.add(ev.CanarySample(step / 2, month.label, 0.002))
    history.add(ev.LogLine(0.0, "INFO", "Listening"))
    for radius, begin, end in plan.faults:
        for month in MONTHS:
            if radius.on(month.first_day) and radius.write is Write.NO:
                failed = f"Failed to write to partition audit_events_{month}"
                history.add(
                    ev.LogLine(begin + 0.4, "INFO", f"DLQ fallback activated for partition {month}"),
                    ev.LogLine(begin + 0.4, "ERROR", failed, 2, sqlstate="23514"),
                    ev.LogLine(end + 0.7, "INFO", f"DLQ fallback ended for partition {month}"),
                )
    _queries(history, plan)


def _second(history: History, plan: Plan, t: float, answers: list[tuple[float, int, str, bool]]) -> None:
    begin = plan.restarted_at if plan.restarted_at is not None and plan.restarted_at <= t else -1.0
    done = [answer for answer in answers if begin <= answer[0] <= t]
    last = {Month.parse(label): STARTED_AT.timestamp() + at for at, status, label, _ in done if status == 201}
    ill = {
        month
        for month in MONTHS
        for radius, start, end in plan.faults
        if start + 0.2 < t < end and radius.on(month.first_day) and radius.write is Write.NO
    }
    names = {201: "created", 202: "queued", 409: "rejected", 400: "rejected", 503: "unavailable"}
    totals: dict[str, float] = {"asked": float(int(t - max(begin, 0.0)))}
    for _, status, _, _ in done:
        if status in names:
            totals[names[status]] = totals.get(names[status], 0.0) + 1
    waiting = [at for at, status, _, _ in done if status == 202 and drained_at(plan, at) > t]
    totals |= {"waiting": float(len(waiting)), "age": t - waiting[0] if waiting else 0.0}
    silent = any(r.service is ServiceState.DOWN and start < t < end for r, start, end in plan.faults)
    failed = {
        month: 3.0 for month in MONTHS for radius, start, _ in plan.faults if start + 1 < t and _stops(radius, month)
    }
    scrape = {} if silent else series(last, failed, ill, **totals)
    for code in (201, 202, 400, 409, 503):
        count = sum(status == code and lone for _, status, _, lone in done)
        scrape |= {} if silent else request_series("/api/v1/audit/events", code, float(count))
    history.add(ev.MetricsSample(t, scrape, "refused" if silent else "", seconds=0.01))
    depth = {MONTHS[0].label: len(waiting)} if waiting else {}
    history.add(ev.DlqSample(t + 0.1, -1 if silent else len(waiting), 0, depth, 1000, 0.01))
    shut = any(r.dlq is Dlq.NO and start + 0.2 < t < end for r, start, end in plan.faults)
    degraded = () if silent else (*(f"partition {month}" for month in sorted(ill)), *(("dlq",) if shut else ()))
    history.add(ev.ReadySample(t + 0.2, 0 if silent else 200, degraded, 0.01))
    history.add(ev.ConnectionSample(t + 0.3, 20, 20), ev.ConnectionSample(t + 0.7, 20, 20))
    history.add(ev.ProcessSample(t + 0.4, 7 if begin < 0 else 8, 50_000_000, 40, 30))
    children = tuple(
        ev.AttachedTable(at, f"audit_events_{month}", month.label) for at, month in enumerate((*MONTHS, *AHEAD))
    )
    history.add(ev.PartitionsSample(t + 0.5, children, "", 0.01))


def _queries(history: History, plan: Plan) -> None:
    ids = {record.op: record.event_id for record in history.records if isinstance(record, ev.Invoke)}
    created = sorted(
        (record.t, record.partition, ids[record.op] or record.answered_id)
        for record in history.records
        if isinstance(record, ev.Complete) and record.status == 201
    )
    for second in range(3, SECONDS, 3):
        for month in MONTHS:
            known = [each[2] for each in created if each[0] < second and each[1] == month.label]
            near = [radius for radius, begin, end in plan.faults if begin <= second <= end and _stops(radius, month)]
            if not known:
                continue
            found, missing = (() if near else (known[-1],)), ((month.label,) if near else ())
            history.add(ev.QuerySample(second, 0.01, 200, known[-1], found=found, unavailable=missing))
            shown = () if near else tuple(known[:QUERY_LIMIT])
            more = not near and len(known) > QUERY_LIMIT
            history.add(ev.QuerySample(second, 0.01, 200, "", month.label, QUERY_LIMIT, shown, missing, more))


def _stops(radius: BlastRadius, month: Month) -> bool:
    return radius.write is Write.NO and radius.on(month.first_day) is not None
