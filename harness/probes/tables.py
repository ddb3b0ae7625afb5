"""What a human wants to see of the table at a glance: each partition, attached or not, its bounds and its rows.

Read-only and never long: a month that is locked, damaged or too large to be counted in a moment says so instead.
"""

from __future__ import annotations

from dataclasses import dataclass

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ..stacks.base import DatabaseServer
from .postgres import CANARY_CATEGORY, cut_after, month_of_bounds

LONGEST_SECONDS = 4.0
"""A server that is stopped answers nothing, and keeps to no time-out of a statement."""
_OPTIONS = "-c statement_timeout=800 -c lock_timeout=100 -c default_transaction_read_only=on"
_TABLES = """
SELECT namespace.nspname, child.relname, coalesce(pg_get_expr(child.relpartbound, 0), ''),
       link.inhparent IS NOT NULL AND NOT link.inhdetachpending
FROM pg_class AS child
JOIN pg_namespace AS namespace ON namespace.oid = child.relnamespace
LEFT JOIN pg_inherits AS link ON link.inhrelid = child.oid AND link.inhparent = to_regclass('audit_events')
WHERE child.relkind = 'r' AND (link.inhparent IS NOT NULL OR child.relname ^@ 'audit_events_')
ORDER BY child.relname
"""
_WAITING = """
SELECT count(*) FROM pg_stat_activity WHERE usename = %(role)s AND wait_event_type = 'Lock'
"""
_REASONS = {"55P03": "locked", "57014": "too much to count in a moment"}


@dataclass(frozen=True, kw_only=True)
class TableLook:
    """One table of events; ``rows`` is None, and ``problem`` says why, where they cannot be counted.

    The harness's own canary rows do not count.  ``month`` is as the bounds say, "" for a table that is not attached.
    """

    name: str
    attached: bool
    bounds: str = ""
    month: str = ""
    rows: int | None = None
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class TablesLook:
    """All tables of events, and how many backends of the service wait for a lock; ``problem``: no answer, and why."""

    tables: tuple[TableLook, ...] = ()
    waiting_for_locks: int = 0
    problem: str = ""


async def look_at_tables(database: DatabaseServer) -> TablesLook:
    """Look once, over a connection of its own; never raises for the database."""
    try:
        connection = await psycopg.AsyncConnection.connect(
            database.admin_conninfo,
            autocommit=True,
            application_name="harness-look",
            options=_OPTIONS,
            connect_timeout=2,
        )
    except (psycopg.Error, OSError) as error:
        return TablesLook(problem=_said(error))
    try:
        with cut_after(connection, LONGEST_SECONDS):
            found = await (await connection.execute(_TABLES)).fetchall()
            waiting = await (await connection.execute(_WAITING, {"role": database.service_role})).fetchone()
            tables = [await _look(connection, *row) for row in found]
    except (psycopg.Error, TimeoutError) as error:
        return TablesLook(problem=_said(error))
    finally:
        await connection.close()
    return TablesLook(tables=tuple(tables), waiting_for_locks=int(waiting[0]) if waiting else 0)


async def _look(connection: psycopg.AsyncConnection, schema: str, name: str, bounds: str, attached: bool) -> TableLook:
    month = month_of_bounds(bounds)
    label = "" if month is None else month.label
    statement = sql.SQL("SELECT count(*) FROM ONLY {} WHERE event_category <> %s").format(sql.Identifier(schema, name))
    try:
        counted = await (await connection.execute(statement, (CANARY_CATEGORY,))).fetchone()
    except psycopg.Error as error:
        if connection.broken:
            raise
        return TableLook(name=name, attached=attached, bounds=bounds, month=label, problem=_said(error))
    rows = int(counted[0]) if counted else None
    return TableLook(name=name, attached=attached, bounds=bounds, month=label, rows=rows)


def _said(error: Exception) -> str:
    """What is wrong in a few words: the meaning of the SQLSTATE where it has one, and else what was said."""
    sqlstate = (error.sqlstate or "") if isinstance(error, psycopg.Error) else ""
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return _REASONS.get(sqlstate) or f"{sqlstate} {first}".strip()


def without_password(conninfo: str, application_name: str) -> tuple[str, str]:
    """Return a connection string under another application's name and without its password, and that password."""
    parts = {key: value for key, value in conninfo_to_dict(conninfo).items() if value is not None}
    password = str(parts.pop("password", ""))
    return make_conninfo("", **{**parts, "application_name": application_name}), password
