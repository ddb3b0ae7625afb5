"""Ways of breaking the service that several defects use; each changes the modules of this process, and nothing else."""

import dataclasses
import json
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from datetime import datetime
from typing import Any

from prometheus_client.core import Metric
from prometheus_client.samples import Sample
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from service import database, dlq, partitions, routes, writer
from service.database import Connection, Fault, Owner
from service.dlq import Entry
from service.drainer import Drainer
from service.logs import Field, Log
from service.metrics import Gauges, Metrics
from service.models import TEXT_FIELDS, Event, Outcome, canonical, make_event, parse_json
from service.partitions import Month, Months
from service.routes import Api
from service.writer import Results, Writer

Line = tuple[str, str, dict[str, Field]]
_draining: ContextVar[bool] = ContextVar("draining", default=False)


def reword(statement: str, old: str, new: str, *, drain_only: bool = False) -> None:
    """Have the service read one of its named statements with words changed. Raises ValueError for words it lacks."""
    for module in (dlq, partitions, writer):
        vars(module)["sql"] = _reworded(vars(module)["sql"], statement, old, new, drain_only=drain_only)
    if drain_only:
        mark_the_drain()


def _reworded(
    named: Callable[[str], str], statement: str, old: str, new: str, *, drain_only: bool
) -> Callable[[str], str]:
    if old not in named(statement):
        raise ValueError(f"the statement {statement!r} has no {old!r}; mend the defect that would change it")
    changed = named(statement).replace(old, new)
    return lambda name: changed if name == statement and (draining() or not drain_only) else named(name)


def draining() -> bool:
    """Whether it is the drain, marked before, that asks."""
    return _draining.get()


def mark_the_drain() -> None:
    """Have `draining` know the drain's writes from live ones."""
    insert_batch = Drainer.insert_batch

    async def marked(self: Drainer, month: Month, entries: list[Entry]) -> Results:
        token = _draining.set(True)
        try:
            return await insert_batch(self, month, entries)
        finally:
            _draining.reset(token)

    Drainer.insert_batch = marked  # type: ignore[method-assign]


def without_identity() -> None:
    """Make the table without its primary key, and insert without ON CONFLICT."""
    reword("insert", "ON CONFLICT (event_id, event_date) DO NOTHING\n", "")
    reword(
        "schema", "DEFAULT now(),\n    PRIMARY KEY (event_id, event_date)\n) PARTITION", "DEFAULT now()\n) PARTITION"
    )


def edited(event: Event, edit: Callable[[dict[str, Any]], None]) -> Event:
    """The event with some of its fields changed."""
    value: Any = parse_json(event)
    edit(value)
    stamp = datetime.fromisoformat(value["event_timestamp"])
    return make_event(value["event_id"], stamp, [value[name] for name in TEXT_FIELDS], canonical(value["event_data"]))


def drain_as(change: Callable[[Event], Event]) -> None:
    """Have the drain write something else than what was queued."""
    insert_batch = Drainer.insert_batch

    async def lossy(self: Drainer, month: Month, entries: list[Entry]) -> Results:
        others = [entry._replace(event=change(entry.event)) for entry in entries]
        results = await insert_batch(self, month, others)
        pairs = zip(entries, others, strict=True)
        return {entry.event: results[other.event] for entry, other in pairs if other.event in results}

    Drainer.insert_batch = lossy  # type: ignore[method-assign]


def drain_results(change: Callable[[Outcome | Fault], Outcome | Fault]) -> None:
    """Have the drain see the table's answers changed."""
    insert_batch = Drainer.insert_batch

    async def told(self: Drainer, month: Month, entries: list[Entry]) -> Results:
        results = await insert_batch(self, month, entries)
        return {event: change(result) for event, result in results.items()}

    Drainer.insert_batch = told  # type: ignore[method-assign]


def months_moved() -> set[str]:
    """Have the drain note the months of which it moved something, here."""
    move = Drainer._move
    moved = set[str]()

    async def noted(self: Drainer, month: Month) -> bool:
        more = await move(self, month)
        if more:
            moved.add(month.name)
        return more

    Drainer._move = noted  # type: ignore[method-assign]
    return moved


def live_results(change: Callable[[Event, Outcome | Fault], Outcome | Fault]) -> None:
    """Have live writes, not the drain, see the table's answers changed."""
    insert_or_compare = writer.insert_or_compare
    mark_the_drain()

    async def told(month: Month, events: list[Event], known: list[Event], connection: Connection) -> Results:
        results = await insert_or_compare(month, events, known, connection)
        return results if draining() else {event: change(event, one) for event, one in results.items()}

    vars(writer)["insert_or_compare"] = told


def trust(*sqlstates: str) -> None:
    """Take SQLSTATEs that begin so for the event's fault, without a look whether a harmless row fares better."""
    classify = database.classify

    def hasty(sqlstate: str | None, constraint: str | None, message: str, fatal: bool = False) -> Fault:
        fault = classify(sqlstate, constraint, message, fatal)
        blamed = sqlstate is not None and not fatal and sqlstate.startswith(sqlstates)
        return dataclasses.replace(fault, owner=Owner.EVENT, no_partition=False) if blamed else fault

    async def no_second_look(connection: Connection, fault: Fault, day: object) -> Fault:
        return fault

    vars(database)["classify"] = hasty
    vars(writer)["settle_owner"] = no_second_look


def on_trip(act: Callable[[Month], None]) -> None:
    """Do something each time a month's breaker opens, once an episode."""
    trip = Months.trip

    def watched(self: Months, month: Month) -> None:
        closed = month.breaker.allows
        trip(self, month)
        if closed and not month.breaker.allows:
            act(month)

    Months.trip = watched  # type: ignore[method-assign]


def queue_instead(change: Callable[[Writer, Event, Fault], Event | Outcome]) -> None:
    """Have another event queued than the one that failed, or none: an outcome is answered without queueing."""
    enqueue = Writer._enqueue

    async def otherwise(self: Writer, failed: list[tuple[Event, Fault]], deadline: float) -> dict[Event, Outcome]:
        chosen = [(event, fault, change(self, event, fault)) for event, fault in failed]
        outcomes = {event: one for event, _, one in chosen if isinstance(one, Outcome)}
        others = {event: one for event, _, one in chosen if isinstance(one, Event)}
        stored = [(one, fault) for _, fault, one in chosen if isinstance(one, Event)]
        answers = await enqueue(self, stored, deadline) if stored else {}
        return outcomes | {event: answers[other] for event, other in others.items()}

    Writer._enqueue = otherwise  # type: ignore[method-assign]


def remetric(change: Callable[[Metrics], None]) -> None:
    """Change the counters and histograms after they were made."""
    make = Metrics.__init__

    def changed(self: Metrics) -> None:
        make(self)
        change(self)

    Metrics.__init__ = changed  # type: ignore[method-assign]


def regauge(name: str, change: Callable[[Gauges, list[Sample]], list[Sample]]) -> None:
    """Change the samples of one gauge at each scrape."""
    collect = Gauges.collect

    def changed(self: Gauges) -> Iterator[Metric]:
        for family in collect(self):
            if family.name == f"datastorage_{name}":
                family.samples = change(self, list(family.samples))
            yield family

    Gauges.collect = changed  # type: ignore[method-assign]


def relog(change: Callable[[str, str, dict[str, Field]], Line | None]) -> None:
    """Change lines before they are written; None leaves one out."""
    add = Log._add

    def changed(self: Log, level: str, message: str, fields: dict[str, Field]) -> None:
        line = change(level, message, fields)
        if line is not None:
            add(self, *line)

    Log._add = changed  # type: ignore[method-assign]


def reitem(change: Callable[[Event | None, dict[str, Any]], None]) -> None:
    """Change what is answered for each event."""
    item = routes._item

    def changed(event: Event | None, outcome: Outcome) -> str:
        body: dict[str, Any] = json.loads(item(event, outcome))
        change(event, body)
        return json.dumps(body, separators=(",", ":"))

    vars(routes)["_item"] = changed


def reready(change: Callable[[Api, int, list[str]], tuple[int, list[str]]]) -> None:
    """Change the status and the list of what is degraded on the readiness page."""
    ready = Api._ready

    async def changed(self: Api, request: Request) -> Response:
        answer = await ready(self, request)
        body: dict[str, Any] = json.loads(bytes(answer.body))
        status, body["degraded"] = change(self, answer.status_code, body["degraded"])
        if body["status"] != "stopping":
            body["status"] = "degraded" if body["degraded"] else "ok"
        return JSONResponse(body, status)

    Api._ready = changed  # type: ignore[method-assign]
