"""What all damage to the files of one month shares: when nobody writes, save what is good, strike, and later repair.

Damage shows only where it is read, so the buffers are evicted: from PostgreSQL 17 on without disturbing anyone, on
15 and 16 by a restart, which the radius then says.  A family overrides the hooks of :class:`Corruption`: which
relations, how they are struck, how they are put back.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import psycopg
from psycopg import AsyncConnection, sql

from ..blast import BlastRadius, Edge
from ..errors import FaultError, HealFailed
from ..fault import Scene
from ..probes.postgres import insert_canary
from ..stacks.base import Capability, Environment, StopMode
from ..values import Month
from ._pages import (
    Relation,
    close_descriptors,
    count_pages,
    damage_pages,
    evict,
    read_pages,
    relation_of,
    restore_pages,
)
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
    saved_months,
    trusted,
    uninterrupted,
)

DAMAGED = frozenset({"XX001", "XX002"})
CONFIRM_ATTEMPTS = 3


@dataclass(frozen=True)
class Damage:
    """One damaged relation of the ledger: which pages, of what."""

    month: Month
    relation: Relation
    blocks: tuple[int, ...]

    @property
    def key(self) -> str:
        """The ledger's key of its good bytes."""
        return f"pages-{self.relation.oid}"

    def to_json(self) -> dict[str, Any]:
        """Return it for the ledger."""
        return {"month": self.month.label, "relation": self.relation.to_json(), "blocks": list(self.blocks)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Damage:
        """Read it back."""
        return cls(Month.parse(data["month"]), Relation(*data["relation"]), tuple(data["blocks"]))


def can_evict(environment: Environment) -> bool:
    """Tell whether buffers can be evicted without a restart."""
    return Capability.EVICT in environment.capabilities and environment.database.version_num >= 170000


def saved_damages(scene: Scene) -> list[Damage]:
    """Return the damages that were saved, none when inject did not come that far."""
    return [Damage.from_json(data) for data in scene.ledger.load("damages") or []]


def good_bytes(scene: Scene, damage: Damage) -> bytes:
    """Return what was saved of the damaged pages; raises :class:`HealFailed` when the ledger lost it."""
    saved = scene.ledger.load_bytes(damage.key)
    if saved is None:
        raise HealFailed(f"The ledger holds no bytes of {damage.relation.name}; restore a backup.")
    return saved


def require_restart(scene: Scene, name: str) -> None:
    """Raise :class:`FaultError` unless the harness may restart this PostgreSQL."""
    if Capability.KILLABLE_DATABASE not in scene.environment.capabilities:
        raise FaultError(
            f"{name} needs a PostgreSQL that evicts buffers (17 and newer, with pg_buffercache) or one that the "
            "harness may restart; this environment has neither."
        )


@asynccontextmanager
async def while_stopped(scene: Scene) -> AsyncIterator[None]:
    """Stop the server for the block and start it again; what fails or is cut short in between is for finish_restart."""
    database = scene.environment.database
    scene.ledger.save("restarting", True)
    scene.ledger.save("restarted", False)
    await uninterrupted(database.stop(StopMode.FAST))
    yield
    await uninterrupted(database.start())
    scene.ledger.save("restarted", True)


async def finish_restart(scene: Scene) -> None:
    """Bring the server back when :func:`while_stopped` was interrupted."""
    if scene.ledger.load("restarting") and not scene.ledger.load("restarted"):
        # The stop may still be under way: end it first, so that the start is a start.
        await uninterrupted(scene.environment.database.stop(StopMode.FAST))
        await uninterrupted(scene.environment.database.start())
        scene.ledger.save("restarted", True)


async def primary_key_of(connection: AsyncConnection, child: Child) -> Relation:
    """Return the primary key's index; raises :class:`FaultError` when the table has none."""
    cursor = await connection.execute(
        "SELECT indexrelid FROM pg_index WHERE indrelid = %s AND indisprimary", (await oid_of(connection, child),)
    )
    row = await cursor.fetchone()
    if row is None:
        raise FaultError(f"{child.name} has no primary key, so there is no index to damage in {child.month}.")
    return await relation_of(connection, row[0])


async def reindex(connection: AsyncConnection, relation: Relation) -> None:
    """Rebuild one index from its heap."""
    statement = sql.SQL("REINDEX INDEX {}").format(sql.Identifier(relation.schema, relation.name))
    await retrying(partial(connection.execute, statement), what="rebuild the index")


async def verify_heap(connection: AsyncConnection, child: Child) -> None:
    """Raise :class:`HealFailed` unless amcheck finds the heap whole."""
    heap = await oid_of(connection, child)
    await _amcheck(connection, "SELECT msg FROM verify_heapam(%s::oid::regclass)", heap)


async def verify_index(connection: AsyncConnection, child: Child, *, rows: bool = False) -> None:
    """Raise :class:`HealFailed` unless amcheck finds the index whole and, for ``rows``, every row of the heap in it."""
    index = await primary_key_of(connection, child)
    every = "true" if rows else "false"
    await _amcheck(connection, f"SELECT bt_index_check(%s::oid::regclass, {every})::text", index.oid)


async def _amcheck(connection: AsyncConnection, statement: str, oid: int) -> None:
    """Verify one relation; without contrib's amcheck the probe alone has to tell."""
    available = await connection.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'amcheck'")
    if await available.fetchone() is None:
        return
    await connection.execute("CREATE EXTENSION IF NOT EXISTS amcheck")
    cursor = await retrying(lambda: connection.execute(trusted(statement), (oid,)), what="verify the repair")
    found = [row[0] for row in await cursor.fetchall() if row[0]]
    if found:
        raise HealFailed(f"Relation {oid} is still damaged after the repair: {'; '.join(found[:3])}.")


async def ensure_a_page(connection: AsyncConnection, child: Child) -> None:
    """Give an empty heap a page, by an insert that is rolled back: what is not there cannot be damaged."""
    size = await connection.execute("SELECT pg_relation_size(%s::oid::regclass)", (await oid_of(connection, child),))
    row = await size.fetchone()
    if row is not None and row[0] == 0:
        async with connection.transaction(force_rollback=True):
            await insert_canary(connection, child.month.first_day)


@dataclass(frozen=True, kw_only=True)
class Corruption:
    """The verbs of a fault that damages files of ``months``; its hooks are what a family overrides."""

    name: ClassVar[str] = ""
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.SQL, Capability.FILES})
    momentary: ClassVar[bool] = False
    closes: ClassVar[bool] = False
    """True where a backend must not go on with a file that it has open."""
    states: ClassVar[frozenset[str]] = DAMAGED
    """The SQLSTATEs that prove the effect."""
    months: tuple[Month, ...] = ()

    @abstractmethod
    async def _relations(self, connection: AsyncConnection, child: Child) -> list[Relation]:
        """Find the relations of the month that are damaged."""

    def _blocks(self, scene: Scene, month: Month, relation: Relation) -> Damage:
        """Choose the pages that are saved and damaged: all of them."""
        total = count_pages(scene.environment.database.files, relation)
        if not total:
            raise FaultError(
                f"{relation.name} has no page, so there is nothing to damage in {month}; write to it first."
            )
        return Damage(month, relation, tuple(range(total)))

    async def _prepare(self, scene: Scene, connection: AsyncConnection, children: Sequence[Child]) -> None:
        """Do what must precede the damage, under the lock or before the restart."""
        for child in children:
            await ensure_a_page(connection, child)

    def _save(self, scene: Scene, damage: Damage) -> None:
        """Save what heal needs of one relation."""
        files = scene.environment.database.files
        scene.ledger.save_bytes(damage.key, read_pages(files, damage.relation, damage.blocks))

    def _strike(self, scene: Scene, damage: Damage) -> None:
        """Damage one relation; there is no await in it, so it is never half done but by a SIGKILL."""
        damage_pages(scene.environment.database.files, damage.relation, damage.blocks)

    def _put_back(self, scene: Scene, damage: Damage) -> None:
        """Put the good bytes back where the damage still is."""
        files = scene.environment.database.files
        restore_pages(files, damage.relation, damage.blocks, good_bytes(scene, damage))

    @abstractmethod
    async def _verify(self, connection: AsyncConnection, children: Sequence[Child]) -> None:
        """Raise :class:`HealFailed` unless amcheck finds the repaired relations whole."""

    def radius(self, environment: Environment) -> BlastRadius:
        """Declare the months; where buffers cannot be evicted, the restart that inject needs."""
        evictable = can_evict(environment)
        return radius_of(self.months, edge=Edge.MONTHS if evictable else Edge.RESTART, lock=not evictable)

    async def inject(self, scene: Scene) -> None:
        """Save what is good, damage it, evict the buffers; no write of the months can come in between."""
        with failing_as(FaultError, f"play {self.name}"):
            async with admin(scene) as connection:
                children = await children_of(connection, self.months)
                save_children(scene, children)
                if can_evict(scene.environment):
                    await connection.execute("CREATE EXTENSION IF NOT EXISTS pg_buffercache")
                    # Most of the writing out happens here, before the lock makes anybody wait.
                    await connection.execute("CHECKPOINT")
                    await in_transaction(
                        connection, lambda: self._under_lock(scene, connection, children), what="damage pages"
                    )
                    return
                require_restart(scene, self.name)
                await self._prepare(scene, connection, children)
                damages = await self._targets(scene, connection, children)
            await self._under_restart(scene, damages)

    async def _targets(self, scene: Scene, connection: AsyncConnection, children: Sequence[Child]) -> list[Damage]:
        return [
            self._blocks(scene, child.month, relation)
            for child in children
            for relation in await self._relations(connection, child)
        ]

    def _saved_and_struck(self, scene: Scene, damages: Sequence[Damage]) -> None:
        """Save the good bytes first and their list last: what the list names can be restored."""
        for damage in damages:
            self._save(scene, damage)
        scene.ledger.save("damages", [damage.to_json() for damage in damages])
        for damage in damages:
            self._strike(scene, damage)

    async def _under_lock(self, scene: Scene, connection: AsyncConnection, children: Sequence[Child]) -> None:
        await lock_exclusively(connection, children)
        await self._prepare(scene, connection, children)
        await connection.execute("CHECKPOINT")
        damages = await self._targets(scene, connection, children)
        for damage in damages:
            await evict(scene, connection, damage.relation)
            if self.closes:
                await close_descriptors(connection, damage.relation)
        self._saved_and_struck(scene, damages)

    async def _under_restart(self, scene: Scene, damages: Sequence[Damage]) -> None:
        """Damage while the server is down: its shutdown checkpoint has written everything out."""
        async with while_stopped(scene):
            # Pages may have been added before the stop, so they are counted again.
            self._saved_and_struck(scene, [self._blocks(scene, damage.month, damage.relation) for damage in damages])

    async def confirm(self, scene: Scene) -> str:
        """Three inserts into each month, on fresh connections, are refused with the SQLSTATE of the damage."""
        seen = await confirm_refused(scene, saved_months(scene), self.states, attempts=CONFIRM_ATTEMPTS)
        pages = sum(len(damage.blocks) for damage in saved_damages(scene))
        return f"{pages} pages damaged; {seen}"

    async def heal(self, scene: Scene) -> None:
        """Repair what is still damaged, then have the months verified."""
        with failing_as(HealFailed, f"heal {self.name}"):
            await finish_restart(scene)
            damages = saved_damages(scene)
            if not damages:
                return
            async with admin(scene) as connection:
                children = saved_children(scene)
                await self._repair(scene, connection, children, damages)
            async with admin(scene) as connection:
                await self._verify(connection, children)

    async def _repair(
        self, scene: Scene, connection: AsyncConnection, children: Sequence[Child], damages: Sequence[Damage]
    ) -> None:
        async def work() -> None:
            await lock_exclusively(connection, children)
            # An interrupted inject may have left newer pages in memory: on disk they are seen not to be damaged.
            await connection.execute("CHECKPOINT")
            for damage in damages:
                self._put_back(scene, damage)
                if can_evict(scene.environment):
                    await evict(scene, connection, damage.relation)

        await in_transaction(connection, work, what="repair pages")

    async def _rebuild_or_repair(
        self, scene: Scene, connection: AsyncConnection, children: Sequence[Child], damages: Sequence[Damage]
    ) -> None:
        """Rebuild each damaged index, or put its bytes back while the heap cannot be read either."""
        for damage in damages:
            try:
                await reindex(connection, damage.relation)
            except psycopg.errors.DataCorrupted:
                await Corruption._repair(self, scene, connection, children, (damage,))

    async def probe(self, scene: Scene) -> bool:
        """Every month takes an insert and can be read."""
        return await healthy(scene, saved_months(scene))
