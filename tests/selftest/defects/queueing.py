"""Defects of the dead letter queue and of the way back from it."""

import asyncio
import dataclasses
from typing import Any

from service import drainer, partitions, pool, writer
from service.classify import Fault
from service.dlq import DlqError, Entry, SqliteQueue
from service.drainer import Drainer
from service.models import Event, Outcome, Status, canonical, parse_json
from service.partitions import Month

from .registry import defect

# Long enough that a SIGKILL at any moment under load finds answers without a commit.
LATE_SECONDS = 1.0


@defect("drainer-off", promise=5)
def drainer_off() -> None:
    """The drainer is never started: queued events stay queued after the repair."""

    async def never(self: Drainer) -> None:
        await asyncio.Event().wait()

    Drainer.run_drain = never  # type: ignore[method-assign]


@defect("acknowledged-before-stored", promise=2)
def acknowledged_before_stored() -> None:
    """202 is answered before the queue has committed: a SIGKILL loses what was acknowledged."""
    enqueue = SqliteQueue.enqueue
    tasks: set[asyncio.Task[Outcome]] = set()

    async def early(self: SqliteQueue, event: Event, fault: Fault, timeout_seconds: float) -> Outcome:
        def store() -> None:
            task = asyncio.get_running_loop().create_task(enqueue(self, event, fault, timeout_seconds))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        asyncio.get_running_loop().call_later(LATE_SECONDS, store)
        return Outcome(Status.QUEUED)

    SqliteQueue.enqueue = early  # type: ignore[method-assign]


@defect("drain-deletes-on-failure", promise=1)
def drain_deletes_on_failure() -> None:
    """The drain deletes a batch from the queue although its write failed."""
    insert_batch = Drainer.insert_batch

    async def careless(self: Drainer, month: Month, events: list[Event]) -> dict[tuple[str, str], Event] | Fault:
        stored = await insert_batch(self, month, events)
        return {event.identity: event for event in events} if isinstance(stored, Fault) else stored

    Drainer.insert_batch = careless  # type: ignore[method-assign]
    Drainer.may_drain = lambda self, month: True  # type: ignore[method-assign]


@defect("drain-drops-a-field", promise=1)
def drain_drops_a_field() -> None:
    """The drain writes events without the last key of their event_data."""
    event_of = drainer.event_of

    def shortened(entry: Entry) -> Event:
        event = event_of(entry)
        data: Any = parse_json(event.event_data)
        for key in sorted(data)[-1:]:
            del data[key]
        return dataclasses.replace(event, event_data=canonical(data))

    drainer.event_of = shortened


@defect("reinsert-without-idempotence", promise=6)
def reinsert_without_idempotence() -> None:
    """The table has no primary key, inserts no ON CONFLICT, and a batch whose removal failed is drained again."""
    named = pool.sql

    def without_identity(name: str) -> str:
        text = named(name).replace("ON CONFLICT (event_id, event_date) DO NOTHING\n", "")
        return text.replace(" DEFAULT now(),\n    PRIMARY KEY (event_id, event_date)", " DEFAULT now()")

    for module in (partitions, writer, drainer):
        vars(module)["sql"] = without_identity
    remove = SqliteQueue.remove
    failed_once: set[int] = set()

    async def forgetful(self: SqliteQueue, entries: list[Entry]) -> None:
        fresh = {entry.seq for entry in entries} - failed_once
        failed_once.update(fresh)
        if fresh:
            raise DlqError("the removal was lost", "unknown")
        await remove(self, entries)

    SqliteQueue.remove = forgetful  # type: ignore[method-assign]
