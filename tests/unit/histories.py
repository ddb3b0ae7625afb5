"""Hand-made histories: a run as an honest service would leave it, and ways to spoil it.

The good run writes two months every 0.1 s each for 36 s; a fault stops the writes of December from 10 s to 20 s.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeVar

from harness import events as ev
from harness.blast import BlastRadius, Write
from harness.checkers.judge import judge
from harness.checking import CheckResult
from harness.rundata import Run, build_run
from harness.values import Month, Promise, utc_timestamp

R = TypeVar("R")

DECEMBER = Month(2025, 12)
JANUARY = Month(2026, 1)
MONTHS = (DECEMBER, JANUARY)
INJECTING, INJECTED, CONFIRMED, HEALING, HEALED, PROBED = 10.0, 10.1, 10.2, 20.0, 20.1, 20.2
DRAINED = PROBED + 1
END = 36.0
QUERY_LIMIT = 10
WAIT = "datastorage_db_connection_wait_duration_seconds"
REQUESTS = "datastorage_request_duration_seconds"
STARTED_AT = datetime(2026, 2, 1, tzinfo=UTC)
RADIUS = BlastRadius(months=frozenset({DECEMBER}), write=Write.NO)


def radius_json(radius: BlastRadius) -> str:
    """The JSON that harness.fault writes for a radius, without importing the faults' stack."""
    months = None if radius.months is None else sorted(month.label for month in radius.months)
    dates = None if radius.dates is None else [day.isoformat() for day in radius.dates]
    return json.dumps({**dataclasses.asdict(radius), "months": months, "dates": dates})


def event_id(number: int) -> str:
    """A valid UUID that shows the operation's number."""
    return str(uuid.UUID(int=number + 1))


def content(number: int, day: date, **changes: Any) -> str:
    """An event's JSON as the workload sends it."""
    moment = datetime(day.year, day.month, day.day, 12, tzinfo=UTC) + timedelta(microseconds=number)
    event: dict[str, Any] = {
        "event_id": event_id(number),
        "event_timestamp": utc_timestamp(moment),
        "version": "1.0",
        "event_type": "t",
        "event_category": "c",
        "event_action": "a",
        "event_outcome": "success",
        "correlation_id": f"run/{number}",
        "event_data": {"n": number, "x": 1.5, "flag": True},
    }
    return json.dumps({**event, **changes})


class History:
    """Records under construction, in any order; :meth:`run` sorts nothing, as checkers must not need it."""

    def __init__(self, **scenario: Any) -> None:
        """Begin with the RunStarted record of a target that can be looked into; ``scenario`` becomes its JSON."""
        self.records: list[ev.Record] = []
        self.next_op = 0
        began, reads = STARTED_AT.isoformat(), json.dumps({"query": True})
        self.add(ev.RunStarted(0.0, "r1", "made", 1, began, json.dumps(scenario), "hand", {}, "{}", reads))

    def without(self, *capabilities: str) -> History:
        """Have the target declare that these cannot be looked into: sql, dlq, metrics, logs, query."""
        reads = json.dumps({"query": True, **dict.fromkeys(capabilities, False)})
        self.edit(ev.RunStarted, lambda record: True, reads_json=reads)
        return self

    def add(self, *records: ev.Record) -> None:
        """Append records."""
        self.records += records

    def run(self) -> Run:
        """Index the history for judging."""
        return build_run(self.records)

    def op(
        self,
        t: float,
        month: Month,
        status: int,
        *,
        kind: ev.OpKind = ev.OpKind.WRITE,
        took: float = 0.01,
        of: int | None = None,
        outcome: str = "",
        changes: dict[str, Any] | None = None,
        writer: int = 0,
        batch: int = 0,
        anonymous: bool = False,
    ) -> int:
        """Send one event and have it answered; return its number.  A re-send repeats what ``of`` sent.

        An anonymous one is accepted under the id that shows its number.
        """
        number = self.next_op
        self.next_op += 1
        like = number if of is None else of
        day = month.first_day + timedelta(days=like % 28)
        kinds = {0: ev.Completion.INFO, 201: ev.Completion.OK, 202: ev.Completion.OK}
        text = content(like, day, **(changes or {}))
        sent_id, answered_id = event_id(like), ""
        if anonymous:
            text = json.dumps({key: value for key, value in json.loads(text).items() if key != "event_id"})
            sent_id, answered_id = "", sent_id if status in (201, 202) else ""
        ended = kinds.get(status, ev.Completion.FAIL)
        self.add(ev.Invoke(t, number, writer, kind, sent_id, day, text, of, batch))
        self.add(ev.Complete(t + took, number, ended, status, outcome, month.label, answered_id=answered_id))
        return number

    def row(self, number: int, **changes: Any) -> None:
        """Store the event of one operation in the final read."""
        invoke = self.invoke(number)
        row = ev.TableRow(
            invoke.event_id or event_id(number),
            invoke.event_date,
            f"{invoke.event_date:%Y_%m}",
            invoke.content,
            str(json.loads(invoke.content)["correlation_id"]),
        )
        self.add(dataclasses.replace(row, **changes))

    def recorded(self, after_seconds: float, number: int | None = None) -> None:
        """Date rows so long after the answers to their first sends; all rows, or one operation's."""
        for complete in [record for record in self.records if isinstance(record, ev.Complete)]:
            if number in (None, complete.op):
                moment = utc_timestamp(STARTED_AT + timedelta(seconds=complete.t + after_seconds))
                wanted = event_id(complete.op)
                self.edit(ev.TableRow, lambda row, wanted=wanted: row.event_id == wanted, recorded_at=moment)  # type: ignore[misc]

    def queued_row(self, number: int, state: str = "pending", reason: str = "") -> None:
        """Leave the event of one operation in the queue of the final read."""
        invoke = self.invoke(number)
        self.add(ev.DlqRow(invoke.event_id or event_id(number), invoke.event_date, state, reason, invoke.content))

    def invoke(self, number: int) -> ev.Invoke:
        """The invocation of one operation."""
        return next(r for r in self.records if isinstance(r, ev.Invoke) and r.op == number)

    def edit(self, kind: type[R], wanted: Callable[[R], bool], **changes: Any) -> int:
        """Change every record of a kind that is wanted; return how many there were."""
        count = 0
        for index, record in enumerate(self.records):
            if isinstance(record, kind) and wanted(record):
                self.records[index] = dataclasses.replace(record, **changes)
                count += 1
        assert count, f"no {kind.__name__} was there to change"
        return count

    def drop(self, kind: type[R], wanted: Callable[[R], bool] = lambda record: True) -> None:
        """Remove every record of a kind that is wanted."""
        kept = [record for record in self.records if not (isinstance(record, kind) and wanted(record))]
        assert len(kept) < len(self.records), f"no {kind.__name__} was there to drop"
        self.records = kept

    def answer(self, number: int, status: int, **changes: Any) -> str:
        """Make an operation answer otherwise; return its event id."""
        self.edit(ev.Complete, lambda record: record.op == number, status=status, **changes)
        return self.invoke(number).event_id

    def ops(self, month: Month, start: float, end: float) -> list[int]:
        """Numbers of the operations of a month invoked in [start, end)."""
        found = [record for record in self.records if isinstance(record, ev.Invoke)]
        return [r.op for r in found if start <= r.t < end and Month.of(r.event_date) == month]

    def fault(
        self, radius: BlastRadius = RADIUS, *, number: int = 0, name: str = "lock-partition", **times: Any
    ) -> None:
        """Play a fault: its six marks; a time given as None leaves its mark out."""
        marks = {
            "injecting": INJECTING,
            "injected": INJECTED,
            "confirmed": CONFIRMED,
            "healing": HEALING,
            "healed": HEALED,
            "probed": PROBED,
            **times,
        }
        for step, t in marks.items():
            if t is not None:
                declared = radius_json(radius) if step == "injecting" else ""
                self.add(ev.FaultMark(float(t), number, name, ev.FaultStep(step), "", declared))


def series(
    last_write: dict[Month, float], failures: dict[Month, float], ill: set[Month], **totals: float
) -> dict[str, float]:
    """One truthful scrape: last writes and failures by month, months that are ill, and totals by outcome.

    Of the totals ``waiting`` are the events queued and not yet drained, all of December, ``age`` is that of the oldest
    one in seconds, and ``asked`` are the answers of each of the harness's own questions.
    """
    waiting, age, asked = (totals.pop(key, 0.0) for key in ("waiting", "age", "asked"))
    values: dict[str, float] = {
        "datastorage_db_connections_open": 20,
        "datastorage_db_connections_in_use": 2,
        "datastorage_db_connections_idle": 18,
        "datastorage_db_max_open_connections": 25,
        "datastorage_db_connection_errors_total": 0,
        "datastorage_dlq_oldest_age_seconds": age,
        "datastorage_dlq_capacity": 1000,
        'datastorage_dlq_dead_letters{reason="conflict"}': 0,
        f"{WAIT}_count": totals.get("created", 0.0),
        f"{WAIT}_sum": 0.001 * totals.get("created", 0.0),
        f'{WAIT}_bucket{{le="0.001"}}': totals.get("created", 0.0),
        f'{WAIT}_bucket{{le="2.5"}}': totals.get("created", 0.0),
        f'{WAIT}_bucket{{le="+Inf"}}': totals.get("created", 0.0),
    }
    for outcome in ("created", "queued", "duplicate", "rejected", "unavailable"):
        values[f'datastorage_events_total{{outcome="{outcome}"}}'] = totals.get(outcome, 0.0)
    for month in MONTHS:
        values[f'datastorage_partition_write_failures_total{{partition="{month}"}}'] = failures.get(month, 0.0)
        values[f'datastorage_partition_last_write_timestamp{{partition="{month}"}}'] = last_write.get(month, 0.0)
        of_december = month == DECEMBER
        drained = totals.get("queued", 0.0) - waiting
        values[f'datastorage_dlq_depth{{partition="{month}"}}'] = waiting if of_december else 0.0
        values[f'datastorage_dlq_drained_total{{partition="{month}"}}'] = drained if of_december else 0.0
        values[f'datastorage_dlq_drain_failures_total{{partition="{month}"}}'] = 0.0
        for status in ("healthy", "degraded", "unavailable"):
            is_it = status == ("unavailable" if month in ill else "healthy")
            values[f'datastorage_partition_status{{partition="{month}",status="{status}"}}'] = float(is_it)
    for route, code, count in (
        ("/api/v1/audit/events", 201, totals.get("created", 0.0)),
        ("/api/v1/audit/events", 202, totals.get("queued", 0.0)),
        *((route, 200, asked) for route in ("/health/ready", "/api/v1/dlq", "/metrics")),
    ):
        values |= request_series(route, code, count)
    return values


def request_series(route: str, status: int, count: float) -> dict[str, float]:
    """The histogram of so many requests of 8 ms each."""
    labels = f'route="{route}",status="{status}"'
    return {
        f'{REQUESTS}_bucket{{le="0.005",{labels}}}': 0.0,
        f'{REQUESTS}_bucket{{le="0.01",{labels}}}': count,
        f'{REQUESTS}_bucket{{le="+Inf",{labels}}}': count,
        f"{REQUESTS}_count{{{labels}}}": count,
        f"{REQUESTS}_sum{{{labels}}}": 0.008 * count,
    }


def _traffic(history: History, *, faulty: bool) -> None:
    for step in range(int(END * 10) - 20):
        t = step / 10 + 0.05
        for writer, month in enumerate(MONTHS):
            queued = faulty and month is DECEMBER and INJECTING < t < HEALED
            history.row(history.op(t, month, 202 if queued else 201, writer=writer))
    history.add(ev.PhaseMark(0.0, "before"))
    history.add(*([ev.PhaseMark(INJECTING, "during"), ev.PhaseMark(HEALING, "after")] if faulty else []))


def _observations(history: History, *, faulty: bool) -> None:
    answers = sorted((r.t, r.status, r.partition) for r in history.records if isinstance(r, ev.Complete))
    for step in range(int(END * 2) + 1):
        t = step / 2
        done = [answer for answer in answers if answer[0] <= t]
        last: dict[Month, float] = {}
        for at, status, partition in done:
            if status == 201:
                last[Month.parse(partition)] = STARTED_AT.timestamp() + at
        ill = {DECEMBER} if faulty and INJECTED + 0.2 < t < PROBED + 0.5 else set()
        failures = {DECEMBER: 3.0} if faulty and t > INJECTED + 0.5 else {}
        totals = {"created": 0.0, "queued": 0.0}
        for _, status, _ in done:
            totals["created" if status == 201 else "queued"] += 1
        depth = totals["queued"] if faulty and t < DRAINED else 0.0
        age = t - min(at for at, status, _ in done if status == 202) if depth else 0.0
        queue = {"waiting": depth, "age": age, "asked": float(step)}
        history.add(ev.MetricsSample(t, series(last, failures, ill, **totals, **queue)))
        history.add(ev.DlqSample(t, int(depth), 0, {DECEMBER.label: int(depth)} if depth else {}))
        history.add(ev.ReadySample(t, 200, tuple(f"partition {month}" for month in ill)))
    _queries(history, faulty=faulty)
    for step in range(int(END * 10)):
        history.add(ev.ConnectionSample(step / 10, 20, 20))
        for month in MONTHS:
            silent = faulty and month is DECEMBER and INJECTING < step / 10 < PROBED
            if not silent:
                history.add(ev.CanarySample(step / 10, month.label, 0.002))


def _queries(history: History, *, faulty: bool) -> None:
    """What a reader asks each second and is told: for the newest event of a month, and for the month itself."""
    ids = {record.op: record.event_id for record in history.records if isinstance(record, ev.Invoke)}
    created = sorted(
        (record.t, record.partition, ids[record.op])
        for record in history.records
        if isinstance(record, ev.Complete) and record.status == 201
    )
    for second in range(2, int(END)):
        for month in MONTHS:
            known = [each[2] for each in created if each[0] < second and each[1] == month.label]
            gone = faulty and month is DECEMBER and INJECTING < second < HEALED
            found, missing = (() if gone else (known[-1],)), ((month.label,) if gone else ())
            history.add(ev.QuerySample(second, 0.01, 200, known[-1], found=found, unavailable=missing))
            shown = () if gone else tuple(known[:QUERY_LIMIT])
            more = not gone and len(known) > QUERY_LIMIT
            history.add(ev.QuerySample(second, 0.01, 200, "", month.label, QUERY_LIMIT, shown, missing, more))


def good(*, faulty: bool = True) -> History:
    """A run that keeps every promise; without ``faulty`` it has no fault at all."""
    history = History()
    history.records = list(_good(faulty))
    history.next_op = sum(isinstance(record, ev.Invoke) for record in history.records)
    return history


@functools.cache
def _good(faulty: bool) -> tuple[ev.Record, ...]:
    history = History(min_strict_events=20, schedule=[{"fault": "x"}] if faulty else [])
    history.add(ev.ServiceMark(-1.0, "started", 7))
    _traffic(history, faulty=faulty)
    _observations(history, faulty=faulty)
    if faulty:
        history.fault()
        failed = f"Failed to write to partition audit_events_{DECEMBER}"
        history.add(
            ev.LogLine(INJECTED + 0.1, "INFO", f"DLQ fallback activated for partition {DECEMBER}"),
            ev.LogLine(INJECTED + 0.1, "ERROR", failed),
            ev.LogLine(INJECTED + 1.1, "ERROR", failed, 1),
            ev.LogLine(PROBED + 0.3, "INFO", f"DLQ fallback ended for partition {DECEMBER}"),
        )
    history.add(ev.LogLine(0.0, "INFO", "Listening"))
    for month in MONTHS:
        bounds = f"FOR VALUES FROM ('{month.first_day}') TO ('{month.end}')"
        history.add(ev.PartitionRow(f"audit_events_{month}", month.label, bounds))
    history.add(ev.FinalRead(END, True, True))
    return tuple(history.records)


def check(name: str, history: History) -> CheckResult:
    """Judge the history by one checker."""
    return judge(history.run(), [name])[0]


def promises(name: str, history: History) -> set[Promise]:
    """Promises that one checker finds broken."""
    return {finding.promise for finding in check(name, history).findings}


def gauge(history: History, change: Callable[[float, str, float], float | None]) -> None:
    """Rewrite every series of every scrape; None removes it."""
    for index, record in enumerate(history.records):
        if isinstance(record, ev.MetricsSample):
            changed = {text: change(record.t, text, value) for text, value in record.series.items()}
            kept = {text: value for text, value in changed.items() if value is not None}
            history.records[index] = dataclasses.replace(record, series=kept)


def exported(history: History, text: str, value: Callable[[float], float | None]) -> None:
    """Add a series to every scrape, with its value at that time; None leaves it out."""
    for index, record in enumerate(history.records):
        if isinstance(record, ev.MetricsSample) and (shown := value(record.t)) is not None:
            history.records[index] = dataclasses.replace(record, series={**record.series, text: shown})


def dated(history: History, *, clock_ahead_seconds: float = 0.0) -> History:
    """Date every row of the table: just before a 201, and half a second after the probe for what was queued."""
    answers = {event_id(r.op): (r.t, r.status) for r in history.records if isinstance(r, ev.Complete)}
    for index, record in enumerate(history.records):
        if isinstance(record, ev.TableRow):
            t, status = answers[record.event_id]
            stored = (PROBED + 0.5 if status == 202 else t - 0.005) + clock_ahead_seconds
            moment = utc_timestamp(STARTED_AT + timedelta(seconds=stored))
            history.records[index] = dataclasses.replace(record, recorded_at=moment)
    return history
