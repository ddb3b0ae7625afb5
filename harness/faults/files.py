"""Faults of a month's files as a whole: cut, removed, unreadable, or renamed under backends that have them open.

The service is expected to answer 202 for the events of these months and 201 for all others, and to lose nothing that
it acknowledged.  PostgreSQL keeps files open for as long as a backend lives, so a missing file is noticed only where
it is opened: all but :class:`MoveHeapFile` therefore have every backend close its descriptors (an invalidation from
PostgreSQL 17 on, the restart on 15 and 16), and mean what they say.

No fault here destroys a row for good: nothing can be written while the files are away, so their saved bytes are the
month's whole content.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from psycopg import AsyncConnection

from ..blast import BlastRadius, Edge, Write
from ..errors import FaultError, HealFailed, UsageError
from ..fault import FAULTS, Scene
from ..stacks.base import Capability, Environment, Files
from ._damage import (
    Corruption,
    Damage,
    can_evict,
    ensure_a_page,
    good_bytes,
    primary_key_of,
    reindex,
    saved_damages,
    verify_heap,
    verify_index,
    while_stopped,
)
from ._pages import PAGE_BYTES, SEGMENT_PAGES, Relation, close_descriptors, evict, relation_of, segments
from ._sql import (
    Child,
    admin,
    children_of,
    failing_as,
    in_transaction,
    lock_exclusively,
    oid_of,
    radius_of,
    save_children,
)

ASIDE = ".harness-aside"
"""Suffix of a file that was renamed away; PostgreSQL knows no such name."""


def _files(scene: Scene) -> Files:
    return scene.environment.database.files


async def _is_current(connection: AsyncConnection, relation: Relation) -> bool:
    """Tell whether the relation still lives in the file that was damaged: a rewrite gives it another."""
    cursor = await connection.execute("SELECT pg_relation_filepath(%s::oid)", (relation.oid,))
    return await cursor.fetchone() == (relation.path,)


@dataclass(frozen=True, kw_only=True)
class _HeapFile(Corruption):
    """What faults of the heap's first file share."""

    closes: ClassVar[bool] = True

    async def _relations(self, connection: AsyncConnection, child: Child) -> list[Relation]:
        return [await relation_of(connection, await oid_of(connection, child))]

    def _save(self, scene: Scene, damage: Damage) -> None:
        super()._save(scene, damage)
        mode = _files(scene).mode(damage.relation.path)
        scene.ledger.save(f"mode-{damage.relation.oid}", mode)

    async def _repair(
        self, scene: Scene, connection: AsyncConnection, children: Sequence[Child], damages: Sequence[Damage]
    ) -> None:
        """Put the files back first: until then no checkpoint can pass what somebody may have written meanwhile."""

        async def work() -> None:
            await lock_exclusively(connection, children)
            for damage in damages:
                if await _is_current(connection, damage.relation):
                    self._put_back(scene, damage)
                await close_descriptors(connection, damage.relation)
            await connection.execute("CHECKPOINT")

        await in_transaction(connection, work, what="put the files back")

    async def _verify(self, connection: AsyncConnection, children: Sequence[Child]) -> None:
        for child in children:
            await verify_heap(connection, child)
            await verify_index(connection, child, rows=True)


@FAULTS.register("remove-heap-file")
@dataclass(frozen=True, kw_only=True)
class RemoveHeapFile(_HeapFile):
    """Takes the heap file of ``months`` (of every attached month for none) out of PostgreSQL's sight.

    It is what somebody who cleans up the wrong directory leaves.  Effect: 58P01 ``could not open file``; every backend
    has closed its descriptor, so old connections fail as new ones do.  Versions: 15 to 18; 15 and 16 are restarted by
    inject.  Radius: write no, read no for the months; every month is disturbed by the restart only.  Heal gives the
    file its name back, or writes the saved bytes when somebody removed it for good.
    """

    name: ClassVar[str] = "remove-heap-file"
    states: ClassVar[frozenset[str]] = frozenset({"58P01"})

    def _strike(self, scene: Scene, damage: Damage) -> None:
        # Renamed and not unlinked: what a backend writes before it hears of it is then in the file that comes back.
        _files(scene).rename(damage.relation.path, damage.relation.path + ASIDE)

    def _put_back(self, scene: Scene, damage: Damage) -> None:
        _bring_back(scene, damage)


def _bring_back(scene: Scene, damage: Damage) -> None:
    files, path = _files(scene), damage.relation.path
    aside = files.exists(path + ASIDE)
    if files.exists(path):
        if aside:
            raise HealFailed(
                f"{path} exists again beside {path}{ASIDE}: the server crashed or was restored meanwhile and made it "
                "anew. Stop PostgreSQL, compare both, and keep the one with the rows; the ledger holds the old bytes."
            )
        return
    if aside:
        files.rename(path + ASIDE, path)
    else:
        files.write(path, good_bytes(scene, damage)[: SEGMENT_PAGES * PAGE_BYTES])


@FAULTS.register("unreadable-heap-file")
@dataclass(frozen=True, kw_only=True)
class UnreadableHeapFile(_HeapFile):
    """Takes every permission (mode 000) from the heap file of ``months`` (of every attached month for none).

    It is what a wrong chmod or a restore as the wrong user leaves.  Effect: 42501 ``could not open file: Permission
    denied``, the SQLSTATE of a missing GRANT, which a service must not take for the event's fault; every backend has
    closed its descriptor.  Versions: 15 to 18; 15 and 16 are restarted by inject.  Radius: write no, read no for the
    months; every month is disturbed by the restart only.  Heal gives the saved mode back.
    """

    name: ClassVar[str] = "unreadable-heap-file"
    states: ClassVar[frozenset[str]] = frozenset({"42501"})

    def _strike(self, scene: Scene, damage: Damage) -> None:
        _files(scene).set_mode(damage.relation.path, 0o000)

    def _put_back(self, scene: Scene, damage: Damage) -> None:
        if _files(scene).mode(damage.relation.path) == 0o000:
            mode = scene.ledger.load(f"mode-{damage.relation.oid}")
            _files(scene).set_mode(damage.relation.path, int(mode or 0o600))


@FAULTS.register("truncate-files")
@dataclass(frozen=True, kw_only=True)
class TruncateFiles(_HeapFile):
    """Cuts the files of ``months`` (of every attached month for none) to nothing: ``what`` is "table" or "index".

    It is what a full or dying file system leaves of files that were being written.  "index" cuts the primary key's
    index, "table" the heap with it.  A heap cut alone is no refusal: PostgreSQL takes it for an empty table and
    stores into it (that is ``replace-heap-file``); with the index cut as well no insert succeeds.  Effect: XX001
    ``could not read block 0 … read only 0 of 8192 bytes``.  Versions: 15 to 18; inject restarts 15 and 16, and so does
    heal for "table".  Radius: write no, read no for the months; every month is disturbed by the restart only.  Heal
    writes the saved heap back and rebuilds the index.
    """

    name: ClassVar[str] = "truncate-files"
    states: ClassVar[frozenset[str]] = frozenset({"XX001"})
    what: str = "table"

    def __post_init__(self) -> None:
        """Raise :class:`UsageError` for any other ``what``."""
        if self.what not in ("table", "index"):
            raise UsageError(f'truncate-files cannot cut what={self.what!r}; give "table" or "index".')

    async def _relations(self, connection: AsyncConnection, child: Child) -> list[Relation]:
        index = await primary_key_of(connection, child)
        return [index] if self.what == "index" else [index, *await super()._relations(connection, child)]

    def _strike(self, scene: Scene, damage: Damage) -> None:
        files = _files(scene)
        for path in segments(files, damage.relation):
            files.write(path, b"")

    def _put_back(self, scene: Scene, damage: Damage) -> None:
        files, saved, size = _files(scene), good_bytes(scene, damage), SEGMENT_PAGES * PAGE_BYTES
        paths = [damage.relation.path] + [f"{damage.relation.path}.{n}" for n in range(1, -(-len(saved) // size))]
        for number, path in enumerate(paths):
            files.write(path, saved[number * size : (number + 1) * size])

    async def _repair(
        self, scene: Scene, connection: AsyncConnection, children: Sequence[Child], damages: Sequence[Damage]
    ) -> None:
        if scene.ledger.load("put back"):
            return
        heaps = [damage for damage in damages if damage.relation.name in {child.name for child in children}]
        indexes = [damage for damage in damages if damage not in heaps]
        current = [damage for damage in heaps if await _is_current(connection, damage.relation)]
        if current and not can_evict(scene.environment):
            # Refused inserts have made pages in memory that would be written over the good ones.
            await connection.close()
            await self._put_back_stopped(scene, current)
        elif current:
            await self._put_back_under_lock(scene, connection, children, current)
        async with admin(scene) as another:
            for damage in indexes:
                await reindex(another, damage.relation)
        scene.ledger.save("put back", True)

    async def _put_back_under_lock(
        self, scene: Scene, connection: AsyncConnection, children: Sequence[Child], heaps: Sequence[Damage]
    ) -> None:
        async def work() -> None:
            await lock_exclusively(connection, children)
            await connection.execute("CHECKPOINT")
            for damage in heaps:
                await evict(scene, connection, damage.relation)
                self._put_back(scene, damage)
                await close_descriptors(connection, damage.relation)

        await in_transaction(connection, work, what="put the files back")

    async def _put_back_stopped(self, scene: Scene, heaps: Sequence[Damage]) -> None:
        async with while_stopped(scene):
            for damage in heaps:
                self._put_back(scene, damage)


@FAULTS.register("move-heap-file")
@dataclass(frozen=True, kw_only=True)
class MoveHeapFile(_HeapFile):
    """Renames the heap file of ``months`` (of every attached month for none) away while backends have it open.

    Backends that have the file open go on and report success, new ones fail: whether an event is stored depends on
    the age of the connection it meets, and the service must queue what fails and store the rest.  Heal gives the
    file its name back, with all that was written through the old descriptors, so every acknowledged row is due.
    A checkpoint meanwhile would end the server (it cannot sync a file that is not there), so inject makes one just
    before: the next timed one is minutes away.  Effect: 58P01 ``could not open file`` on new connections, success on
    old ones.  Versions: 15 to 18, without a restart on any.  Radius: write partial, read no for the months.
    """

    name: ClassVar[str] = "move-heap-file"
    closes: ClassVar[bool] = False
    states: ClassVar[frozenset[str]] = frozenset({"58P01"})

    def radius(self, environment: Environment) -> BlastRadius:
        """Declare the months, partial: a connection's age decides."""
        return dataclasses.replace(radius_of(self.months, edge=Edge.MONTHS), write=Write.PARTIAL)

    async def inject(self, scene: Scene) -> None:
        """Write everything out, then rename the heap and its free space map under the lock, descriptors left open."""
        with failing_as(FaultError, f"play {self.name}"):
            async with admin(scene) as connection:
                children = await children_of(connection, self.months)
                save_children(scene, children)
                if Capability.EVICT in scene.environment.capabilities:
                    await connection.execute("CREATE EXTENSION IF NOT EXISTS pg_buffercache")
                await connection.execute("CHECKPOINT")
                await in_transaction(
                    connection, lambda: self._rename_under_lock(scene, connection, children), what="rename files"
                )

    async def _rename_under_lock(self, scene: Scene, connection: AsyncConnection, children: Sequence[Child]) -> None:
        await lock_exclusively(connection, children)
        for child in children:
            await ensure_a_page(connection, child)
        await connection.execute("CHECKPOINT")
        damages = await self._targets(scene, connection, children)
        if can_evict(scene.environment):
            for damage in damages:
                await evict(scene, connection, damage.relation)
        self._saved_and_struck(scene, damages)

    def _strike(self, scene: Scene, damage: Damage) -> None:
        files, path = _files(scene), damage.relation.path
        # Without its map a new backend asks the file itself for room, and so has to open it.
        if files.exists(f"{path}_fsm"):
            files.rename(f"{path}_fsm", f"{path}_fsm{ASIDE}")
        files.rename(path, path + ASIDE)

    def _put_back(self, scene: Scene, damage: Damage) -> None:
        files, path = _files(scene), damage.relation.path
        _bring_back(scene, damage)
        if files.exists(f"{path}_fsm"):
            files.remove(f"{path}_fsm{ASIDE}")
        elif files.exists(f"{path}_fsm{ASIDE}"):
            files.rename(f"{path}_fsm{ASIDE}", f"{path}_fsm")

    async def confirm(self, scene: Scene) -> str:
        """Three new connections to each month fail, and the renamed file is where inject put it."""
        seen = await super().confirm(scene)
        moved = [damage.relation.path + ASIDE for damage in saved_damages(scene)]
        return f"{seen}; held open as {', '.join(path for path in moved if _files(scene).exists(path))}"
