"""Closed loop: writers that send one request after the other, each to its own month or in batches to all of them.

aiohttp, since one httpx client collapses at 50 tasks.  The client never retries, and closes idle connections
before the usual server does, so that a broken connection is always the service's doing.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

import aiohttp

from .._wait import pause
from ..events import Complete, Invoke, OpKind
from ..history import History
from ..scenario import Load
from ..values import Month
from ..workload import Planned, Stream
from .answers import Reply, batch_completed, completed
from .batches import BATCH_PATH, BatchStream
from .tally import Tally

EVENTS_PATH = "/api/v1/audit/events"
_KEEPALIVE_SECONDS = 2.0
_REFUSED_PAUSE_SECONDS = 0.02


@dataclass
class Pace:
    """Requests a second of each writer, changed by the runner as phases and edges come and go; 0 is unpaced."""

    load: Load
    edge: bool = False

    @property
    def interval_seconds(self) -> float:
        """Time between two requests of one writer."""
        rate = self.load.edge_rate_per_writer if self.edge else self.load.rate_per_writer
        return 1.0 / rate if rate > 0 else 0.0


@dataclass
class ClosedLoop:
    """The running load.  ``base_url`` is asked for each request, since a restarted service may move.

    ``ops`` numbers the operations; loads that follow each other in one run share it.
    """

    load: Load
    seed: int
    run: str
    history: History
    base_url: Callable[[], str]
    client_timeout_seconds: float
    tally: Tally = field(default_factory=Tally)
    ops: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def __post_init__(self) -> None:
        """Prepare; nothing is sent before :meth:`start`."""
        self.pace = Pace(self.load)
        self._writers = itertools.count(1)
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()
        self._session: aiohttp.ClientSession | None = None
        self._batches: list[BatchStream] = []

    async def start(self) -> None:
        """Open the client and start the writers of the months that are there from the beginning."""
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEPALIVE_SECONDS)
        self._session = aiohttp.ClientSession(
            connector=connector, timeout=aiohttp.ClientTimeout(total=self.client_timeout_seconds)
        )
        for month in self.load.months:
            self._start_writers(month)
        for _ in range(self.load.batch_writers):
            writer = next(self._writers)
            stream = BatchStream(self.seed, writer, self.load, self.run)
            self._batches.append(stream)
            self._tasks.append(asyncio.create_task(self._write_batches(writer, stream)))

    def join(self, month: Month) -> None:
        """Add the writers of one month, and the month to the batches."""
        self._start_writers(month)
        for stream in self._batches:
            stream.join(month)

    def _start_writers(self, month: Month) -> None:
        for _ in range(self.load.writers_per_month):
            self._tasks.append(asyncio.create_task(self._write(next(self._writers), month)))

    def set_edge(self, edge: bool) -> None:
        """Slow down for an edge, or go back to full pace."""
        self.pace.edge = edge

    async def stop(self) -> None:
        """Let requests in flight end, then close; raises what a writer raised."""
        self._stopping.set()
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def abort(self) -> None:
        """Cancel everything at once."""
        self._stopping.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    async def _write(self, writer: int, month: Month) -> None:
        stream = Stream(self.seed, writer, month, self.load, self.run)

        async def send() -> int:
            op = next(self.ops)
            planned = stream.next(op)
            status = await self._send(op, writer, planned)
            stream.remember(op, planned)
            return status

        await self._paced(writer, send)

    async def _write_batches(self, writer: int, stream: BatchStream) -> None:
        await self._paced(writer, lambda: self._send_batch(writer, stream))

    async def _paced(self, writer: int, send: Callable[[], Awaitable[int]]) -> None:
        """Send again and again at the load's pace until the end; ``send`` returns the answer's status."""
        clock = self.history.clock
        # Writers start spread over one interval, so that a paced load has no bursts.
        due = clock.now() + self.pace.interval_seconds * (writer % 8) / 8
        while not self._stopping.is_set():
            now = clock.now()
            if due > now:
                await pause(min(due - now, self.pace.interval_seconds))
                continue
            # Back on its own beat after a hang: writers released together would go on as one burst.
            interval = self.pace.interval_seconds
            due = due + interval * max(1, math.ceil((now - due) / interval)) if interval else now
            if await send() == 0:
                await pause(_REFUSED_PAUSE_SECONDS)

    async def _send(self, op: int, writer: int, planned: Planned) -> int:
        history = self.history
        invoked = history.mark(
            lambda t: Invoke(
                t, op, writer, planned.kind, planned.event_id, planned.event_date, planned.content, planned.of
            )
        )
        reply = await self._post(EVENTS_PATH, planned.content.encode())
        history.mark(lambda t: completed(t, op, planned, reply))
        self._count(planned, invoked, reply.status)
        return reply.status

    async def _send_batch(self, writer: int, stream: BatchStream) -> int:
        history = self.history
        batch = stream.next(self.ops)
        invoked = history.clock.now()
        for invoke in batch.invokes(invoked, writer):
            history.add(invoke)
        reply = await self._post(BATCH_PATH, batch.body)
        planned = dict(batch.items)
        for record in batch_completed(history.clock.now(), batch.number, batch.items, reply):
            history.add(record)
            if isinstance(record, Complete):
                self._count(planned[record.op], invoked, record.status)
        return reply.status

    def _count(self, planned: Planned, invoked: float, status: int) -> None:
        if planned.kind is OpKind.WRITE:
            self.tally.count(Month.of(planned.event_date), invoked, created=status == 201)

    async def _post(self, path: str, body: bytes) -> Reply:
        """Send one request; an answer that did not come whole is none."""
        assert self._session is not None
        try:
            async with self._session.post(
                self.base_url() + path, data=body, headers={"content-type": "application/json"}
            ) as answer:
                content = await answer.read()
                headers = answer.headers
                return Reply(answer.status, headers.get("content-type", ""), headers.get("retry-after", ""), content)
        except (aiohttp.ClientError, TimeoutError, OSError) as problem:
            return Reply(error=type(problem).__name__)
