"""Closed loop: writers that send one request after the other, each to its own month.

aiohttp, since one httpx client collapses at 50 tasks.  The client never retries, and closes idle connections
before the usual server does, so that a broken connection is always the service's doing.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import aiohttp

from .._wait import pause
from ..events import Complete, Completion, Invoke, OpKind
from ..history import History
from ..scenario import Load
from ..values import Month
from ..workload import Planned, Stream
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
    """The running load.  ``base_url`` is asked for each request, since a restarted service may move."""

    load: Load
    seed: int
    run: str
    history: History
    base_url: Callable[[], str]
    client_timeout_seconds: float
    tally: Tally = field(default_factory=Tally)

    def __post_init__(self) -> None:
        """Prepare; nothing is sent before :meth:`start`."""
        self.pace = Pace(self.load)
        self._ops = itertools.count(1)
        self._writers = itertools.count(1)
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Open the client and start the writers of the months that are there from the beginning."""
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEPALIVE_SECONDS)
        self._session = aiohttp.ClientSession(
            connector=connector, timeout=aiohttp.ClientTimeout(total=self.client_timeout_seconds)
        )
        for month in self.load.months:
            self.join(month)

    def join(self, month: Month) -> None:
        """Add the writers of one month."""
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
            op = next(self._ops)
            planned = stream.next(op)
            status = await self._send(op, writer, planned)
            stream.remember(op, planned)
            if status == 0:
                await pause(_REFUSED_PAUSE_SECONDS)

    async def _send(self, op: int, writer: int, planned: Planned) -> int:
        assert self._session is not None
        history = self.history
        invoked = history.mark(
            lambda t: Invoke(
                t, op, writer, planned.kind, planned.event_id, planned.event_date, planned.content, planned.of
            )
        )
        status, body, error = 0, b"", ""
        try:
            async with self._session.post(
                self.base_url() + EVENTS_PATH,
                data=planned.content.encode(),
                headers={"content-type": "application/json"},
            ) as answer:
                body = await answer.read()
                status = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError) as problem:
            error = type(problem).__name__
        outcome, partition = answer_fields(body)
        history.mark(lambda t: Complete(t, op, completion(status, outcome), status, outcome, partition, error))
        if planned.kind is OpKind.WRITE:
            self.tally.count(Month.of(planned.event_date), invoked, created=status == 201)
        return status


def completion(status: int, outcome: str) -> Completion:
    """Jepsen's three ends: accepted is ok, refused is fail, and no or an unsure answer is info."""
    if status in (201, 202):
        return Completion.OK
    if status in (400, 401, 404, 405, 409, 413, 415, 422):
        return Completion.FAIL
    return Completion.FAIL if status == 503 and outcome == "not_stored" else Completion.INFO


def answer_fields(body: bytes) -> tuple[str, str]:
    """Return (status or outcome, partition) of an answer's body; empty strings for what is not there."""
    try:
        data = json.loads(body) if body else {}
    except ValueError:
        return "", ""
    if not isinstance(data, dict):
        return "", ""
    outcome = data.get("outcome", data.get("status", ""))
    return (outcome if isinstance(outcome, str) else "", str(data.get("partition", "")))
