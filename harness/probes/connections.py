"""How many connections the service's role holds, by ``pg_stat_activity`` over one lasting connection."""

from __future__ import annotations

import psycopg

from ..stacks.base import DatabaseServer

_COUNT = "SELECT count(*) FROM pg_stat_activity WHERE usename = %s AND backend_type = 'client backend'"
_OPTIONS = "-c statement_timeout=1000"


class ConnectionCounter:
    """Counts again and again; reconnects by itself after the database was away."""

    def __init__(self, database: DatabaseServer) -> None:
        """Prepare; connects at the first count."""
        self._database = database
        self._connection: psycopg.AsyncConnection | None = None

    async def count(self) -> int:
        """Return the number of client backends of the service's role, -1 when the database did not say."""
        try:
            if self._connection is None:
                self._connection = await psycopg.AsyncConnection.connect(
                    self._database.admin_conninfo, autocommit=True, options=_OPTIONS, connect_timeout=2
                )
            cursor = await self._connection.execute(_COUNT, (self._database.service_role,))
            row = await cursor.fetchone()
            return int(row[0]) if row else -1
        except psycopg.Error:
            await self.close()
            return -1

    async def close(self) -> None:
        """Close the connection; harmless twice."""
        if self._connection is not None:
            await self._connection.close()
            self._connection = None
