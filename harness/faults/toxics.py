"""Faults of the network that change how data ends or arrives, played by Toxiproxy: late ends, slices, a quota.

The service is expected to find out that a connection is dead also when nobody tells it in time, to read answers that
come in pieces, and to survive connections that break in the middle of an answer without losing or doubling an event.
"""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass
from typing import ClassVar

import psycopg
from psycopg import AsyncConnection

from .._wait import wait_until
from ..blast import BlastRadius, Write
from ..errors import DeadlineExceeded, FaultNotConfirmed, UsageError
from ..fault import FAULTS, Scene
from ..probes.postgres import NO_CONNECTION, PROBE_DEADLINE_SECONDS, cut_after, insert_canary, open_probe
from ..stacks.base import Direction, Environment, Toxic, ToxicKind
from ._login import DAY, refusal_of
from ._sql import admin
from ._toxified import (
    PROBE_OVERHEAD_BYTES,
    Toxified,
    confirm_delay,
    inject_toxics,
    toxic_radius,
    toxics_present,
    warm,
)

PROOF_SECONDS = 0.15
"""How long an end must be held back to prove it, where an end takes some milliseconds."""
LEAST_QUOTA_BYTES = 1_000
"""A handshake takes 700 bytes downstream: below this nothing would be left of "partial"."""
_SIZE_VARIATION = 1
"""Toxiproxy's slicer crashes without any."""


@FAULTS.register("slow-close")
@dataclass(frozen=True, kw_only=True)
class SlowClose(Toxified):
    """Holds the end of each connection back by ``delay_ms``; data passes as ever.

    Effect: none on writes by itself and no SQLSTATE.  Downstream, a connection that the server ended looks alive to
    its client for that long; upstream, backends outlive their clients.  Connections break once at heal.  Versions: 15
    to 18.  Radius: every month, write yes: it matters together with faults that end connections.
    """

    name: ClassVar[str] = "slow-close"
    delay_ms: int
    direction: Direction = Direction.DOWNSTREAM

    def __post_init__(self) -> None:
        """Raise :class:`UsageError` for a delay too short to be told from none."""
        if not 50 <= self.delay_ms <= 60_000:
            raise UsageError(f"slow-close needs a delay_ms from 50 to 60000, not {self.delay_ms}.")

    def radius(self, environment: Environment) -> BlastRadius:
        """Declare every month: writes go on."""
        return toxic_radius(Write.YES)

    async def inject(self, scene: Scene) -> None:
        """Add the toxic."""
        toxic = Toxic(f"slow-close-{self.direction}", ToxicKind.SLOW_CLOSE, self.direction, (("delay", self.delay_ms),))
        await inject_toxics(scene, (toxic,), "hold the ends of connections back")

    async def confirm(self, scene: Scene) -> str:
        """An end that one side makes is not seen by the other for a while."""
        await toxics_present(scene)
        due = min(self.delay_ms / 1000, PROOF_SECONDS)
        connection = await open_probe(scene.environment.database, proxied=True)
        started = time.perf_counter()
        if self.direction is Direction.DOWNSTREAM:
            await _ended_by_server(connection, due)
        else:
            await _ended_by_client(scene, connection, due)
        held = time.perf_counter() - started
        if held < due * 0.9:
            raise FaultNotConfirmed(f"The end of a connection came after {held * 1000:.0f} ms, {due * 1000:.0f} due.")
        return f"the end of a connection was held back for {held * 1000:.0f} ms at least"


async def _ended_by_server(connection: AsyncConnection, due: float) -> None:
    """Return once the client sees the end that the server made, or after ``due`` seconds."""
    try:
        with cut_after(connection, due):
            await connection.execute("RESET ROLE")
            await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    except (psycopg.Error, OSError, TimeoutError):
        return
    finally:
        await connection.close()


async def _ended_by_client(scene: Scene, connection: AsyncConnection, due: float) -> None:
    """Return once the server saw the end that the client made, or after ``due`` seconds."""
    pid = connection.info.backend_pid
    async with admin(scene) as other:

        async def gone() -> bool:
            row = await (await other.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", (pid,))).fetchone()
            return row is None

        try:
            # Half closed, without the farewell message: that would be data, and pass at once.
            with socket.socket(fileno=os.dup(connection.fileno())) as twin:
                twin.shutdown(socket.SHUT_WR)
            await wait_until(gone, what="the server to see the end", deadline_seconds=due)
        except DeadlineExceeded:
            return
        finally:
            await connection.close()


@FAULTS.register("slicer")
@dataclass(frozen=True, kw_only=True)
class Slicer(Toxified):
    """Cuts data into slices of about ``average_bytes`` and waits ``delay_us`` after each, in both directions.

    Effect: a write of ``write_bytes_up`` and ``write_bytes_down`` takes one delay a slice longer; no SQLSTATE until a
    time-out of the client.  Versions: 15 to 18.  Radius: every month, delayed.
    """

    name: ClassVar[str] = "slicer"
    average_bytes: int
    delay_us: int
    write_bytes_up: int = 600
    write_bytes_down: int = 200

    def __post_init__(self) -> None:
        """Raise :class:`UsageError` for slices that Toxiproxy does not survive, and for no delay."""
        if self.average_bytes < 2 or self.delay_us <= 0:
            raise UsageError(
                "slicer needs average_bytes of at least 2 (Toxiproxy crashes below) and a delay_us above 0."
            )
        if self._slices(self.write_bytes_up) < 2:
            raise UsageError(f"slicer cuts nothing: a write is {self.write_bytes_up} bytes, give fewer average_bytes.")

    def _slices(self, count: int) -> int:
        """Count the slices as Toxiproxy makes them: halves of halves, until a part is small enough."""
        return 1 if count - self.average_bytes <= _SIZE_VARIATION else 2 * self._slices(count // 2)

    def radius(self, environment: Environment) -> BlastRadius:
        """Declare the delay of one whole write."""
        slices = self._slices(self.write_bytes_up) + self._slices(self.write_bytes_down)
        return toxic_radius(Write.DELAYED, slices * self.delay_us / 1000)

    async def inject(self, scene: Scene) -> None:
        """Warm a connection, then slice both directions."""
        await warm(scene)
        how = (("average_size", self.average_bytes), ("size_variation", _SIZE_VARIATION), ("delay", self.delay_us))
        toxics = tuple(Toxic(f"slicer-{way}", ToxicKind.SLICER, way, how) for way in Direction)
        await inject_toxics(scene, toxics, "slice the data")

    async def confirm(self, scene: Scene) -> str:
        """An insert of the declared size takes the delays between its slices."""
        least = (self._slices(self.write_bytes_up) - 1) * self.delay_us / 1000
        return await confirm_delay(scene, least, max(0, self.write_bytes_up - PROBE_OVERHEAD_BYTES))


@FAULTS.register("limit-data")
@dataclass(frozen=True, kw_only=True)
class LimitData(Toxified):
    """Ends each connection once ``limit_bytes`` have gone in ``direction``, in the middle of whatever goes.

    Effect: a broken connection without a SQLSTATE after a number of writes.  Downstream, the write was done and its
    answer is lost: an ambiguous commit on each connection.  Versions: 15 to 18.  Radius: every month, partial.
    """

    name: ClassVar[str] = "limit-data"
    limit_bytes: int
    direction: Direction = Direction.DOWNSTREAM

    def __post_init__(self) -> None:
        """Raise :class:`UsageError` for a quota that no connection could do anything with."""
        if not LEAST_QUOTA_BYTES <= self.limit_bytes <= 1_000_000:
            raise UsageError(
                f"limit-data needs limit_bytes from {LEAST_QUOTA_BYTES} (below not even the handshake fits; use "
                f"disable-proxy) to 1000000, not {self.limit_bytes}."
            )

    def radius(self, environment: Environment) -> BlastRadius:
        """Declare every month: some writes fit."""
        return toxic_radius(Write.PARTIAL)

    async def inject(self, scene: Scene) -> None:
        """Add the toxic."""
        quota = (("bytes", self.limit_bytes),)
        toxic = Toxic(f"limit-data-{self.direction}", ToxicKind.LIMIT_DATA, self.direction, quota)
        await inject_toxics(scene, (toxic,), "limit the data of each connection")

    async def confirm(self, scene: Scene) -> str:
        """A connection takes one insert and breaks with what is over the quota."""
        await toxics_present(scene)
        connection = await open_probe(scene.environment.database, proxied=True)
        try:
            with cut_after(connection, PROBE_DEADLINE_SECONDS):
                if self.direction is Direction.UPSTREAM:
                    await insert_canary(connection, DAY, padding_bytes=self.limit_bytes)
                else:
                    await insert_canary(connection, DAY)
                    await connection.execute("SELECT repeat('x', %s)", (self.limit_bytes,))
        except (psycopg.Error, OSError, TimeoutError) as error:
            seen = refusal_of(error, 0.0)
            if seen.sqlstate != NO_CONNECTION:
                raise FaultNotConfirmed(
                    f"Over the quota an insert was {seen}, where a lost connection was due."
                ) from error
            return f"connection lost within {self.limit_bytes} bytes: {seen}"
        finally:
            await connection.close()
        raise FaultNotConfirmed(f"A connection took more than {self.limit_bytes} bytes {self.direction}.")
