"""Faults of the whole server that stays up in name: a crash restart, a pause, a start that hangs, read-only.

The service is expected to answer 202 from its queue within its deadline whatever the server does or does not say, to
stay ready, to lose and to double nothing whose commit went unanswered, and to write directly again within seconds.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import ClassVar

import psycopg
from psycopg import AsyncConnection, sql

from .._wait import wait_until
from ..blast import BlastRadius, Edge, Write
from ..errors import FaultError, FaultNotConfirmed, HealFailed
from ..fault import FAULTS, Scene
from ..probes.postgres import NO_ANSWER, NO_CONNECTION, open_probe, probe_insert
from ..stacks.base import Capability, Environment
from . import _holder, _signals
from ._login import DAY, OWN_BACKENDS, STARTING, UNREACHABLE, insert_on, judged, login_insert, open_login
from ._sql import admin, failing_as, uninterrupted

RESTART_DEADLINE_SECONDS = 30.0
SILENCE_SECONDS = 0.15
"""How long nothing must come back to prove a pause, where a healthy connection takes about 0.01 s."""
_CATCH_SECONDS = 10.0
_CATCHES = 4
_BROKEN = frozenset({"57P01", "57P02", NO_CONNECTION})
_CHECKPOINTER = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'"
_READ_ONLY = "default_transaction_read_only"
_SAVED_SETTING = """
SELECT setting FROM pg_file_settings WHERE name = %s AND sourcefile LIKE '%%postgresql.auto.conf' ORDER BY seqno DESC
"""


def _radius(write: Write) -> BlastRadius:
    return BlastRadius(months=None, write=write, read=False, edge=Edge.RESTART, outlives_clients=True)


def _proxied(scene: Scene) -> bool:
    return Capability.PROXIED in scene.environment.capabilities


async def saved_setting(connection: AsyncConnection, name: str) -> str | None:
    """Return what ALTER SYSTEM had set before, None for nothing."""
    row = await (await connection.execute(_SAVED_SETTING, (name,))).fetchone()
    return None if row is None else str(row[0])


async def alter_system(connection: AsyncConnection, name: str, value: str | None) -> None:
    """Set one setting for every session, those that are open as well; None takes it back."""
    setting = sql.Identifier(name)
    if value is None:
        await connection.execute(sql.SQL("ALTER SYSTEM RESET {}").format(setting))
    else:
        await connection.execute(sql.SQL("ALTER SYSTEM SET {} = {}").format(setting, sql.Literal(value)))
    await connection.execute("SELECT pg_reload_conf()")


async def _victim(scene: Scene, connection: AsyncConnection, witness: AsyncConnection) -> int:
    """Choose a backend of the service, or the witness itself when the service has none."""
    rows = await (await connection.execute(OWN_BACKENDS, (scene.environment.database.service_role,))).fetchall()
    mine = witness.info.backend_pid
    return next((int(pid) for pid, _ in rows if pid != mine), mine)


async def _answering(scene: Scene) -> int:
    """Wait until the server takes sessions, and return its checkpointer, which each restart makes anew."""

    async def checkpointer() -> int:
        try:
            async with admin(scene) as connection:
                row = await (await connection.execute(_CHECKPOINTER)).fetchone()
                return int(row[0]) if row else 0
        except (psycopg.Error, OSError):
            return 0

    return await wait_until(
        checkpointer, what="PostgreSQL to take sessions again", deadline_seconds=RESTART_DEADLINE_SECONDS
    )


@FAULTS.register("kill-backend")
@dataclass(frozen=True, kw_only=True)
class KillBackend:
    """Kills one backend of the service with SIGKILL, as the OOM killer does; PostgreSQL then restarts all of them.

    Effect: every connection breaks (57P02 as a warning), 57P03 while the server recovers, a commit in flight is
    ambiguous.  Momentary: it is over when the server answers again.  Versions: 15 to 18 (restart_after_crash on).
    Radius: every month, partial: before and after the restart writes succeed.
    """

    name: ClassVar[str] = "kill-backend"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.KILLABLE_DATABASE, Capability.SERVICE_LOGIN})
    momentary: ClassVar[bool] = True

    def radius(self, environment: Environment) -> BlastRadius:
        """Declare every month."""
        return _radius(Write.PARTIAL)

    async def inject(self, scene: Scene) -> None:
        """Open a connection as the service, note who runs, kill one."""
        with failing_as(FaultError, "kill a backend"):
            postmaster = _signals.postmaster_of(scene.environment.database)
            witness = await open_login(scene)
            _holder.hold(scene, witness)
            async with admin(scene) as connection:
                row = await (await connection.execute(_CHECKPOINTER)).fetchone()
                victim = await _victim(scene, connection, witness)
                scene.ledger.save("killing", {"victim": victim, "checkpointer": row[0] if row else 0})
            _signals.kill_backend(postmaster, victim)

    async def confirm(self, scene: Scene) -> str:
        """The other connection broke as well, and the server has a new checkpointer: it has restarted."""
        saved = scene.ledger.load("killing") or {}
        witness = _holder.let_go(scene)
        seen = "not seen from this process"
        if witness is not None:
            try:

                async def broken() -> str:
                    result = await insert_on(witness)
                    return str(result) if result.sqlstate in _BROKEN else ""

                seen = await wait_until(broken, what="another connection to break", deadline_seconds=3.0)
            finally:
                await witness.close()
        checkpointer = await _answering(scene)
        if checkpointer == saved.get("checkpointer"):
            raise FaultNotConfirmed(f"PostgreSQL did not restart: its checkpointer is still {checkpointer}.")
        return f"backend {saved.get('victim')} killed; another connection: {seen}; new checkpointer {checkpointer}"

    async def heal(self, scene: Scene) -> None:
        """Wait until the server takes sessions; start it if it did not restart by itself."""
        witness = _holder.let_go(scene)
        if witness is not None:
            await witness.close()
        if not scene.ledger.load("killing"):
            return
        with failing_as(HealFailed, "see PostgreSQL restart"):
            await uninterrupted(scene.environment.database.start())
            await _answering(scene)

    async def probe(self, scene: Scene) -> bool:
        """An insert of the service is judged."""
        return await judged(scene)


@FAULTS.register("pause-database")
@dataclass(frozen=True, kw_only=True)
class PauseDatabase:
    """Stops the postmaster and every backend with SIGSTOP, as a frozen virtual machine does; heal continues them.

    Effect: connections stay up and nothing is answered; there is no SQLSTATE and only deadlines help.  What was sent
    is carried out after heal, although its client is long gone.  Versions: 15 to 18.  Radius: every month, write no,
    read no.
    """

    name: ClassVar[str] = "pause-database"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.KILLABLE_DATABASE, Capability.SERVICE_LOGIN})
    momentary: ClassVar[bool] = False

    def radius(self, environment: Environment) -> BlastRadius:
        """Declare every month."""
        return _radius(Write.NO)

    async def inject(self, scene: Scene) -> None:
        """Note the postmaster, stop it and then its children: no new one can come."""
        with failing_as(FaultError, "pause PostgreSQL"):
            postmaster = _signals.postmaster_of(scene.environment.database)
            scene.ledger.save("paused", [postmaster, *_signals.children_of(postmaster)])
            scene.ledger.save("paused", await uninterrupted(asyncio.to_thread(_signals.stop_all, postmaster)))

    async def confirm(self, scene: Scene) -> str:
        """No process of the server runs, and a connection is accepted and never answered."""
        running = _signals.running_of(_signals.postmaster_of(scene.environment.database))
        if running:
            raise FaultNotConfirmed(f"Processes {running} of PostgreSQL run; something continued them.")
        database = scene.environment.database
        seen = await probe_insert(database, DAY, proxied=_proxied(scene), deadline_seconds=SILENCE_SECONDS)
        if seen.sqlstate != NO_ANSWER:
            raise FaultNotConfirmed(f"An insert was {seen}, where no answer was due.")
        return f"{len(scene.ledger.load('paused') or [])} processes stopped; insert: {seen}"

    async def heal(self, scene: Scene) -> None:
        """Continue the children, then the postmaster."""
        postmaster = scene.environment.database.pid
        if not scene.ledger.load("paused") or postmaster is None:
            return
        with failing_as(HealFailed, "continue PostgreSQL"):
            _signals.continue_all(postmaster)

    async def probe(self, scene: Scene) -> bool:
        """An insert of the service is judged."""
        return await judged(scene)


@FAULTS.register("slow-start")
@dataclass(frozen=True, kw_only=True)
class SlowStart:
    """Crashes PostgreSQL by killing a backend and holds its startup process until heal: a recovery that takes long.

    Effect: connections break, then each new one is refused at once with 57P03 "the database system is starting up"
    or "in recovery mode".  Versions: 15 to 18 (restart_after_crash on).  Radius: every month, write no, read no.
    """

    name: ClassVar[str] = "slow-start"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.KILLABLE_DATABASE, Capability.SERVICE_LOGIN})
    momentary: ClassVar[bool] = False

    def radius(self, environment: Environment) -> BlastRadius:
        """Declare every month."""
        return _radius(Write.NO)

    async def inject(self, scene: Scene) -> None:
        """Kill a backend and stop the startup process that the postmaster makes, again if it was too quick."""
        with failing_as(FaultError, "hold PostgreSQL in its startup"):
            postmaster = _signals.postmaster_of(scene.environment.database)
            scene.ledger.save("holding", postmaster)
            for _ in range(_CATCHES):
                await self._crash(scene, postmaster)
                if (await login_insert(scene)).sqlstate == STARTING:
                    return
                await _answering(scene)
            raise FaultError(f"PostgreSQL recovered {_CATCHES} times before its startup process could be stopped.")

    async def _crash(self, scene: Scene, postmaster: int) -> None:
        witness = await open_login(scene)
        try:
            async with admin(scene) as connection:
                victim = await _victim(scene, connection, witness)

            def kill_and_catch() -> int:
                _signals.kill_backend(postmaster, victim)
                return _signals.catch_startup(postmaster, _CATCH_SECONDS)

            caught = await uninterrupted(asyncio.to_thread(kill_and_catch))
            scene.ledger.save("startup", caught)
        finally:
            await witness.close()

    async def confirm(self, scene: Scene) -> str:
        """The service is refused with 57P03, and the startup process is stopped."""
        startup = int(scene.ledger.load("startup") or 0)
        seen = await login_insert(scene)
        if seen.sqlstate != STARTING or _signals.state_of(startup) != _signals.STOPPED:
            raise FaultNotConfirmed(f"PostgreSQL is not held in its startup: an insert was {seen}.")
        return f"startup process {startup} stopped; insert: {seen}"

    async def heal(self, scene: Scene) -> None:
        """Continue the startup process and wait until the server takes sessions."""
        if not scene.ledger.load("holding"):
            return
        with failing_as(HealFailed, "let PostgreSQL start"):
            postmaster = scene.environment.database.pid
            if postmaster is None:
                await uninterrupted(scene.environment.database.start())
            else:
                _signals.continue_all(postmaster)
            await _answering(scene)

    async def probe(self, scene: Scene) -> bool:
        """An insert of the service is judged."""
        return await judged(scene)


@FAULTS.register("read-only")
@dataclass(frozen=True, kw_only=True)
class ReadOnly:
    """Turns default_transaction_read_only on for the whole server, as a failover or a full disk's guard does.

    By ALTER SYSTEM and a reload, so that sessions which are open are hit with their next statement.  Effect: 25006
    ``cannot execute INSERT in a read-only transaction``; reads work.  Versions: 15 to 18.  Radius: every month, write
    no, read yes.
    """

    name: ClassVar[str] = "read-only"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.SQL})
    momentary: ClassVar[bool] = False

    def radius(self, environment: Environment) -> BlastRadius:
        """Declare every month; no connection breaks."""
        return BlastRadius(months=None, write=Write.NO, read=True, edge=Edge.MONTHS)

    async def inject(self, scene: Scene) -> None:
        """Open a connection as the service, note what was set, and set it."""
        with failing_as(FaultError, "make PostgreSQL read-only"):
            witness = await open_probe(scene.environment.database, proxied=_proxied(scene))
            _holder.hold(scene, witness)
            # Between transactions, as the service's are: one that is open keeps writing.
            await witness.commit()
            async with admin(scene) as connection:
                scene.ledger.save("setting", {"was": await saved_setting(connection, _READ_ONLY)})
                await alter_system(connection, _READ_ONLY, "on")

    async def confirm(self, scene: Scene) -> str:
        """An insert is refused with 25006, on a new connection and on one that was open before."""
        witness = _holder.let_go(scene)
        seen = await probe_insert(scene.environment.database, DAY, proxied=_proxied(scene))
        if witness is not None:
            old = await insert_on(witness)
            await witness.close()
            if old.sqlstate != "25006":
                raise FaultNotConfirmed(f"On an open connection an insert was {old}, where 25006 was due.")
        if seen.sqlstate != "25006":
            raise FaultNotConfirmed(f"An insert of the service was {seen}, where 25006 was due.")
        return f"insert on {'old and new connections' if witness is not None else 'a new connection'}: {seen}"

    async def heal(self, scene: Scene) -> None:
        """Set what was set before."""
        witness = _holder.let_go(scene)
        if witness is not None:
            await witness.close()
        saved = scene.ledger.load("setting")
        if saved is None:
            return
        with failing_as(HealFailed, "make PostgreSQL writable again"):
            async with admin(scene) as connection:
                await alter_system(connection, _READ_ONLY, saved["was"])

    async def probe(self, scene: Scene) -> bool:
        """An insert of the service is judged, and not for being one."""
        seen = await probe_insert(scene.environment.database, DAY, proxied=_proxied(scene))
        return seen.sqlstate not in UNREACHABLE | {"25006"}
