"""Rows of one month in the ledger: taken before a fault destroys them, stored again by its heal."""

from __future__ import annotations

from psycopg import AsyncConnection, sql

from ..errors import HealFailed
from ..fault import Scene
from ..probes.postgres import CANARY_CATEGORY
from ._moving import columns_of
from ._sql import Child, trusted

_RETURNING = sql.Identifier("harness_returning_rows")


async def snapshot(scene: Scene, connection: AsyncConnection, child: Child) -> list[str]:
    """Save every row of the month, and return the ids of those that are not the harness's own."""
    columns = await columns_of(connection, child.table)
    rows = bytearray()
    async with connection.cursor().copy(
        sql.SQL("COPY (SELECT {} FROM {}) TO STDOUT").format(columns, child.table)
    ) as copy:
        async for chunk in copy:
            rows += chunk
    scene.ledger.save(f"columns-{child.month}", columns.as_string())
    scene.ledger.save_bytes(f"rows-{child.month}.copy", bytes(rows))
    ids = await connection.execute(
        sql.SQL("SELECT event_id::text FROM {} WHERE event_category <> {}").format(child.table, CANARY_CATEGORY)
    )
    return [row[0] for row in await ids.fetchall()]


async def stored_again(scene: Scene, connection: AsyncConnection, child: Child) -> None:
    """Store the saved rows again that the month does not hold; raises :class:`HealFailed` without a snapshot."""
    rows = scene.ledger.load_bytes(f"rows-{child.month}.copy")
    if rows is None:
        raise HealFailed(f"The ledger holds no rows of {child.month}, so they cannot be stored again.")
    columns = trusted(scene.ledger.load(f"columns-{child.month}"))
    await connection.execute(
        sql.SQL("CREATE TEMPORARY TABLE {} (LIKE {} INCLUDING DEFAULTS) ON COMMIT DROP").format(_RETURNING, child.table)
    )
    async with connection.cursor().copy(sql.SQL("COPY {} ({}) FROM STDIN").format(_RETURNING, columns)) as copy:
        await copy.write(rows)
    await connection.execute(
        sql.SQL("INSERT INTO {} ({}) SELECT {} FROM {} ON CONFLICT DO NOTHING").format(
            child.table, columns, columns, _RETURNING
        )
    )
