"""Samplers: probes that run through a whole run and write what they see to the history.

None of them judges, and none may end a run: what cannot be read is recorded as such.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from ._wait import pause
from .events import CanarySample, ConnectionSample, Note
from .history import History
from .probes.canary import Canary
from .probes.connections import ConnectionCounter
from .probes.http import HttpProbe
from .probes.process import database_sockets, read_process
from .probes.readback import ReadBack
from .stacks.base import Environment
from .values import Month

METRICS_INTERVAL_SECONDS = 0.25
DLQ_INTERVAL_SECONDS = 0.2
READY_INTERVAL_SECONDS = 0.5
CONNECTIONS_INTERVAL_SECONDS = 0.1
CANARY_INTERVAL_SECONDS = 0.1
PROCESS_INTERVAL_SECONDS = 1.0
PARTITIONS_INTERVAL_SECONDS = 1.0
_LOOKS = 5
_BETWEEN_LOOKS_SECONDS = 0.05
QUERY_INTERVAL_SECONDS = 1.0


class Samplers:
    """All samplers of one run."""

    def __init__(self, environment: Environment, history: History, probe: HttpProbe) -> None:
        """Prepare; nothing is read before :meth:`start`."""
        self._environment = environment
        self._history = history
        self._probe = probe
        self.slowness = 1.0
        """By so much longer than usual is paused between two samples: a lab in which nothing happens needs few."""
        self._tasks: list[asyncio.Task[None]] = []
        self._canaries: dict[Month, Canary] = {}
        self._counter = ConnectionCounter(environment.database)
        self._catalog = ConnectionCounter(environment.database)
        self._connection_samples = 0

    def start(self, months: tuple[Month, ...]) -> None:
        """Start sampling; the canary writes into ``months``."""
        reads = self._environment.target.reads
        now = self._history.clock.now
        if reads.metrics:
            self._every(METRICS_INTERVAL_SECONDS, self._record(lambda: self._probe.metrics(now())))
        if reads.dlq:
            self._every(DLQ_INTERVAL_SECONDS, self._record(lambda: self._probe.dlq(now())))
        self._every(READY_INTERVAL_SECONDS, self._record(lambda: self._probe.ready(now())))
        if reads.query:
            self._every(QUERY_INTERVAL_SECONDS, ReadBack(self._environment, self._history, months).ask)
        if reads.sql:
            self._every(CONNECTIONS_INTERVAL_SECONDS, self._connections)
            # A connection of its own: one that waits for a lock on the catalog must not keep the counts back.
            self._every(PARTITIONS_INTERVAL_SECONDS, self._record(lambda: self._catalog.children(now())))
        if self._environment.service.pid is not None:
            self._every(PROCESS_INTERVAL_SECONDS, self._process)
        for month in months:
            self.watch(month)

    def watch(self, month: Month) -> None:
        """Have a canary for the month from now on; none where the target's table may not be looked at."""
        if month in self._canaries or not self._environment.target.reads.sql:
            return
        canary = Canary(self._environment.database, month)
        self._canaries[month] = canary

        async def sample() -> None:
            started = self._history.clock.now()
            seconds, sqlstate = await canary.insert()
            self._history.add(CanarySample(started, month.label, seconds, sqlstate))

        self._every(CANARY_INTERVAL_SECONDS, sample)

    async def look(self) -> None:
        """Look at what the service holds, several times in a moment of quiet: what none of them lacks stays held."""
        for number in range(_LOOKS):
            if number:
                await pause(_BETWEEN_LOOKS_SECONDS)
            await self._process()
            if self._environment.target.reads.metrics:
                self._history.add(await self._probe.metrics(self._history.clock.now()))

    async def stop(self) -> None:
        """Stop everything and close the connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for canary in self._canaries.values():
            await canary.close()
        await self._counter.close()
        await self._catalog.close()

    def _record(self, read: Callable[[], Awaitable[object]]) -> Callable[[], Awaitable[None]]:
        async def sample() -> None:
            self._history.add(await read())  # type: ignore[arg-type]

        return sample

    async def _connections(self) -> None:
        held = await self._counter.count()
        sockets = -1
        # Listing sockets costs the kernel milliseconds, so they are looked at every third time.
        self._connection_samples += 1
        if self._connection_samples % 3 == 0:
            sockets = database_sockets(self._environment.service.pid, self._environment.proxy.port)
        self._history.mark(lambda t: ConnectionSample(t, held.backends, sockets, held.locking_parent))

    async def _process(self) -> None:
        self._history.mark(lambda t: read_process(t, self._environment.service.pid))

    def _every(self, seconds: float, sample: Callable[[], Awaitable[None]]) -> None:
        async def loop() -> None:
            while True:
                try:
                    await sample()
                except Exception as error:  # noqa: BLE001  (told in the report; the run goes on)
                    now = self._history.clock.now()
                    self._history.add(Note(now, "sampler", f"{type(error).__name__}: {error}"))
                await pause(seconds * self.slowness)

        self._tasks.append(asyncio.create_task(loop()))
