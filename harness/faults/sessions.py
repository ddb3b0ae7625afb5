"""Faults of sessions: the service's connections are ended, or it gets no new ones.

Administrators end sessions, poolers and other applications take the slots, limits are set too low.  The service is
expected to notice dead connections by itself, to answer 202 where it gets none and 201 where it does, to store no
event twice whose commit went unanswered, and to fill its pool again within seconds of the repair.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import psycopg
from psycopg import AsyncConnection, sql

from .._wait import wait_until
from ..blast import BlastRadius, Edge, Write
from ..errors import DeadlineExceeded, FaultError, FaultNotConfirmed, HealFailed, UsageError
from ..fault import FAULTS, Scene
from ..probes.postgres import NO_CONNECTION
from ..stacks.base import Capability, Environment
from . import _holder
from ._login import DAY, END_BACKENDS, OWN_BACKENDS, TOO_MANY, insert_on, judged, login_insert, open_login, refusal_of
from ._slots import new_role, password_of
from ._sql import ADMIN_OPTIONS, admin, failing_as

_MYSELF = "SELECT pid, backend_start::text FROM pg_stat_activity WHERE pid = pg_backend_pid()"
_AGAIN_AND_AGAIN = """
DO $$ BEGIN LOOP
    PERFORM pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE usename = {role} AND backend_type = 'client backend';
    COMMIT;
    PERFORM pg_sleep({seconds});
    COMMIT;
END LOOP; END $$
"""
_ENDED = frozenset({"57P01", NO_CONNECTION})


def sessions_radius(write: Write) -> BlastRadius:
    """Every month; connections break or are refused, and backends may outlive their clients."""
    return BlastRadius(months=None, write=write, read=False, edge=Edge.RESTART, outlives_clients=True)


async def end_sessions(connection: AsyncConnection, role: str, *, at_most: int = 0) -> None:
    """End the role's backends until no more than ``at_most`` are left: where new ones are refused."""

    async def gone() -> bool:
        left = await (await connection.execute(OWN_BACKENDS, (role,))).fetchall()
        if len(left) > at_most:
            await connection.execute(END_BACKENDS, (role,))
        return len(left) <= at_most

    await wait_until(gone, what=f"the end of the backends of {role}", deadline_seconds=10.0, interval_seconds=0.005)


async def end_present_sessions(connection: AsyncConnection, role: str) -> None:
    """End the backends that the role has now, and wait until they are gone; new ones may come meanwhile."""
    present = set(await (await connection.execute(OWN_BACKENDS, (role,))).fetchall())
    await connection.execute(END_BACKENDS, (role,))

    async def gone() -> bool:
        return not present & set(await (await connection.execute(OWN_BACKENDS, (role,))).fetchall())

    await wait_until(gone, what=f"the end of the backends of {role}", deadline_seconds=10.0, interval_seconds=0.005)


async def limit_of(connection: AsyncConnection, role: str) -> int:
    """Return the connection limit of a role; raises :class:`FaultError` when there is no such role."""
    row = await (await connection.execute("SELECT rolconnlimit FROM pg_roles WHERE rolname = %s", (role,))).fetchone()
    if row is None:
        raise FaultError(f"There is no role {role}; the target's database is not the one of the contract.")
    return int(row[0])


async def set_limit(connection: AsyncConnection, role: str, limit: int) -> None:
    """Change the connection limit of a role."""
    statement = sql.SQL("ALTER ROLE {} CONNECTION LIMIT {}").format(sql.Identifier(role), sql.Literal(limit))
    await connection.execute(statement)


@FAULTS.register("terminate-backends")
@dataclass(frozen=True, kw_only=True)
class TerminateBackends:
    """Ends every backend of the service's role once, by pg_terminate_backend.

    Effect: 57P01 on each connection that was open; a statement in flight is rolled back, or committed and unanswered.
    New connections are had at once.  Momentary: what remains is an edge.  Versions: 15 to 18.  Radius: every month,
    partial.
    """

    name: ClassVar[str] = "terminate-backends"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.SQL, Capability.SERVICE_LOGIN})
    momentary: ClassVar[bool] = True

    def radius(self, environment: Environment) -> BlastRadius:
        """Declare every month: whoever is quick to connect anew may write."""
        return sessions_radius(Write.PARTIAL)

    async def inject(self, scene: Scene) -> None:
        """Open a connection as the service, so that it ends with the others, and end all."""
        with failing_as(FaultError, "end the service's backends"):
            _holder.hold(scene, await open_login(scene))
            async with admin(scene) as connection:
                role = scene.environment.database.service_role
                backends = await (await connection.execute(OWN_BACKENDS, (role,))).fetchall()
                scene.ledger.save("backends", backends)
                await connection.execute(END_BACKENDS, (role,))

    async def confirm(self, scene: Scene) -> str:
        """A connection that was open says 57P01, and none of the backends noted before is left."""
        backends = {(pid, started) for pid, started in scene.ledger.load("backends") or []}
        witness = _holder.let_go(scene)
        seen = "not seen from this process"
        if witness is not None:
            result = await insert_on(witness)
            await witness.close()
            if result.sqlstate not in _ENDED:
                raise FaultNotConfirmed(f"A connection of the service lives on: an insert on it was {result}.")
            seen = str(result)
        async with admin(scene) as connection:

            async def gone() -> bool:
                rows = await (
                    await connection.execute(OWN_BACKENDS, (scene.environment.database.service_role,))
                ).fetchall()
                return not backends & set(rows)

            await wait_until(gone, what="the ended backends to be gone", deadline_seconds=3.0)
        if not backends:
            raise FaultNotConfirmed("The service's role had no backend that could be ended.")
        return f"{len(backends)} backends ended; insert on an open connection: {seen}"

    async def heal(self, scene: Scene) -> None:
        """Close what was opened; there is nothing to undo."""
        witness = _holder.let_go(scene)
        if witness is not None:
            await witness.close()

    async def probe(self, scene: Scene) -> bool:
        """A new connection of the service's role is had and judged."""
        return await judged(scene)


@FAULTS.register("terminate-backends-repeatedly")
@dataclass(frozen=True, kw_only=True)
class TerminateBackendsRepeatedly:
    """Ends every backend of the service's role each ``interval_ms``, from a session inside the server.

    The session does it by itself, so nothing depends on the harness's pace, and it ends with its client or by its
    pid in the ledger.  Effect: 57P01 again and again; in between writes succeed.  Versions: 15 to 18.  Radius: every
    month, partial.
    """

    name: ClassVar[str] = "terminate-backends-repeatedly"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.SQL, Capability.SERVICE_LOGIN})
    momentary: ClassVar[bool] = False
    interval_ms: int = 200

    def __post_init__(self) -> None:
        """Raise :class:`UsageError` for an interval in which nothing could be written, or nothing be seen."""
        if not 10 <= self.interval_ms <= 2000:
            raise UsageError(f"{self.name} needs an interval_ms from 10 to 2000, not {self.interval_ms}.")

    def radius(self, environment: Environment) -> BlastRadius:
        """Declare every month."""
        return sessions_radius(Write.PARTIAL)

    async def inject(self, scene: Scene) -> None:
        """Note the session that is to do it, then set it to work without waiting for it."""
        with failing_as(FaultError, "end the service's backends again and again"):
            connection = await AsyncConnection.connect(
                scene.environment.database.admin_conninfo,
                autocommit=True,
                application_name="harness-terminator",
                options=f"{ADMIN_OPTIONS} -c client_connection_check_interval=500",
                connect_timeout=5,
            )
            _holder.hold(scene, connection)
            scene.ledger.save("backend", await (await connection.execute(_MYSELF)).fetchone())
            role = sql.Literal(scene.environment.database.service_role)
            statement = sql.SQL(_AGAIN_AND_AGAIN).format(role=role, seconds=sql.Literal(self.interval_ms / 1000))
            connection.pgconn.send_query(statement.as_bytes(connection))
            connection.pgconn.flush()

    async def confirm(self, scene: Scene) -> str:
        """Two connections of the service, one after the other, are ended within an interval."""
        seen = [await self._ended(scene) for _ in range(2)]
        return f"two connections, one after the other: {'; '.join(seen)}"

    async def _ended(self, scene: Scene) -> str:
        try:
            connection = await open_login(scene)
        except (psycopg.Error, OSError, TimeoutError) as error:
            return str(refusal_of(error, 0.0))
        try:

            async def ended() -> str:
                result = await insert_on(connection)
                return str(result) if result.sqlstate in _ENDED else ""

            wait = self.interval_ms / 1000 + 1.0
            return await wait_until(ended, what="57P01", deadline_seconds=wait, interval_seconds=0.01)
        except DeadlineExceeded as error:
            raise FaultNotConfirmed(f"A connection of the service lived for over {wait:.1f} s: {error}.") from error
        finally:
            await connection.close()

    async def heal(self, scene: Scene) -> None:
        """End the session that does it."""
        with failing_as(HealFailed, "stop ending the service's backends"):
            await _holder.release(scene)

    async def probe(self, scene: Scene) -> bool:
        """A new connection of the service's role is had and judged."""
        return await judged(scene)


@FAULTS.register("limit-role-connections")
@dataclass(frozen=True, kw_only=True)
class LimitRoleConnections:
    """Sets the CONNECTION LIMIT of the service's role to ``limit`` and ends the backends it has.

    Effect: 57P01 once, then 53300 for each connection beyond the limit; a superuser notices nothing.  Versions: 15
    to 18.  Radius: every month; write no for a limit of 0, else partial.
    """

    name: ClassVar[str] = "limit-role-connections"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.SQL, Capability.SERVICE_LOGIN})
    momentary: ClassVar[bool] = False
    limit: int = 0

    def __post_init__(self) -> None:
        """Raise :class:`UsageError` for no limit at all, or one that no pool would feel."""
        if not 0 <= self.limit <= 20:
            raise UsageError(f"{self.name} needs a limit from 0 to 20, not {self.limit}.")

    def radius(self, environment: Environment) -> BlastRadius:
        """Declare every month: nobody gets in, or too few do."""
        return sessions_radius(Write.PARTIAL if self.limit else Write.NO)

    async def inject(self, scene: Scene) -> None:
        """Note the present limit, change it, end what is open."""
        role = scene.environment.database.service_role
        with failing_as(FaultError, f"limit the connections of {role}"):
            async with admin(scene) as connection:
                scene.ledger.save("limit", await limit_of(connection, role))
                await set_limit(connection, role, self.limit)
                await end_sessions(connection, role, at_most=self.limit)

    async def confirm(self, scene: Scene) -> str:
        """With ``limit`` connections open, one more is refused with 53300."""
        taken: list[AsyncConnection] = []
        try:
            while len(taken) <= self.limit:
                taken.append(await open_login(scene))
        except (psycopg.Error, OSError, TimeoutError) as error:
            seen = refusal_of(error, 0.0)
            if seen.sqlstate != TOO_MANY:
                raise FaultNotConfirmed(f"A connection too many was {seen}, where 53300 was due.") from error
            return f"connection {len(taken) + 1} of the service's role: {seen}"
        finally:
            for connection in taken:
                await connection.close()
        raise FaultNotConfirmed(f"The service's role got {len(taken)} connections under a limit of {self.limit}.")

    async def heal(self, scene: Scene) -> None:
        """Give the role the limit back that it had."""
        saved = scene.ledger.load("limit")
        if saved is None:
            return
        with failing_as(HealFailed, "take the limit of connections away"):
            async with admin(scene) as connection:
                await set_limit(connection, scene.environment.database.service_role, int(saved))

    async def probe(self, scene: Scene) -> bool:
        """The service's role gets in and its insert is judged."""
        return await judged(scene)


_TAKEN: dict[Path, list[AsyncConnection]] = {}


@FAULTS.register("take-connection-slots")
@dataclass(frozen=True, kw_only=True)
class TakeConnectionSlots:
    """Opens connections of another role until only the slots reserved for superusers are left.

    The service's own backends are ended, and for that moment it is kept from taking their slots.  Effect: 57P01 once,
    then 53300 "remaining connection slots are reserved".  Versions: 15 to 18.  Radius: every month, write no, read no.
    """

    name: ClassVar[str] = "take-connection-slots"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.SQL, Capability.SERVICE_LOGIN})
    momentary: ClassVar[bool] = False

    def radius(self, environment: Environment) -> BlastRadius:
        """Declare every month."""
        return sessions_radius(Write.NO)

    async def inject(self, scene: Scene) -> None:
        """Make the role that takes the slots; take the free ones, and the service's instead of it."""
        database = scene.environment.database
        role = database.service_role
        with failing_as(FaultError, "take the connection slots"):
            connection = await AsyncConnection.connect(
                database.admin_conninfo, autocommit=True, application_name="harness-slots", options=ADMIN_OPTIONS
            )
            # Kept until heal: closed earlier, its own slot would be the one that is free.
            _holder.hold(scene, connection)
            other = new_role()
            scene.ledger.save("role", other.name)
            scene.ledger.save("limit", await limit_of(connection, role))
            await connection.execute(other.statement)
            await set_limit(connection, role, 0)
            await end_sessions(connection, role)
            await self._take(scene)
            await set_limit(connection, role, scene.ledger.load("limit"))

    async def _take(self, scene: Scene) -> None:
        """Open connections, some at a time, until one is refused for want of a slot."""
        name = scene.ledger.load("role")
        taken = _TAKEN.setdefault(scene.ledger.folder, [])

        async def one() -> bool:
            try:
                taken.append(
                    await AsyncConnection.connect(
                        scene.environment.database.admin_conninfo,
                        user=name,
                        password=password_of(name),
                        autocommit=True,
                        application_name="harness-slots",
                    )
                )
            except psycopg.OperationalError as error:
                if refusal_of(error, 0.0).sqlstate != TOO_MANY:
                    raise
                return False
            return True

        while all(await asyncio.gather(*(one() for _ in range(12)))):
            pass

    async def confirm(self, scene: Scene) -> str:
        """The service's role is refused with 53300; a slot that fell free since is taken as well."""
        await self._take(scene)
        seen = await login_insert(scene, DAY)
        if seen.sqlstate != TOO_MANY:
            raise FaultNotConfirmed(f"An insert of the service's role was {seen}, where 53300 was due.")
        slipped = await self._slipped(scene)
        if slipped:
            raise FaultNotConfirmed(f"{slipped} sessions of the service's role came in while the slots were taken.")
        return f"{len(_TAKEN.get(scene.ledger.folder, []))} slots taken; insert: {seen}"

    async def _slipped(self, scene: Scene) -> int:
        """End sessions whose login was under way when its role was limited, take their slots, and count them."""
        role = scene.environment.database.service_role
        async with admin(scene) as connection:
            # One whose login goes on ("starting", before PostgreSQL 18 none) may yet be refused, and mostly is.
            cursor = await connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE usename = %s AND state <> 'starting'", (role,)
            )
            row = await cursor.fetchone()
            count = int(row[0]) if row is not None else 0
            if count:
                await set_limit(connection, role, 0)
                await end_sessions(connection, role)
        if count:
            # With that connection closed: taken beside it, its own slot would be free afterwards, and the service's.
            await self._take(scene)
            async with admin(scene) as connection:
                await set_limit(connection, role, scene.ledger.load("limit"))
        return count

    async def heal(self, scene: Scene) -> None:
        """Close or end the connections, drop their role, and see that the service's limit is its own."""
        for connection in _TAKEN.pop(scene.ledger.folder, []):
            await connection.close()
        held = _holder.let_go(scene)
        if held is not None:
            await held.close()
        name, limit = scene.ledger.load("role"), scene.ledger.load("limit")
        if name is None:
            return
        with failing_as(HealFailed, "give the connection slots back"):
            async with admin(scene) as connection:
                if limit is not None:
                    await set_limit(connection, scene.environment.database.service_role, int(limit))
                await end_sessions(connection, name)
                await connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(name)))

    async def probe(self, scene: Scene) -> bool:
        """The service's role gets in and its insert is judged."""
        return await judged(scene)
