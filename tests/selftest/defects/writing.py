"""Defects of the live write: whose fault an error is, when the answer is given, and how long it may take."""

import asyncio
import time
from typing import Any, cast
from uuid import uuid4

import psycopg
from starlette.responses import Response

from service import database, routes, writer
from service.config import Config
from service.database import Connection, Database, Fault, Owner, fault_of
from service.drainer import JOB
from service.logs import Log
from service.metrics import Metrics
from service.models import Event, Outcome, Status
from service.partitions import Month, Months
from service.writer import Limits, Results, Writer

from .planting import edited, queue_instead, trust
from .registry import defect

# Long enough that a fault, or a look at the table, comes between the answer and the commit.
LATE_SECONDS = 0.5
# More lock time-outs than a request has time for.
TRIES = 6
SHORT_SECONDS = 0.15
EXPECTED_STATES = ("22", "23", "55P03", "57014")


@defect("control", promise=0)
def control() -> None:
    """Nothing is broken: the suite must pass."""


@defect("no-partition-is-400", promise=2, scenarios=("december-detached",), checkers=("honest-status",), quick=True)
def no_partition_is_400() -> None:
    """SQLSTATE 23514 is taken for the client's fault: events of a missing month are refused with 400."""
    trust("23514")
    # The maintenance loop must not hide it by sparing the month.
    Months.trip = lambda self, month: None  # type: ignore[method-assign]


@defect("class-23-is-400", promise=2, scenarios=("december-refused-by-check",), checkers=("honest-status",), quick=True)
def class_23_is_400() -> None:
    """Every integrity error is mapped to 400, also that of a constraint which only one month's table has."""
    trust("23")


@defect("value-error-is-400", promise=2, scenarios=("december-refused-as-value-error",), checkers=("honest-status",))
def value_error_is_400() -> None:
    """A value error is mapped to 400 although every row gets it, a harmless one too."""
    trust("22")


@defect("permission-denied-is-400", promise=2, scenarios=("december-file-unreadable",), checkers=("honest-status",))
def permission_denied_is_400() -> None:
    """42501 is taken for a client that may not do what it asks: 400 for a file that the server cannot read."""
    trust("42501")


@defect("statement-timeout-is-400", promise=2, scenarios=("december-too-slow",), checkers=("honest-status",))
def statement_timeout_is_400() -> None:
    """57014 is taken for an event that is too large to be stored, and refused with 400."""
    trust("57014")


@defect("outage-is-400", promise=2, scenarios=("database-down",), checkers=("honest-status",))
def outage_is_400() -> None:
    """A look-up that validates events fails while the database is down, which is answered 400 instead of queueing."""
    write_month = Writer._write_month

    async def validated(self: Writer, month: Month, events: list[Event], deadline: float) -> dict[Event, Outcome]:
        if not self.database.available:
            why = "the reference of the event cannot be found"
            return dict.fromkeys(events, Outcome(Status.REJECTED, why, errors=(("event_type", why),)))
        return await write_month(self, month, events, deadline)

    Writer._write_month = validated  # type: ignore[method-assign]


@defect("unexpected-sqlstate-is-500", promise=2, scenarios=("december-heap-corrupted",), checkers=("honest-status",))
def unexpected_sqlstate_is_500() -> None:
    """An SQLSTATE that nobody thought of ends in an answer of 500, and the event is nowhere."""

    def strict(error: psycopg.Error) -> Fault:
        if error.sqlstate is not None and not error.sqlstate.startswith(EXPECTED_STATES):
            raise RuntimeError(f"unexpected SQLSTATE {error.sqlstate}")
        return fault_of(error)

    vars(writer)["fault_of"] = strict
    problem = routes.problem

    def honest(status: int, detail: str, *args: Any, **more: Any) -> Response:
        return problem(500 if detail.startswith("an unforeseen error") else status, detail, *args, **more)

    vars(routes)["problem"] = honest


@defect("shutdown-code-is-an-outage", promise=3, scenarios=("december-refused-as-shutdown",), checkers=("isolation",))
def shutdown_code_is_an_outage() -> None:
    """A 57P01 that one month's trigger raises on connections that live on is taken for a lost database."""
    classify = database.classify

    def by_class(sqlstate: str | None, constraint: str | None, message: str, fatal: bool = False) -> Fault:
        return classify(sqlstate, constraint, message, fatal or (sqlstate or "").startswith("57P"))

    vars(database)["classify"] = by_class


@defect("read-only-for-good", promise=5, scenarios=("database-read-only",), checkers=("recovery",))
def read_only_for_good() -> None:
    """A month that once answered read-only (25006) is never written directly again until a restart."""
    failed, may_try = Months.failed, Writer._may_try
    read_only: set[str] = set()

    def remember(self: Months, month: Month, fault: Fault) -> None:
        failed(self, month, fault)
        if fault.sqlstate == "25006":
            read_only.add(month.name)

    Months.failed = remember  # type: ignore[method-assign]
    Writer._may_try = lambda self, month: month.name not in read_only and may_try(self, month)  # type: ignore[method-assign]


@defect("acknowledged-before-commit", promise=1, scenarios=("database-killed",), checkers=("conservation",), quick=True)
def acknowledged_before_commit() -> None:
    """201 is answered while the commit is still to come, and whatever goes wrong with it goes unnoticed."""
    write_month = Writer._write_month
    tasks: set[asyncio.Task[object]] = set()

    async def early(self: Writer, month: Month, events: list[Event], deadline: float) -> dict[Event, Outcome]:
        loop = asyncio.get_running_loop()
        if not self._may_try(month):
            return await write_month(self, month, events, deadline)

        def commit() -> None:
            task: asyncio.Task[object] = loop.create_task(
                self.store(month.name, month, events, [], lambda: self._limits(time.monotonic() + 4))
            )
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        loop.call_later(LATE_SECONDS, commit)
        return dict.fromkeys(events, writer.CREATED)

    Writer._write_month = early  # type: ignore[method-assign]


@defect("queued-answered-201", promise=2, scenarios=("december-detached",), checkers=("honest-status",), quick=True)
def queued_answered_201() -> None:
    """201 is answered for events that are only in the queue."""
    routes._CODES[Status.QUEUED] = 201


@defect(
    "unknown-commit-is-not-stored",
    promise=2,
    scenarios=("answers-black-holed",),
    checkers=("conservation",),
    quick=True,
)
def unknown_commit_is_not_stored() -> None:
    """A commit whose answer was lost is answered 503 not_stored, although the event is in the table."""

    def refuse(self: Writer, event: Event, fault: Fault) -> Event | Outcome:
        return Outcome(Status.UNAVAILABLE, "the connection was lost") if fault.owner is Owner.LINK else event

    queue_instead(refuse)


@defect("retry-makes-a-new-id", promise=6, scenarios=("answers-black-holed",), checkers=("duplicates",))
def retry_makes_a_new_id() -> None:
    """A write whose commit is in doubt is retried as a record with an id of its own: there are two rows of it."""

    def renew(self: Writer, event: Event, fault: Fault) -> Event:
        return edited(event, lambda value: value.update(event_id=str(uuid4()))) if fault.owner is Owner.LINK else event

    queue_instead(renew)


@defect(
    "lock-without-time-out",
    promise=4,
    scenarios=("december-held-by-idle-session",),
    checkers=("fallback", "honest-status"),
)
def lock_without_time_out() -> None:
    """Statements wait for a lock as long as somebody holds it: no time-out, and no deadline of the client's."""
    make = Database.__init__

    def patient(self: Database, config: Config, metrics: Metrics, log: Log) -> None:
        make(self, config, metrics, log)
        kwargs = cast("dict[str, Any]", self.pool.kwargs)
        self.pool.kwargs = kwargs | {"options": "-c TimeZone=UTC -c DateStyle=ISO"}

    Database.__init__ = patient  # type: ignore[method-assign]
    vars(database)["sever"] = lambda connection: None


@defect("no-deadline-of-the-client", promise=4, scenarios=("database-paused",), checkers=("fallback", "honest-status"))
def no_deadline_of_the_client() -> None:
    """The server's time-outs are all there is: a database that does not answer at all is waited for."""
    vars(database)["sever"] = lambda connection: None


@defect(
    "retried-within-the-request",
    promise=4,
    scenarios=("december-held-by-idle-session",),
    checkers=("fallback", "honest-status"),
    quick=True,
)
def retried_within_the_request() -> None:
    """A write that its partition refused is tried six times before it is queued, whatever that takes."""
    store = Writer.store

    async def stubborn(
        self: Writer, key: str, month: Month, events: list[Event], known: list[Event], limits: Limits
    ) -> Results:
        results = await store(self, key, month, events, known, limits)
        for _ in range(0 if key == JOB else TRIES - 1):
            failed = [event for event in events if _is_partitions(results[event])]
            if failed:
                results |= await store(self, key, month, failed, [], lambda: self.database.limits)
        return results

    Writer.store = stubborn  # type: ignore[method-assign]


def _is_partitions(result: Outcome | Fault) -> bool:
    return isinstance(result, Fault) and result.owner is Owner.PARTITION


@defect("impatient", promise=2, scenarios=("december-slow",), checkers=("honest-status",))
def impatient() -> None:
    """A write that takes longer than 150 ms is given up and queued: a slow month is treated as a failing one."""
    limits = Writer._limits

    def short(self: Writer, deadline: float) -> tuple[float, float]:
        return limits(self, deadline)[0], SHORT_SECONDS

    Writer._limits = short  # type: ignore[method-assign]


@defect("previous-hash-over-all-months", promise=3, scenarios=("december-reindex-left-open",), checkers=("isolation",))
def previous_hash_over_all_months() -> None:
    """Each write first looks up the newest event without a date, which needs every month to be readable."""
    insert_or_compare = writer.insert_or_compare

    async def chained(month: Month, events: list[Event], known: list[Event], connection: Connection) -> Results:
        await connection.execute("SELECT event_id FROM audit_events ORDER BY recorded_at DESC LIMIT 1")
        return await insert_or_compare(month, events, known, connection)

    vars(writer)["insert_or_compare"] = chained
