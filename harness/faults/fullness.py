"""Faults of a full disk: the tablespace of some months, or the data directory of the whole database.

The service is expected to answer 202 for what PostgreSQL cannot store (53100 is never the event's fault), to go on
storing what still fits, and to drain once there is room, with no operator step.

A full disk must be one that nobody else uses.  So the month (or the database's directory) moves to a tmpfs of its
own, and a filler file takes what is left of it.  Mounting needs root and the right to mount; where it lacks, inject
says so and changes nothing.  The other ways were tried and are none: PostgreSQL has no quotas; RLIMIT_FSIZE gives
EFBIG, which is XX000 and not 53100, and hits the 16 MiB files of the write-ahead log first, which ends the server;
raising it again for another user's process needs CAP_SYS_RESOURCE as well.

Rows that fit into pages that are already there are still stored, so inject takes that room, too, by inserts that are
rolled back; a vacuum may find some again.  Writes are therefore partial.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import psycopg
from psycopg import AsyncConnection, sql

from ..blast import BlastRadius, Edge, Write
from ..errors import FaultError, HealFailed
from ..fault import FAULTS, Scene
from ..stacks.base import HARNESS_PREFIX, Capability, DatabaseServer, Environment, Files, StopMode
from ..values import Month
from ._damage import require_restart, verify_heap
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
    retrying,
    save_children,
    saved_children,
    saved_months,
    uninterrupted,
)

DISK_FULL = frozenset({"53100"})
CONFIRM_ATTEMPTS = 2
SLACK_BYTES = 2 << 20
"""Room beside the files that move; the filler takes it."""
PADDINGS = (1500, 300, 0)
"""Sizes of the rolled-back rows that take the room inside of pages, largest first."""
MOST_ROWS = 100_000
FILLER, ROWS = "harness-filler", "rows"
"""The file that takes the room of a small disk, and the folder on it that is a tablespace."""
_SMALL = f"{HARNESS_PREFIX}_small_"
_AWAY, _BACK = ".harness-away", ".harness-back"
"""Suffixes of the database's directory: of the one on its own disk, and of the copy that is to replace it."""

_TAKE = """
INSERT INTO audit_events (event_id, event_date, event_timestamp, version, event_type, event_category, event_action,
                          event_outcome, correlation_id, event_data)
SELECT gen_random_uuid(), %(day)s::date, %(day)s::date::timestamp AT TIME ZONE 'UTC', '1', 'c', 'harness_canary', 'p',
       'success', 'c', jsonb_build_object('padding', repeat('x', %(padding)s))
FROM generate_series(1, %(rows)s)
"""


async def _take_room(connection: AsyncConnection, children: Sequence[Child]) -> None:
    """Have not even a small row fit into any page: an insert that fails has taken the room all the same."""
    for child in children:
        for padding in PADDINGS:
            values = {"day": child.month.first_day, "padding": padding, "rows": MOST_ROWS}
            try:
                async with connection.transaction(force_rollback=True):
                    await connection.execute(_TAKE, values)
            except psycopg.errors.DiskFull:
                continue
            raise FaultError(f"{MOST_ROWS} rows of {child.month} fit onto a disk that was just filled; it is not full.")


@dataclass(frozen=True, kw_only=True)
class _Full:
    """What both share: how it shows."""

    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.SQL, Capability.FILES, Capability.MOUNT})
    momentary: ClassVar[bool] = False

    async def confirm(self, scene: Scene) -> str:
        """Every month refuses inserts with 53100."""
        return await confirm_refused(scene, saved_months(scene), DISK_FULL, attempts=CONFIRM_ATTEMPTS)

    async def probe(self, scene: Scene) -> bool:
        """Every month takes an insert and can be read."""
        return await healthy(scene, saved_months(scene))


@FAULTS.register("fill-tablespace")
@dataclass(frozen=True, kw_only=True)
class FillTablespace(_Full):
    """Moves the heaps of ``months`` (of every attached month for none) to a small tablespace, and fills its disk.

    Effect: 53100 ``could not extend file: No space left on device``.  Versions: 15 to 18, without a restart; needs root
    and the right to mount.  Radius: write partial (what fits into a page is stored), read yes for the months; the
    move is DDL and an edge for all months.  Heal removes the filler, moves the months back, drops the tablespace and
    unmounts.
    """

    name: ClassVar[str] = "fill-tablespace"
    months: tuple[Month, ...] = ()

    def radius(self, environment: Environment) -> BlastRadius:
        """Declare the months, partial."""
        return BlastRadius(months=frozenset(self.months) or None, write=Write.PARTIAL, edge=Edge.DDL)

    async def inject(self, scene: Scene) -> None:
        """Mount, make the tablespace, move the months, fill the disk and the pages."""
        with failing_as(FaultError, "fill a tablespace"):
            async with admin(scene) as connection:
                children = await children_of(connection, self.months)
                name, files = f"{_SMALL}{await oid_of(connection, children[0])}", scene.environment.database.files
                place, known = f"../{name}", files.absolute(f"../{name}")
                if files.exists(place):
                    raise FaultError(f"{known} is there already: another fault fills the disk of {children[0].month}.")
                save_children(scene, children)
                scene.ledger.save("place", known)
                size = SLACK_BYTES + 2 * sum([await _bytes_of(connection, child) for child in children])
                _mount(files, place, size)
                await connection.execute(
                    sql.SQL("CREATE TABLESPACE {} LOCATION {}").format(
                        sql.Identifier(name), sql.Literal(f"{known}/{ROWS}")
                    )
                )
                await _move(connection, children, name)
                await uninterrupted(asyncio.to_thread(files.fill, f"{place}/{FILLER}"))
                await _take_room(connection, children)

    async def heal(self, scene: Scene) -> None:
        """Undo each step that was done, last one first, and have the moved heaps verified."""
        saved, children = scene.ledger.load("place"), saved_children(scene)
        if saved is None:
            return
        # The ledger names it in full, for people; here its name is enough, since it lies beside the data directory.
        name, files = str(saved).rpartition("/")[2], scene.environment.database.files
        with failing_as(HealFailed, "empty the small tablespace"):
            files.remove(f"../{name}/{FILLER}")
            async with admin(scene) as connection:
                moved = [child for child in children if await _lives_in(connection, child) == name]
                if moved:
                    await _move(connection, moved, "pg_default")
                for child in children:
                    await verify_heap(connection, child)
                # It waits for a checkpoint by itself when files of moved tables are still there.
                drop = sql.SQL("DROP TABLESPACE IF EXISTS {}").format(sql.Identifier(name))
                await retrying(lambda: connection.execute(drop), what="drop the small tablespace")
            _remove_place(files, f"../{name}")


def _mount(files: Files, place: str, size_bytes: int) -> None:
    if not files.exists(place):
        files.make_folder(place)
    try:
        files.mount_small(place, size_bytes)
    except FaultError:
        files.remove_folder(place)
        raise
    files.make_folder(f"{place}/{ROWS}")


def _remove_place(files: Files, place: str) -> None:
    files.unmount(place)
    files.remove_folder(place)


async def _bytes_of(connection: AsyncConnection, child: Child) -> int:
    cursor = await connection.execute("SELECT pg_table_size(%s::oid::regclass)", (await oid_of(connection, child),))
    row = await cursor.fetchone()
    return int(row[0]) if row else 0


async def _lives_in(connection: AsyncConnection, child: Child) -> str:
    cursor = await connection.execute(
        "SELECT coalesce(spcname, 'pg_default') FROM pg_class LEFT JOIN pg_tablespace ON pg_tablespace.oid ="
        " reltablespace WHERE pg_class.oid = %s",
        (await oid_of(connection, child),),
    )
    row = await cursor.fetchone()
    return str(row[0]) if row else ""


async def _move(connection: AsyncConnection, children: Sequence[Child], tablespace: str) -> None:
    async def work() -> None:
        await lock_exclusively(connection, children)
        for child in children:
            await connection.execute(
                sql.SQL("ALTER TABLE {} SET TABLESPACE {}").format(child.table, sql.Identifier(tablespace))
            )

    await in_transaction(connection, work, what="move the months")


@FAULTS.register("fill-data-directory")
@dataclass(frozen=True, kw_only=True)
class FillDataDirectory(_Full):
    """Puts the database's own directory of PGDATA on a small disk, the write-ahead log elsewhere, and fills it.

    Effect: 53100 ``could not extend file: No space left on device`` in every month and in the catalog.  The write-ahead
    log stays on its old disk, since PostgreSQL ends itself when that one is full (``stop-database`` shows what the
    service makes of that).  Versions: 15 to 18; inject and heal restart the server, since a directory cannot move under
    it; needs root and the right to mount.  Radius: every month, write partial (what fits into a page is stored),
    read yes, every month disturbed by the restarts.  Heal removes the filler, stops, copies the directory back,
    unmounts and starts.
    """

    name: ClassVar[str] = "fill-data-directory"
    needs: ClassVar[frozenset[Capability]] = frozenset(
        {Capability.SQL, Capability.FILES, Capability.KILLABLE_DATABASE, Capability.MOUNT}
    )

    def radius(self, environment: Environment) -> BlastRadius:
        """Declare every month, partial, and the restarts."""
        return BlastRadius(months=None, write=Write.PARTIAL, edge=Edge.RESTART, outlives_clients=True)

    async def inject(self, scene: Scene) -> None:
        """Stop, mount, copy the database's directory over, start, fill the disk and the pages."""
        with failing_as(FaultError, "fill the data directory"):
            require_restart(scene, self.name)
            database = scene.environment.database
            async with admin(scene) as connection:
                children = await children_of(connection, ())
                row = await (
                    await connection.execute("SELECT oid FROM pg_database WHERE datname = current_database()")
                ).fetchone()
            own = f"base/{row[0] if row else ''}"
            scene.ledger.save("own", database.files.absolute(own))
            save_children(scene, children)
            await uninterrupted(self._onto_a_small_disk(scene, database, own))
            async with admin(scene) as connection:
                await uninterrupted(asyncio.to_thread(database.files.fill, f"{own}/{FILLER}"))
                await _take_room(connection, children)

    async def _onto_a_small_disk(self, scene: Scene, database: DatabaseServer, own: str) -> None:
        files, away = database.files, own + _AWAY
        size = SLACK_BYTES + files.tree_bytes(own) * 5 // 4
        _try_mounting(files, size)
        scene.ledger.save("moving", True)
        await database.stop(StopMode.FAST)
        files.rename(own, away)
        files.make_folder(own)
        files.mount_small(own, size)
        await asyncio.to_thread(files.copy_tree, away, own)
        scene.ledger.save("moved", True)
        await database.start()

    async def heal(self, scene: Scene) -> None:
        """Make room, then bring the directory back to its own disk, as it is now."""
        if not scene.ledger.load("moving") or scene.ledger.load("back"):
            return
        own = "/".join(str(scene.ledger.load("own")).split("/")[-2:])
        database = scene.environment.database
        with failing_as(HealFailed, "bring the data directory back"):
            if scene.ledger.load("moved"):
                await asyncio.to_thread(database.files.remove, f"{own}/{FILLER}")
            await uninterrupted(self._onto_its_own_disk(scene, database, own))
            async with admin(scene) as connection:
                for child in saved_children(scene):
                    await verify_heap(connection, child)

    async def _onto_its_own_disk(self, scene: Scene, database: DatabaseServer, own: str) -> None:
        files, away, back = database.files, own + _AWAY, own + _BACK
        await database.stop(StopMode.FAST)
        if files.mounted(own):
            if scene.ledger.load("moved"):
                # The copy gets its name only when it is whole, so that a heal that was interrupted begins anew.
                await asyncio.to_thread(_copied_anew, files, own, back)
                scene.ledger.save("copied", True)
            files.unmount(own)
        if scene.ledger.load("copied") and files.exists(back):
            _replace_folder(files, back, own)
            files.remove_tree(away)
        elif files.exists(away) and not scene.ledger.load("moved"):
            _replace_folder(files, away, own)
        scene.ledger.save("back", True)
        await database.start()


def _copied_anew(files: Files, source: str, target: str) -> None:
    """Copy the files of a folder, but for the filler, into a new one, whatever was there before."""
    files.remove_tree(target)
    files.make_folder(target)
    files.remove(f"{source}/{FILLER}")
    files.copy_tree(source, target)


def _replace_folder(files: Files, source: str, target: str) -> None:
    """Give ``source`` the name of ``target``, which goes."""
    files.remove_tree(target)
    files.rename(source, target)


def _try_mounting(files: Files, size_bytes: int) -> None:
    """Fail before the server is stopped where mounting is not allowed."""
    place = f"../{HARNESS_PREFIX}-tried"
    _mount(files, place, size_bytes)
    _remove_place(files, place)
