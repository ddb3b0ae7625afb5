"""The service's own way in: its role, its password, its path through the proxy, so that what stops it stops us.

The harness's superuser passes connection limits and reserved slots, and putting the service's role on afterwards
changes nothing of that.
"""

from __future__ import annotations

import asyncio
import time
from datetime import date

import psycopg
from psycopg import AsyncConnection

from ..fault import Scene
from ..probes.postgres import (
    NO_ANSWER,
    NO_CONNECTION,
    PROBE_DEADLINE_SECONDS,
    PROBE_TIMEOUT_MS,
    InsertResult,
    cut_after,
    failure_of,
    insert_canary,
)
from ..values import Month

DAY = Month(2026, 1).first_day
"""Any day will do: what these faults do to an insert they do before PostgreSQL looks at its month."""

UNREACHABLE = frozenset({NO_ANSWER, NO_CONNECTION, "57P01", "57P02", "57P03", "53300"})
TOO_MANY, STARTING = "53300", "57P03"

_REFUSALS = {
    "too many connections for role": TOO_MANY,
    "remaining connection slots are reserved": TOO_MANY,
    "too many clients already": TOO_MANY,
    "the database system is starting up": STARTING,
    "the database system is in recovery mode": STARTING,
    "the database system is not yet accepting connections": STARTING,
    "the database system is not accepting connections": STARTING,
    "the database system is shutting down": STARTING,
}
"""libpq keeps no SQLSTATE of a refused connection, only what the server said."""

OWN_BACKENDS = """
SELECT pid, backend_start::text FROM pg_stat_activity WHERE usename = %s AND backend_type = 'client backend'
"""
END_BACKENDS = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = %s AND backend_type = 'client backend'
"""


async def open_login(scene: Scene, *, deadline_seconds: float = PROBE_DEADLINE_SECONDS) -> AsyncConnection:
    """Log in as the service does, with short time-outs; raises psycopg.Error, OSError or TimeoutError."""
    options = f"-c lock_timeout={PROBE_TIMEOUT_MS} -c statement_timeout={PROBE_TIMEOUT_MS}"
    async with asyncio.timeout(deadline_seconds):
        return await AsyncConnection.connect(
            scene.environment.database.service_conninfo, application_name="harness-probe", options=options
        )


async def login_insert(
    scene: Scene, day: date = DAY, *, deadline_seconds: float = PROBE_DEADLINE_SECONDS
) -> InsertResult:
    """Log in as the service and try one insert, rolled back; never raises for the database."""
    started = time.perf_counter()
    try:
        connection = await open_login(scene, deadline_seconds=deadline_seconds)
        try:
            return await insert_on(connection, day, deadline_seconds=deadline_seconds)
        finally:
            await connection.close()
    except (psycopg.Error, OSError, TimeoutError) as error:
        return refusal_of(error, time.perf_counter() - started)


async def insert_on(
    connection: AsyncConnection, day: date = DAY, *, deadline_seconds: float = PROBE_DEADLINE_SECONDS
) -> InsertResult:
    """Try one insert on an open connection; never raises for the database."""
    started = time.perf_counter()
    try:
        with cut_after(connection, deadline_seconds):
            return InsertResult("", "", await insert_canary(connection, day))
    except (psycopg.Error, OSError, TimeoutError) as error:
        return refusal_of(error, time.perf_counter() - started)


def refusal_of(error: BaseException, seconds: float) -> InsertResult:
    """Turn an exception into a result; a refused connection gets the SQLSTATE that its message stands for."""
    seen = failure_of(error, seconds)
    if seen.sqlstate != NO_CONNECTION:
        return seen
    said = str(error)
    known = next((sqlstate for text, sqlstate in _REFUSALS.items() if text in said), NO_CONNECTION)
    return InsertResult(known, next((text for text in _REFUSALS if text in said), seen.message), seconds)


async def judged(scene: Scene) -> bool:
    """Tell whether PostgreSQL judges an insert of the service; a month that refuses it is another fault's."""
    return (await login_insert(scene)).sqlstate not in UNREACHABLE
