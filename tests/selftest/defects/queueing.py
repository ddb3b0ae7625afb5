"""Defects of the dead letter queue and of the way back from it."""

import asyncio
from collections.abc import Sequence
from typing import Any

from service import database, partitions, writer
from service.database import Fault
from service.dlq import DlqError, Entry, SqliteQueue
from service.drainer import Drainer
from service.models import Event, Outcome, Status, canonical, parse_json
from service.partitions import Month
from service.writer import CREATED, Results

from .registry import defect

# Long enough that a SIGKILL at any moment under load finds answers without a commit.
LATE_SECONDS = 1.0


@defect("drainer-off", promise=5, scenarios=("december-detached",), checkers=("recovery", "conservation"), quick=True)
def drainer_off() -> None:
    """The drainer is never started: queued events stay queued after the repair."""

    async def never(self: Drainer) -> None:
        await asyncio.Event().wait()

    Drainer.run_drain = never  # type: ignore[method-assign]


@defect(
    "acknowledged-before-stored",
    promise=1,
    scenarios=("service-killed-while-queueing",),
    checkers=("conservation",),
    quick=True,
)
def acknowledged_before_stored() -> None:
    """202 is answered before the queue has committed: a SIGKILL loses what was acknowledged."""
    enqueue = SqliteQueue.enqueue
    tasks: set[asyncio.Task[list[Outcome]]] = set()

    async def early(self: SqliteQueue, failed: Sequence[tuple[Event, Fault]], timeout_seconds: float) -> list[Outcome]:
        def store() -> None:
            task = asyncio.get_running_loop().create_task(enqueue(self, failed, timeout_seconds))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        asyncio.get_running_loop().call_later(LATE_SECONDS, store)
        return [Outcome(Status.QUEUED)] * len(failed)

    SqliteQueue.enqueue = early  # type: ignore[method-assign]


@defect("drain-deletes-on-failure", promise=1, scenarios=("december-detached",), checkers=("conservation",), quick=True)
def drain_deletes_on_failure() -> None:
    """The drain deletes a batch from the queue although its write failed."""
    insert_batch = Drainer.insert_batch

    async def careless(self: Drainer, month: Month, entries: list[Entry]) -> Results:
        results = await insert_batch(self, month, entries)
        return {event: CREATED if isinstance(result, Fault) else result for event, result in results.items()}

    Drainer.insert_batch = careless  # type: ignore[method-assign]

    async def always(self: Drainer, month: Month) -> None:
        while await self._move(month):
            pass

    Drainer._drain = always  # type: ignore[method-assign]


@defect("drain-drops-a-field", promise=1, scenarios=("december-detached",), checkers=("conservation",), quick=True)
def drain_drops_a_field() -> None:
    """The drain writes events without the last key of their event_data."""
    insert_batch = Drainer.insert_batch

    def shortened(event: Event) -> Event:
        head, key, data = event[:-1].partition(',"event_data":')
        value: Any = parse_json(data)
        for last in sorted(value)[-1:]:
            del value[last]
        return Event(f"{head}{key}{canonical(value)}}}")

    async def lossy(self: Drainer, month: Month, entries: list[Entry]) -> Results:
        short = [entry._replace(event=shortened(entry.event)) for entry in entries]
        results = await insert_batch(self, month, short)
        return {entry.event: results[other.event] for entry, other in zip(entries, short, strict=True)}

    Drainer.insert_batch = lossy  # type: ignore[method-assign]


@defect(
    "reinsert-without-idempotence", promise=6, scenarios=("december-detached",), checkers=("duplicates",), quick=True
)
def reinsert_without_idempotence() -> None:
    """The table has no primary key, inserts no ON CONFLICT, and a batch whose removal failed is drained again."""
    named = database.sql

    def without_identity(name: str) -> str:
        text = named(name).replace("ON CONFLICT (event_id, event_date) DO NOTHING\n", "")
        return text.replace(" DEFAULT now(),\n    PRIMARY KEY (event_id, event_date)", " DEFAULT now()")

    for module in (partitions, writer):
        vars(module)["sql"] = without_identity
    remove = SqliteQueue.remove
    failed_once: set[int] = set()

    async def forgetful(self: SqliteQueue, entries: Sequence[Entry]) -> int:
        fresh = {entry.seq for entry in entries} - failed_once
        failed_once.update(fresh)
        if fresh:
            raise DlqError("the removal was lost", "unknown")
        return await remove(self, entries)

    SqliteQueue.remove = forgetful  # type: ignore[method-assign]


@defect(
    "full-queue-is-never-drained",
    promise=5,
    scenarios=("dlq-full-in-outage",),
    checkers=("recovery", "conservation"),
    quick=True,
)
def full_queue_is_never_drained() -> None:
    """Once the queue is full nothing is taken out of it any more."""
    drain = Drainer._drain

    async def only_with_room(self: Drainer, month: Month) -> None:
        if not self.parts.queue.full:
            await drain(self, month)

    Drainer._drain = only_with_room  # type: ignore[method-assign]
