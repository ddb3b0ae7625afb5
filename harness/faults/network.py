"""Faults of the network between the service and PostgreSQL, played by Toxiproxy.

The service is expected to answer within its request deadline whatever the network does: 201 while a write fits its
time-outs, 202 when it does not, never a hang and never two rows for one event whose commit went unanswered.
Connections that died must leave its pool by themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..blast import BlastRadius, Edge, Write
from ..errors import FaultError, FaultNotConfirmed, HealFailed, UsageError
from ..fault import FAULTS, Scene
from ..probes.postgres import NO_ANSWER, NO_CONNECTION
from ..stacks.base import Capability, Direction, Environment, Toxic, ToxicKind
from ._sql import uninterrupted
from ._toxified import (
    BOTH,
    PROBE_ANSWER_BYTES,
    PROBE_OVERHEAD_BYTES,
    SILENCE_SECONDS,
    Toxified,
    confirm_broken,
    confirm_delay,
    inject_toxics,
    through,
    toxic_radius,
    toxics_present,
    warm,
)


@FAULTS.register("latency")
@dataclass(frozen=True, kw_only=True)
class Latency(Toxified):
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
        return toxic_radius(Write.DELAYED, delay_ms, edge=Edge.MONTHS)

    async def inject(self, scene: Scene) -> None:
        """Warm a connection, then add one toxic a direction."""
        await warm(scene)
        toxics = tuple(
            Toxic(f"latency-{direction}", ToxicKind.LATENCY, direction, (("latency", self.delay_ms), ("jitter", 0)))
            for direction in self.directions
        )
        await inject_toxics(scene, toxics, "add the latency")

    async def confirm(self, scene: Scene) -> str:
        """One insert, one round trip, takes at least the delay of each direction."""
        return await confirm_delay(scene, float(self.delay_ms * len(self.directions)))


@FAULTS.register("bandwidth")
@dataclass(frozen=True, kw_only=True)
class Bandwidth(Toxified):
    """Throttles each connection to ``rate_kb_per_second`` (1 kB is 1000 bytes) in each of ``directions``.

    Effect: a write of ``write_bytes_up`` and ``write_bytes_down`` takes what of them goes in those directions over the
    rate longer; no SQLSTATE until a time-out of the client.  Versions: 15 to 18.  Radius: every month, delayed.
    """

    name: ClassVar[str] = "bandwidth"
    rate_kb_per_second: int
    write_bytes_up: int = 600
    write_bytes_down: int = 200
    directions: tuple[Direction, ...] = BOTH

    def __post_init__(self) -> None:
        """Raise :class:`UsageError` for a rate that would stall (0) or crash Toxiproxy (below)."""
        if self.rate_kb_per_second <= 0 or not self.directions:
            raise UsageError(
                "bandwidth needs a rate_kb_per_second above 0 (use blackhole for no data at all), and a direction."
            )

    def _bytes(self) -> int:
        up = self.write_bytes_up if Direction.UPSTREAM in self.directions else 0
        return up + (self.write_bytes_down if Direction.DOWNSTREAM in self.directions else 0)

    def radius(self, environment: Environment) -> BlastRadius:
        """Declare the delay of one whole write: kB/s are bytes a millisecond."""
        return toxic_radius(Write.DELAYED, self._bytes() / self.rate_kb_per_second)

    async def inject(self, scene: Scene) -> None:
        """Warm a connection, then throttle each direction."""
        await warm(scene)
        rate = (("rate", self.rate_kb_per_second),)
        await inject_toxics(
            scene,
            tuple(Toxic(f"bandwidth-{way}", ToxicKind.BANDWIDTH, way, rate) for way in self.directions),
            "throttle the proxy",
        )

    async def confirm(self, scene: Scene) -> str:
        """An insert of the declared size takes at least the declared time upstream, or what its answer's bytes take."""
        padding = max(0, self.write_bytes_up - PROBE_OVERHEAD_BYTES)
        sent = self.write_bytes_up if Direction.UPSTREAM in self.directions else PROBE_ANSWER_BYTES
        return await confirm_delay(scene, sent / self.rate_kb_per_second, padding)


@FAULTS.register("blackhole")
@dataclass(frozen=True, kw_only=True)
class Blackhole(Toxified):
    """Swallows all data in each of ``directions`` for ever; connections stay open and nobody answers.

    Effect: only deadlines help, there is no SQLSTATE; an answer on its way is lost, so a commit may be done or not.
    Downstream alone, statements on open connections are carried out and none is answered.
    Connections close at heal.  Versions: 15 to 18.  Radius: every month, write no, read no.
    """

    name: ClassVar[str] = "blackhole"
    directions: tuple[Direction, ...] = BOTH

    def __post_init__(self) -> None:
        """Raise :class:`UsageError` for no direction at all."""
        if not self.directions:
            raise UsageError("blackhole needs a direction.")

    def radius(self, environment: Environment) -> BlastRadius:
        """Declare every month."""
        return toxic_radius(Write.NO)

    async def inject(self, scene: Scene) -> None:
        """Add a time-out toxic of 0 a direction."""
        silent = (("timeout", 0),)
        await inject_toxics(
            scene,
            tuple(Toxic(f"blackhole-{way}", ToxicKind.TIMEOUT, way, silent) for way in self.directions),
            "black-hole the proxy",
        )

    async def confirm(self, scene: Scene) -> str:
        """A connection is accepted and then nothing comes back."""
        await toxics_present(scene)
        return await confirm_broken(scene, NO_ANSWER, SILENCE_SECONDS)


@FAULTS.register("reset-connections")
@dataclass(frozen=True, kw_only=True)
class ResetConnections(Toxified):
    """Resets each connection as soon as data arrives in ``direction``.

    Effect: a broken connection without a SQLSTATE.  Upstream, statements never reach PostgreSQL; downstream, they do
    and their answers are lost: ambiguous commits.  Older connections may end with FIN instead of RST.  Versions: 15
    to 18.  Radius: every month, write no, read no.
    """

    name: ClassVar[str] = "reset-connections"
    direction: Direction = Direction.UPSTREAM

    def radius(self, environment: Environment) -> BlastRadius:
        """Declare every month."""
        return toxic_radius(Write.NO)

    async def inject(self, scene: Scene) -> None:
        """Add a reset toxic that does not wait."""
        toxic = Toxic(f"reset-{self.direction}", ToxicKind.RESET_PEER, self.direction, (("timeout", 0),))
        await inject_toxics(scene, (toxic,), "reset connections")

    async def confirm(self, scene: Scene) -> str:
        """A new connection is broken before it is one."""
        await toxics_present(scene)
        return await confirm_broken(scene, NO_CONNECTION, 3.0)


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
        return toxic_radius(Write.NO)

    async def inject(self, scene: Scene) -> None:
        """Disable."""
        scene.ledger.save("disabling", True)
        await uninterrupted(scene.environment.proxy.disable())

    async def confirm(self, scene: Scene) -> str:
        """A new connection is refused, and Toxiproxy says disabled."""
        if await scene.environment.proxy.is_enabled():
            raise FaultNotConfirmed("Toxiproxy says that the proxy is enabled; something enabled it again.")
        return await confirm_broken(scene, NO_CONNECTION, 3.0)

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
        return await through(scene)
