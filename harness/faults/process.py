"""Faults of the service's own process.

Machines lose power and containers are killed without a word.  The service is expected to lose no event that it has
acknowledged: what was answered 201 is committed, what was answered 202 is on the disk of its dead-letter queue, and
both are there when it starts again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..blast import BlastRadius, Edge, ServiceState, Write
from ..errors import FaultError, FaultNotConfirmed, HarnessError, HealFailed
from ..fault import FAULTS, Scene
from ..stacks.base import Capability, Environment, ServiceProcess
from ._sql import uninterrupted


async def _killed_and_started(service: ServiceProcess) -> None:
    await service.kill()
    await service.start()


@FAULTS.register("crash-service")
@dataclass(frozen=True, kw_only=True)
class CrashService:
    """SIGKILLs the service and starts it again at once.

    Momentary: what remains is the edge around the crash, in which operations have no answer.  The proof is that
    the killed process is gone and another one listens.  Nothing is undone but a service that did not come back.
    """

    name: ClassVar[str] = "crash-service"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.KILLABLE_SERVICE})
    momentary: ClassVar[bool] = True

    def radius(self, environment: Environment) -> BlastRadius:
        """Every month: nobody answers while the process is down."""
        return BlastRadius(
            months=None,
            write=Write.NO,
            service=ServiceState.DOWN,
            edge=Edge.RESTART,
            outlives_clients=True,
        )

    async def inject(self, scene: Scene) -> None:
        """Note the process, kill it, start another."""
        service = scene.environment.service
        pid = service.pid
        if pid is None:
            raise FaultError("The service is not running, so it cannot be crashed; see its log.")
        scene.ledger.save("killed", pid)
        await uninterrupted(_killed_and_started(service))

    async def confirm(self, scene: Scene) -> str:
        """Show that another process took the place of the killed one."""
        killed, pid = scene.ledger.load("killed"), scene.environment.service.pid
        if pid is None or pid == killed:
            raise FaultNotConfirmed(f"The service still runs as process {pid}; the kill of {killed} did not bite.")
        return f"process {killed} was killed, process {pid} listens"

    async def heal(self, scene: Scene) -> None:
        """Start the service if it is down."""
        if scene.environment.service.pid is None:
            try:
                await scene.environment.service.start()
            except HarnessError as error:
                raise HealFailed(f"The service did not start again: {error}") from error

    async def probe(self, scene: Scene) -> bool:
        """Tell whether the process is up; the load shows the rest."""
        return scene.environment.service.pid is not None
