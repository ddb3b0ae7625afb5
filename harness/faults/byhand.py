"""A month is lost, and brought back by hand: every step of the operator is timed.

The service is expected to queue the month's events (202) until a restored copy is attached, and to drain by itself from
then on, so that nobody has to take the last step.  What that step would have taken is timed on the same queue, and
rolled back.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import psycopg
from psycopg import AsyncConnection, sql

from ..blast import BlastRadius
from ..errors import FaultNotConfirmed, HealFailed
from ..events import DlqRow
from ..fault import FAULTS, DestroyedRows, Scene
from ..probes.http import HttpProbe
from ..repairs import HEALED_BY, RepairStep, to_text
from ..stacks.base import Capability, Environment
from ..values import Month
from ._sql import (
    PARENT,
    Child,
    admin,
    attach,
    attached,
    confirm_refused,
    failing_as,
    healthy,
    radius_of,
    retrying,
    saved_children,
    trusted,
)
from .partition import NO_PARTITION, drop_months

SELECT, CREATE, LOAD, DRAIN, ATTACH = "select", "create", "load", "drain", "attach"
"""The steps, in their order."""

_INSERT = """
INSERT INTO {copy} (event_id, event_date, event_timestamp, version, event_type, event_category, event_action,
                    event_outcome, correlation_id, event_data)
SELECT %(id)s::uuid, %(day)s::date, event_timestamp, version, event_type, event_category, event_action, event_outcome,
       correlation_id, event_data
FROM json_to_record(%(event)s::json) AS event(
    event_timestamp timestamptz, version text, event_type text, event_category text, event_action text,
    event_outcome text, correlation_id text, event_data jsonb)
ON CONFLICT DO NOTHING
"""


@FAULTS.register("drop-and-restore-by-hand")
@dataclass(frozen=True, kw_only=True)
class DropAndRestoreByHand:
    """Drops one month; heal brings it back from a backup step by step, as an operator does, and times each step.

    A SELECT of the month's table, which fails; CREATE of ``audit_events_YYYY_MM_restored`` and COPY of the backup into
    it; the drain by hand, which lists the month's queued events by the service's API and inserts each; ATTACH of the
    copy.  The drain by hand is rolled back, so that the service's own drain of the same events is timed beside it.
    Effect: 23514 for a write, 42P01 for a SELECT of the table.  Versions: 15 to 18.  Radius: write no, read no for the
    month; edge for all months.
    """

    name: ClassVar[str] = "drop-and-restore-by-hand"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.SQL})
    momentary: ClassVar[bool] = False
    month: Month

    def radius(self, environment: Environment) -> BlastRadius:
        """Declare the month."""
        return radius_of((self.month,))

    def plan(self, environment: Environment | None) -> tuple[str, ...]:
        """Tell the statements, for ``--dry-run``."""
        table = f"audit_events_{self.month}"
        copy, bounds = f"{table}_restored", f"FOR VALUES FROM ('{self.month.first_day}') TO ('{self.month.end}')"
        return (
            f"inject: BEGIN; LOCK TABLE ONLY audit_events, {table} IN ACCESS EXCLUSIVE MODE",
            f"inject: COPY {table} TO the ledger; DROP TABLE {table}; COMMIT",
            f"confirm: an insert into {self.month} is refused with 23514, and a SELECT of {table} with 42P01",
            f"heal: a SELECT of {table} fails",
            f"heal: BEGIN; CREATE TABLE {copy} (LIKE audit_events INCLUDING ALL); COPY {copy} FROM the ledger",
            f"heal: GET /api/v1/dlq/events; SAVEPOINT; INSERT INTO {copy} each queued event; ROLLBACK TO SAVEPOINT",
            f"heal: ALTER TABLE audit_events ATTACH PARTITION {copy} {bounds}; COMMIT",
        )

    async def inject(self, scene: Scene) -> None:
        """Lock, save definition, rows and ids, report the ids, drop."""
        await drop_months(scene, (self.month,))

    async def confirm(self, scene: Scene) -> str:
        """The month refuses an insert with 23514, and a SELECT of its table fails."""
        seen = await confirm_refused(scene, (self.month,), NO_PARTITION)
        with failing_as(FaultNotConfirmed, "select from the dropped table"):
            async with admin(scene) as connection:
                step = await _selected(connection, saved_children(scene)[0])
        if not step.said:
            raise FaultNotConfirmed(f"A SELECT of the table of {self.month} succeeded although it was dropped.")
        return f"{seen}; SELECT: {step.said}; {len(scene.ledger.load('ids'))} rows destroyed"

    async def heal(self, scene: Scene) -> None:
        """Take the steps one after the other, and report the ids as restored."""
        children = saved_children(scene)
        if not children:
            return
        with failing_as(HealFailed, "restore the month by hand"):
            async with admin(scene) as connection:
                if self.month not in await attached(connection):
                    steps = await _restored(scene, connection, children[0])
                    scene.ledger.save(HEALED_BY, to_text(steps))
        if not scene.ledger.load("restored"):
            await scene.destroyed(DestroyedRows(tuple(scene.ledger.load("ids")), restored=True))
            scene.ledger.save("restored", True)

    async def probe(self, scene: Scene) -> bool:
        """The month takes an insert and can be read."""
        return await healthy(scene, (self.month,))


async def _restored(scene: Scene, connection: AsyncConnection, child: Child) -> Sequence[RepairStep]:
    """Take the steps.  Those that change anything are one transaction, so that what is cut half-way leaves nothing."""
    selected = await _selected(connection, child)
    rows = scene.ledger.load_bytes(f"rows-{child.month}.copy")
    if rows is None:
        raise HealFailed(f"The ledger holds no rows of {child.month}; the dropped partition cannot be restored.")
    columns = trusted(scene.ledger.load(f"columns-{child.month}"))
    owner = sql.Identifier(scene.environment.database.service_role)
    copy = sql.Identifier(child.schema, f"{child.name}_restored")
    began = time.perf_counter()
    queued = await _queued(scene, child.month)
    listing_seconds = time.perf_counter() - began

    async def attempt() -> Sequence[RepairStep]:
        async with connection.transaction():
            began = time.perf_counter()
            await connection.execute(sql.SQL("CREATE TABLE {} (LIKE {} INCLUDING ALL)").format(copy, PARENT))
            await connection.execute(sql.SQL("ALTER TABLE {} OWNER TO {}").format(copy, owner))
            created = time.perf_counter()
            async with connection.cursor() as cursor:
                async with cursor.copy(sql.SQL("COPY {} ({}) FROM STDIN").format(copy, columns)) as stream:
                    await stream.write(rows)
                stored = cursor.rowcount
            loaded = time.perf_counter()
            drained = await _drained(connection, copy, queued, listing_seconds)
            attaching = time.perf_counter()
            await attach(connection, child, copy)
        # The commit belongs to the last step: before it nobody sees the copy.
        ended = time.perf_counter()
        return (
            selected,
            RepairStep(CREATE, created - began, f"{child.name}_restored"),
            RepairStep(LOAD, loaded - created, f"{stored} rows"),
            drained,
            RepairStep(ATTACH, ended - attaching, child.month.label),
        )

    return await retrying(attempt, what="attach the restored copy")


async def _selected(connection: AsyncConnection, child: Child) -> RepairStep:
    """Look into the month's table as an operator would first; what it fails with is what the step says."""
    began = time.perf_counter()
    said = ""
    try:
        await connection.execute(sql.SQL("SELECT count(*) FROM {}").format(child.table))
    except psycopg.errors.UndefinedTable as error:
        said = f"{error.sqlstate} {error.diag.message_primary}"
    return RepairStep(SELECT, time.perf_counter() - began, said)


async def _queued(scene: Scene, month: Month) -> list[DlqRow] | None:
    """List the month's pending events by the service's API; None where that cannot be asked."""
    if Capability.DLQ not in scene.environment.capabilities:
        return None
    probe = HttpProbe(scene.environment)
    try:
        rows = await probe.dlq_rows()
    finally:
        await probe.close()
    if rows is None:
        return None
    return [row for row in rows if row.state == "pending" and Month.of(row.event_date) == month]


async def _drained(
    connection: AsyncConnection, copy: sql.Identifier, queued: Sequence[DlqRow] | None, listing_seconds: float
) -> RepairStep:
    """Insert each queued event as a script would, and take it all back."""
    if queued is None:
        return RepairStep(DRAIN, None, "the queue could not be listed")
    began = time.perf_counter()
    values = [{"id": row.event_id, "day": row.event_date, "event": row.content} for row in queued]
    try:
        async with connection.transaction(force_rollback=True), connection.cursor() as cursor:
            await cursor.executemany(sql.SQL(_INSERT).format(copy=copy), values)
    except (psycopg.DataError, psycopg.IntegrityError) as error:
        return RepairStep(DRAIN, None, f"an event could not be inserted: {error.sqlstate}")
    return RepairStep(DRAIN, listing_seconds + time.perf_counter() - began, f"{len(queued)} events")
