"""Faults of the network between the service and PostgreSQL, played by Toxiproxy.

The service is expected to answer within its request deadline whatever the network does: 201 while a write fits its
time-outs, 202 when it does not, never a hang and never two rows for one event whose commit went unanswered.
Connections that died must leave its pool by themselves.

Heal removes only the fault's own toxics, since faults may overlap.  Latency goes with connections kept; the others
go in Toxiproxy's safe order (disable, remove, enable), which breaks every connection once more: removing a toxic
while nothing flows can hang Toxiproxy for good (its issue 558).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import ClassVar

import psycopg

from ..blast import BlastRadius, Edge, Write
from ..errors import FaultError, FaultNotConfirmed, HealFailed, UsageError
from ..fault import FAULTS, Scene
from ..probes.postgres import (
    NO_ANSWER,
    NO_CONNECTION,
    InsertResult,
    cut_after,
    failure_of,
    insert_canary,
    open_probe,
    probe_insert,
)
from ..stacks.base import Capability, Direction, Environment, Toxic, ToxicKind
from ..values import Month
from . import _holder
from ._sql import failing_as, uninterrupted

_DAY = Month(2026, 1).first_day
"""Any day will do: the network delays or breaks an insert before PostgreSQL judges it."""

BOTH = (Direction.UPSTREAM, Direction.DOWNSTREAM)
SILENCE_SECONDS = 0.15
"""How long nothing must come back to prove a black hole, where a healthy connection takes about 0.01 s."""
SLOW_PROBE_SECONDS = 30.0
PROBE_OVERHEAD_BYTES = 400
"""What a probe insert sends upstream without its padding."""


def _radius(write: Write, delay_ms: float = 0.0, *, edge: Edge = Edge.RESTART) -> BlastRadius:
    """Every month; taking any toxic but latency off breaks all connections once more, hence the edge."""
    slow = write is Write.DELAYED
    return BlastRadius(months=None, write=write, delay_ms=delay_ms, read=slow, edge=edge, outlives_clients=True)


async def _inject(scene: Scene, toxics: tuple[Toxic, ...], what: str) -> None:
    """Save the names, then add the toxics; what is half there is removed by the names."""
    with failing_as(FaultError, what):
        scene.ledger.save("toxics", [toxic.name for toxic in toxics])
        for toxic in toxics:
            await uninterrupted(scene.environment.proxy.add(toxic))


async def _heal(scene: Scene, what: str) -> None:
    names: list[str] = scene.ledger.load("toxics") or []
    proxy = scene.environment.proxy
    try:
        warm = _holder.let_go(scene)
        if warm is not None:
            await warm.close()
        for name in names:
            await uninterrupted(proxy.remove(name))
    except (FaultError, OSError) as error:
        raise HealFailed(f"Could not {what}: {error} Restart Toxiproxy to be rid of its toxics.") from error


async def _toxics_present(scene: Scene) -> None:
    present, due = await scene.environment.proxy.toxics(), scene.ledger.load("toxics") or []
    missing = [name for name in due if name not in present]
    if missing or not due:
        raise FaultNotConfirmed(f"Toxiproxy lists {list(present)}, not {missing or 'any toxic of this fault'}.")


async def _warm(scene: Scene) -> None:
    """Open a connection in a transaction before the toxics, so that confirm measures one write and no handshake."""
    with failing_as(FaultError, "connect through the proxy before the fault"):
        _holder.hold(scene, await open_probe(scene.environment.database, proxied=True))


async def _confirm_delay(scene: Scene, least_ms: float, padding_bytes: int = 0) -> str:
    """Time one insert on the warm connection, or on a slowly opened one when that is another process's."""
    await _toxics_present(scene)
    connection = _holder.let_go(scene)
    started = time.perf_counter()
    try:
        if connection is None:
            connection = await open_probe(scene.environment.database, proxied=True, deadline_seconds=SLOW_PROBE_SECONDS)
        started = time.perf_counter()
        with cut_after(connection, SLOW_PROBE_SECONDS):
            await insert_canary(connection, _DAY, padding_bytes=padding_bytes)
        seen = InsertResult("", "", time.perf_counter() - started)
    except (psycopg.Error, OSError) as error:
        # The delay is what counts here; that the month itself refuses the row is another fault's.
        seen = failure_of(error, time.perf_counter() - started)
    finally:
        if connection is not None:
            await connection.close()
    if seen.seconds * 1000 < least_ms or seen.sqlstate == NO_CONNECTION:
        raise FaultNotConfirmed(
            f"An insert through the proxy was {seen} after {seen.seconds * 1000:.0f} ms; at least {least_ms:.0f} ms "
            "were due. Check that the service's way to the database is this proxy."
        )
    return f"insert through the proxy took {seen.seconds * 1000:.0f} ms, at least {least_ms:.0f} due"


async def _confirm_broken(scene: Scene, due: str, deadline_seconds: float) -> str:
    seen = await probe_insert(scene.environment.database, _DAY, proxied=True, deadline_seconds=deadline_seconds)
    if seen.sqlstate != due:
        raise FaultNotConfirmed(f"An insert through the proxy was {seen}, where {due} was due.")
    return str(seen)


async def _through(scene: Scene) -> bool:
    """Tell whether an insert comes back through the proxy, whatever PostgreSQL says of its month."""
    seen = await probe_insert(scene.environment.database, _DAY, proxied=True)
    return seen.sqlstate not in (NO_ANSWER, NO_CONNECTION, "57P01", "57P02", "57P03")


class _Toxified:
    """Heal and probe of every fault that adds toxics."""

    name: ClassVar[str] = ""
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.PROXIED})
    momentary: ClassVar[bool] = False

    async def heal(self, scene: Scene) -> None:
        """Remove this fault's toxics."""
        await _heal(scene, f"take {self.name} off the proxy")

    async def probe(self, scene: Scene) -> bool:
        """None of its toxics is left, and an insert through the proxy is answered."""
        present = await scene.environment.proxy.toxics()
        left = set(present) & set(scene.ledger.load("toxics") or [])
        return not left and await _through(scene)


@FAULTS.register("latency")
@dataclass(frozen=True, kw_only=True)
class Latency(_Toxified):
    """Delays all data by ``delay_ms`` in each of ``directions``, on live connections as well.

    Effect: one write of ``round_trips`` round trips takes delay_ms x directions x round_trips longer: no SQLSTATE
    until that is more than ``statement_timeout`` of the client.  An autocommit insert on a warm connection is one
    round trip.  Versions: 15 to 18.  Radius: every month, delayed.
    """

    name: ClassVar[str] = "latency"
    delay_ms: int
    directions: tuple[Direction, ...] = BOTH
    round_trips: int = 1

    def __post_init__(self) -> None:
        """Raise :class:`UsageError` for a delay that is none."""
        if self.delay_ms <= 0 or self.round_trips <= 0 or not self.directions:
            raise UsageError("latency needs a delay_ms and round_trips above 0, and a direction.")

    def radius(self, environment: Environment) -> BlastRadius:
        """Declare the delay of one whole write."""
        delay_ms = float(self.delay_ms * len(self.directions) * self.round_trips)
        return _radius(Write.DELAYED, delay_ms, edge=Edge.MONTHS)

    async def inject(self, scene: Scene) -> None:
        """Warm a connection, then add one toxic a direction."""
        await _warm(scene)
        toxics = tuple(
            Toxic(f"latency-{direction}", ToxicKind.LATENCY, direction, (("latency", self.delay_ms), ("jitter", 0)))
            for direction in self.directions
        )
        await _inject(scene, toxics, "add the latency")

    async def confirm(self, scene: Scene) -> str:
        """One insert, one round trip, takes at least the delay of each direction."""
        return await _confirm_delay(scene, float(self.delay_ms * len(self.directions)))


@FAULTS.register("bandwidth")
@dataclass(frozen=True, kw_only=True)
class Bandwidth(_Toxified):
    """Throttles each connection to ``rate_kb_per_second`` (1 kB is 1000 bytes) in both directions.

    Effect: a write of ``write_bytes_up`` and ``write_bytes_down`` takes their sum over the rate longer; no SQLSTATE
    until a time-out of the client.  Versions: 15 to 18.  Radius: every month, delayed.
    """

    name: ClassVar[str] = "bandwidth"
    rate_kb_per_second: int
    write_bytes_up: int = 600
    write_bytes_down: int = 200

    def __post_init__(self) -> None:
        """Raise :class:`UsageError` for a rate that would stall (0) or crash Toxiproxy (below)."""
        if self.rate_kb_per_second <= 0:
            raise UsageError("bandwidth needs a rate_kb_per_second above 0; use blackhole for no data at all.")

    def radius(self, environment: Environment) -> BlastRadius:
        """Declare the delay of one whole write: kB/s are bytes a millisecond."""
        return _radius(Write.DELAYED, (self.write_bytes_up + self.write_bytes_down) / self.rate_kb_per_second)

    async def inject(self, scene: Scene) -> None:
        """Warm a connection, then throttle both directions."""
        await _warm(scene)
        rate = (("rate", self.rate_kb_per_second),)
        await _inject(
            scene,
            tuple(Toxic(f"bandwidth-{way}", ToxicKind.BANDWIDTH, way, rate) for way in BOTH),
            "throttle the proxy",
        )

    async def confirm(self, scene: Scene) -> str:
        """An insert of the declared size takes at least the declared time upstream."""
        padding = max(0, self.write_bytes_up - PROBE_OVERHEAD_BYTES)
        return await _confirm_delay(scene, self.write_bytes_up / self.rate_kb_per_second, padding)


@FAULTS.register("blackhole")
@dataclass(frozen=True, kw_only=True)
class Blackhole(_Toxified):
    """Swallows all data in both directions for ever; connections stay open and nobody answers.

    Effect: only deadlines help, there is no SQLSTATE; an answer on its way is lost, so a commit may be done or not.
    Connections close at heal.  Versions: 15 to 18.  Radius: every month, write no, read no.
    """

    name: ClassVar[str] = "blackhole"

    def radius(self, environment: Environment) -> BlastRadius:
        """Declare every month."""
        return _radius(Write.NO)

    async def inject(self, scene: Scene) -> None:
        """Add a time-out toxic of 0 in each direction."""
        silent = (("timeout", 0),)
        await _inject(
            scene,
            tuple(Toxic(f"blackhole-{way}", ToxicKind.TIMEOUT, way, silent) for way in BOTH),
            "black-hole the proxy",
        )

    async def confirm(self, scene: Scene) -> str:
        """A connection is accepted and then nothing comes back."""
        await _toxics_present(scene)
        return await _confirm_broken(scene, NO_ANSWER, SILENCE_SECONDS)


@FAULTS.register("reset-connections")
@dataclass(frozen=True, kw_only=True)
class ResetConnections(_Toxified):
    """Resets each connection as soon as data arrives in ``direction``.

    Effect: a broken connection without a SQLSTATE.  Upstream, statements never reach PostgreSQL; downstream, they do
    and their answers are lost: ambiguous commits.  Older connections may end with FIN instead of RST.  Versions: 15
    to 18.  Radius: every month, write no, read no.
    """

    name: ClassVar[str] = "reset-connections"
    direction: Direction = Direction.UPSTREAM

    def radius(self, environment: Environment) -> BlastRadius:
        """Declare every month."""
        return _radius(Write.NO)

    async def inject(self, scene: Scene) -> None:
        """Add a reset toxic that does not wait."""
        toxic = Toxic(f"reset-{self.direction}", ToxicKind.RESET_PEER, self.direction, (("timeout", 0),))
        await _inject(scene, (toxic,), "reset connections")

    async def confirm(self, scene: Scene) -> str:
        """A new connection is broken before it is one."""
        await _toxics_present(scene)
        return await _confirm_broken(scene, NO_CONNECTION, 3.0)


@FAULTS.register("disable-proxy")
@dataclass(frozen=True, kw_only=True)
class DisableProxy:
    """Closes the proxy's listener and every connection.

    Effect: open connections end, new ones are refused; no SQLSTATE.  Versions: 15 to 18.  Radius: every month, write
    no, read no.
    """

    name: ClassVar[str] = "disable-proxy"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.PROXIED})
    momentary: ClassVar[bool] = False

    def radius(self, environment: Environment) -> BlastRadius:
        """Declare every month."""
        return _radius(Write.NO)

    async def inject(self, scene: Scene) -> None:
        """Disable."""
        scene.ledger.save("disabling", True)
        await uninterrupted(scene.environment.proxy.disable())

    async def confirm(self, scene: Scene) -> str:
        """A new connection is refused, and Toxiproxy says disabled."""
        if await scene.environment.proxy.is_enabled():
            raise FaultNotConfirmed("Toxiproxy says that the proxy is enabled; something enabled it again.")
        return await _confirm_broken(scene, NO_CONNECTION, 3.0)

    async def heal(self, scene: Scene) -> None:
        """Enable."""
        if not scene.ledger.load("disabling"):
            return
        try:
            await uninterrupted(scene.environment.proxy.enable())
        except FaultError as error:
            raise HealFailed(f"Could not enable the proxy again: {error}") from error

    async def probe(self, scene: Scene) -> bool:
        """An insert through the proxy is answered."""
        return await _through(scene)
