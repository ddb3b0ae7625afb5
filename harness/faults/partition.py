"""Faults of the partitioned table itself: a month is detached, dropped, locked, or never made.

The service is expected to answer 202 for the events of the months that are gone and 201 for all others, to keep
what it queued until an operator brings the partition back, and never to make a fresh, empty partition in the place
of one that it once had: that would hide the old rows.  A locked month is the hardest of them, because nothing is
refused: writes hang, and a service without a limit a month gives its whole connection pool to them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from psycopg import AsyncConnection, sql

from ..blast import BlastRadius, Edge
from ..errors import FaultError, FaultNotConfirmed, HealFailed
from ..fault import FAULTS, DestroyedRows, Scene
from ..stacks.base import Capability, Environment
from ..values import Month
from . import _holder
from ._moving import columns_of
from ._snapshot import snapshot
from ._sql import (
    PARENT,
    Child,
    admin,
    attach,
    attached,
    children_of,
    confirm_refused,
    detach,
    exists,
    failing_as,
    healthy,
    in_transaction,
    lock_exclusively,
    must_exist,
    radius_of,
    save_children,
    saved_children,
    saved_months,
    trusted,
)

NO_PARTITION = frozenset({"23514"})
LOCK_WAIT = frozenset({"55P03", "57014"})
LOCK_WAIT_MS = 120
"""How long confirm lets an insert wait: the granted lock is checked as well, so this only has to be a wait."""


_TRIGGERS_FOR_COPY = """
SELECT replace(
    pg_get_triggerdef(t.oid),
    format(' ON %%I.%%I ', n.nspname, c.relname),
    format(' ON %%I.%%I ', n.nspname, c.relname || '_restored')
) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = %s AND NOT t.tgisinternal
"""
"""The statements that make a detached table's own triggers on its copy; those of the parent come with the attach."""


async def _detach(connection: AsyncConnection, children: list[Child]) -> None:
    for child in children:
        await detach(connection, child)


async def drop_months(scene: Scene, months: Sequence[Month]) -> None:
    """Lock the partitions of some months (of all for none), save definitions, rows and ids, report the ids, drop.

    Raises :class:`FaultError`.
    """
    with failing_as(FaultError, "drop the partitions"):
        async with admin(scene) as connection:
            children = await children_of(connection, months)

            async def work() -> None:
                await lock_exclusively(connection, children, parent=True)
                ids: list[str] = []
                for child in children:
                    ids += await snapshot(scene, connection, child)
                scene.ledger.save("ids", ids)
                save_children(scene, children)
                await scene.destroyed(DestroyedRows(tuple(ids), restored=False))
                for child in children:
                    await connection.execute(sql.SQL("DROP TABLE {}").format(child.table))

            await in_transaction(connection, work, what="drop")


async def _inject_detach(scene: Scene, months: tuple[Month, ...]) -> None:
    with failing_as(FaultError, "detach the partitions"):
        async with admin(scene) as connection:
            children = await children_of(connection, months)
            save_children(scene, children)
            await in_transaction(connection, lambda: _detach(connection, children), what="detach")


@FAULTS.register("detach-partition")
@dataclass(frozen=True, kw_only=True)
class DetachPartition:
    """Detaches the partitions of ``months`` (of every attached month for none); heal attaches them again.

    Effect: 23514 ``no partition of relation "audit_events" found for row``, the SQLSTATE of a CHECK violation but
    without a constraint name.  Versions: 15 to 18.  Radius: write no, read no (the rows are withheld) for the
    months, every month for none; the DDL is an edge for all months.
    """

    name: ClassVar[str] = "detach-partition"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.SQL})
    momentary: ClassVar[bool] = False
    months: tuple[Month, ...] = ()

    def radius(self, environment: Environment) -> BlastRadius:
        """Declare the months."""
        return radius_of(self.months)

    async def inject(self, scene: Scene) -> None:
        """Save the bounds, then detach all months in one transaction."""
        await _inject_detach(scene, self.months)

    async def confirm(self, scene: Scene) -> str:
        """Every month refuses an insert with 23514."""
        return await confirm_refused(scene, saved_months(scene), NO_PARTITION)

    async def heal(self, scene: Scene) -> None:
        """Attach with the saved bounds whatever is not attached."""
        children = saved_children(scene)
        if not children:
            return
        with failing_as(HealFailed, "attach the partitions again"):
            async with admin(scene) as connection:

                async def work() -> None:
                    present = await attached(connection)
                    for child in children:
                        if child.month not in present:
                            must_exist(child, await exists(connection, child))
                            await attach(connection, child, child.table)

                await in_transaction(connection, work, what="attach")

    async def probe(self, scene: Scene) -> bool:
        """Every month takes an insert and can be read."""
        return await healthy(scene, saved_months(scene))


@FAULTS.register("detach-and-restore-copy")
@dataclass(frozen=True, kw_only=True)
class DetachAndRestoreCopy:
    """Detaches one month; heal attaches a restored copy of it, named ``audit_events_YYYY_MM_restored``.

    The copy is made of the detached table's rows and triggers, as from a backup; the original stays beside it, detached
    and under its own name, so that only the bounds tell which month the copy holds.  Effect: 23514 until the copy is
    attached.  Versions: 15 to 18.  Radius: write no, read no for the month; edge for all months.
    """

    name: ClassVar[str] = "detach-and-restore-copy"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.SQL})
    momentary: ClassVar[bool] = False
    month: Month

    def radius(self, environment: Environment) -> BlastRadius:
        """Declare the month."""
        return radius_of((self.month,))

    async def inject(self, scene: Scene) -> None:
        """Save the bounds, then detach."""
        await _inject_detach(scene, (self.month,))

    async def confirm(self, scene: Scene) -> str:
        """The month refuses an insert with 23514."""
        return await confirm_refused(scene, (self.month,), NO_PARTITION)

    async def heal(self, scene: Scene) -> None:
        """Copy the detached rows into a new table and attach that one, in one transaction."""
        children = saved_children(scene)
        if not children:
            return
        original = children[0]
        copy = sql.Identifier(original.schema, f"{original.name}_restored")
        owner = sql.Identifier(scene.environment.database.service_role)
        with failing_as(HealFailed, "attach the restored copy"):
            async with admin(scene) as connection:

                async def work() -> None:
                    if original.month in await attached(connection):
                        return
                    must_exist(original, await exists(connection, original))
                    await connection.execute(sql.SQL("CREATE TABLE {} (LIKE {} INCLUDING ALL)").format(copy, PARENT))
                    await connection.execute(sql.SQL("ALTER TABLE {} OWNER TO {}").format(copy, owner))
                    columns = await columns_of(connection, original.table)
                    await connection.execute(
                        sql.SQL("INSERT INTO {} ({}) SELECT {} FROM {}").format(copy, columns, columns, original.table)
                    )
                    found = await connection.execute(_TRIGGERS_FOR_COPY, (original.schema, original.name))
                    for (statement,) in await found.fetchall():
                        await connection.execute(statement)
                    await attach(connection, original, copy)

                await in_transaction(connection, work, what="attach the copy")

    async def probe(self, scene: Scene) -> bool:
        """The month takes an insert and can be read."""
        return await healthy(scene, (self.month,))


@FAULTS.register("drop-partition")
@dataclass(frozen=True, kw_only=True)
class DropPartition:
    """Drops the partitions of ``months`` with their rows; heal makes them again from the snapshot in the ledger.

    Lock, snapshot and drop are one transaction, so no row is acknowledged after the snapshot; the parent is locked as
    well, as every DROP of a partition does in the end.  The ids are reported
    as destroyed before the drop commits, and as restored after heal.  Effect: 23514 as for a detach.  Versions: 15
    to 18.  Radius: write no, read no for the months (every month for none); edge for all months.
    """

    name: ClassVar[str] = "drop-partition"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.SQL})
    momentary: ClassVar[bool] = False
    months: tuple[Month, ...] = ()

    def radius(self, environment: Environment) -> BlastRadius:
        """Declare the months."""
        return radius_of(self.months)

    async def inject(self, scene: Scene) -> None:
        """Lock, save definition, rows and ids, report the ids, drop."""
        await drop_months(scene, self.months)

    async def confirm(self, scene: Scene) -> str:
        """Every month refuses an insert with 23514."""
        seen = await confirm_refused(scene, saved_months(scene), NO_PARTITION)
        return f"{seen}; {len(scene.ledger.load('ids'))} rows destroyed"

    async def heal(self, scene: Scene) -> None:
        """Make each missing table again with all its rows, attach it, and report the ids as restored."""
        children = saved_children(scene)
        if not children:
            return
        with failing_as(HealFailed, "restore the dropped partitions"):
            async with admin(scene) as connection:

                async def work() -> None:
                    present = await attached(connection)
                    for child in children:
                        if child.month not in present:
                            await _restore(scene, connection, child)

                await in_transaction(connection, work, what="restore")
        if not scene.ledger.load("restored"):
            await scene.destroyed(DestroyedRows(tuple(scene.ledger.load("ids")), restored=True))
            scene.ledger.save("restored", True)

    async def probe(self, scene: Scene) -> bool:
        """Every month takes an insert and can be read."""
        return await healthy(scene, saved_months(scene))


async def _restore(scene: Scene, connection: AsyncConnection, child: Child) -> None:
    rows = scene.ledger.load_bytes(f"rows-{child.month}.copy")
    if rows is None:
        raise HealFailed(f"The ledger holds no rows of {child.month}; the dropped partition cannot be restored.")
    owner = sql.Identifier(scene.environment.database.service_role)
    await connection.execute(sql.SQL("CREATE TABLE {} (LIKE {} INCLUDING ALL)").format(child.table, PARENT))
    await connection.execute(sql.SQL("ALTER TABLE {} OWNER TO {}").format(child.table, owner))
    columns = trusted(scene.ledger.load(f"columns-{child.month}"))
    async with connection.cursor().copy(sql.SQL("COPY {} ({}) FROM STDIN").format(child.table, columns)) as copy:
        await copy.write(rows)
    await attach(connection, child, child.table)


@FAULTS.register("lock-partition")
@dataclass(frozen=True, kw_only=True)
class LockPartition:
    """Holds ACCESS EXCLUSIVE on the partitions of ``months`` from a connection of its own.

    Effect: nothing is refused, writes and reads wait until a time-out: 55P03 (``lock_timeout``) or 57014
    (``statement_timeout``); a query without a date predicate waits as well.  Versions: 15 to 18.  Radius: write no,
    read no for the months (every month for none); waiting backends may outlive their clients.
    """

    name: ClassVar[str] = "lock-partition"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.SQL})
    momentary: ClassVar[bool] = False
    months: tuple[Month, ...] = ()

    def radius(self, environment: Environment) -> BlastRadius:
        """Declare the months; nobody else waits for the lock."""
        return radius_of(self.months, edge=Edge.MONTHS, lock=True)

    async def inject(self, scene: Scene) -> None:
        """Save the backend that will hold the lock, then take it."""
        with failing_as(FaultError, "lock the partitions"):
            await _holder.take(scene, self.months)

    async def confirm(self, scene: Scene) -> str:
        """Every month makes an insert wait into its time-out, and the lock is the holder's."""
        seen = await confirm_refused(scene, saved_months(scene), LOCK_WAIT, timeout_ms=LOCK_WAIT_MS)
        with failing_as(FaultNotConfirmed, "ask for the holder's locks"):
            held = await _holder.locks_held(scene)
        if held < len(saved_months(scene)):
            raise FaultNotConfirmed(
                f"The holder has {held} locks, not one a month; if its backend is gone, see the PostgreSQL log."
            )
        return seen

    async def heal(self, scene: Scene) -> None:
        """Close the holder's connection, or end its backend when the connection is another process's."""
        with failing_as(HealFailed, "release the lock"):
            await _holder.release(scene)

    async def probe(self, scene: Scene) -> bool:
        """Every month takes an insert and can be read."""
        return await healthy(scene, saved_months(scene))
