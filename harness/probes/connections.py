"""What the service's role holds and what is attached, by the catalog, over one lasting connection.

That connection is the harness's own; it waits for no lock for longer than a tenth of a second.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import psycopg

from ..events import AttachedTable, PartitionsSample
from ..stacks.base import DatabaseServer
from .postgres import month_of_bounds

_COUNT = """
SELECT count(*),
       EXISTS (SELECT FROM pg_locks AS held
               JOIN pg_stat_activity AS holder USING (pid)
               WHERE held.relation = to_regclass('audit_events') AND held.mode = 'AccessExclusiveLock'
                 AND holder.usename = %(role)s AND NOT holder.application_name ^@ 'harness')
FROM pg_stat_activity WHERE usename = %(role)s AND backend_type = 'client backend'
"""
_CHILDREN = """
-- A bound expression holds no column, so it is printed without the table's OID and so without waiting for its lock.
SELECT child.oid, child.relname, pg_get_expr(child.relpartbound, 0)
FROM pg_inherits AS link
JOIN pg_class AS child ON child.oid = link.inhrelid
WHERE link.inhparent = to_regclass('audit_events') AND NOT link.inhdetachpending
ORDER BY child.relname
"""
_OPTIONS = "-c statement_timeout=1000 -c lock_timeout=100"
DEFAULT = "default"
"""Stands as the month of a default partition."""


_LIMIT = """
SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
       - coalesce(current_setting('reserved_connections', true)::int, 0)
"""


async def connection_limit(database: DatabaseServer) -> int | None:
    """How many connections ordinary roles may have together; None when the database does not say."""
    try:
        connection = await psycopg.AsyncConnection.connect(
            database.admin_conninfo, autocommit=True, options=_OPTIONS, connect_timeout=2
        )
    except psycopg.Error:
        return None
    try:
        row = await (await connection.execute(_LIMIT)).fetchone()
        return int(row[0]) if row else None
    except psycopg.Error:
        return None
    finally:
        await connection.close()


@dataclass(frozen=True)
class Held:
    """Client backends of the service's role, -1 when the database did not say; whether one locks the whole table.

    The lock counts when it is waited for as well: whoever waits for it stops all who come after.
    """

    backends: int
    locking_parent: bool = False


class ConnectionCounter:
    """Asks again and again; reconnects by itself after the database was away."""

    def __init__(self, database: DatabaseServer) -> None:
        """Prepare; connects at the first question."""
        self._database = database
        self._connection: psycopg.AsyncConnection | None = None

    async def count(self) -> Held:
        """Return what the service's role holds."""
        try:
            cursor = await (await self._connected()).execute(_COUNT, {"role": self._database.service_role})
            row = await cursor.fetchone()
            return Held(int(row[0]), bool(row[1])) if row else Held(-1)
        except psycopg.Error:
            await self.close()
            return Held(-1)

    async def children(self, t: float) -> PartitionsSample:
        """Return what is attached; a pending detach counts as gone, since no write reaches it."""
        started = time.monotonic()
        try:
            found = await (await (await self._connected()).execute(_CHILDREN)).fetchall()
        except psycopg.Error as error:
            await self.close()
            return PartitionsSample(t, (), error.sqlstate or type(error).__name__, time.monotonic() - started)
        children = tuple(AttachedTable(oid, name, _month(bounds or "")) for oid, name, bounds in found)
        return PartitionsSample(t, children, "", time.monotonic() - started)

    async def close(self) -> None:
        """Close the connection; harmless twice."""
        if self._connection is not None:
            await self._connection.close()
            self._connection = None

    async def _connected(self) -> psycopg.AsyncConnection:
        if self._connection is None:
            self._connection = await psycopg.AsyncConnection.connect(
                self._database.admin_conninfo, autocommit=True, options=_OPTIONS, connect_timeout=2
            )
        return self._connection


def _month(bounds: str) -> str:
    if bounds == "DEFAULT":
        return DEFAULT
    month = month_of_bounds(bounds)
    return month.label if month is not None else ""
