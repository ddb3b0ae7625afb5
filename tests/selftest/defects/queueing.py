"""Defects of the dead letter queue itself: what it keeps, what it acknowledges, how much it takes."""

import asyncio
import math
import sqlite3
import time
from collections.abc import Sequence
from decimal import Decimal
from functools import partial
from typing import Any

from service import dlq
from service.database import Fault
from service.dlq import DlqError, SqliteQueue, Work
from service.models import Event, Outcome, Status
from service.writer import Writer

from .planting import drain_as, edited
from .registry import defect

# Long enough that a SIGKILL at any moment under load finds answers without a commit.
LATE_SECONDS = 1.0
# Long enough that hardly ever nothing came since the last one.
COMMIT_SECONDS = 10.0
BELIEVED_SECONDS = 3.0
QUEUED = Outcome(Status.QUEUED)


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
        return [QUEUED] * len(failed)

    SqliteQueue.enqueue = early  # type: ignore[method-assign]


class _Lazy(sqlite3.Connection):
    """Commits at most every few seconds; until then its own reader sees what no file has."""

    keeps_tail = True
    _committed_at = 0.0

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        if sql.startswith("BEGIN") and self.in_transaction:
            return super().execute("SELECT 1")
        if sql == "COMMIT":
            if time.monotonic() - self._committed_at < COMMIT_SECONDS:
                return super().execute("SELECT 1")
            self._committed_at = time.monotonic()
        return super().execute(sql, *parameters)

    def close(self) -> None:
        if self.keeps_tail and self.in_transaction:
            self.commit()
        super().close()


class _Careless(_Lazy):
    keeps_tail = False


@defect(
    "queue-commits-now-and-then", promise=1, scenarios=("service-killed-while-queueing",), checkers=("conservation",)
)
def queue_commits_now_and_then() -> None:
    """The queue commits every ten seconds and at its end, for speed: only a SIGKILL loses what came since."""
    vars(dlq)["sqlite3"].connect = partial(sqlite3.connect, factory=_Lazy)


@defect("queue-tail-lost-at-the-end", promise=1, scenarios=("service-terminated",), checkers=("conservation",))
def queue_tail_lost_at_the_end() -> None:
    """The queue commits every ten seconds, and forgets the last ones in an orderly end (SIGTERM)."""
    vars(dlq)["sqlite3"].connect = partial(sqlite3.connect, factory=_Careless)


@defect("queue-trimmed-at-capacity", promise=1, scenarios=("dlq-full",), checkers=("conservation",))
def queue_trimmed_at_capacity() -> None:
    """A full queue makes room by dropping its oldest event, which was acknowledged."""
    insert = SqliteQueue._insert

    def trimming(self: SqliteQueue, db: sqlite3.Connection, event: Event, fault: Fault) -> Outcome:
        outcome = insert(self, db, event, fault)
        if outcome.status is not Status.UNAVAILABLE:
            return outcome
        db.execute("DELETE FROM events WHERE seq = (SELECT min(seq) FROM events)")
        return insert(self, db, event, fault)

    SqliteQueue._insert = trimming  # type: ignore[method-assign]


@defect("queue-takes-one-too-many", promise=9, scenarios=("dlq-full",), checkers=("capacity",), names_events=False)
def queue_takes_one_too_many() -> None:
    """The queue is full one event later than DLQ_MAX_EVENTS says."""
    _with_room(1)


@defect(
    "queue-without-bound", promise=9, scenarios=("dlq-full",), checkers=("capacity",), names_events=False, quick=True
)
def queue_without_bound() -> None:
    """DLQ_MAX_EVENTS is told to everybody and heeded by nobody."""
    _with_room(10**9)


def _with_room(more: int) -> None:
    """Let inserts, and nothing else, believe in a larger capacity."""
    insert = SqliteQueue._insert

    def roomy(self: SqliteQueue, db: sqlite3.Connection, event: Event, fault: Fault) -> Outcome:
        said, self.capacity = self.capacity, self.capacity + more
        try:
            return insert(self, db, event, fault)
        finally:
            self.capacity = said

    SqliteQueue._insert = roomy  # type: ignore[method-assign]


@defect("queue-error-acknowledged", promise=1, scenarios=("dlq-locked",), checkers=("conservation",))
def queue_error_acknowledged() -> None:
    """202 is answered although the queue could not be written: the error is logged and forgotten."""
    _acknowledge_after("")


@defect("full-disk-acknowledged", promise=1, scenarios=("dlq-disk-full",), checkers=("conservation",))
def full_disk_acknowledged() -> None:
    """A disk that is full is not looked at: what SQLite refuses for it is acknowledged."""
    _acknowledge_after("full")


def _acknowledge_after(words: str) -> None:
    enqueue = SqliteQueue.enqueue

    async def sure(self: SqliteQueue, failed: Sequence[tuple[Event, Fault]], timeout_seconds: float) -> list[Outcome]:
        try:
            return await enqueue(self, failed, timeout_seconds)
        except DlqError as error:
            if words not in str(error):
                raise
            return [QUEUED] * len(failed)

    SqliteQueue.enqueue = sure  # type: ignore[method-assign]


@defect("deleted-queue-noticed-late", promise=1, scenarios=("dlq-deleted",), checkers=("conservation",))
def deleted_queue_noticed_late() -> None:
    """That the queue's file has lost its name is believed only after three seconds: until then it goes into nothing."""
    names = SqliteQueue._names
    missed_at: list[float] = []

    def patient(self: SqliteQueue) -> list[int]:
        seen = names(self)
        if self._db is None or seen == self._inodes:
            missed_at.clear()
            return seen
        missed_at[:] = missed_at or [time.monotonic()]
        return seen if time.monotonic() - missed_at[0] > BELIEVED_SECONDS else self._inodes

    SqliteQueue._names = patient  # type: ignore[method-assign]


@defect("queue-given-up-for-good", promise=5, scenarios=("dlq-locked",), checkers=("recovery",))
def queue_given_up_for_good() -> None:
    """A queue that once failed is not used again until a restart."""
    failed, transact = SqliteQueue._failed, SqliteQueue._transact
    given_up: list[bool] = []

    def give_up(self: SqliteQueue, error: Exception, outcome: str) -> DlqError:
        given_up.append(True)
        return failed(self, error, outcome)

    def refuse(self: SqliteQueue, jobs: list[tuple[Work[object], bool]]) -> list[object]:
        if not given_up:
            return transact(self, jobs)
        return [DlqError("the queue was given up")] * len(jobs)

    SqliteQueue._failed, SqliteQueue._transact = give_up, refuse  # type: ignore[method-assign]


@defect(
    "conflict-replaces-the-queued", promise=1, scenarios=("all-partitions-unavailable",), checkers=("conservation",)
)
def conflict_replaces_the_queued() -> None:
    """The queue keeps the last content sent under an identity, where 409 is due: the first one is gone."""
    insert, held = SqliteQueue._insert, Writer._held

    def upsert(self: SqliteQueue, db: sqlite3.Connection, event: Event, fault: Fault) -> Outcome:
        outcome = insert(self, db, event, fault)
        if outcome.status is not Status.CONFLICT:
            return outcome
        db.execute("UPDATE events SET event = ? WHERE event = ?", [event, self._held(db, event)])
        return QUEUED

    async def equal_ones(self: Writer, events: list[Event]) -> dict[tuple[str, str], Event]:
        found = await held(self, events)
        return {event.identity: event for event in events if found.get(event.identity) == event}

    SqliteQueue._insert, Writer._held = upsert, equal_ones  # type: ignore[method-assign]


@defect("queue-forgets-the-version", promise=1, scenarios=("december-detached",), checkers=("conservation",))
def queue_forgets_the_version() -> None:
    """The queue has no column for an event's version, so that a drained one has the default."""
    drain_as(lambda event: edited(event, lambda value: value.update(version="1.0")))


@defect("queue-keeps-five-fields", promise=1, scenarios=("december-detached",), checkers=("conservation",))
def queue_keeps_five_fields() -> None:
    """A retry is made from the few fields that the queue's record has; the others are blank."""
    blank = {"event_category": "unknown", "event_action": "unknown", "event_data": {}}
    drain_as(lambda event: edited(event, lambda value: value.update(blank)))


@defect("queue-rounds-numbers", promise=1, scenarios=("december-detached",), checkers=("conservation",), quick=True)
def queue_rounds_numbers() -> None:
    """Numbers go through floating point on their way out of the queue: long ones come back rounded."""
    drain_as(lambda event: edited(event, lambda value: value.update(event_data=_rounded(value["event_data"]))))


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    # A number beyond what floating point holds stays as it is.
    return Decimal(float(value)) if isinstance(value, Decimal) and math.isfinite(float(value)) else value
