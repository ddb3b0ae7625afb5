"""Faults that leave a partition attached and let no row in: checks, and a forgotten transaction.

A constraint that somebody added, or a transaction left open over a lock.  The catalog shows nothing missing, so only a
write that is tried can tell.  The service is expected to know whose fault a refusal is: a constraint that only a
partition has, or that somebody added to the parent, is none of the event's, and such events are 202, never 400 or
dead letters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from psycopg import AsyncConnection, sql

from ..blast import BlastRadius, Edge
from ..errors import FaultError, FaultNotConfirmed, HealFailed, UsageError
from ..fault import FAULTS, Scene
from ..stacks.base import Capability, Environment
from ..values import Month
from . import _holder
from ._sql import (
    PARENT,
    Child,
    admin,
    children_of,
    confirm_refused,
    failing_as,
    healthy,
    in_transaction,
    radius_of,
    save_children,
    saved_children,
    saved_months,
)

SHARE, REINDEX = "share", "reindex"
LOCK_WAIT = frozenset({"55P03", "57014"})
LOCK_WAIT_MS = 120
_CHECK = "harness_refuse_all"
_PARENT_CHECK = "harness_refuse_everything"
_WITH_CHECK = """
SELECT n.nspname, c.relname FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE k.conname = %s AND k.contype = 'c' AND k.coninhcount = 0
"""


async def _drop_check(connection: AsyncConnection, name: str, tables: Sequence[Child] | None = None) -> None:
    """Drop the CHECK of that name from whichever of ``tables`` declares it (from all that do for None)."""
    wanted = None if tables is None else {(child.schema, child.name) for child in tables}
    # Dropping the parent's leaves one on each partition that was made meanwhile, a copy of the parent: hence twice.
    for _ in range(2):
        found = [(row[0], row[1]) for row in await (await connection.execute(_WITH_CHECK, (name,))).fetchall()]
        for schema, table in found:
            if wanted is None or (schema, table) in wanted:
                statement = sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}")
                await connection.execute(statement.format(sql.Identifier(schema, table), sql.Identifier(name)))


@FAULTS.register("refuse-by-check")
@dataclass(frozen=True, kw_only=True)
class RefuseByCheck:
    """Adds ``CHECK (false) NOT VALID`` to the partitions of ``months`` (all for none): old rows stay, none comes.

    Effect: 23514 with that constraint's name, as a row's own violation would be; but only the child has the
    constraint, so it is the partition's fault.  Versions: 15 to 18.  Radius: write no, read yes; edge for all months.
    """

    name: ClassVar[str] = "refuse-by-check"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.SQL})
    momentary: ClassVar[bool] = False
    months: tuple[Month, ...] = ()

    def radius(self, environment: Environment) -> BlastRadius:
        """Declare the months, which can be read."""
        return radius_of(self.months, read=True)

    async def inject(self, scene: Scene) -> None:
        """Save the tables, then add the constraint to each."""
        with failing_as(FaultError, "add the constraints"):
            async with admin(scene) as connection:
                children = await children_of(connection, self.months)
                save_children(scene, children)
                for child in children:
                    await in_transaction(connection, lambda: _add_check(connection, child.table, _CHECK), what="add")  # noqa: B023

    async def confirm(self, scene: Scene) -> str:
        """Every month refuses an insert with 23514 that names the constraint."""
        return _naming(_CHECK, await confirm_refused(scene, saved_months(scene), frozenset({"23514"})))

    async def heal(self, scene: Scene) -> None:
        """Drop the constraint from each table that has it."""
        children = saved_children(scene)
        if not children:
            return
        with failing_as(HealFailed, "drop the constraints"):
            async with admin(scene) as connection:
                await in_transaction(connection, lambda: _drop_check(connection, _CHECK, children), what="drop")

    async def probe(self, scene: Scene) -> bool:
        """Every month takes an insert and can be read."""
        return await healthy(scene, saved_months(scene))


async def _add_check(connection: AsyncConnection, table: sql.Identifier, name: str) -> None:
    statement = sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} CHECK (false) NOT VALID")
    await connection.execute(statement.format(table, sql.Identifier(name)))


def _naming(constraint: str, seen: str) -> str:
    if constraint not in seen:
        raise FaultNotConfirmed(f"An insert was refused, but not by the constraint {constraint}: {seen}.")
    return seen


@FAULTS.register("refuse-by-parent-check")
@dataclass(frozen=True, kw_only=True)
class RefuseByParentCheck:
    """Adds ``CHECK (false) NOT VALID`` to the partitioned table itself, and so to every partition.

    Effect: 23514 with that constraint's name, for every month.  Somebody added it: it is none of the constraints that
    the service's own schema declares, so the events are 202 and no event is to blame.  A partition made meanwhile
    gets a copy of its own, which heal drops as well.  Versions: 15 to 18.  Radius: every month, write no, read yes.
    """

    name: ClassVar[str] = "refuse-by-parent-check"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.SQL})
    momentary: ClassVar[bool] = False

    def radius(self, environment: Environment) -> BlastRadius:
        """Declare every month, which can be read."""
        return radius_of((), read=True)

    async def inject(self, scene: Scene) -> None:
        """Save the months to probe, then add the constraint."""
        with failing_as(FaultError, "add the constraint to the parent"):
            async with admin(scene) as connection:
                save_children(scene, await children_of(connection, ()))
                await in_transaction(connection, lambda: _add_check(connection, PARENT, _PARENT_CHECK), what="add")

    async def confirm(self, scene: Scene) -> str:
        """Every month refuses an insert with 23514 that names the constraint."""
        return _naming(_PARENT_CHECK, await confirm_refused(scene, saved_months(scene), frozenset({"23514"})))

    async def heal(self, scene: Scene) -> None:
        """Drop the constraint from the parent, and the copies of it."""
        if not saved_children(scene):
            return
        with failing_as(HealFailed, "drop the constraint of the parent"):
            async with admin(scene) as connection:
                await in_transaction(connection, lambda: _drop_check(connection, _PARENT_CHECK), what="drop")

    async def probe(self, scene: Scene) -> bool:
        """Every month takes an insert and can be read."""
        return await healthy(scene, saved_months(scene))


async def _lock_share(connection: AsyncConnection, children: Sequence[Child]) -> None:
    tables = sql.SQL(", ").join(child.table for child in children)
    await connection.execute(sql.SQL("LOCK TABLE ONLY {} IN SHARE MODE").format(tables))


async def _reindex(connection: AsyncConnection, children: Sequence[Child]) -> None:
    for child in children:
        await connection.execute(sql.SQL("REINDEX TABLE {}").format(child.table))


@FAULTS.register("hold-lock-idle")
@dataclass(frozen=True, kw_only=True)
class HoldLockIdle:
    """A transaction left idle over a SHARE lock on the partitions of ``months`` (all for none).

    ``how`` is "share": ``LOCK … IN SHARE MODE``, as a CREATE INDEX in a forgotten transaction holds it, under which
    the month can be read and not written; or "reindex": a REINDEX that was not committed, whose ACCESS EXCLUSIVE lock
    on the index stops the planning of reads as well.  Effect: nothing is refused, writes wait into a time-out:
    55P03 (``lock_timeout``) or 57014 (``statement_timeout``).  No time-out of the harness's session ends it.  Versions:
    15 to 18.  Radius: write no, read yes ("reindex": no) for the months; nobody else waits; waiting backends may
    outlive their clients.
    """

    name: ClassVar[str] = "hold-lock-idle"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.SQL})
    momentary: ClassVar[bool] = False
    months: tuple[Month, ...] = ()
    how: str = SHARE

    def __post_init__(self) -> None:
        """Raise :class:`UsageError` for an unknown ``how``."""
        if self.how not in (SHARE, REINDEX):
            raise UsageError(f"{self.name} does not know how={self.how!r}; give {SHARE} or {REINDEX}.")

    def radius(self, environment: Environment) -> BlastRadius:
        """Declare the months; nobody else waits for the lock."""
        return radius_of(self.months, read=self.how == SHARE, edge=Edge.MONTHS, lock=True)

    async def inject(self, scene: Scene) -> None:
        """Save the backend that will hold the locks, take them, and leave the transaction open."""
        with failing_as(FaultError, "hold the partitions"):
            await _holder.take(scene, self.months, _lock_share if self.how == SHARE else _reindex)

    async def confirm(self, scene: Scene) -> str:
        """Every month makes an insert wait into its time-out, and the lock is that of a transaction left idle."""
        seen = await confirm_refused(scene, saved_months(scene), LOCK_WAIT, timeout_ms=LOCK_WAIT_MS)
        with failing_as(FaultNotConfirmed, "ask for the holder's locks"):
            held = await _holder.locks_held(scene, _holder.SHARE)
        if held < len(saved_months(scene)):
            raise FaultNotConfirmed(
                f"The holder has {held} SHARE locks while idle in its transaction, not one a month; if its backend is "
                "gone, see the PostgreSQL log."
            )
        return f"{seen}; {held} SHARE locks held by a transaction left idle"

    async def heal(self, scene: Scene) -> None:
        """Close the holder's connection, or end its backend when the connection is another process's."""
        with failing_as(HealFailed, "release the lock"):
            await _holder.release(scene)

    async def probe(self, scene: Scene) -> bool:
        """Every month takes an insert and can be read."""
        return await healthy(scene, saved_months(scene))
