"""Faults of the storage below one month: pages of its heap or of its primary key are damaged on disk.

The service is expected to answer 202 for the events of the damaged months and 201 for all others, to lose nothing
that it acknowledged before, and to drain what it queued once the pages are repaired.

Nothing is written while pages are saved and damaged: the months are locked, or the server is down.  Heal repairs
only the pages that still bear the damage, so it is safe after half an inject, and pages added since stay.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import psycopg
from psycopg import AsyncConnection, sql

from ..blast import BlastRadius, Write
from ..errors import FaultNotConfirmed, UsageError
from ..fault import FAULTS, Scene
from ..probes.postgres import insert_canary
from ..stacks.base import Environment
from ..values import Month
from ._damage import (
    Corruption,
    Damage,
    ensure_a_page,
    good_bytes,
    primary_key_of,
    saved_damages,
    verify_heap,
    verify_index,
)
from ._pages import PAGE_BYTES, Relation, count_pages, read_pages, relation_of, restore_pages, write_pages
from ._sql import Child, admin, failing_as, oid_of, saved_children

SECTOR_BYTES = 512
TEARS = (4096, 2048, 1024, SECTOR_BYTES)
"""Where a page is torn: at its half, or sooner when nothing differs behind it: a row longer than a sector does."""


async def _scan_fails(scene: Scene) -> str:
    """Show that a scan of each damaged month meets the damage; raises :class:`FaultNotConfirmed`."""
    seen: list[str] = []
    with failing_as(FaultNotConfirmed, "scan the damaged months"):
        async with admin(scene) as connection:
            for child in saved_children(scene):
                try:
                    await connection.execute(sql.SQL("SELECT count(*) FROM {}").format(child.table))
                except psycopg.errors.DataCorrupted as error:
                    seen.append(f"{child.month}: XX001 ({str(error).strip()})")
                else:
                    raise FaultNotConfirmed(
                        f"A scan of {child.name} succeeded although a page of it is damaged. Without data checksums "
                        "(the default before PostgreSQL 18) a damaged page may go unnoticed."
                    )
    return "; ".join(seen)


@FAULTS.register("corrupt-heap")
@dataclass(frozen=True, kw_only=True)
class CorruptHeap(Corruption):
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

    def _blocks(self, scene: Scene, month: Month, relation: Relation) -> Damage:
        damage = super()._blocks(scene, month, relation)
        return damage if self.pages == "all" else dataclasses.replace(damage, blocks=damage.blocks[-1:])

    def radius(self, environment: Environment) -> BlastRadius:
        """Declare the months, partial when only the last page is damaged."""
        radius = super().radius(environment)
        return dataclasses.replace(radius, write=Write.PARTIAL) if self.pages == "last" else radius

    async def confirm(self, scene: Scene) -> str:
        """Inserts are refused; for the last page alone, a scan of each month is."""
        return await super().confirm(scene) if self.pages == "all" else await _scan_fails(scene)

    async def _relations(self, connection: AsyncConnection, child: Child) -> list[Relation]:
        return [await relation_of(connection, await oid_of(connection, child))]

    async def _verify(self, connection: AsyncConnection, children: Sequence[Child]) -> None:
        for child in children:
            await verify_heap(connection, child)


@FAULTS.register("corrupt-index")
@dataclass(frozen=True, kw_only=True)
class CorruptIndex(Corruption):
    """Overwrites every page of the primary key index of ``months`` (of every attached month for none).

    Effect: XX001 ``invalid page in block N of relation …`` for each insert, since the uniqueness of its key cannot
    be checked; the heap is whole.  Versions: 15 to 18; 15 and 16 are restarted by inject.  Radius: write no, read no
    for the months (planning a query of the month reads the index's first page); every month is disturbed by the
    restart only.  Heal rebuilds the index, or restores its bytes while the heap cannot be read either.
    """

    name: ClassVar[str] = "corrupt-index"

    async def _relations(self, connection: AsyncConnection, child: Child) -> list[Relation]:
        return [await primary_key_of(connection, child)]

    async def _repair(
        self, scene: Scene, connection: AsyncConnection, children: Sequence[Child], damages: Sequence[Damage]
    ) -> None:
        await self._rebuild_or_repair(scene, connection, children, damages)

    async def _verify(self, connection: AsyncConnection, children: Sequence[Child]) -> None:
        for child in children:
            await verify_index(connection, child)


@FAULTS.register("zero-index")
@dataclass(frozen=True, kw_only=True)
class ZeroIndex(CorruptIndex):
    """Zeroes every page of the primary key index of ``months`` (of every attached month for none).

    It is what a file system leaves of pages that it had promised and lost.  A zeroed page passes every checksum, since
    it looks like one that was never used, so the index itself has to notice: the service must take XX002 for the
    partition's fault as it takes XX001.  Effect: XX002 ``index … contains unexpected zero page at block 0`` for each
    insert; the heap is whole.  Versions: 15 to 18; 15 and 16 are restarted by inject.  Radius: write no, read no for
    the months; every month is disturbed by the restart only.  Heal rebuilds the index (REINDEX), or restores its
    bytes while the heap cannot be read either.
    """

    name: ClassVar[str] = "zero-index"
    states: ClassVar[frozenset[str]] = frozenset({"XX002"})

    def _strike(self, scene: Scene, damage: Damage) -> None:
        zeros = bytes(PAGE_BYTES * len(damage.blocks))
        write_pages(scene.environment.database.files, damage.relation, damage.blocks, zeros)

    def _put_back(self, scene: Scene, damage: Damage) -> None:
        zeros = bytes(PAGE_BYTES * len(damage.blocks))
        files = scene.environment.database.files
        restore_pages(files, damage.relation, damage.blocks, good_bytes(scene, damage), zeros)


@FAULTS.register("tear-page")
@dataclass(frozen=True, kw_only=True)
class TearPage(Corruption):
    """Tears one heap page of each of ``months`` (of every attached month for none): half new, half as it was before.

    It is what a crash leaves of a page that was half written where nothing (``full_page_writes``) repairs it.  The
    older half is real: the page is read before and after an insert that is rolled back.  The service is expected to
    queue what needs the torn page, and to store or queue the rest.  Effect: XX001 ``invalid page in block N``, which
    only data checksums notice (on by default from PostgreSQL 18; this harness's own servers have them on); without
    them the fault is refused.  Versions: 15 to 18; 15 and 16 are restarted by inject.  Radius: write partial (an insert
    may find room in another page), read no for the months; every month is disturbed by the restart only.  Heal
    writes the whole new page over the torn one, if it still is that.
    """

    name: ClassVar[str] = "tear-page"

    def radius(self, environment: Environment) -> BlastRadius:
        """Declare the months: only what needs the torn page fails."""
        return dataclasses.replace(super().radius(environment), write=Write.PARTIAL)

    async def _relations(self, connection: AsyncConnection, child: Child) -> list[Relation]:
        return [await relation_of(connection, await oid_of(connection, child))]

    async def _prepare(self, scene: Scene, connection: AsyncConnection, children: Sequence[Child]) -> None:
        """Keep the older pages, then have one of them written once more."""
        checksums = await (await connection.execute("SHOW data_checksums")).fetchone()
        if checksums != ("on",):
            raise FaultNotConfirmed(
                "This PostgreSQL has no data checksums, so nothing would notice a torn page and nothing could be "
                "judged. Use a data directory made with initdb --data-checksums."
            )
        for child in children:
            await ensure_a_page(connection, child)
        await connection.execute("CHECKPOINT")
        files = scene.environment.database.files
        for child in children:
            relation = (await self._relations(connection, child))[0]
            blocks = range(count_pages(files, relation))
            scene.ledger.save_bytes(f"older-{relation.oid}", read_pages(files, relation, blocks))
            async with connection.transaction(force_rollback=True):
                await insert_canary(connection, child.month.first_day, padding_bytes=2 * SECTOR_BYTES)

    def _blocks(self, scene: Scene, month: Month, relation: Relation) -> Damage:
        """Choose the last page that differs from what it was; one that was not there before was all zeros."""
        damage = super()._blocks(scene, month, relation)
        files = scene.environment.database.files
        older = scene.ledger.load_bytes(f"older-{relation.oid}") or b""
        newer = read_pages(files, relation, damage.blocks)
        changed = [block for block in damage.blocks if _torn(_page(older, block), _page(newer, block)) is not None]
        # On 15 and 16 the pages are counted again once the server is down: before that nothing need be written out.
        return dataclasses.replace(damage, blocks=tuple(changed[-1:]) or damage.blocks[-1:])

    def _torn_page(self, scene: Scene, damage: Damage) -> bytes | None:
        older = scene.ledger.load_bytes(f"older-{damage.relation.oid}") or b""
        return _torn(_page(older, damage.blocks[0]), good_bytes(scene, damage))

    def _strike(self, scene: Scene, damage: Damage) -> None:
        torn = self._torn_page(scene, damage)
        if torn is None:
            raise FaultNotConfirmed(f"No page of {damage.relation.name} was written, so none could be torn.")
        write_pages(scene.environment.database.files, damage.relation, damage.blocks, torn)

    def _put_back(self, scene: Scene, damage: Damage) -> None:
        torn = self._torn_page(scene, damage)
        if torn is not None:
            files = scene.environment.database.files
            restore_pages(files, damage.relation, damage.blocks, good_bytes(scene, damage), torn)

    async def confirm(self, scene: Scene) -> str:
        """A scan of each month meets the torn page."""
        blocks = ", ".join(str(damage.blocks[0]) for damage in saved_damages(scene))
        return f"torn: block {blocks}; {await _scan_fails(scene)}"

    async def _verify(self, connection: AsyncConnection, children: Sequence[Child]) -> None:
        for child in children:
            await verify_heap(connection, child)


def _page(pages: bytes, block: int) -> bytes:
    return pages[block * PAGE_BYTES : (block + 1) * PAGE_BYTES].ljust(PAGE_BYTES, b"\0")


def _torn(older: bytes, newer: bytes) -> bytes | None:
    """Return the page with the newer bytes before the tear and the older ones behind it; None if nothing differs."""
    for tear in TEARS:
        torn = newer[:tear] + older[tear:]
        if torn not in (newer, older):
            return torn
    return None
