"""What PostgreSQL itself says: one insert tried, the catalog, every row, and who is connected.

All of it goes over the harness's own login role.  The probe insert puts on the service's role first, because a
superuser passes privileges that stop the service.  Nothing here judges; psycopg stays behind these functions, and
whatever goes wrong in a read is a :class:`harness.errors.HarnessError`.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import date

import psycopg
from psycopg import AsyncConnection, sql

from ..errors import HarnessError
from ..events import PartitionRow, TableRow
from ..stacks.base import DatabaseServer
from ..values import Month

TABLE = "audit_events"
CANARY_CATEGORY = "harness_canary"
"""``event_category`` of every row that the harness writes itself; no read returns such rows."""

PROBE_TIMEOUT_MS = 500
PROBE_DEADLINE_SECONDS = 3.0
READ_TIMEOUT_MS = 60_000
READ_LOCK_TIMEOUT_MS = 2_000
NO_ANSWER = "no answer"
"""Stands where a SQLSTATE would when the database did not answer before the deadline."""
NO_CONNECTION = "no connection"
"""Stands where a SQLSTATE would when the connection was refused, reset or lost without one."""

_INSERT = """
INSERT INTO audit_events (event_id, event_date, event_timestamp, version, event_type, event_category,
                          event_action, event_outcome, correlation_id, event_data)
VALUES (%(event_id)s, %(day)s::date, %(day)s::date::timestamp AT TIME ZONE 'UTC', '1.0', 'canary', 'harness_canary',
        'probe', 'success', %(event_id)s::text, jsonb_build_object('padding', %(padding)s::text))
"""

_READ_ONE = """
SELECT event_id FROM audit_events WHERE event_date >= %(first)s::date AND event_date < %(end)s::date LIMIT 1
"""

_PARTITIONS = """
SELECT child.oid, namespace.nspname, child.relname, pg_get_expr(child.relpartbound, child.oid),
       link.inhdetachpending
FROM pg_inherits AS link
JOIN pg_class AS child ON child.oid = link.inhrelid
JOIN pg_namespace AS namespace ON namespace.oid = child.relnamespace
WHERE link.inhparent = to_regclass('audit_events')
ORDER BY child.relname
"""

_ROWS = """
SELECT tableoid, event_id::text, event_date,
       to_char(event_timestamp AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
       version, event_type, event_category, event_action, event_outcome, correlation_id, event_data::text,
       to_char(recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
FROM audit_events
WHERE event_category <> 'harness_canary'
"""
_RECORDED_SINCE = "AND recorded_at >= %(since)s::timestamptz"

_BOUNDS = re.compile(r"FOR VALUES FROM \('(\d{4}-\d{2}-\d{2})'\) TO \('(\d{4}-\d{2}-\d{2})'\)\Z")


@dataclass(frozen=True)
class InsertResult:
    """How one probe insert ended.  ``sqlstate`` is "" on success, else a SQLSTATE, NO_ANSWER or NO_CONNECTION."""

    sqlstate: str
    message: str
    seconds: float
    """The insert alone, without connecting; with no answer, the time until it was given up."""

    @property
    def accepted(self) -> bool:
        """Tell whether the database took the row."""
        return not self.sqlstate

    def __str__(self) -> str:
        """One phrase for evidence and messages."""
        if self.accepted:
            return f"accepted in {self.seconds * 1000:.0f} ms"
        return f"{self.sqlstate} ({self.message})"


@dataclass(frozen=True)
class Partition:
    """One child of the table.  ``month`` is read from the bounds, None when they are not one whole month."""

    oid: int
    schema: str
    name: str
    bounds: str
    month: Month | None
    is_default: bool
    detach_pending: bool


def month_of_bounds(bounds: str) -> Month | None:
    """Return the month that partition bounds as PostgreSQL prints them enclose, None for any other range."""
    match = _BOUNDS.match(bounds)
    if match is None:
        return None
    first, end = date.fromisoformat(match[1]), date.fromisoformat(match[2])
    month = Month.of(first)
    return month if (month.first_day, month.end) == (first, end) else None


def failure_of(error: BaseException, seconds: float) -> InsertResult:
    """Turn an exception of psycopg or of the event loop into a result."""
    if isinstance(error, TimeoutError):
        return InsertResult(NO_ANSWER, f"nothing came back in {seconds:.2f} s", seconds)
    message = (str(error).strip().splitlines() or [type(error).__name__])[0]
    sqlstate = error.sqlstate if isinstance(error, psycopg.Error) else None
    if sqlstate is None and isinstance(error, psycopg.errors.ConnectionTimeout):
        return InsertResult(NO_ANSWER, message, seconds)
    return InsertResult(sqlstate or NO_CONNECTION, message, seconds)


@contextmanager
def cut_after(connection: AsyncConnection, seconds: float) -> Iterator[None]:
    """Break the connection's socket after ``seconds`` and raise TimeoutError: a deadline that always holds.

    Cancelling is none where nobody answers: psycopg then asks the server to cancel as well and waits for that, ten
    seconds in all.
    """
    due = False

    def cut() -> None:
        nonlocal due
        due = True
        with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as twin:
            twin.shutdown(socket.SHUT_RDWR)

    timer = asyncio.get_running_loop().call_later(max(0.0, seconds), cut)
    try:
        yield
    except psycopg.Error as error:
        if due:
            raise TimeoutError(f"no answer within {seconds:g} s") from error
        raise
    finally:
        timer.cancel()


async def open_probe(
    database: DatabaseServer,
    *,
    proxied: bool,
    timeout_ms: int = PROBE_TIMEOUT_MS,
    deadline_seconds: float = PROBE_DEADLINE_SECONDS,
) -> AsyncConnection:
    """Connect as the service would: its role put on, short time-outs, a transaction open.

    Raises psycopg.Error, OSError or TimeoutError.
    """
    conninfo = database.proxied_admin_conninfo if proxied else database.admin_conninfo
    async with asyncio.timeout(deadline_seconds):
        connection = await AsyncConnection.connect(
            conninfo,
            application_name="harness-probe",
            options=f"-c lock_timeout={timeout_ms} -c statement_timeout={timeout_ms}",
        )
    try:
        with cut_after(connection, deadline_seconds):
            await connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(database.service_role)))
    except BaseException:
        await connection.close()
        raise
    return connection


async def insert_canary(
    connection: AsyncConnection, day: date, *, padding_bytes: int = 0, event_id: uuid.UUID | None = None
) -> float:
    """Insert one row of the harness's own through the parent and return the seconds it took.

    The caller commits or rolls back, and names the row if it wants to find it again.  Raises psycopg.Error.
    """
    row = {"event_id": event_id or uuid.uuid4(), "day": day.isoformat(), "padding": "x" * padding_bytes}
    started = time.perf_counter()
    await connection.execute(_INSERT, row)
    return time.perf_counter() - started


async def probe_insert(
    database: DatabaseServer,
    day: date,
    *,
    proxied: bool = False,
    deadline_seconds: float = PROBE_DEADLINE_SECONDS,
    timeout_ms: int = PROBE_TIMEOUT_MS,
) -> InsertResult:
    """Try one real insert for ``day`` on a fresh connection and roll it back; never raises for the database.

    Connecting and inserting may each take ``deadline_seconds``.
    """
    started = time.perf_counter()
    try:
        connection = await open_probe(
            database, proxied=proxied, timeout_ms=timeout_ms, deadline_seconds=deadline_seconds
        )
        try:
            with cut_after(connection, deadline_seconds):
                return InsertResult("", "", await insert_canary(connection, day))
        finally:
            # Closing ends the transaction without the round trip of a ROLLBACK.
            await connection.close()
    except (psycopg.Error, OSError, TimeoutError) as error:
        return failure_of(error, time.perf_counter() - started)


async def probe_read(database: DatabaseServer, month: Month, *, proxied: bool = False) -> bool:
    """Tell whether the service's role can read from the month."""
    try:
        connection = await open_probe(database, proxied=proxied)
        try:
            with cut_after(connection, PROBE_DEADLINE_SECONDS):
                await connection.execute(_READ_ONE, {"first": month.first_day, "end": month.end})
        finally:
            await connection.close()
    except (psycopg.Error, OSError, TimeoutError):
        return False
    return True


async def partitions_of(connection: AsyncConnection) -> tuple[Partition, ...]:
    """List the children of the table on an open connection.  Raises psycopg.Error."""
    cursor = await connection.execute(_PARTITIONS)
    return tuple(
        Partition(oid, schema, name, bounds or "", month_of_bounds(bounds or ""), bounds == "DEFAULT", pending)
        for oid, schema, name, bounds, pending in await cursor.fetchall()
    )


async def list_partitions(conninfo: str) -> tuple[Partition, ...]:
    """List the children of the table; raises :class:`HarnessError` when the catalog cannot be read."""
    async with _reading(conninfo, "list the partitions") as connection:
        return await partitions_of(connection)


async def partition_rows(conninfo: str) -> tuple[PartitionRow, ...]:
    """Return the catalog as records of the history; raises :class:`HarnessError`.

    A child whose detach is pending says so in its bounds.
    """
    rows = []
    for child in await list_partitions(conninfo):
        bounds = f"{child.bounds} DETACH PENDING" if child.detach_pending else child.bounds
        rows.append(PartitionRow(child.name, child.month.label if child.month else "", bounds))
    return tuple(rows)


async def read_rows(conninfo: str, *, since: str = "") -> tuple[TableRow, ...]:
    """Read every row of the table but the harness's own, in one snapshot; raises :class:`HarnessError`.

    With ``since``, a moment of the database's clock, only rows recorded from then on.

    The content keeps ``event_data`` exactly as ``jsonb`` prints it, so that numbers stay exact decimals.
    """
    async with _reading(conninfo, "read the table") as connection:
        months = {child.oid: child.month.label if child.month else "" for child in await partitions_of(connection)}
        async with connection.cursor(name="harness_final_read") as cursor:
            cursor.itersize = 5_000
            await cursor.execute(f"{_ROWS} {_RECORDED_SINCE}" if since else _ROWS, {"since": since})
            return tuple([_row(months.get(raw[0], ""), raw[1:]) async for raw in cursor])


def _row(month: str, raw: tuple[object, ...]) -> TableRow:
    event_id, day, timestamp, version, kind, category, action, outcome, correlation_id, event_data, recorded = raw
    if not isinstance(day, date):
        raise HarnessError(f"Row {event_id} has no date but {day!r}; the table is not the one of the contract.")
    fields = {
        "event_id": event_id,
        "event_timestamp": timestamp,
        "version": version,
        "event_type": kind,
        "event_category": category,
        "event_action": action,
        "event_outcome": outcome,
        "correlation_id": correlation_id,
    }
    head = json.dumps(fields, separators=(",", ":"), ensure_ascii=False)
    content = f'{head[:-1]},"event_data":{event_data}}}'
    return TableRow(str(event_id), day, month, content, str(correlation_id), str(recorded or ""))


@asynccontextmanager
async def _reading(conninfo: str, what: str) -> AsyncIterator[AsyncConnection]:
    options = f"-c lock_timeout={READ_LOCK_TIMEOUT_MS} -c statement_timeout={READ_TIMEOUT_MS}"
    try:
        connection = await AsyncConnection.connect(
            conninfo, application_name="harness-read", options=options, connect_timeout=5
        )
        try:
            await connection.set_read_only(True)
            await connection.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
            yield connection
        finally:
            await connection.close()
    except (psycopg.Error, OSError) as error:
        raise HarnessError(
            f"Could not {what}: {failure_of(error, 0.0)}. Check that the database is up and that no fault still "
            "holds a lock on the table, then read again."
        ) from error
