"""The live connections that faults hold, by ledger folder: a fault is frozen data and cannot keep one itself.

The backend's pid and start time are in the ledger before it locks anything, so that a heal in another process ends
exactly that backend.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from psycopg import AsyncConnection

from .._wait import wait_until
from ..fault import Scene
from ..values import Month
from ._sql import (
    ADMIN_OPTIONS,
    Child,
    admin,
    children_of,
    lock_exclusively,
    retrying,
    save_children,
)

Lock = Callable[[AsyncConnection, Sequence[Child]], Awaitable[None]]
EXCLUSIVE, SHARE = "AccessExclusiveLock", "ShareLock"

_MYSELF = "SELECT pid, backend_start::text FROM pg_stat_activity WHERE pid = pg_backend_pid()"
_LOCKS = """
SELECT count(*) FROM pg_locks AS held JOIN pg_stat_activity AS backend USING (pid)
WHERE pid = %s AND backend.backend_start = %s::timestamptz
  AND held.granted AND held.locktype = 'relation' AND held.mode = %s
  AND backend.state = 'idle in transaction'
"""
_END = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = %s AND backend_start = %s::timestamptz"

_HELD: dict[Path, AsyncConnection] = {}


def hold(scene: Scene, connection: AsyncConnection) -> None:
    """Keep a connection for the fault of this ledger entry."""
    _HELD[scene.ledger.folder] = connection


def let_go(scene: Scene) -> AsyncConnection | None:
    """Give the connection back, None when this process holds none."""
    return _HELD.pop(scene.ledger.folder, None)


async def take(scene: Scene, months: tuple[Month, ...], lock: Lock = lock_exclusively) -> None:
    """Open a connection, save its backend, and ``lock`` the months' partitions in a transaction left open."""
    connection = await AsyncConnection.connect(
        scene.environment.database.admin_conninfo,
        autocommit=True,
        application_name="harness-lock",
        options=ADMIN_OPTIONS,
        connect_timeout=5,
    )
    hold(scene, connection)
    children = await children_of(connection, months)
    scene.ledger.save("backend", await (await connection.execute(_MYSELF)).fetchone())
    save_children(scene, children)

    async def attempt() -> bool:
        await connection.execute("BEGIN")
        try:
            await lock(connection, children)
        except BaseException:
            await connection.execute("ROLLBACK")
            raise
        return True

    await retrying(attempt, what="lock")


async def locks_held(scene: Scene, mode: str = EXCLUSIVE) -> int:
    """Count what the saved backend, idle in its transaction, has locked in ``mode``; 0 once it is gone."""
    async with admin(scene) as connection:
        row = await (await connection.execute(_LOCKS, [*scene.ledger.load("backend"), mode])).fetchone()
        return int(row[0]) if row else 0


async def release(scene: Scene) -> None:
    """Close the connection if it is ours, end its backend if it still lives, and wait until it is gone."""
    connection = let_go(scene)
    if connection is not None:
        await connection.close()
    backend = scene.ledger.load("backend")
    if backend is None:
        return
    async with admin(scene) as connection:

        async def gone() -> bool:
            return await (await connection.execute(_END, backend)).fetchone() is None

        await wait_until(gone, what=f"the end of backend {backend[0]}", deadline_seconds=10.0)
