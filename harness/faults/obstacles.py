"""Faults that leave a partition attached and readable and let no row in, or let it in late.

A constraint or a trigger that somebody added, or a transaction left open over a lock.  The catalog shows nothing
missing, so only a write that is tried can tell.  The service is expected to know whose fault a refusal is: whatever a
partition, or the parent as somebody changed it, does to every row is not the event's, also when the SQLSTATE says so
(class 22, 23502); such events are 202 and never 400 or dead letters.  What is slow and still succeeds is 201.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from psycopg import AsyncConnection, sql

from ..blast import BlastRadius, Edge, Write
from ..errors import FaultError, FaultNotConfirmed, HealFailed, UsageError
from ..fault import FAULTS, Scene
from ..probes.postgres import PROBE_TIMEOUT_MS, InsertResult, probe_insert
from ..stacks.base import Capability, Environment
from ..values import Month
from . import _holder
from ._sql import (
    PARENT,
    Child,
    admin,
    children_of,
    confirm_refused,
    evidence,
    failing_as,
    healthy,
    in_transaction,
    radius_of,
    save_children,
    saved_children,
)

SHARE, REINDEX = "share", "reindex"
LOCK_WAIT = frozenset({"55P03", "57014"})
LOCK_WAIT_MS = 120
LONGEST_CONFIRM_MS = 1000
"""A longer delay is proved by an insert that waits so long, and by the trigger."""

_CHECK = "harness_refuse_all"
_PARENT_CHECK = "harness_refuse_everything"
_SQLSTATE = re.compile(r"[0-9A-Z]{5}\Z")
_NO_ERROR_CLASSES = frozenset({"00", "01", "02"})

_RAISE = "BEGIN RAISE EXCEPTION USING ERRCODE = '{}', MESSAGE = 'raised by a trigger of the harness'; END"
_SLEEP = "BEGIN PERFORM pg_sleep({}); RETURN NEW; END"

_WITH_CHECK = """
SELECT n.nspname, c.relname FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE k.conname = %s AND k.contype = 'c' AND k.coninhcount = 0
"""


def _months_of(scene: Scene) -> list[Month]:
    return [child.month for child in saved_children(scene)]


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
        return _naming(_CHECK, await confirm_refused(scene, _months_of(scene), frozenset({"23514"})))

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
        return await healthy(scene, _months_of(scene))


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
        return _naming(_PARENT_CHECK, await confirm_refused(scene, _months_of(scene), frozenset({"23514"})))

    async def heal(self, scene: Scene) -> None:
        """Drop the constraint from the parent, and the copies of it."""
        if not saved_children(scene):
            return
        with failing_as(HealFailed, "drop the constraint of the parent"):
            async with admin(scene) as connection:
                await in_transaction(connection, lambda: _drop_check(connection, _PARENT_CHECK), what="drop")

    async def probe(self, scene: Scene) -> bool:
        """Every month takes an insert and can be read."""
        return await healthy(scene, _months_of(scene))


async def _add_triggers(scene: Scene, months: Sequence[Month], body: str, what: str) -> None:
    """Put a BEFORE INSERT trigger with that body on each partition; its function's name is in the ledger before."""
    with failing_as(FaultError, what):
        async with admin(scene) as connection:
            children = await children_of(connection, months)
            save_children(scene, children)
            # A name of its own, so that several such faults may overlap on one month.
            function = [children[0].schema, f"harness_obstacle_{uuid.uuid4().hex[:12]}"]
            scene.ledger.save("function", function)
            name = sql.Identifier(*function)

            async def work() -> None:
                await connection.execute(
                    sql.SQL("CREATE FUNCTION {}() RETURNS trigger LANGUAGE plpgsql AS {}").format(
                        name, sql.Literal(body)
                    )
                )
                for child in children:
                    await connection.execute(
                        sql.SQL("CREATE TRIGGER {} BEFORE INSERT ON {} FOR EACH ROW EXECUTE FUNCTION {}()").format(
                            sql.Identifier(function[1]), child.table, name
                        )
                    )

            await in_transaction(connection, work, what="create the triggers")


async def _drop_triggers(scene: Scene) -> None:
    function = scene.ledger.load("function")
    if function is None:
        return
    with failing_as(HealFailed, "drop the triggers"):
        async with admin(scene) as connection:
            statement = sql.SQL("DROP FUNCTION IF EXISTS {}() CASCADE").format(sql.Identifier(*function))

            async def work() -> None:
                await connection.execute(statement)

            await in_transaction(connection, work, what="drop the triggers")


@FAULTS.register("refuse-by-trigger")
@dataclass(frozen=True, kw_only=True)
class RefuseByTrigger:
    """Puts a BEFORE INSERT trigger on the partitions of ``months`` (all for none) that raises ``sqlstate``.

    Effect: that SQLSTATE for every row, with severity ERROR: the connection lives on, also after a 57P01.  Every
    SQLSTATE can be had, which a service that decides by lists of them must survive; a class 22 or a 23502 that every
    row gets, a harmless one too, is the partition's fault and never a 400.  Versions: 15 to 18.  Radius: write no,
    read yes; edge for all months.
    """

    name: ClassVar[str] = "refuse-by-trigger"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.SQL})
    momentary: ClassVar[bool] = False
    months: tuple[Month, ...] = ()
    sqlstate: str = "P0001"

    def __post_init__(self) -> None:
        """Raise :class:`UsageError` for what is no SQLSTATE of an error."""
        if not _SQLSTATE.match(self.sqlstate) or self.sqlstate[:2] in _NO_ERROR_CLASSES:
            raise UsageError(
                f"{self.name} cannot raise sqlstate={self.sqlstate!r}; give five characters of 0-9 and A-Z, not of the "
                "classes 00, 01 and 02, which are no errors."
            )

    def radius(self, environment: Environment) -> BlastRadius:
        """Declare the months, which can be read."""
        return radius_of(self.months, read=True)

    async def inject(self, scene: Scene) -> None:
        """Save the tables and the trigger's function, then create both in one transaction."""
        await _add_triggers(scene, self.months, _RAISE.format(self.sqlstate), "make the triggers that raise")

    async def confirm(self, scene: Scene) -> str:
        """Every month refuses an insert with the SQLSTATE."""
        return await confirm_refused(scene, _months_of(scene), frozenset({self.sqlstate}))

    async def heal(self, scene: Scene) -> None:
        """Drop the function, and with it the triggers."""
        await _drop_triggers(scene)

    async def probe(self, scene: Scene) -> bool:
        """Every month takes an insert and can be read."""
        return await healthy(scene, _months_of(scene))


@FAULTS.register("slow-partition")
@dataclass(frozen=True, kw_only=True)
class SlowPartition:
    """Puts a BEFORE INSERT trigger on the partitions of ``months`` (all for none) that sleeps ``delay_ms`` a row.

    Effect: inserts succeed, later; with a delay above the service's statement time-out they are 57014.  Several rows
    in one statement add up, so that a drain by batches is slower still.  Versions: 15 to 18.  Radius: delayed by
    ``delay_ms`` a write, read yes; edge for all months; backends may outlive clients that gave up.
    """

    name: ClassVar[str] = "slow-partition"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.SQL})
    momentary: ClassVar[bool] = False
    months: tuple[Month, ...] = ()
    delay_ms: int

    def __post_init__(self) -> None:
        """Raise :class:`UsageError` for a delay of nothing."""
        if self.delay_ms <= 0:
            raise UsageError(f"{self.name} needs a delay_ms above 0, not {self.delay_ms}.")

    def radius(self, environment: Environment) -> BlastRadius:
        """Declare the delay of one row."""
        radius = radius_of(self.months, read=True, lock=True)
        return replace(radius, write=Write.DELAYED, delay_ms=float(self.delay_ms))

    async def inject(self, scene: Scene) -> None:
        """Save the tables and the trigger's function, then create both in one transaction."""
        await _add_triggers(scene, self.months, _SLEEP.format(self.delay_ms / 1000), "make the triggers that sleep")

    async def confirm(self, scene: Scene) -> str:
        """In every month an insert succeeds after the delay and no sooner; a very long one is still waited for."""
        long = self.delay_ms > LONGEST_CONFIRM_MS
        timeout_ms = LONGEST_CONFIRM_MS if long else self.delay_ms + PROBE_TIMEOUT_MS
        months = _months_of(scene)
        results = await asyncio.gather(
            *(probe_insert(scene.environment.database, month.first_day, timeout_ms=timeout_ms) for month in months)
        )
        for month, result in zip(months, results, strict=True):
            if not self._late(result, long=long):
                raise FaultNotConfirmed(
                    f"The fault does not bite: an insert into {month} was {result}, where one after "
                    f"{self.delay_ms} ms was due. Look whether somebody dropped or disabled the trigger."
                )
        return evidence(months, results)

    def _late(self, result: InsertResult, *, long: bool) -> bool:
        if long:
            return result.sqlstate == "57014"
        return result.accepted and result.seconds * 1000 >= self.delay_ms

    async def heal(self, scene: Scene) -> None:
        """Drop the function, and with it the triggers."""
        await _drop_triggers(scene)

    async def probe(self, scene: Scene) -> bool:
        """Every month takes an insert, without the delay, and can be read."""
        return await healthy(scene, _months_of(scene)) and not await self._still_slow(scene)

    async def _still_slow(self, scene: Scene) -> bool:
        function = scene.ledger.load("function")
        if function is None:
            return False
        async with admin(scene) as connection:
            name = sql.Identifier(*function).as_string()
            row = await (await connection.execute("SELECT to_regproc(%s)", (name,))).fetchone()
            return row is not None and row[0] is not None


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
        seen = await confirm_refused(scene, _months_of(scene), LOCK_WAIT, timeout_ms=LOCK_WAIT_MS)
        with failing_as(FaultNotConfirmed, "ask for the holder's locks"):
            held = await _holder.locks_held(scene, _holder.SHARE)
        if held < len(_months_of(scene)):
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
        return await healthy(scene, _months_of(scene))
