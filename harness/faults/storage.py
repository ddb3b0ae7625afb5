"""Faults of the storage below one month: pages of its heap or of its primary key are overwritten on disk.

The service is expected to answer 202 for the events of the damaged months and 201 for all others, to lose nothing
that it acknowledged before, and to drain what it queued once the pages are repaired.  Damage shows only where it is
read, so the buffers are evicted: from PostgreSQL 17 on without disturbing anyone, on 15 and 16 by a restart, which
the radius then says.

Nothing is written while pages are saved and damaged: the months are locked, or the server is down.  Heal repairs
only the pages that still bear the damage, so it is safe after half an inject, and pages added since stay.
"""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, LiteralString

import psycopg
from psycopg import AsyncConnection, sql

from ..blast import BlastRadius, Edge, Write
from ..errors import FaultError, FaultNotConfirmed, HealFailed, UsageError
from ..fault import FAULTS, Scene
from ..probes.postgres import insert_canary
from ..stacks.base import Capability, Environment, StopMode
from ..values import Month
from ._pages import Relation, count_pages, damage_pages, evict, read_pages, relation_of, restore_pages
from ._sql import (
    Child,
    admin,
    children_of,
    confirm_refused,
    failing_as,
    healthy,
    in_transaction,
    lock_exclusively,
    oid_of,
    radius_of,
    retrying,
    save_children,
    saved_children,
    uninterrupted,
)

DAMAGED = frozenset({"XX001", "XX002"})
CONFIRM_ATTEMPTS = 3


@dataclass(frozen=True)
class _Damage:
    """One damaged relation of the ledger: which pages, of what."""

    month: Month
    relation: Relation
    blocks: tuple[int, ...]

    @property
    def key(self) -> str:
        return f"pages-{self.relation.oid}"

    def to_json(self) -> dict[str, Any]:
        return {"month": self.month.label, "relation": self.relation.to_json(), "blocks": list(self.blocks)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> _Damage:
        return cls(Month.parse(data["month"]), Relation(*data["relation"]), tuple(data["blocks"]))


def _can_evict(environment: Environment) -> bool:
    return Capability.EVICT in environment.capabilities and environment.database.version_num >= 170000


def _save(scene: Scene, damages: Sequence[_Damage]) -> None:
    """Save the good bytes first and their list last: what the list names can be restored."""
    data_dir = scene.environment.database.data_dir
    for damage in damages:
        scene.ledger.save_bytes(damage.key, read_pages(data_dir, damage.relation, damage.blocks))
    scene.ledger.save("damages", [damage.to_json() for damage in damages])


def _saved(scene: Scene) -> list[_Damage]:
    return [_Damage.from_json(data) for data in scene.ledger.load("damages") or []]


def _blocks(scene: Scene, month: Month, relation: Relation, pages: str) -> _Damage:
    total = count_pages(scene.environment.database.data_dir, relation)
    if not total:
        raise FaultError(f"{relation.name} has no page, so there is nothing to damage in {month}; write to it first.")
    return _Damage(month, relation, (total - 1,) if pages == "last" else tuple(range(total)))


@dataclass(frozen=True, kw_only=True)
class _Corruption:
    """What heap and index damage share."""

    name: ClassVar[str] = ""
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.SQL, Capability.FILES})
    momentary: ClassVar[bool] = False
    months: tuple[Month, ...] = ()

    @property
    def _pages(self) -> str:
        return "all"

    @abstractmethod
    async def _relation(self, connection: AsyncConnection, child: Child) -> Relation:
        """Find the relation of the month that is damaged."""

    @abstractmethod
    async def _verify(self, connection: AsyncConnection, children: Sequence[Child]) -> None:
        """Raise :class:`HealFailed` unless amcheck finds the repaired relations whole."""

    def radius(self, environment: Environment) -> BlastRadius:
        """Declare the months; where buffers cannot be evicted, the restart that inject needs."""
        evictable = _can_evict(environment)
        return radius_of(self.months, edge=Edge.MONTHS if evictable else Edge.RESTART, lock=not evictable)

    async def inject(self, scene: Scene) -> None:
        """Save the good pages, damage them, evict the buffers; no write of the months can come in between."""
        with failing_as(FaultError, f"play {self.name}"):
            async with admin(scene) as connection:
                children = await children_of(connection, self.months)
                save_children(scene, children)
                if _can_evict(scene.environment):
                    await connection.execute("CREATE EXTENSION IF NOT EXISTS pg_buffercache")
                    # Most of the writing out happens here, before the lock makes anybody wait.
                    await connection.execute("CHECKPOINT")
                    await in_transaction(
                        connection, lambda: self._under_lock(scene, connection, children), what="damage pages"
                    )
                    return
                for child in children:
                    await _ensure_a_page(connection, child)
                damages = await self._targets(scene, connection, children)
            await self._under_restart(scene, damages)

    async def _targets(self, scene: Scene, connection: AsyncConnection, children: Sequence[Child]) -> list[_Damage]:
        relations = [(child.month, await self._relation(connection, child)) for child in children]
        return [_blocks(scene, month, relation, self._pages) for month, relation in relations]

    async def _under_lock(self, scene: Scene, connection: AsyncConnection, children: Sequence[Child]) -> None:
        await lock_exclusively(connection, children)
        for child in children:
            await _ensure_a_page(connection, child)
        await connection.execute("CHECKPOINT")
        damages = await self._targets(scene, connection, children)
        for damage in damages:
            await evict(scene, connection, damage.relation)
        _save(scene, damages)
        for damage in damages:
            damage_pages(scene.environment.database.data_dir, damage.relation, damage.blocks)

    async def _under_restart(self, scene: Scene, damages: Sequence[_Damage]) -> None:
        """Damage while the server is down: its shutdown checkpoint has written everything out."""
        if Capability.KILLABLE_DATABASE not in scene.environment.capabilities:
            raise FaultError(
                f"{self.name} needs a PostgreSQL that evicts buffers (17 and newer, with pg_buffercache) or one that "
                "the harness may restart; this environment has neither."
            )
        database = scene.environment.database
        scene.ledger.save("restarting", True)
        await uninterrupted(database.stop(StopMode.FAST))
        # Pages may have been added before the stop, so they are counted again.
        damages = [_blocks(scene, damage.month, damage.relation, self._pages) for damage in damages]
        _save(scene, damages)
        for damage in damages:
            damage_pages(database.data_dir, damage.relation, damage.blocks)
        await uninterrupted(database.start())
        scene.ledger.save("restarted", True)

    async def confirm(self, scene: Scene) -> str:
        """Three inserts into each month, on fresh connections, are refused with XX001 or XX002."""
        months = [child.month for child in saved_children(scene)]
        seen = await confirm_refused(scene, months, DAMAGED, attempts=CONFIRM_ATTEMPTS)
        pages = sum(len(damage.blocks) for damage in _saved(scene))
        return f"{pages} pages damaged; {seen}"

    async def heal(self, scene: Scene) -> None:
        """Repair what is still damaged, then have the months verified."""
        with failing_as(HealFailed, f"heal {self.name}"):
            if scene.ledger.load("restarting") and not scene.ledger.load("restarted"):
                # The stop may still be under way: end it first, so that the start is a start.
                await uninterrupted(scene.environment.database.stop(StopMode.FAST))
                await uninterrupted(scene.environment.database.start())
                scene.ledger.save("restarted", True)
            damages = _saved(scene)
            if not damages:
                return
            async with admin(scene) as connection:
                children = saved_children(scene)
                await self._repair(scene, connection, children, damages)
                await self._verify(connection, children)

    async def _repair(
        self, scene: Scene, connection: AsyncConnection, children: Sequence[Child], damages: Sequence[_Damage]
    ) -> None:
        async def work() -> None:
            await lock_exclusively(connection, children)
            # An interrupted inject may have left newer pages in memory: on disk they are seen not to be damaged.
            await connection.execute("CHECKPOINT")
            for damage in damages:
                saved = scene.ledger.load_bytes(damage.key)
                if saved is None:
                    raise HealFailed(f"The ledger holds no bytes of {damage.relation.name}; restore a backup.")
                restore_pages(scene.environment.database.data_dir, damage.relation, damage.blocks, saved)
                if _can_evict(scene.environment):
                    await evict(scene, connection, damage.relation)

        await in_transaction(connection, work, what="repair pages")

    async def probe(self, scene: Scene) -> bool:
        """Every month takes an insert and can be read."""
        return await healthy(scene, [child.month for child in saved_children(scene)])


@FAULTS.register("corrupt-heap")
@dataclass(frozen=True, kw_only=True)
class CorruptHeap(_Corruption):
    """Overwrites heap pages of ``months`` (of every attached month for none): ``pages`` is "all" or "last".

    Effect: XX001 ``invalid page in block N``.  With "all" no insert can succeed: PostgreSQL looks for room in an
    existing page before it adds one, and the first that it looks at is damaged.  With "last" inserts may find room
    elsewhere, so the radius says partial.  An empty month gets a page first, by an insert that is rolled back.
    Versions: 15 to 18; 15 and 16 are restarted by inject.  Radius: write no (or partial), read no for the months;
    every month is disturbed by the restart only.  Heal restores the saved bytes of pages that are still damaged.
    """

    name: ClassVar[str] = "corrupt-heap"
    pages: str = "all"

    def __post_init__(self) -> None:
        """Raise :class:`UsageError` for any other ``pages``."""
        if self.pages not in ("all", "last"):
            raise UsageError(f'corrupt-heap cannot damage pages={self.pages!r}; give "all" or "last".')

    @property
    def _pages(self) -> str:
        return self.pages

    def radius(self, environment: Environment) -> BlastRadius:
        """Declare the months, partial when only the last page is damaged."""
        radius = super().radius(environment)
        return dataclasses.replace(radius, write=Write.PARTIAL) if self.pages == "last" else radius

    async def confirm(self, scene: Scene) -> str:
        """Inserts are refused; for the last page alone, a scan of each month is."""
        if self.pages == "all":
            return await super().confirm(scene)
        seen: list[str] = []
        with failing_as(FaultNotConfirmed, "scan the damaged months"):
            async with admin(scene) as connection:
                for child in saved_children(scene):
                    try:
                        await connection.execute(sql.SQL("SELECT count(*) FROM {}").format(child.table))
                    except psycopg.errors.DataCorrupted as error:
                        seen.append(f"{child.month}: XX001 ({str(error).strip()})")
                    else:
                        raise FaultNotConfirmed(f"A scan of {child.name} succeeded although its last page is damaged.")
        return "; ".join(seen)

    async def _relation(self, connection: AsyncConnection, child: Child) -> Relation:
        return await relation_of(connection, await oid_of(connection, child))

    async def _verify(self, connection: AsyncConnection, children: Sequence[Child]) -> None:
        for child in children:
            heap = await oid_of(connection, child)
            await _amcheck(connection, "SELECT msg FROM verify_heapam(%s::oid::regclass)", heap)


@FAULTS.register("corrupt-index")
@dataclass(frozen=True, kw_only=True)
class CorruptIndex(_Corruption):
    """Overwrites every page of the primary key index of ``months`` (of every attached month for none).

    Effect: XX001 ``invalid page in block N of relation …`` for each insert, since the uniqueness of its key cannot
    be checked; the heap is whole.  Versions: 15 to 18; 15 and 16 are restarted by inject.  Radius: write no, read no
    for the months (planning a query of the month reads the index's first page); every month is disturbed by the
    restart only.  Heal rebuilds the index, or restores its bytes while the heap cannot be read either.
    """

    name: ClassVar[str] = "corrupt-index"

    async def _relation(self, connection: AsyncConnection, child: Child) -> Relation:
        cursor = await connection.execute(
            "SELECT indexrelid FROM pg_index WHERE indrelid = %s AND indisprimary",
            (await oid_of(connection, child),),
        )
        row = await cursor.fetchone()
        if row is None:
            raise FaultError(f"{child.name} has no primary key, so there is no index to damage in {child.month}.")
        return await relation_of(connection, row[0])

    async def _repair(
        self, scene: Scene, connection: AsyncConnection, children: Sequence[Child], damages: Sequence[_Damage]
    ) -> None:
        for damage in damages:
            index = sql.Identifier(damage.relation.schema, damage.relation.name)
            reindex = sql.SQL("REINDEX INDEX {}").format(index)
            try:
                await retrying(partial(connection.execute, reindex), what="rebuild the index")
            except psycopg.errors.DataCorrupted:
                await super()._repair(scene, connection, children, (damage,))

    async def _verify(self, connection: AsyncConnection, children: Sequence[Child]) -> None:
        for child in children:
            index = await self._relation(connection, child)
            await _amcheck(connection, "SELECT bt_index_check(%s::oid::regclass, false)::text", index.oid)


async def _amcheck(connection: AsyncConnection, statement: LiteralString, oid: int) -> None:
    """Verify one relation; without contrib's amcheck the probe alone has to tell."""
    available = await connection.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'amcheck'")
    if await available.fetchone() is None:
        return
    await connection.execute("CREATE EXTENSION IF NOT EXISTS amcheck")
    cursor = await retrying(lambda: connection.execute(statement, (oid,)), what="verify the repair")
    found = [row[0] for row in await cursor.fetchall() if row[0]]
    if found:
        raise HealFailed(f"Relation {oid} is still damaged after the repair: {'; '.join(found[:3])}.")


async def _ensure_a_page(connection: AsyncConnection, child: Child) -> None:
    """Give an empty heap a page, by an insert that is rolled back: what is not there cannot be damaged."""
    size = await connection.execute("SELECT pg_relation_size(%s::oid::regclass)", (await oid_of(connection, child),))
    row = await size.fetchone()
    if row is not None and row[0] == 0:
        async with connection.transaction(force_rollback=True):
            await insert_canary(connection, child.month.first_day)
