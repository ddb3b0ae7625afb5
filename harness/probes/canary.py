"""Canary: a direct insert of the harness into a month, to know whether the disk or the month itself stalled.

A 202 of the service in health is honest when the database was slow for everybody; the canary is everybody.
"""

from __future__ import annotations

import time

import psycopg

from ..stacks.base import DatabaseServer
from ..values import Month

_INSERT = """
INSERT INTO audit_events (event_id, event_date, event_timestamp, version, event_type, event_category, event_action,
                          event_outcome, correlation_id, event_data)
VALUES (gen_random_uuid(), %(day)s, %(day)s, '1.0', 'canary', 'harness_canary', 'probe', 'success', 'canary', '{}')
"""
_OPTIONS = "-c statement_timeout=1000 -c lock_timeout=500 -c timezone=UTC"
_LOST = "08006"


class Canary:
    """One direct connection that inserts one committed row a call."""

    def __init__(self, database: DatabaseServer, month: Month) -> None:
        """Prepare; the connection is opened by the first insert, and again when it was lost."""
        self._database = database
        self._day = month.first_day
        self._connection: psycopg.AsyncConnection | None = None

    async def insert(self) -> tuple[float, str]:
        """Insert once; return the seconds it took and the SQLSTATE ("" for success, 08006 for no connection)."""
        try:
            if self._connection is None:
                self._connection = await psycopg.AsyncConnection.connect(
                    self._database.admin_conninfo, autocommit=True, options=_OPTIONS, connect_timeout=2
                )
            started = time.monotonic()
            await self._connection.execute(_INSERT, {"day": self._day})
            return time.monotonic() - started, ""
        except psycopg.Error as error:
            if self._connection is not None and self._connection.broken:
                await self.close()
            return 0.0, error.sqlstate or _LOST

    async def close(self) -> None:
        """Close the connection; harmless twice."""
        if self._connection is not None:
            await self._connection.close()
            self._connection = None
