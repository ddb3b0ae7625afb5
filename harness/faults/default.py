"""Faults of a default partition: it swallows the rows of a month that is missing.

It is a trap, since nothing fails: the rows of the missing month land in the default, and the month cannot be attached
again (23514) until somebody moves them out.  The contract knows no default partition; this one somebody else made, so
the service is expected to answer truthfully for what it stored, wherever that is, and to write directly again once
the month is attached.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import ClassVar

import psycopg
from psycopg import AsyncConnection, sql

from ..blast import BlastRadius, Write
from ..errors import FaultError, FaultNotConfirmed, HealFailed
from ..fault import FAULTS, DestroyedRows, Scene
from ..probes.postgres import TABLE, failure_of, insert_canary, open_probe, partitions_of
from ..stacks.base import Capability, Environment
from ..values import FAULTS_DEFAULT, Month
from ._moving import count_rows, foreign_rows, move_rows, table_exists
from ._sql import (
    PARENT,
    Child,
    admin,
    attach,
    attached,
    attached_names,
    children_of,
    detach,
    exists,
    failing_as,
    healthy,
    in_transaction,
    must_exist,
    radius_of,
    save_children,
    saved_children,
    saved_months,
)

_DEFAULT_NAME = f"{TABLE}{FAULTS_DEFAULT}"


@FAULTS.register("detach-with-default")
@dataclass(frozen=True, kw_only=True)
class DetachWithDefault:
    """Detaches the partitions of ``months`` (all for none) while a default partition takes whatever has no month.

    A default that the target has is used; where there is none, one is made in the same transaction, and heal drops it.
    Effect: none that a service would see: inserts succeed, the rows land in the default, and the old rows are gone
    from view; attaching the month again is 23514 until the rows have been moved out.  Versions: 15 to 18.

    Radius: write partial, read no (the old rows are withheld), edge for all months.  A service that only inserts
    answers 201, and it is true: the row is committed and readable, and after heal it is in its month.  One that knows
    its months from the catalog answers 202, which is true as well.  So this is about recovery and conservation.  The
    withheld rows cannot be compared: a re-send is stored once more, which heal settles in favour of the older row; a
    conflicting send cannot be told from a first one by any service, so scenarios leave those out (``conflict_share``
    0), and should one be stored nevertheless, heal reports its id as destroyed.
    """

    name: ClassVar[str] = "detach-with-default"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.SQL})
    momentary: ClassVar[bool] = False
    months: tuple[Month, ...] = ()

    def radius(self, environment: Environment) -> BlastRadius:
        """Declare the months, whose writes may be stored or queued."""
        return replace(radius_of(self.months), write=Write.PARTIAL)

    async def inject(self, scene: Scene) -> None:
        """Save bounds and default, then detach and make the default in one transaction."""
        with failing_as(FaultError, "detach the partitions beside a default partition"):
            async with admin(scene) as connection:
                children = await children_of(connection, self.months)
                default = next((one for one in await partitions_of(connection) if one.is_default), None)
                if default is None:
                    saved = {"schema": children[0].schema, "name": _DEFAULT_NAME, "made": True}
                else:
                    saved = {"schema": default.schema, "name": default.name, "made": False}
                scene.ledger.save("default", saved)
                save_children(scene, children)
                await in_transaction(connection, lambda: self._detach(scene, connection, children), what="detach")

    async def _detach(self, scene: Scene, connection: AsyncConnection, children: list[Child]) -> None:
        for child in children:
            await detach(connection, child)
        saved = scene.ledger.load("default")
        if saved["made"]:
            table = _default_of(scene)
            owner = sql.Identifier(scene.environment.database.service_role)
            await connection.execute(sql.SQL("CREATE TABLE {} PARTITION OF {} DEFAULT").format(table, PARENT))
            await connection.execute(sql.SQL("ALTER TABLE {} OWNER TO {}").format(table, owner))

    async def confirm(self, scene: Scene) -> str:
        """An insert of the service into each month succeeds, and its row lies in the default partition."""
        name, children = scene.ledger.load("default")["name"], saved_children(scene)
        found = await asyncio.gather(*(self._landed_in_default(scene, child) for child in children))
        for child, otherwise in zip(children, found, strict=True):
            if otherwise:
                raise FaultNotConfirmed(
                    f"The fault does not bite: an insert into {child.month} {otherwise}, where a row in {name} was "
                    "due. Somebody attached the month again."
                )
        return f"{', '.join(child.month.label for child in children)}: accepted, in {name}"

    async def _landed_in_default(self, scene: Scene, child: Child) -> str:
        """Insert as the service, roll back, and say what went otherwise; "" when the default took the row."""
        try:
            connection = await open_probe(scene.environment.database, proxied=False)
            try:
                await insert_canary(connection, child.month.first_day)
                statement = sql.SQL("SELECT FROM {} WHERE xmin = pg_current_xact_id()::xid LIMIT 1")
                cursor = await connection.execute(statement.format(_default_of(scene)))
                return "" if await cursor.fetchone() is not None else "landed in another partition"
            finally:
                await connection.close()
        except (psycopg.Error, OSError, TimeoutError) as error:
            return f"was {failure_of(error, 0.0)}"

    async def heal(self, scene: Scene) -> None:
        """Move the months' rows out of the default, attach the months, drop a default that the fault made."""
        children = saved_children(scene)
        if not children:
            return
        with failing_as(HealFailed, "move the rows out of the default partition and attach the months"):
            async with admin(scene) as connection:
                await in_transaction(connection, lambda: self._attach(scene, connection, children), what="heal")
                homeless = await self._left(scene, connection)
        lost = scene.ledger.load("lost")
        if lost and not scene.ledger.load("lost-reported"):
            await scene.destroyed(DestroyedRows(tuple(lost), restored=False))
            scene.ledger.save("lost-reported", True)
        if homeless:
            raise HealFailed(
                f"{homeless} rows in {scene.ledger.load('default')['name']} belong to months that have no partition; "
                "the table was detached and kept. Create their partitions, move the rows, and drop the table."
            )

    async def _attach(self, scene: Scene, connection: AsyncConnection, children: list[Child]) -> None:
        default = _default_of(scene)
        lost: list[str] = []
        saved = scene.ledger.load("default")
        await connection.execute(sql.SQL("LOCK TABLE ONLY {} IN ACCESS EXCLUSIVE MODE").format(PARENT))
        present = await attached(connection)
        there = await table_exists(connection, default)
        for child in children:
            if child.month in present:
                continue
            must_exist(child, await exists(connection, child))
            if there:
                # The month's own row owns the identity; what loses against it is saved by id before it goes.
                lost += await foreign_rows(connection, default, child.table, child.month)
                await move_rows(connection, default, child.table, child.month.first_day, child.month.end)
            await attach(connection, child, child.table)
        if lost:
            scene.ledger.save("lost", lost)
        if there and saved["made"]:
            if (saved["schema"], saved["name"]) in await attached_names(connection):
                await connection.execute(sql.SQL("ALTER TABLE {} DETACH PARTITION {}").format(PARENT, default))
            for other in (await attached(connection)).values():
                await move_rows(connection, default, other.table, other.month.first_day, other.month.end)
            if not await count_rows(connection, default):
                await connection.execute(sql.SQL("DROP TABLE {}").format(default))

    async def _left(self, scene: Scene, connection: AsyncConnection) -> int:
        default = _default_of(scene)
        if not scene.ledger.load("default")["made"] or not await table_exists(connection, default):
            return 0
        return await count_rows(connection, default)

    async def probe(self, scene: Scene) -> bool:
        """Every month takes an insert and can be read, and its rows do not land in the default."""
        return await healthy(scene, saved_months(scene)) and all(
            [bool(await self._landed_in_default(scene, child)) for child in saved_children(scene)]
        )


def _default_of(scene: Scene) -> sql.Identifier:
    saved = scene.ledger.load("default")
    return sql.Identifier(saved["schema"], saved["name"])
