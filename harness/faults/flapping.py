"""A network that comes and goes: the proxy is disabled and enabled again and again.

The service is expected to lose no event and to store none twice, to answer each within its deadline, and to be well
again within seconds once the network stays.  Which events are 201 and which 202 nobody can say: the time of the fault
is one edge, judged by conservation and by recovery alone.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from .._wait import pause, wait_until
from ..blast import BlastRadius, Edge, Write
from ..errors import DeadlineExceeded, FaultError, FaultNotConfirmed, HealFailed, UsageError
from ..fault import FAULTS, Scene
from ..probes.postgres import NO_CONNECTION, probe_insert
from ..stacks.base import Capability, Environment
from ._login import DAY
from ._sql import uninterrupted
from ._toxified import through

_FLAPPING: dict[Path, asyncio.Task[None]] = {}
_CONFIRM_SECONDS = 12.0
"""Each time that the network comes, a service that connects anew with all its pool is in the way of the probe."""


@FAULTS.register("flapping-proxy")
@dataclass(frozen=True, kw_only=True)
class FlappingProxy:
    """Disables the proxy for ``interval_ms`` and enables it for as long, again and again.

    Effect: connections break and are refused, then are had again; commits in flight are ambiguous; no SQLSTATE.  It
    is played by the harness's own process and stops with it, and once the ledger says healed.  Versions: 15 to 18.
    Radius: every month, partial, and edge all the time: nothing in it is judged strictly.
    """

    name: ClassVar[str] = "flapping-proxy"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.PROXIED})
    momentary: ClassVar[bool] = False
    interval_ms: int = 300

    def __post_init__(self) -> None:
        """Raise :class:`UsageError` for an interval too short to connect in, or to be told from an outage."""
        if not 20 <= self.interval_ms <= 5000:
            raise UsageError(f"flapping-proxy needs an interval_ms from 20 to 5000, not {self.interval_ms}.")

    def radius(self, environment: Environment) -> BlastRadius:
        """Declare every month, as nothing but edges."""
        return BlastRadius(months=None, write=Write.PARTIAL, read=False, edge=Edge.FLAPPING, outlives_clients=True)

    async def inject(self, scene: Scene) -> None:
        """Note it, then start flapping."""
        scene.ledger.save("flapping", True)
        _FLAPPING[scene.ledger.folder] = asyncio.create_task(self._flap(scene))

    async def _flap(self, scene: Scene) -> None:
        proxy, seconds = scene.environment.proxy, self.interval_ms / 1000
        while scene.ledger.load("healed") is None:
            await uninterrupted(proxy.disable())
            await pause(seconds)
            await uninterrupted(proxy.enable())
            await pause(seconds)

    async def confirm(self, scene: Scene) -> str:
        """An insert through the proxy is refused, later one is answered, and later one is refused again."""
        database = scene.environment.database
        seen: list[str] = []

        async def refused() -> bool:
            result = await probe_insert(database, DAY, proxied=True, deadline_seconds=0.5)
            seen.append(str(result))
            return result.sqlstate == NO_CONNECTION

        async def answered() -> bool:
            return not await refused()

        wait = _CONFIRM_SECONDS + 3 * self.interval_ms / 1000
        try:
            for state, what in ((refused, "refused"), (answered, "answered"), (refused, "refused again")):
                await wait_until(state, what=f"an insert to be {what}", deadline_seconds=wait, interval_seconds=0.005)
        except DeadlineExceeded as error:
            raise FaultNotConfirmed(f"The proxy does not flap: {error}; the last insert was {seen[-1]}.") from error
        return f"{len(seen)} inserts through the proxy: refused, answered, refused again ({seen[-1]})"

    async def heal(self, scene: Scene) -> None:
        """Stop flapping and enable the proxy."""
        if not scene.ledger.load("flapping"):
            return
        scene.ledger.save("healed", True)
        task = _FLAPPING.pop(scene.ledger.folder, None)
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                # Asked for, so that an error of the flapping is not reported as never retrieved.
                task.exception()
        try:
            await uninterrupted(scene.environment.proxy.enable())
        except FaultError as error:
            raise HealFailed(f"Could not enable the proxy for good: {error}") from error

    async def probe(self, scene: Scene) -> bool:
        """The proxy is enabled and an insert through it is answered."""
        return await scene.environment.proxy.is_enabled() and await through(scene)
