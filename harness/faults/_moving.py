"""Rows on their way from one table of events to another, as the trap of a default partition makes necessary.

Everything here runs inside the caller's transaction, under locks that keep everybody else out of both tables.
"""

from __future__ import annotations

from datetime import date

from psycopg import AsyncConnection, sql

from ..values import Month

_CONTENT = (
    "event_timestamp",
    "version",
    "event_type",
    "event_category",
    "event_action",
    "event_outcome",
    "correlation_id",
    "event_data",
)

_COLUMNS = """
SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(%s)
 AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attnum
"""

_MOVE = """
WITH moved AS (DELETE FROM {source} WHERE event_date >= {first} AND event_date < {end} RETURNING {columns})
INSERT INTO {target} ({columns}) SELECT {columns} FROM moved ON CONFLICT (event_id, event_date) DO NOTHING
"""

_FOREIGN = """
SELECT source.event_id::text FROM {source} AS source JOIN {target} AS target USING (event_id, event_date)
WHERE event_date >= {first} AND event_date < {end} AND ({ours}) IS DISTINCT FROM ({theirs})
"""


async def columns_of(connection: AsyncConnection, table: sql.Identifier) -> sql.Composed:
    """List the columns of a table that an insert may name."""
    cursor = await connection.execute(_COLUMNS, (table.as_string(),))
    return sql.SQL(", ").join(sql.Identifier(row[0]) for row in await cursor.fetchall())


async def move_rows(
    connection: AsyncConnection, source: sql.Identifier, target: sql.Identifier, first: date, end: date
) -> None:
    """Move the rows of [first, end) from one table to another, whose own row of the same identity stays."""
    columns = await columns_of(connection, source)
    # Neither is named through the parent: one of them is not attached.
    await connection.execute(
        sql.SQL(_MOVE).format(
            source=source, target=target, columns=columns, first=sql.Literal(first), end=sql.Literal(end)
        )
    )


async def foreign_rows(
    connection: AsyncConnection, source: sql.Identifier, target: sql.Identifier, month: Month
) -> list[str]:
    """Return the ids of the month's rows in ``source`` whose identity ``target`` holds with other content."""
    cursor = await connection.execute(
        sql.SQL(_FOREIGN).format(
            source=source,
            target=target,
            first=sql.Literal(month.first_day),
            end=sql.Literal(month.end),
            ours=sql.SQL(", ").join(sql.Identifier("source", name) for name in _CONTENT),
            theirs=sql.SQL(", ").join(sql.Identifier("target", name) for name in _CONTENT),
        )
    )
    return [str(row[0]) for row in await cursor.fetchall()]


async def count_rows(connection: AsyncConnection, table: sql.Identifier) -> int:
    """Count all rows of a table."""
    row = await (await connection.execute(sql.SQL("SELECT count(*) FROM {}").format(table))).fetchone()
    return int(row[0]) if row else 0


async def table_exists(connection: AsyncConnection, table: sql.Identifier) -> bool:
    """Tell whether there is such a table."""
    row = await (await connection.execute("SELECT to_regclass(%s)", (table.as_string(),))).fetchone()
    return row is not None and row[0] is not None
