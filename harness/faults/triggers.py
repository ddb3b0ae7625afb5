"""Faults by triggers on a partition: it raises whatever SQLSTATE is asked for, or takes each row late.

The service is expected to know whose fault a refusal is: whatever a partition does to every row is not the event's,
also when the SQLSTATE says so (class 22, 23502); such events are 202 and never 400 or dead letters.  What is slow and
still succeeds is 201, as long as it fits the time-outs.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from psycopg import sql

from ..blast import BlastRadius, Write
from ..errors import FaultError, FaultNotConfirmed, HealFailed, UsageError
from ..fault import FAULTS, Scene
from ..probes.postgres import PROBE_TIMEOUT_MS, InsertResult, probe_insert
from ..stacks.base import Capability, Environment
from ..values import Month
from ._sql import (
    admin,
    children_of,
    confirm_refused,
    evidence,
    failing_as,
    healthy,
    in_transaction,
    radius_of,
    save_children,
    saved_months,
)

LONGEST_DELAY_MS = 6000
LONGEST_CONFIRM_MS = 400
"""A longer delay is proved by an insert that waits so long, and by the trigger."""

_SQLSTATE = re.compile(r"[0-9A-Z]{5}\Z")
_NO_ERROR_CLASSES = frozenset({"00", "01", "02"})

_RAISE = "BEGIN RAISE EXCEPTION USING ERRCODE = '{}', MESSAGE = 'raised by a trigger of the harness'; END"
_HARMLESS = "BEGIN RETURN NEW; END"
_SLEEP = "BEGIN PERFORM pg_sleep({}); RETURN NEW; END"


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
    """Make the triggers harmless, which takes no lock of a table, then drop them once their locks are had.

    Rows that sleep hold the lock for longer than the drop waits for it, one after the other, for ever.
    """
    if not await _has_function(scene):
        return
    function = sql.Identifier(*scene.ledger.load("function"))
    statement = sql.SQL("CREATE OR REPLACE FUNCTION {}() RETURNS trigger LANGUAGE plpgsql AS {}")
    with failing_as(HealFailed, "drop the triggers"):
        async with admin(scene) as connection:
            await connection.execute(statement.format(function, sql.Literal(_HARMLESS)))

            async def work() -> None:
                await connection.execute(sql.SQL("DROP FUNCTION IF EXISTS {}() CASCADE").format(function))

            await in_transaction(connection, work, what="drop the triggers")


async def _has_function(scene: Scene) -> bool:
    """Tell whether the function of the triggers is there."""
    function = scene.ledger.load("function")
    if function is None:
        return False
    with failing_as(HealFailed, "look for the triggers"):
        async with admin(scene) as connection:
            name = sql.Identifier(*function).as_string()
            row = await (await connection.execute("SELECT to_regproc(%s)", (name,))).fetchone()
            return row is not None and row[0] is not None


@FAULTS.register("refuse-by-trigger")
@dataclass(frozen=True, kw_only=True)
class RefuseByTrigger:
    """Puts a BEFORE INSERT trigger on the partitions of ``months`` (all for none) that raises ``sqlstate``.

    Every SQLSTATE can be had, which a service that decides by lists of them must survive; a class 22 or a 23502 that
    every row gets, a harmless one too, is the partition's fault and never a 400.  Effect: the chosen SQLSTATE (P0001)
    for every row, with severity ERROR, so that the connection lives on also where the server would end it.  Versions:
    15 to 18.  Radius: write no, read yes; edge for all months.
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
        return await confirm_refused(scene, saved_months(scene), frozenset({self.sqlstate}))

    async def heal(self, scene: Scene) -> None:
        """Make the function harmless, then drop it, and with it the triggers."""
        await _drop_triggers(scene)

    async def probe(self, scene: Scene) -> bool:
        """Every month takes an insert and can be read."""
        return await healthy(scene, saved_months(scene))


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
        """Raise :class:`UsageError` for a delay of nothing, or one that heal could not outlast."""
        if not 0 < self.delay_ms <= LONGEST_DELAY_MS:
            raise UsageError(
                f"{self.name} needs a delay_ms of 1 to {LONGEST_DELAY_MS}, not {self.delay_ms}; for writes that hang "
                "use hold-lock-idle."
            )

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
        months = saved_months(scene)
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
        """Make the function harmless, then drop it, and with it the triggers."""
        await _drop_triggers(scene)

    async def probe(self, scene: Scene) -> bool:
        """Every month takes an insert, without the delay, and can be read."""
        return await healthy(scene, saved_months(scene)) and not await _has_function(scene)
