"""Faults of what is attached: bounds that miss days of a month, and a detach that was broken off half way.

They are what remains when an operator's work on partitions goes wrong.  In both the table is there under its name, so
that a look at names shows nothing.  The service is expected to queue what no partition takes, to go on for all other
months, and to drain once the bounds are right again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from typing import ClassVar

import psycopg
from psycopg import AsyncConnection, sql

from ..blast import BlastRadius, Edge, Write
from ..errors import FaultError, FaultNotConfirmed, HealFailed, UsageError
from ..fault import FAULTS, Scene
from ..probes.postgres import partitions_of, probe_insert
from ..stacks.base import Capability, Environment
from ..values import Month
from ._moving import move_rows, table_exists
from ._sql import (
    PARENT,
    Child,
    admin,
    attach,
    attached,
    attached_names,
    checks_of,
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
    retrying,
    save_children,
    saved_children,
    saved_months,
)

START, END = "start", "end"
MIDDLE_DAY = 16
_NO_PARTITION = "23514"
_STOP_WAITING_MS = 40
"""How long a concurrent detach waits for the transaction that holds it up, before it breaks off."""


@FAULTS.register("interrupt-detach")
@dataclass(frozen=True, kw_only=True)
class InterruptDetach:
    """Begins ``DETACH … CONCURRENTLY`` of ``month`` and breaks it off, so that it stays pending until FINALIZE.

    PostgreSQL commits the mark ``inhdetachpending`` first and then waits for older transactions; whoever interrupts
    that wait leaves a partition that is still listed in the catalog, takes nothing, and can be neither detached nor
    attached before FINALIZE.  Effect: 23514 ``no partition of relation … found for row``.  Versions: 15 to 18; not
    beside a default partition, where PostgreSQL refuses it.  Radius: write no, read no for the month; the locks
    are none that an insert waits for, but heal attaches, so its DDL is an edge for all months.
    """

    name: ClassVar[str] = "interrupt-detach"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.SQL})
    momentary: ClassVar[bool] = False
    month: Month

    def radius(self, environment: Environment) -> BlastRadius:
        """Declare the month."""
        return radius_of((self.month,))

    async def inject(self, scene: Scene) -> None:
        """Save bounds and constraints, hold the detach up with an open transaction, let it give up waiting."""
        with failing_as(FaultError, f"interrupt a detach of {self.month}"):
            async with admin(scene) as blocker, admin(scene) as connection:
                child = (await children_of(connection, (self.month,)))[0]
                scene.ledger.save("checks", await checks_of(connection, child))
                save_children(scene, [child])
                await retrying(lambda: self._begin(blocker, connection, child), what="detach concurrently")

    async def _begin(self, blocker: AsyncConnection, connection: AsyncConnection, child: Child) -> None:
        """Raise LockNotAvailable, which is tried again, unless the mark was committed before it."""
        await connection.execute(sql.SQL("SET lock_timeout = {}").format(sql.Literal(_STOP_WAITING_MS)))
        async with blocker.transaction():
            await blocker.execute(sql.SQL("LOCK TABLE ONLY {} IN ACCESS SHARE MODE").format(PARENT))
            try:
                await detach(connection, child, concurrently=True)
            except psycopg.errors.LockNotAvailable:
                if not await _is_pending(connection, child):
                    raise
                return
        raise FaultError(
            f"The concurrent detach of {self.month} ended although a transaction held it up. Heal attaches it again."
        )

    async def confirm(self, scene: Scene) -> str:
        """The catalog says that the detach is pending, and an insert finds no partition."""
        with failing_as(FaultNotConfirmed, "look for the pending detach"):
            async with admin(scene) as connection:
                pending = [child for child in saved_children(scene) if await _is_pending(connection, child)]
        if not pending:
            raise FaultNotConfirmed(f"No detach of {self.month} is pending; somebody finalized it.")
        return f"detach pending; {await confirm_refused(scene, (self.month,), frozenset({_NO_PARTITION}))}"

    async def heal(self, scene: Scene) -> None:
        """Finalize what is pending, attach, and take the CHECK away that the concurrent detach left behind."""
        children = saved_children(scene)
        if not children:
            return
        child = children[0]
        with failing_as(HealFailed, f"finalize the detach of {child.month} and attach it again"):
            async with admin(scene) as connection:

                async def finalize() -> None:
                    if await _is_pending(connection, child):
                        await detach(connection, child, finalize=True)

                async def work() -> None:
                    if child.month not in await attached(connection):
                        must_exist(child, await exists(connection, child))
                        await attach(connection, child, child.table)
                    for name in sorted(set(await checks_of(connection, child)) - set(scene.ledger.load("checks"))):
                        await connection.execute(
                            sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(child.table, sql.Identifier(name))
                        )

                await retrying(finalize, what="finalize")
                await in_transaction(connection, work, what="attach")

    async def probe(self, scene: Scene) -> bool:
        """The month takes an insert and can be read."""
        return await healthy(scene, saved_months(scene))


async def _is_pending(connection: AsyncConnection, child: Child) -> bool:
    return any(
        (one.schema, one.name) == (child.schema, child.name) and one.detach_pending
        for one in await partitions_of(connection)
    )


@FAULTS.register("attach-wrong-bounds")
@dataclass(frozen=True, kw_only=True)
class AttachWrongBounds:
    """Attaches the partition of ``month`` with bounds that miss half of it: its ``missing`` "end" or "start".

    The days from the 16th on (or before it) have no partition; the rows they had wait in a table beside it, since
    PostgreSQL would not attach them.  The table still has its name and some of the month's writes succeed, so a
    check by name or by the first day sees nothing wrong.  Effect: 23514 ``no partition of relation … found for row``
    for the missing days.  Versions: 15 to 18.  Radius: write no, read no for the missing ``dates``; the other days
    of the month write and read, but a service that spares whole months may queue them (rest: partial); edge for all
    months.
    """

    name: ClassVar[str] = "attach-wrong-bounds"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.SQL})
    momentary: ClassVar[bool] = False
    month: Month
    missing: str = END

    def __post_init__(self) -> None:
        """Raise :class:`UsageError` for an unknown half."""
        if self.missing not in (START, END):
            raise UsageError(f"{self.name} does not know missing={self.missing!r}; give {START} or {END}.")

    @property
    def _middle(self) -> date:
        return self.month.first_day.replace(day=MIDDLE_DAY)

    @property
    def _gone(self) -> tuple[date, date]:
        return (self._middle, self.month.end) if self.missing == END else (self.month.first_day, self._middle)

    @property
    def _kept(self) -> tuple[date, date]:
        return (self.month.first_day, self._middle) if self.missing == END else (self._middle, self.month.end)

    def radius(self, environment: Environment) -> BlastRadius:
        """Declare the days without a partition, and that the rest of their month may suffer with them."""
        return BlastRadius(
            months=frozenset({self.month}),
            write=Write.NO,
            read=False,
            dates=self._gone,
            rest=Write.PARTIAL,
            edge=Edge.DDL,
        )

    async def inject(self, scene: Scene) -> None:
        """Save the bounds, then detach, set the missing days' rows aside, and attach with half of the bounds."""
        with failing_as(FaultError, f"attach {self.month} with wrong bounds"):
            async with admin(scene) as connection:
                child = (await children_of(connection, (self.month,)))[0]
                save_children(scene, [child])
                await in_transaction(connection, lambda: self._narrow(scene, connection, child), what="attach")

    async def _narrow(self, scene: Scene, connection: AsyncConnection, child: Child) -> None:
        aside = _aside(child)
        owner = sql.Identifier(scene.environment.database.service_role)
        await lock_exclusively(connection, [child], parent=True)
        await detach(connection, child)
        await connection.execute(sql.SQL("CREATE TABLE {} (LIKE {} INCLUDING ALL)").format(aside, PARENT))
        await connection.execute(sql.SQL("ALTER TABLE {} OWNER TO {}").format(aside, owner))
        await move_rows(connection, child.table, aside, *self._gone)
        first, end = self._kept
        await attach(connection, replace(child, bounds=f"FOR VALUES FROM ('{first}') TO ('{end}')"), child.table)

    async def confirm(self, scene: Scene) -> str:
        """The first missing day refuses an insert with 23514; the first attached day takes one."""
        database = scene.environment.database
        gone, kept = await probe_insert(database, self._gone[0]), await probe_insert(database, self._kept[0])
        if gone.sqlstate != _NO_PARTITION or not kept.accepted:
            raise FaultNotConfirmed(
                f"The fault does not bite: an insert for {self._gone[0]} was {gone}, where {_NO_PARTITION} was due, "
                f"and one for {self._kept[0]} was {kept}, where it was to be accepted."
            )
        return f"{self._gone[0]}: {gone}; {self._kept[0]}: {kept}"

    async def heal(self, scene: Scene) -> None:
        """Detach what has half of the bounds, bring the rows back that were set aside, attach with the saved bounds."""
        children = saved_children(scene)
        if not children:
            return
        child = children[0]
        with failing_as(HealFailed, f"attach {self.month} with its own bounds"):
            async with admin(scene) as connection:
                await in_transaction(connection, lambda: self._widen(connection, child), what="attach")

    async def _widen(self, connection: AsyncConnection, child: Child) -> None:
        await connection.execute(sql.SQL("LOCK TABLE ONLY {} IN ACCESS EXCLUSIVE MODE").format(PARENT))
        present = self.month in await attached(connection)
        if not present:
            must_exist(child, await exists(connection, child))
            if (child.schema, child.name) in await attached_names(connection):
                await detach(connection, child)
        if await table_exists(connection, _aside(child)):
            await move_rows(connection, _aside(child), child.table, *self._gone)
            await connection.execute(sql.SQL("DROP TABLE {}").format(_aside(child)))
        if not present:
            await attach(connection, child, child.table)

    async def probe(self, scene: Scene) -> bool:
        """Both halves of the month take an insert, and it can be read."""
        gone = await probe_insert(scene.environment.database, self._gone[0])
        return gone.accepted and await healthy(scene, (self.month,))


def _aside(child: Child) -> sql.Identifier:
    return sql.Identifier(child.schema, f"{child.name}_harness_aside")
