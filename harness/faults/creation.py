"""Faults of the making of partitions: a month that never existed cannot be made.

Services make the partitions of coming months themselves, and that can fail for months without anybody noticing,
until the first day of a month comes.  The service is expected to answer 202 for the events of the missing month and
201 for all others, to go on trying, and to drain what it queued once it can make the partition.  A missing month
alone is no fault: the service makes it sooner than anything can be proved, so the making is prevented; or it is not,
and what a service does to the other months while it makes one is what is looked at.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import psycopg
from psycopg import AsyncConnection, sql

from ..blast import BlastRadius, Edge, Write
from ..errors import FaultError, FaultNotConfirmed, HealFailed, UsageError
from ..fault import FAULTS, Scene
from ..probes.postgres import TABLE, failure_of, open_probe
from ..stacks.base import Capability, Environment
from ..values import Month
from . import _holder
from ._sql import PARENT, Child, admin, attached, confirm_refused, failing_as, healthy, in_transaction, radius_of

REVOKE_CREATE = "revoke-create"
NAME_TAKEN = "name-taken"
_REFUSAL = {REVOKE_CREATE: "42501", NAME_TAKEN: "42P07"}
READING = "AccessShareLock"
_SQUATTER = "harness: takes the name of a partition"

_SCHEMA_OF_TABLE = """
SELECT n.nspname, pg_get_userbyid(n.nspowner), coalesce(n.nspacl, acldefault('n', n.nspowner))::text
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass('audit_events')
"""

_CREATORS = """
SELECT CASE WHEN grant_.grantee = 0 THEN '' ELSE pg_get_userbyid(grant_.grantee) END
FROM pg_namespace n, aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) AS grant_
WHERE n.nspname = %s AND grant_.privilege_type = 'CREATE' AND grant_.grantee <> n.nspowner
"""


@FAULTS.register("prevent-partition-creation")
@dataclass(frozen=True, kw_only=True)
class PreventPartitionCreation:
    """Keeps the service from making the partition of ``month``, which must not exist yet.

    ``how`` is "revoke-create": the schema gets the harness's role as owner and nobody else may create in it (a
    REVOKE alone would not bite, since the service owns the database and with it the schema), so CREATE TABLE is
    42501; or "name-taken": a table of the harness has the partition's name, so it is 42P07.  Effect: inserts are
    23514, making the partition is 42501 or 42P07.  Versions: 15 to 18.  Radius: write no for the month;
    "revoke-create" keeps every other new month from being made as well.
    """

    name: ClassVar[str] = "prevent-partition-creation"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.SQL})
    momentary: ClassVar[bool] = False
    month: Month
    how: str = REVOKE_CREATE

    def __post_init__(self) -> None:
        """Raise :class:`UsageError` for an unknown ``how``."""
        if self.how not in _REFUSAL:
            raise UsageError(f"{self.name} does not know how={self.how!r}; give {' or '.join(_REFUSAL)}.")

    def radius(self, environment: Environment) -> BlastRadius:
        """Declare the month; there is nothing in it to read."""
        return radius_of((self.month,), read=True)

    async def inject(self, scene: Scene) -> None:
        """Save what is about to change in the ledger, then change it in one transaction."""
        with failing_as(FaultError, f"keep {self.month} from being made"):
            async with admin(scene) as connection:
                await _demand_unmade(connection, self.month, "its making cannot be prevented")
                await in_transaction(connection, lambda: self._prevent(scene, connection), what="prevent")

    async def _prevent(self, scene: Scene, connection: AsyncConnection) -> None:
        row = await (await connection.execute(_SCHEMA_OF_TABLE)).fetchone()
        if row is None:
            raise FaultError(f"There is no table {TABLE}; let the service create it before the fault.")
        schema, owner, acl = (str(part) for part in row)
        if self.how == NAME_TAKEN:
            scene.ledger.save("squatter", [schema, self._child_name])
            taken = sql.Identifier(schema, self._child_name)
            await connection.execute(sql.SQL("CREATE TABLE {} (taken boolean)").format(taken))
            await connection.execute(sql.SQL("COMMENT ON TABLE {} IS {}").format(taken, sql.Literal(_SQUATTER)))
            return
        creators = [str(name[0]) for name in await (await connection.execute(_CREATORS, (schema,))).fetchall()]
        saved = {"schema": schema, "owner": owner, "acl": acl, "creators": creators}
        scene.ledger.save("schema", saved)
        schema_id = sql.Identifier(schema)
        await connection.execute(sql.SQL("ALTER SCHEMA {} OWNER TO CURRENT_USER").format(schema_id))
        for creator in creators:
            await connection.execute(sql.SQL("REVOKE CREATE ON SCHEMA {} FROM {}").format(schema_id, _grantee(creator)))
        service = sql.Identifier(scene.environment.database.service_role)
        # USAGE came with owning the schema when nobody had granted it.
        await connection.execute(sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(schema_id, service))

    @property
    def _child_name(self) -> str:
        return f"{TABLE}_{self.month.label}"

    async def confirm(self, scene: Scene) -> str:
        """The service's role cannot make the table, and an insert into the month finds no partition."""
        due, got = _REFUSAL[self.how], await self._try_to_make(scene)
        if got != due:
            raise FaultNotConfirmed(
                f"The fault does not bite: the service's role making {self._child_name} got "
                f"{got or 'no error'}, where {due} was due. Check who owns the schema."
            )
        seen = await confirm_refused(scene, (self.month,), frozenset({"23514"}))
        return f"CREATE TABLE {self._child_name}: {got}; {seen}"

    async def _try_to_make(self, scene: Scene) -> str:
        """Make the table as the service, roll back, and return the SQLSTATE, "" for success."""
        # Another name where the name does not matter, so as not to stand in the way of the service.
        name = self._child_name if self.how == NAME_TAKEN else f"harness_probe_{uuid.uuid4().hex}"
        try:
            connection = await open_probe(scene.environment.database, proxied=False)
            try:
                await connection.execute(sql.SQL("CREATE TABLE {} (LIKE {})").format(sql.Identifier(name), PARENT))
            finally:
                await connection.close()
        except (psycopg.Error, OSError) as error:
            return failure_of(error, 0.0).sqlstate
        return ""

    async def heal(self, scene: Scene) -> None:
        """Give the name free, or the schema back to its owner with the grants it had."""
        with failing_as(HealFailed, f"let {self.month} be made again"):
            async with admin(scene) as connection:
                await in_transaction(connection, lambda: self._allow(scene, connection), what="allow")

    async def _allow(self, scene: Scene, connection: AsyncConnection) -> None:
        squatter = scene.ledger.load("squatter")
        if squatter is not None:
            table = sql.Identifier(*squatter)
            comment = await connection.execute(
                "SELECT obj_description(to_regclass(%s), 'pg_class')", (table.as_string(),)
            )
            if await comment.fetchone() == (_SQUATTER,):
                await connection.execute(sql.SQL("DROP TABLE {}").format(table))
        saved = scene.ledger.load("schema")
        if saved is not None:
            await _give_back(scene, connection, saved["schema"], saved["owner"], saved["acl"], saved["creators"])

    async def probe(self, scene: Scene) -> bool:
        """The service's role can make the table, or has made it and the month takes inserts."""
        made = await _made(scene, self.month)
        if made is False:
            return not await self._try_to_make(scene)
        return bool(made) and await healthy(scene, (self.month,))


@FAULTS.register("unmade-month")
@dataclass(frozen=True, kw_only=True)
class UnmadeMonth:
    """Has nobody have made ``month`` when it is asked for, while a report reads the whole table for long.

    The report is a transaction that holds ACCESS SHARE on the table and all its partitions, as any SELECT does, from a
    connection of its own.  A table that is made by itself and then attached passes it; CREATE TABLE … PARTITION OF
    waits behind it, and every write of every month behind that.  Effect: 23514 until the service makes the month, which
    nothing prevents.  Versions: 15 to 18.  Radius: write partial for the month, 202 before and 201 after; nobody else.
    """

    name: ClassVar[str] = "unmade-month"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.SQL})
    momentary: ClassVar[bool] = False
    month: Month

    def radius(self, environment: Environment) -> BlastRadius:
        """Declare the month, whose making is the service's part; readers stop nobody."""
        return BlastRadius(months=frozenset({self.month}), write=Write.PARTIAL, edge=Edge.MONTHS)

    async def inject(self, scene: Scene) -> None:
        """See that the month is not there, save the backend that will read, then have it begin."""
        with failing_as(FaultError, f"read the whole table before {self.month} is made"):
            async with admin(scene) as connection:
                await _demand_unmade(connection, self.month, "nobody will have to make it")
            await _holder.take(scene, (), _read_everything)

    async def confirm(self, scene: Scene) -> str:
        """An insert into the month finds no partition, and the report still reads."""
        seen = await confirm_refused(scene, (self.month,), frozenset({"23514"}))
        with failing_as(FaultNotConfirmed, "ask for the report's locks"):
            held = await _holder.locks_held(scene, READING)
        if not held:
            raise FaultNotConfirmed("The report holds no lock; if its backend is gone, see the PostgreSQL log.")
        return f"{seen}; a report reads {held} tables and indexes"

    async def heal(self, scene: Scene) -> None:
        """End the report; the month is the service's."""
        with failing_as(HealFailed, "end the report"):
            await _holder.release(scene)

    async def probe(self, scene: Scene) -> bool:
        """The month takes inserts if the service has made it; nothing is in its way if not."""
        made = await _made(scene, self.month)
        return made is False or (bool(made) and await healthy(scene, (self.month,)))


async def _demand_unmade(connection: AsyncConnection, month: Month, otherwise: str) -> None:
    if month in await attached(connection):
        raise FaultError(
            f"{month} already has a partition, so {otherwise}; name a month beyond those that the service makes ahead "
            "of time."
        )


async def _made(scene: Scene, month: Month) -> bool | None:
    """Tell whether the month has a partition; None while the database does not say."""
    try:
        async with admin(scene) as connection:
            return month in await attached(connection)
    except (psycopg.Error, OSError):
        return None


async def _read_everything(connection: AsyncConnection, _: Sequence[Child]) -> None:
    await connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(PARENT))


def _grantee(name: str) -> sql.Composable:
    return sql.Identifier(name) if name else sql.SQL("PUBLIC")


async def _give_back(
    scene: Scene, connection: AsyncConnection, schema: str, owner: str, acl: str, creators: Sequence[str]
) -> None:
    row = await (await connection.execute(_SCHEMA_OF_TABLE)).fetchone()
    if row is None or row[1:] == (owner, acl):
        return
    schema_id, service = sql.Identifier(schema), scene.environment.database.service_role
    if not any(item.startswith(f"{service}=") for item in _items(acl)):
        await connection.execute(
            sql.SQL("REVOKE USAGE ON SCHEMA {} FROM {}").format(schema_id, sql.Identifier(service))
        )
    for creator in creators:
        await connection.execute(sql.SQL("GRANT CREATE ON SCHEMA {} TO {}").format(schema_id, _grantee(creator)))
    await connection.execute(sql.SQL("ALTER SCHEMA {} OWNER TO {}").format(schema_id, sql.Identifier(owner)))
    row = await (await connection.execute(_SCHEMA_OF_TABLE)).fetchone()
    if row is None or row[1] != owner or set(_items(row[2])) != set(_items(acl)):
        raise HealFailed(f"The schema {schema} was owned by {owner} with grants {acl}; after heal it is {row}.")


def _items(acl: str) -> list[str]:
    return acl.strip("{}").split(",")
