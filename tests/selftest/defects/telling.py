"""Defects of what the service tells of itself: its log lines and its readiness page."""

import sys
from collections.abc import Callable, Sequence

from service.database import Database, Fault
from service.dlq import SqliteQueue
from service.logs import REPEAT_SECONDS, Log
from service.models import Event, Outcome, Status
from service.partitions import Month
from service.writer import Writer

from .planting import relog, reready
from .registry import defect

DETACHED, LOCKED_QUEUE, DOWN = ("december-detached",), ("dlq-locked",), ("database-down",)
HELD, REFUSED = ("december-held-by-idle-session",), ("december-refused-by-check",)


@defect("fallback-told-with-each-event", promise=8, scenarios=DETACHED, checkers=("logs",))
def fallback_told_with_each_event() -> None:
    """The line of an activated fallback comes with each queued event, not once an episode."""
    write_month = Writer._write_month

    async def chatty(self: Writer, month: Month, events: list[Event], deadline: float) -> dict[Event, Outcome]:
        outcomes = await write_month(self, month, events, deadline)
        for outcome in outcomes.values():
            if outcome.status is Status.QUEUED and not outcome.duplicate:
                self.log.info(f"DLQ fallback activated for partition {month.name}")
        return outcomes

    Writer._write_month = chatty  # type: ignore[method-assign]


def _silence(words: str) -> None:
    relog(lambda level, message, fields: None if words in message else (level, message, fields))


@defect("fallback-not-told", promise=8, scenarios=DETACHED, checkers=("logs",), quick=True)
def fallback_not_told() -> None:
    """Nothing is said when a month's events begin to be queued."""
    _silence("fallback activated")


@defect("end-of-fallback-not-told", promise=8, scenarios=DETACHED, checkers=("logs",))
def end_of_fallback_not_told() -> None:
    """Nothing is said when a month takes writes again."""
    _silence("fallback ended")


@defect("failed-writes-not-told", promise=8, scenarios=REFUSED, checkers=("logs",), names_events=False)
def failed_writes_not_told() -> None:
    """A write that its partition refused is counted, and said nowhere."""
    _silence("Failed to write to partition")


@defect("failed-write-without-sqlstate", promise=8, scenarios=REFUSED, checkers=("logs",), names_events=False)
def failed_write_without_sqlstate() -> None:
    """The line of a failed write does not say with which SQLSTATE."""
    relog(lambda level, message, fields: (level, message, {k: v for k, v in fields.items() if k != "sqlstate"}))


@defect("failed-write-as-information", promise=8, scenarios=REFUSED, checkers=("logs",), names_events=False)
def failed_write_as_information() -> None:
    """The line of a failed write is at INFO, where no alert looks."""
    relog(lambda level, message, fields: ("INFO" if message.startswith("Failed to") else level, message, fields))


@defect("suppressed-lines-forgotten", promise=8, scenarios=HELD, checkers=("logs",), names_events=False)
def suppressed_lines_forgotten() -> None:
    """Repeated lines are left out, and nobody says how many they were."""
    add = Log._add

    def dropping(self: Log, level: str, message: str, fields: dict[str, str | int | float | bool | None]) -> None:
        storm = self._storms.get(message)
        if storm is None or self._clock() - storm.written_at >= REPEAT_SECONDS:
            add(self, level, message, fields)

    Log._add = dropping  # type: ignore[method-assign]


@defect("storms-not-limited", promise=8, scenarios=("pool-exhausted",), checkers=("logs",), names_events=False)
def storms_not_limited() -> None:
    """Each repeated line is written: an exhausted pool fills the log."""

    def at_once(self: Log, level: str, message: str, fields: dict[str, str | int | float | bool | None]) -> None:
        add(self, level, message, fields)
        self._write_if_due(self._storms[message], due=True)

    add = Log._add
    Log._add = at_once  # type: ignore[method-assign]


@defect("connection-string-in-the-log", promise=8, scenarios=DOWN, checkers=("logs",), names_events=False)
def connection_string_in_the_log() -> None:
    """The line of a failed connect has the database's URL, user and password included."""
    lost = Database._lost

    def verbose(self: Database, message: str, error: Exception, count: int = 1) -> None:
        lost(self, f"{message}: {self.pool.conninfo}", error, count)

    Database._lost = verbose  # type: ignore[method-assign]


def _on_queued(tell: Callable[[Log, Event], object]) -> None:
    enqueue = SqliteQueue.enqueue

    async def told(self: SqliteQueue, failed: Sequence[tuple[Event, Fault]], timeout_seconds: float) -> list[Outcome]:
        for event, _ in failed:
            tell(self._log, event)
        return await enqueue(self, failed, timeout_seconds)

    SqliteQueue.enqueue = told  # type: ignore[method-assign]


@defect("event-in-the-log", promise=8, scenarios=DETACHED, checkers=("logs",), names_events=False)
def event_in_the_log() -> None:
    """Each event that is queued is logged with all that it holds."""
    _on_queued(lambda log, event: log.info(f"Queueing {event}"))


@defect("lines-that-are-no-json", promise=8, scenarios=DETACHED, checkers=("logs",), names_events=False)
def lines_that_are_no_json() -> None:
    """A part of the service has a logger of its own, which prints plain text between the JSON lines."""
    _on_queued(lambda log, event: sys.stdout.write(f"ERROR Failed to write to partition audit_events_{event.month}\n"))


@defect("unready-without-database", promise=8, scenarios=DOWN, checkers=("readiness",), names_events=False)
def unready_without_database() -> None:
    """Readiness is 503 while the database is down, so that nobody reaches the queue when it is needed."""
    reready(lambda api, status, degraded: (503 if "database" in degraded else status, degraded))


@defect("unready-without-queue", promise=8, scenarios=LOCKED_QUEUE, checkers=("readiness",), names_events=False)
def unready_without_queue() -> None:
    """Readiness is 503 while the queue cannot be written, although the table takes events."""
    reready(lambda api, status, degraded: (503 if "dlq" in degraded else status, degraded))


@defect(
    "unready-with-one-month-out", promise=8, scenarios=DETACHED, checkers=("readiness",), names_events=False, quick=True
)
def unready_with_one_month_out() -> None:
    """Readiness is 503 while any one month is not healthy."""
    reready(lambda api, status, degraded: (503 if any("partition" in one for one in degraded) else status, degraded))


@defect(
    "ready-without-a-word-of-the-queue", promise=8, scenarios=LOCKED_QUEUE, checkers=("readiness",), names_events=False
)
def ready_without_a_word_of_the_queue() -> None:
    """A queue that cannot be written is not named on the readiness page."""
    reready(lambda api, status, degraded: (status, [one for one in degraded if one != "dlq"]))


@defect("ready-whatever-happens", promise=8, scenarios=DETACHED, checkers=("readiness",), names_events=False)
def ready_whatever_happens() -> None:
    """The readiness page is a constant: ok, with nothing degraded."""
    reready(lambda api, status, degraded: (200, []))


@defect(
    "ready-with-nowhere-to-go", promise=8, scenarios=("both-stores-down",), checkers=("readiness",), names_events=False
)
def ready_with_nowhere_to_go() -> None:
    """Readiness stays 200 when neither the table nor the queue can take an event."""
    reready(lambda api, status, degraded: (200, degraded))
