"""Faults of the service's own process: it is killed, told to end, killed again and again, or stopped for a while.

Machines lose power, containers are killed without a word or told to end, schedulers restart them in a loop, and a
live migration freezes them.  The service is expected to lose no event that it has acknowledged: what was answered 201
is committed, what was answered 202 is on the disk of its dead-letter queue, and both are there when it starts again.
Told to end, it finishes the requests in flight and exits with 0 within 30 s.  Frozen, it owes nothing until it runs.
"""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass
from typing import ClassVar

from .._wait import wait_until
from ..blast import BlastRadius, Edge, ServiceState, Write
from ..errors import DeadlineExceeded, FaultError, FaultNotConfirmed, UsageError
from ..fault import FAULTS, Scene
from ..stacks.base import Capability, Environment, ServiceProcess
from ._service import LIVE, READY, Life, answers, ask, begin, ensure_started, saved_life
from ._sql import uninterrupted

LISTENING, IS_READY = "listening", "ready"
TERMINATE_SECONDS = 30.0
_SILENCE_SECONDS = 0.15
_BETWEEN_SECONDS = 15.0


def _down() -> BlastRadius:
    return BlastRadius(months=None, write=Write.NO, service=ServiceState.DOWN, edge=Edge.RESTART, outlives_clients=True)


async def _killed_and_started(service: ServiceProcess) -> None:
    await service.kill()
    await service.start()


@FAULTS.register("crash-service")
@dataclass(frozen=True, kw_only=True)
class CrashService:
    """SIGKILLs the service and starts it again at once.

    Momentary: what remains is the edge around the crash, in which operations have no answer.  The proof is that
    the killed process is gone and another one listens.  Nothing is undone but a service that did not come back.
    Effect: connections break or are refused.  SQLSTATE: none.  Versions: 15 to 18.  Radius: every month, service
    down, for its edge alone.
    """

    name: ClassVar[str] = "crash-service"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.KILLABLE_SERVICE})
    momentary: ClassVar[bool] = True

    def radius(self, environment: Environment) -> BlastRadius:
        """Every month: nobody answers while the process is down."""
        return _down()

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
        await ensure_started(scene)

    async def probe(self, scene: Scene) -> bool:
        """Tell whether the process is up; the load shows the rest."""
        return scene.environment.service.pid is not None


@FAULTS.register("terminate-service")
@dataclass(frozen=True, kw_only=True)
class TerminateService:
    """SIGTERMs the service in mid-load, waits for its end (SIGKILL after 30 s), and starts it again.

    Momentary.  Effect: new connections are refused, requests in flight are owed an answer, the exit code 0 within
    30 s; confirm records code and seconds as evidence.  SQLSTATE: none.  Versions: 15 to 18.  Radius: every month,
    service down, for its edge alone, since a client cannot tell a request in flight from one that came too late.
    """

    name: ClassVar[str] = "terminate-service"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.KILLABLE_SERVICE})
    momentary: ClassVar[bool] = True

    def radius(self, environment: Environment) -> BlastRadius:
        """Every month: nobody answers while the process is down."""
        return _down()

    async def inject(self, scene: Scene) -> None:
        """Note the process, end it in good order, start another."""
        begin(scene)
        await uninterrupted(self._replace(scene))

    async def _replace(self, scene: Scene) -> None:
        began = time.monotonic()
        code = await scene.environment.service.terminate(TERMINATE_SECONDS)
        scene.ledger.save("exit", [code, round(time.monotonic() - began, 2)])
        await scene.environment.service.start()

    async def confirm(self, scene: Scene) -> str:
        """The told process is gone, another listens; its exit code is part of the evidence."""
        life, ended = saved_life(scene), scene.ledger.load("exit")
        pid = scene.environment.service.pid
        if life is None or ended is None or life.state or pid is None:
            raise FaultNotConfirmed(f"The service did not end on SIGTERM, or no other took its place: process {pid}.")
        code, seconds = ended
        owed = "" if code == 0 else f", where 0 within {TERMINATE_SECONDS:g} s is owed"
        return f"process {life.pid} exited with {code} after {seconds:g} s of SIGTERM{owed}; process {pid} listens"

    async def heal(self, scene: Scene) -> None:
        """Start the service if it is down."""
        await ensure_started(scene)

    async def probe(self, scene: Scene) -> bool:
        """Tell whether the process is up and answers."""
        return await answers(scene)


@FAULTS.register("restart-loop")
@dataclass(frozen=True, kw_only=True)
class RestartLoop:
    """SIGKILLs the service ``times`` times, each time as soon as it is ``until`` ("listening" or "ready") again.

    Momentary.  Effect: connections break or are refused, recovery of the queue is interrupted again and again.
    SQLSTATE: none.  Versions: 15 to 18.  Radius: every month, service down, for its edge alone.
    """

    name: ClassVar[str] = "restart-loop"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.KILLABLE_SERVICE})
    momentary: ClassVar[bool] = True
    times: int = 3
    until: str = IS_READY

    def __post_init__(self) -> None:
        """Raise :class:`UsageError` for no kill at all, or an unknown condition."""
        if self.times < 1 or self.until not in (LISTENING, IS_READY):
            raise UsageError(
                f"restart-loop cannot kill times={self.times} until={self.until!r}; give 1 or more, and "
                f'"{LISTENING}" or "{IS_READY}".'
            )

    def radius(self, environment: Environment) -> BlastRadius:
        """Every month: nobody answers while the process is down."""
        return _down()

    async def inject(self, scene: Scene) -> None:
        """Kill and start, and wait for the condition before the next kill."""
        killed: list[list[int]] = []
        for _ in range(self.times):
            killed.append(begin(scene).to_json())
            scene.ledger.save("killed", killed)
            await uninterrupted(_killed_and_started(scene.environment.service))
            await self._arrived(scene)
        scene.ledger.save("done", True)

    async def _arrived(self, scene: Scene) -> None:
        page = READY if self.until == IS_READY else LIVE

        async def arrived() -> bool:
            return (await ask(scene, page))[0] == 200

        try:
            await wait_until(arrived, what=f"the service to answer {page}", deadline_seconds=_BETWEEN_SECONDS)
        except DeadlineExceeded as error:
            raise FaultError(f"The loop of restarts stopped: {error}. See the service's log.") from error

    async def confirm(self, scene: Scene) -> str:
        """Each of the killed processes is gone, and another listens."""
        killed = [Life(*one) for one in scene.ledger.load("killed") or []]
        pid = scene.environment.service.pid
        if not scene.ledger.load("done") or len(killed) != self.times or any(one.state for one in killed) or not pid:
            raise FaultNotConfirmed(f"Of {self.times} kills {len(killed)} were made; the service is process {pid}.")
        return f"processes {', '.join(str(one.pid) for one in killed)} were killed, process {pid} is {self.until}"

    async def heal(self, scene: Scene) -> None:
        """Start the service if it is down."""
        await ensure_started(scene)

    async def probe(self, scene: Scene) -> bool:
        """Tell whether the process is up and answers."""
        return await answers(scene)


@FAULTS.register("pause-service")
@dataclass(frozen=True, kw_only=True)
class PauseService:
    """SIGSTOPs the service's process group; heal continues it.

    Effect: connections are accepted by the kernel and nothing answers; database sessions stay open, idle or in a
    transaction.  SQLSTATE: none.  Versions: 15 to 18.  Radius: every month, service paused.
    """

    name: ClassVar[str] = "pause-service"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.KILLABLE_SERVICE})
    momentary: ClassVar[bool] = False

    def radius(self, environment: Environment) -> BlastRadius:
        """Every month: nobody answers."""
        return BlastRadius(
            months=None, write=Write.NO, service=ServiceState.PAUSED, edge=Edge.RESTART, outlives_clients=True
        )

    async def inject(self, scene: Scene) -> None:
        """Note the process, then stop it."""
        begin(scene).signal(signal.SIGSTOP)

    async def confirm(self, scene: Scene) -> str:
        """The kernel shows it stopped, and its liveness page is not answered."""
        life = saved_life(scene)
        status, _ = await ask(scene, LIVE, _SILENCE_SECONDS)
        if life is None or life.state != "T" or status:
            raise FaultNotConfirmed(
                f"The service is not paused: its process is in state {life.state if life else '?'!r} and {LIVE} "
                f"answered {status or 'nothing'}. Something continued it."
            )
        return f"process {life.pid} is stopped; {LIVE} not answered"

    async def heal(self, scene: Scene) -> None:
        """Continue it; start the service if it died meanwhile."""
        life = saved_life(scene)
        if life is not None:
            life.signal(signal.SIGCONT)
        await ensure_started(scene)

    async def probe(self, scene: Scene) -> bool:
        """It answers its liveness page."""
        return await answers(scene)
