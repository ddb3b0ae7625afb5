"""What may be done to a history, by name: one defect of a service, of its numbers or words, or of a probe, each."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from harness import events as ev
from harness.values import utc_timestamp

from ..unit.histories import MONTHS, STARTED_AT, History, content, event_id

SECONDS = 30
"""How long a generated run lasts."""

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
    for place, row in enumerate(history.records):
        if isinstance(row, ev.TableRow) and row.recorded_at:
            moment = datetime.fromisoformat(row.recorded_at) + timedelta(seconds=1 + number % 5)
            history.records[place] = dataclasses.replace(row, recorded_at=utc_timestamp(moment))


def _created(history: History, number: int) -> None:
    """An event that was not created is answered as if it were."""
    places = [p for p, r in enumerate(history.records) if isinstance(r, ev.Complete) and r.status != 201]
    if places:
        place = places[number % len(places)]
        changes: dict[str, Any] = {"status": 201, "type": ev.Completion.OK}
        history.records[place] = dataclasses.replace(history.records[place], **changes)


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


def _shown(text: str, value: float, *, running: int = 1) -> Spoil:
    """So many scrapes running show another value of one series."""

    def spoil(history: History, number: int) -> None:
        places = [place for place, record in enumerate(history.records) if isinstance(record, ev.MetricsSample)]
        start = number % max(1, len(places))
        for place in places[start : start + running]:
            record = history.records[place]
            assert isinstance(record, ev.MetricsSample)
            if record.series:
                history.records[place] = dataclasses.replace(record, series={**record.series, text: value})

    return spoil


def _told(message: str, level: str = "INFO", **changes: str) -> Spoil:
    """A line of a month, at some moment."""

    def spoil(history: History, number: int) -> None:
        line = ev.LogLine(number % SECONDS + 0.3, level, message.format(MONTHS[number % 2]), number % 2)
        history.add(dataclasses.replace(line, **changes))  # type: ignore[arg-type]

    return spoil


def _payload_told(history: History, number: int) -> None:
    """A line names an event and holds what was in it."""
    place = _pick(history, ev.Invoke, number)
    if place is not None:
        record = history.records[place]
        assert isinstance(record, ev.Invoke)
        text = f"{record.event_id or event_id(record.op)} says a telling value"
        told = json.loads(record.content)
        told["event_data"]["words"] = "telling value"
        history.records[place] = dataclasses.replace(record, content=json.dumps(told))
        history.add(ev.LogLine(20.0, "INFO", text))


def _stood_still(history: History, number: int) -> None:
    """Nothing moved for some seconds: neither samplers nor clients."""
    start = float(number % SECONDS)
    moving = (ev.Invoke, ev.Complete, ev.CanarySample, ev.ConnectionSample, ev.MetricsSample, ev.DlqSample)
    history.records = [
        record
        for record in history.records
        if not isinstance(record, (*moving, ev.ReadySample)) or not start < record.t < start + 2.2
    ]


def _samplers_only(history: History, number: int) -> None:
    """No sampler did anything for some seconds; clients did."""
    start = float(number % SECONDS)
    samplers = (ev.CanarySample, ev.ConnectionSample, ev.MetricsSample, ev.DlqSample, ev.ReadySample)
    history.records = [
        record for record in history.records if not isinstance(record, samplers) or not start < record.t < start + 2.2
    ]


def _starving(history: History, number: int) -> None:
    """Writes of some seconds take until their end."""
    start = float(number % SECONDS)
    begun = {r.op for r in history.records if isinstance(r, ev.Invoke) and start <= r.t < start + 4.5}
    for place, record in enumerate(history.records):
        if isinstance(record, ev.Complete) and record.op in begun:
            history.records[place] = dataclasses.replace(record, t=max(record.t, start + 4.6))


def _given_twice(history: History, number: int) -> None:
    """The service gives one event the id of another."""
    places = [p for p, r in enumerate(history.records) if isinstance(r, ev.Complete) and r.answered_id]
    if places:
        record = history.records[places[number % len(places)]]
        assert isinstance(record, ev.Complete)
        twin = dataclasses.replace(record, answered_id=event_id(number % 40))
        history.records[places[number % len(places)]] = twin


def _early_shown(history: History, number: int) -> None:
    """A query shows an event long before it was stored."""
    place = _pick(history, ev.QuerySample, number)
    later = [r.event_id for r in history.records if isinstance(r, ev.TableRow)]
    if place is not None and later:
        record = history.records[place]
        assert isinstance(record, ev.QuerySample)
        history.records[place] = dataclasses.replace(record, found=(*record.found, later[number * 3 % len(later)]))


def _refused(history: History, number: int) -> None:
    """Some writes in a row are refused as if the queue were full."""
    places = [place for place, record in enumerate(history.records) if isinstance(record, ev.Complete)]
    for place in places[number % len(places) :][:6]:
        record = history.records[place]
        assert isinstance(record, ev.Complete)
        history.records[place] = dataclasses.replace(record, status=503, type=ev.Completion.FAIL, outcome="not_stored")


def _read_changed(history: History, number: int) -> None:
    """A query for one event shows it with another action."""
    places = [p for p, r in enumerate(history.records) if isinstance(r, ev.QuerySample) and r.event_id]
    sent = {r.event_id: r.content for r in history.records if isinstance(r, ev.Invoke)}
    if places:
        record = history.records[places[number % len(places)]]
        assert isinstance(record, ev.QuerySample)
        shown = sent.get(record.event_id, "{}").replace('"event_action": "a"', '"event_action": "b"')
        history.records[places[number % len(places)]] = dataclasses.replace(record, content=shown)


def _degraded_beside_slow(history: History, number: int) -> None:
    """A scrape shows a month degraded while one of its writes takes long."""
    second = float(number % SECONDS)
    sent = {r.op: r for r in history.records if isinstance(r, ev.Invoke) and MONTHS[0].first_day <= r.event_date}
    for place, record in enumerate(history.records):
        if isinstance(record, ev.Complete) and record.op in sent and second - 0.5 < sent[record.op].t < second:
            history.records[place] = dataclasses.replace(record, t=second + 0.1)
    places = [place for place, record in enumerate(history.records) if isinstance(record, ev.MetricsSample)]
    _degraded(history, next((at for at, place in enumerate(places) if history.records[place].t == second), 0))  # type: ignore[union-attr]


def _stored_at_the_edge(history: History, number: int) -> None:
    """Rows of direct writes are dated a little late: some into a fault that began just after their answers."""
    _shown('datastorage_partition_last_write_timestamp{partition="2025_12"}', STARTED_AT.timestamp() + 8.5)(history, 11)
    sent = {event_id(r.op): r.t for r in history.records if isinstance(r, ev.Complete) and r.status == 201}
    for place, row in enumerate(history.records):
        if isinstance(row, ev.TableRow) and row.recorded_at and sent.get(row.event_id, 99.0) < 8.0 + number % 3:
            late = 0.9 if sent[row.event_id] > 7.3 else 0.0
            moment = STARTED_AT + timedelta(seconds=sent[row.event_id] + late)
            history.records[place] = dataclasses.replace(row, recorded_at=utc_timestamp(moment))


def _starved_drain(history: History, number: int) -> None:
    """Writes of some seconds take until their end, while the queue shows events all the time."""
    _starving(history, number)
    start = float(number % SECONDS)
    for place, record in enumerate(history.records):
        if isinstance(record, ev.DlqSample) and start - 1 <= record.t < start + 6.0:
            history.records[place] = dataclasses.replace(record, depth=max(3, record.depth))


def _poison_queued(history: History, number: int) -> None:
    """An event that no table takes is queued, and is nowhere at the end."""
    history.op(number % SECONDS + 0.3, MONTHS[0], 202, kind=ev.OpKind.POISON)


def _silent(history: History, number: int) -> None:
    """Readiness is asked in vain, some times running."""
    places = [place for place, record in enumerate(history.records) if isinstance(record, ev.ReadySample)]
    for place in places[number % max(1, len(places)) :][:4]:
        history.records[place] = dataclasses.replace(history.records[place], status=0)  # type: ignore[arg-type]


def _unmade(history: History, number: int) -> None:
    """A month is missing from the catalog for a while, and made anew."""
    for place, record in enumerate(history.records):
        if isinstance(record, ev.PartitionsSample) and record.children and record.t >= number % SECONDS:
            gone = record.t < number % SECONDS + 5
            children = record.children[1:] if gone else (dataclasses.replace(record.children[0], oid=99),)
            history.records[place] = dataclasses.replace(record, children=children)


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
    "created": _created,
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
    "poison queued": _poison_queued,
    "flawed answer": _change(ev.Complete, flaw="no outcome"),
    "flawed batch": _change(ev.BatchEnd, flaw="items missing"),
    "id given twice": _given_twice,
    "unknown partition in use": _shown("datastorage_db_connections_in_use", 24.0),
    "pool shown too small": _shown("datastorage_db_connections_open", 3.0, running=6),
    "few acquisitions": _shown("datastorage_db_connection_wait_duration_seconds_count", 2.0, running=40),
    "errors in peace": _shown("datastorage_db_connection_errors_total", 4.0, running=40),
    "depth": _shown('datastorage_dlq_depth{partition="2025_12"}', 7.0),
    "age": _shown("datastorage_dlq_oldest_age_seconds", 19.0),
    "no age": _shown("datastorage_dlq_oldest_age_seconds", 0.0, running=9),
    "drained": _shown('datastorage_dlq_drained_total{partition="2025_12"}', 90.0, running=40),
    "nothing drained": _shown('datastorage_dlq_drained_total{partition="2025_12"}', 0.0, running=40),
    "drain failures": _shown('datastorage_dlq_drain_failures_total{partition="2026_01"}', 2.0, running=40),
    "dead letters": _shown('datastorage_dlq_dead_letters{reason="poison"}', 3.0, running=40),
    "write stuck": _shown(
        'datastorage_partition_last_write_timestamp{partition="2025_12"}', STARTED_AT.timestamp() + 3.0, running=9
    ),
    "written late": _shown(
        'datastorage_partition_last_write_timestamp{partition="2025_12"}', STARTED_AT.timestamp() + 25.0
    ),
    "write moves": _shown(
        'datastorage_partition_last_write_timestamp{partition="2025_12"}', STARTED_AT.timestamp() + 12.0
    ),
    "failures": _shown('datastorage_partition_write_failures_total{partition="2026_01"}', 9.0, running=40),
    "request time": _shown(
        'datastorage_request_duration_seconds_sum{route="/api/v1/audit/events",status="201"}', 900.0, running=40
    ),
    "requests": _shown(
        'datastorage_request_duration_seconds_count{route="/api/v1/audit/events",status="201"}', 300.0, running=40
    ),
    "not ready": _change(ev.ReadySample, status=503),
    "names a month": _change(ev.ReadySample, degraded=("partition 2026_01",)),
    "names the database": _change(ev.ReadySample, degraded=("database", "dlq")),
    "names nothing": _change(ev.ReadySample, degraded=()),
    "ready silent": _silent,
    "query finds nothing": _change(ev.QuerySample, found=(), unavailable=()),
    "query refused": _change(ev.QuerySample, status=503, found=()),
    "query slow": _change(ev.QuerySample, seconds=9.0),
    "query of other content": _change(ev.QuerySample, content='{"event_id": "x"}'),
    "query shows early": _early_shown,
    "query truncated": _change(ev.QuerySample, truncated=True),
    "pool line": _told("Connection pool exhausted (25/25 in use)", "ERROR"),
    "request waits": _told("Request queued, waiting for available connection"),
    "failed line": _told("Failed to write to partition audit_events_{}", "ERROR", sqlstate="23514"),
    "line of a wrong level": _told("DLQ fallback ended for partition {}", "ERROR"),
    "line with a password": _told("connected", fields='{"dsn": "password=abc"}'),
    "payload told": _payload_told,
    "canary stalled": _change(ev.CanarySample, seconds=2.0),
    "machine stood still": _stood_still,
    "samplers stood still": _samplers_only,
    "starving": _starving,
    "starved by a drain": _starved_drain,
    "degraded beside a slow write": _degraded_beside_slow,
    "stored at the edge": _stored_at_the_edge,
    "read changed": _read_changed,
    "refused as full": _refused,
    "dead letter": lambda history, number: history.queued_row(number % history.next_op, "dead", "23514"),
    "locked parent": _change(ev.ConnectionSample, locking_parent=True),
    "month made anew": _unmade,
    "descriptors": _again(ev.ProcessSample, descriptors=900, t=29.5),
    "service ended": lambda history, number: history.add(ev.ServiceMark(float(number % SECONDS), "ended", 0)),
    "queue over its bound": _change(ev.DlqSample, depth=2000),
    "queue shows more": _change(ev.DlqSample, depth=40),
    "broken off": lambda history, number: history.add(ev.Note(20.0, "recovery" if number % 2 else "abort", "x")),
}
"""What may be done to a history, by name."""
