"""Faults of the whole database server: it is stopped in order, at once, or killed.

The service is expected to answer 202 for every event from its queue, to stay ready while the queue takes events, to
lose nothing that it acknowledged (a killed server may have committed what it never answered), and to write directly
and drain within seconds of the server's return, with no operator step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..blast import BlastRadius, Edge, Write
from ..errors import FaultError, FaultNotConfirmed, HealFailed
from ..fault import FAULTS, Scene
from ..probes.postgres import NO_ANSWER, NO_CONNECTION, probe_insert
from ..stacks.base import Capability, Environment, StopMode
from ..values import Month
from ._sql import failing_as, uninterrupted

_DAY = Month(2026, 1).first_day
"""Any day will do: a server that is down refuses all of them, a new one is asked for no month."""

UNREACHABLE = frozenset({NO_CONNECTION, NO_ANSWER, "57P01", "57P02", "57P03"})


def _down_radius() -> BlastRadius:
    return BlastRadius(months=None, write=Write.NO, read=False, edge=Edge.RESTART, outlives_clients=True)


async def _confirm_down(scene: Scene) -> str:
    database = scene.environment.database
    proxied = Capability.PROXIED in scene.environment.capabilities
    seen = await probe_insert(database, _DAY, proxied=proxied)
    if database.pid is not None or seen.sqlstate not in UNREACHABLE:
        raise FaultNotConfirmed(
            f"PostgreSQL is not down: its postmaster is {database.pid}, and an insert was {seen}. "
            "Something started it again; see its log."
        )
    return f"no postmaster; insert: {seen}"


async def _answers(scene: Scene) -> bool:
    proxied = Capability.PROXIED in scene.environment.capabilities
    seen = await probe_insert(scene.environment.database, _DAY, proxied=proxied)
    # A missing month or a damaged page is another fault's: this one is over once PostgreSQL judges the row.
    return seen.sqlstate not in UNREACHABLE


@FAULTS.register("stop-database")
@dataclass(frozen=True, kw_only=True)
class StopDatabase:
    """Shuts PostgreSQL down: ``mode`` fast (sessions are ended, 57P01) or immediate (no checkpoint, 57P02).

    Effect: 57P01 or 57P02 on open connections; new ones are refused, or through the proxy connect and get an end of
    file.  Versions: 15 to 18.  Radius: every month, write no, read no, until the recovery after heal is over.
    """

    name: ClassVar[str] = "stop-database"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.KILLABLE_DATABASE})
    momentary: ClassVar[bool] = False
    mode: StopMode = StopMode.FAST

    def radius(self, environment: Environment) -> BlastRadius:
        """Declare every month."""
        return _down_radius()

    async def inject(self, scene: Scene) -> None:
        """Stop and wait until the postmaster is gone."""
        with failing_as(FaultError, "stop PostgreSQL"):
            scene.ledger.save("stopping", True)
            await uninterrupted(scene.environment.database.stop(self.mode))
            scene.ledger.save("stopped", True)

    async def confirm(self, scene: Scene) -> str:
        """There is no postmaster, and the service's way in leads nowhere."""
        return await _confirm_down(scene)

    async def heal(self, scene: Scene) -> None:
        """End a half-done stop, then start."""
        with failing_as(HealFailed, "start PostgreSQL again"):
            if scene.ledger.load("stopping") and not scene.ledger.load("stopped"):
                await uninterrupted(scene.environment.database.stop(self.mode))
                scene.ledger.save("stopped", True)
            await uninterrupted(scene.environment.database.start())

    async def probe(self, scene: Scene) -> bool:
        """PostgreSQL judges an insert again."""
        return await _answers(scene)


@FAULTS.register("kill-database")
@dataclass(frozen=True, kw_only=True)
class KillDatabase:
    """Kills the postmaster and every backend with SIGKILL; the next start recovers from the write-ahead log.

    Effect: connections end without a SQLSTATE; a commit in flight may be done or not.  Versions: 15 to 18.  Radius:
    every month, write no, read no, until the recovery after heal is over.
    """

    name: ClassVar[str] = "kill-database"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.KILLABLE_DATABASE})
    momentary: ClassVar[bool] = False

    def radius(self, environment: Environment) -> BlastRadius:
        """Declare every month."""
        return _down_radius()

    async def inject(self, scene: Scene) -> None:
        """Kill, and wait until every process is gone."""
        with failing_as(FaultError, "kill PostgreSQL"):
            scene.ledger.save("killing", True)
            await uninterrupted(scene.environment.database.kill())
            scene.ledger.save("killed", True)

    async def confirm(self, scene: Scene) -> str:
        """There is no postmaster, and the service's way in leads nowhere."""
        return await _confirm_down(scene)

    async def heal(self, scene: Scene) -> None:
        """End a half-done kill, then start."""
        with failing_as(HealFailed, "start PostgreSQL again"):
            if scene.ledger.load("killing") and not scene.ledger.load("killed"):
                await uninterrupted(scene.environment.database.kill())
                scene.ledger.save("killed", True)
            await uninterrupted(scene.environment.database.start())

    async def probe(self, scene: Scene) -> bool:
        """PostgreSQL judges an insert again."""
        return await _answers(scene)
