"""The fault that no status tells of: a month's files are replaced by an older, empty copy, and all goes on.

The service is expected to notice nothing, since PostgreSQL answers every write with success: only the comparison of
what was acknowledged with what is stored finds the loss.  So the fault itself says which rows it destroyed: under a
lock it takes their ids and contents before it replaces the files, and no row is acknowledged in between.

What can be judged.  Rows of the snapshot are destroyed by the fault, by id, until heal brings them back; each row
acknowledged later is due in full, as on any other day.  A re-send of a destroyed event is stored once more, equal, and
heal leaves it.  A *contradicting* send of a destroyed event cannot be judged: nothing is left that it contradicts, so
an honest service stores it.  Loads against this fault therefore have ``conflict_share=0``.  Replacing a file *while
backends write through descriptors of the old one* is not offered: which rows vanish then depends on whose
descriptor happened to write a page out, which nobody can account for by id; ``move-heap-file`` has the half of it
that can.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from psycopg import AsyncConnection, sql

from ..blast import BlastRadius, Edge, Write
from ..errors import FaultError, FaultNotConfirmed, HealFailed
from ..fault import FAULTS, DestroyedRows, Scene
from ..probes.postgres import probe_insert
from ..stacks.base import Capability, Environment
from ..values import Month
from ._damage import (
    can_evict,
    finish_restart,
    primary_key_of,
    reindex,
    require_restart,
    verify_heap,
    verify_index,
    while_stopped,
)
from ._pages import Relation, close_descriptors, evict, relation_of, segments
from ._snapshot import snapshot, stored_again
from ._sql import (
    Child,
    admin,
    children_of,
    failing_as,
    healthy,
    in_transaction,
    lock_exclusively,
    oid_of,
    save_children,
    saved_children,
)

EMPTY = sql.Identifier("harness_empty_copy")
CLOSED = sql.Identifier("harness_no_writes")
"""A constraint that holds writes off between the snapshot and the restart that PostgreSQL 15 and 16 need."""


@FAULTS.register("replace-heap-file")
@dataclass(frozen=True, kw_only=True)
class ReplaceHeapFile:
    """Replaces the files of ``month`` by those of an empty table of the same shape, descriptors and buffers included.

    It is a restore from the wrong copy under a running server.  Effect: no error and no SQLSTATE at all: inserts
    succeed, reads succeed, and every row acknowledged before is gone.  With ``restore`` (the default) heal stores the
    rows again that are not there; without it they stay destroyed, reported by id, as after a disaster without a
    backup.  Versions: 15 to 18; 15 and 16 are restarted by inject.  Radius: write yes, read yes, destroys the rows of
    the month at that moment; writes wait or fail while the files are exchanged, which is an edge (a restart on 15, 16).
    """

    name: ClassVar[str] = "replace-heap-file"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.SQL, Capability.FILES})
    momentary: ClassVar[bool] = False
    month: Month
    restore: bool = True

    def radius(self, environment: Environment) -> BlastRadius:
        """Declare a month that answers as if nothing were wrong."""
        evictable = can_evict(environment)
        return BlastRadius(
            months=frozenset({self.month}),
            write=Write.YES,
            edge=Edge.DDL if evictable else Edge.RESTART,
            outlives_clients=not evictable,
        )

    async def inject(self, scene: Scene) -> None:
        """Save rows and ids, report the ids, exchange the files; no write of the month can come in between."""
        with failing_as(FaultError, "replace the month's files"):
            async with admin(scene) as connection:
                children = await children_of(connection, (self.month,))
                save_children(scene, children)
                await connection.execute("CHECKPOINT")
                if can_evict(scene.environment):
                    await connection.execute("CREATE EXTENSION IF NOT EXISTS pg_buffercache")
                    await in_transaction(
                        connection, lambda: self._under_lock(scene, connection, children[0]), what="replace files"
                    )
                    return
                require_restart(scene, self.name)
                heap, index, empty = await in_transaction(
                    connection, lambda: self._closed(scene, connection, children[0]), what="hold writes off"
                )
            await self._under_restart(scene, heap, index, empty)
            async with admin(scene) as connection:
                await _open_again(connection, children[0])

    async def _under_lock(self, scene: Scene, connection: AsyncConnection, child: Child) -> None:
        await lock_exclusively(connection, [child])
        heap, index = (
            await relation_of(connection, await oid_of(connection, child)),
            await primary_key_of(connection, child),
        )
        empty = await _empty_index(scene, connection, child)
        await self._account(scene, connection, child)
        for relation in (heap, index):
            await evict(scene, connection, relation)
            await close_descriptors(connection, relation)
        # What evicting wrote out must be synced before the files go, or the next checkpoint ends the server.
        await connection.execute("CHECKPOINT")
        _exchange(scene, heap, index, empty)

    async def _closed(
        self, scene: Scene, connection: AsyncConnection, child: Child
    ) -> tuple[Relation, Relation, bytes]:
        await lock_exclusively(connection, [child])
        empty = await _empty_index(scene, connection, child)
        await self._account(scene, connection, child)
        await connection.execute(
            sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} CHECK (false) NOT VALID").format(child.table, CLOSED)
        )
        heap = await relation_of(connection, await oid_of(connection, child))
        return heap, await primary_key_of(connection, child), empty

    async def _under_restart(self, scene: Scene, heap: Relation, index: Relation, empty: bytes) -> None:
        async with while_stopped(scene):
            _exchange(scene, heap, index, empty)

    async def _account(self, scene: Scene, connection: AsyncConnection, child: Child) -> None:
        ids = await snapshot(scene, connection, child)
        scene.ledger.save("ids", ids)
        await scene.destroyed(DestroyedRows(tuple(ids), restored=False))

    async def confirm(self, scene: Scene) -> str:
        """The month takes an insert, and none of the rows that it held is there."""
        lost: list[str] = scene.ledger.load("ids") or []
        child = saved_children(scene)[0]
        seen = await probe_insert(scene.environment.database, self.month.first_day)
        with failing_as(FaultNotConfirmed, "look for the destroyed rows"):
            async with admin(scene) as connection:
                cursor = await connection.execute(
                    sql.SQL("SELECT count(*) FROM {} WHERE event_id = ANY(%s::text[]::uuid[])").format(child.table),
                    (lost,),
                )
                left = (await cursor.fetchone() or (0,))[0]
        # A service may send an event again that it had stored before: most of them gone is proof enough.
        if not lost or left * 2 > len(lost) or not seen.accepted:
            raise FaultNotConfirmed(
                f"Of {len(lost)} rows of {self.month}, {left} are still there, and an insert was {seen}. "
                "Write into the month before this fault, and check that nothing restored it."
            )
        return f"{len(lost)} rows destroyed, {left} of them stored again; insert: {seen}"

    async def heal(self, scene: Scene) -> None:
        """Store the lost rows again where they are not, rebuild the index, and have the month verified."""
        children = saved_children(scene)
        if not children:
            return
        with failing_as(HealFailed, "restore the replaced month"):
            await finish_restart(scene)
            async with admin(scene) as connection:
                await _open_again(connection, children[0])
                if scene.ledger.load("ids") is None:
                    return
                if not scene.ledger.load("healed"):
                    await in_transaction(
                        connection, lambda: self._settle(scene, connection, children[0]), what="restore rows"
                    )
                    await self._report(scene)
            async with admin(scene) as another:
                await verify_heap(another, children[0])
                await verify_index(another, children[0], rows=True)

    async def _settle(self, scene: Scene, connection: AsyncConnection, child: Child) -> None:
        await lock_exclusively(connection, [child])
        index = await primary_key_of(connection, child)
        # After half an inject an old descriptor may be open, and the index may be the older of the two.
        for relation in (await relation_of(connection, await oid_of(connection, child)), index):
            await close_descriptors(connection, relation)
        await reindex(connection, index)
        if self.restore:
            await stored_again(scene, connection, child)

    async def _report(self, scene: Scene) -> None:
        if self.restore:
            await scene.destroyed(DestroyedRows(tuple(scene.ledger.load("ids")), restored=True))
        scene.ledger.save("healed", True)

    async def probe(self, scene: Scene) -> bool:
        """The month takes an insert and can be read."""
        return await healthy(scene, (self.month,))


async def _empty_index(scene: Scene, connection: AsyncConnection, child: Child) -> bytes:
    """Return the bytes of the primary key of an empty table of the same shape, made and dropped for that."""
    await connection.execute(sql.SQL("CREATE TABLE {} (LIKE {} INCLUDING ALL)").format(EMPTY, child.table))
    await connection.execute("CHECKPOINT")
    copy = Child(EMPTY.as_string().strip('"'), "public", child.bounds, child.month)
    index = await primary_key_of(connection, copy)
    content = scene.environment.database.files.read(index.path)
    await connection.execute(sql.SQL("DROP TABLE {}").format(EMPTY))
    return content


async def _open_again(connection: AsyncConnection, child: Child) -> None:
    statement = sql.SQL("ALTER TABLE {} DROP CONSTRAINT IF EXISTS {}").format(child.table, CLOSED)
    held = await connection.execute(
        "SELECT 1 FROM pg_constraint WHERE conrelid = %s AND conname = 'harness_no_writes'",
        (await oid_of(connection, child),),
    )
    if await held.fetchone() is not None:
        await in_transaction(connection, lambda: connection.execute(statement), what="let writes in again")


def _exchange(scene: Scene, heap: Relation, index: Relation, empty_index: bytes) -> None:
    """Exchange the files in place: a descriptor that is still open sees the new content and not an unlinked file."""
    files = scene.environment.database.files
    for path in segments(files, heap):
        files.write(path, b"")
    for path in segments(files, index):
        files.write(path, empty_index if path == index.path else b"")
    for fork in ("fsm", "vm"):
        # Maps of pages that are gone: a month without maps is whole, one with wrong ones is not.
        files.remove(f"{heap.path}_{fork}")
