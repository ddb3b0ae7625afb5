"""Defects of ends and beginnings: what SIGTERM, SIGKILL and a start make of what was acknowledged."""

import os
import time
from pathlib import Path

from service.dlq import Entry, SqliteQueue
from service.logs import Log
from service.partitions import Maintenance

from .registry import defect

KILLED = ("service-killed-while-queueing",)


def _at_first_opening(suffix: str) -> None:
    """Remove a file of the queue when the service starts."""
    make = SqliteQueue.__init__

    def cleaning(self: SqliteQueue, path: str, capacity: int, log: Log) -> None:
        Path(f"{path}{suffix}").unlink(missing_ok=True)
        make(self, path, capacity, log)

    SqliteQueue.__init__ = cleaning  # type: ignore[method-assign]


@defect("leavings-of-a-crash-removed", promise=1, scenarios=KILLED, checkers=("conservation",))
def leavings_of_a_crash_removed() -> None:
    """A start removes the queue's write-ahead log, which is there after a SIGKILL only, as a leaving of a crash."""
    _at_first_opening("-wal")


@defect("queue-emptied-at-the-start", promise=1, scenarios=("service-terminated",), checkers=("conservation",))
def queue_emptied_at_the_start() -> None:
    """Each start begins with an empty queue: what a life before it queued is gone."""
    for suffix in ("", "-wal", "-shm"):
        _at_first_opening(suffix)


@defect("earlier-lives-not-drained", promise=5, scenarios=KILLED, checkers=("recovery",))
def earlier_lives_not_drained() -> None:
    """The drain reads what is queued from now on, as a new consumer of a stream does: older entries stay."""
    started = time.time()

    async def from_now_on(self: SqliteQueue, partition: str, limit: int) -> list[Entry]:
        condition = "state='pending' AND partition=? AND due_at<=? AND queued_at>=? ORDER BY seq"
        return await self._select(condition, partition, time.time(), started, limit)

    SqliteQueue.due = from_now_on  # type: ignore[method-assign]


@defect("no-start-with-a-month-missing", promise=5, scenarios=KILLED, checkers=("recovery",), names_events=False)
def no_start_with_a_month_missing() -> None:
    """A start that finds a month missing ends with an error: nobody answers until somebody repairs the table."""
    look_and_create = Maintenance._look_and_create
    first = [True]

    async def demanding(self: Maintenance) -> None:
        await look_and_create(self)
        if first and any(month.attached is False for month in self.months.values()):
            self.log.error("A partition is missing; the service ends")
            os._exit(1)
        first.clear()

    Maintenance._look_and_create = demanding  # type: ignore[method-assign]
