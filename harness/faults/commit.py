"""The ambiguous commit: the connection is cut exactly while COMMIT is in flight.

The row is committed and its client never learns of it.  The service is expected not to answer 201 for what it does
not know, to queue the event, and to store it once: the drain, or a retry, finds the row and does not fail on it.
"""

from __future__ import annotations

import asyncio
import uuid
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from typing import ClassVar

import psycopg
from psycopg import AsyncConnection

from .._wait import wait_until
from ..blast import BlastRadius, Edge, Write
from ..errors import FaultError, FaultNotConfirmed, HealFailed
from ..fault import FAULTS, Scene
from ..probes.postgres import insert_canary, open_probe
from ..stacks.base import Capability, Environment
from ._login import judged
from ._sql import admin, attached, failing_as, uninterrupted
from .server import alter_system, saved_setting

_SETTING = "synchronous_standby_names"
_NOBODY = "harness_nobody"
_WAITING = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
_IN_FLIGHT_SECONDS = 3.0
_FIND = "SELECT count(*) FROM audit_events WHERE event_date = %s::date AND event_id = ANY(%s::uuid[])"
_REMOVE = "DELETE FROM audit_events WHERE event_date = %s::date AND event_id = ANY(%s::uuid[])"


@FAULTS.register("cut-commit")
@dataclass(frozen=True, kw_only=True)
class CutCommit:
    """Cuts every connection of the service at a moment when commits are written and not yet answered.

    For some milliseconds commits wait for a standby that does not exist: they are on the disk, and their backends
    wait (SyncRep) before they answer.  Then the proxy is disabled, and only then are they let go.  Effect: a broken
    connection without a SQLSTATE and a row that is there.  Momentary.  Versions: 15 to 18.  Radius: every month,
    partial: what follows the cut connects anew and succeeds.
    """

    name: ClassVar[str] = "cut-commit"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.SQL, Capability.PROXIED, Capability.SERVICE_LOGIN})
    momentary: ClassVar[bool] = True

    def radius(self, environment: Environment) -> BlastRadius:
        """Declare every month: the proxy is that of all."""
        return BlastRadius(months=None, write=Write.PARTIAL, read=False, edge=Edge.RESTART, outlives_clients=True)

    async def inject(self, scene: Scene) -> None:
        """Hold commits back, cut the connections, let the commits go, let connections be had again."""
        proxy = scene.environment.proxy
        with failing_as(FaultError, "cut a commit"):
            async with admin(scene) as connection:
                months = sorted(await attached(connection))
                if not months:
                    raise FaultError("There is no attached partition, so there is no commit to cut.")
                day = months[0].first_day.isoformat()
                was = await saved_setting(connection, _SETTING)
                scene.ledger.save("cutting", {"was": was, "day": day, "ids": []})
                await alter_system(connection, _SETTING, _NOBODY)
                commit, waiting = await self._in_flight(scene, connection)
                try:
                    await uninterrupted(proxy.disable())
                    await asyncio.wait([commit])
                finally:
                    await alter_system(connection, _SETTING, was)
                    await self._released(connection)
                    await uninterrupted(proxy.enable())
                scene.ledger.save("cut", {"answer": _answer(commit), "in_flight": waiting})

    async def _in_flight(self, scene: Scene, connection: AsyncConnection) -> tuple[asyncio.Task[None], int]:
        """Insert as the service through the proxy until the COMMIT of one waits; return it and how many wait."""
        saved = scene.ledger.load("cutting")

        async def attempt() -> tuple[asyncio.Task[None], int] | None:
            probe = await open_probe(scene.environment.database, proxied=True)
            event_id = uuid.uuid4()
            saved["ids"].append(str(event_id))
            scene.ledger.save("cutting", saved)
            commit = asyncio.create_task(_insert_and_commit(probe, saved["day"], event_id))

            async def waits() -> int:
                rows = await (await connection.execute(_WAITING)).fetchall()
                mine = any(row[0] == probe.info.backend_pid for row in rows) if not commit.done() else False
                return len(rows) if mine else -int(commit.done())

            try:
                waiting = await wait_until(
                    waits, what="a commit to wait", deadline_seconds=_IN_FLIGHT_SECONDS, interval_seconds=0.002
                )
            except BaseException:
                commit.cancel()
                await asyncio.wait([commit])
                raise
            return (commit, waiting) if waiting > 0 else None

        return await wait_until(
            attempt, what="a commit to be held back", deadline_seconds=_IN_FLIGHT_SECONDS, interval_seconds=0.002
        )

    async def _released(self, connection: AsyncConnection) -> None:
        async def none_waits() -> bool:
            return await (await connection.execute(_WAITING)).fetchone() is None

        await wait_until(none_waits, what="the commits to go on", deadline_seconds=10.0, interval_seconds=0.002)

    async def confirm(self, scene: Scene) -> str:
        """The answer to the probe's COMMIT was lost, and its row is there."""
        cut, saved = scene.ledger.load("cut"), scene.ledger.load("cutting")
        if not cut or not saved or not cut["answer"]:
            raise FaultNotConfirmed("No COMMIT was cut: that of the probe was answered.")
        async with admin(scene) as connection:
            row = await (await connection.execute(_FIND, (saved["day"], saved["ids"][-1:]))).fetchone()
        if row != (1,):
            raise FaultNotConfirmed("The probe's COMMIT went unanswered, but its row is not there: not ambiguous.")
        return f"{cut['in_flight']} commits in flight were cut; the probe's got {cut['answer']!r} and its row is there"

    async def heal(self, scene: Scene) -> None:
        """Let commits go, let connections be had, and remove the probe's rows."""
        saved = scene.ledger.load("cutting")
        if not saved:
            return
        with failing_as(HealFailed, "undo the cut of a commit"):
            async with admin(scene) as connection:
                await alter_system(connection, _SETTING, saved["was"])
                await self._released(connection)
                await uninterrupted(scene.environment.proxy.enable())
                await connection.execute(_REMOVE, (saved["day"], saved["ids"]))

    async def probe(self, scene: Scene) -> bool:
        """The proxy is enabled and an insert of the service is judged."""
        return await scene.environment.proxy.is_enabled() and await judged(scene)


async def _insert_and_commit(connection: AsyncConnection, day: str, event_id: uuid.UUID) -> None:
    try:
        await insert_canary(connection, date.fromisoformat(day), event_id=event_id)
        await connection.commit()
    finally:
        with suppress(psycopg.Error, OSError):
            await connection.close()


def _answer(commit: asyncio.Task[None]) -> str:
    """What the client of the cut commit was told; "" when it was answered after all."""
    error = commit.exception()
    return "" if error is None else (str(error).strip().splitlines() or [type(error).__name__])[0]
