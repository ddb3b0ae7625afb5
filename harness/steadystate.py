"""Steady state: what "healthy" means before a fault and after its heal.

Ready without degradation, each month's status healthy, the DLQ empty, and (before) one probe event a month
answered 201.  Probe events are operations like any other, with negative numbers, so that every row of the table
is accounted for.
"""

from __future__ import annotations

import itertools
import random

import httpx

from ._wait import wait_until
from .errors import DeadlineExceeded, SteadyStateError
from .events import Invoke
from .history import History
from .load.answers import Reply, completed
from .load.closed import EVENTS_PATH
from .probes.http import HttpProbe
from .scenario import Load
from .stacks.base import Environment
from .values import Month
from .workload import PROBE_WRITER, Stream

_PROBE_SEED = "steady-state"
_INTERVAL_SECONDS = 0.03
_PROBE_TRIES = 3
"""One probe event may fall into a stall of a busy machine."""


class SteadyState:
    """The conditions of health for one environment and the months its scenario writes into."""

    def __init__(self, environment: Environment, history: History, probe: HttpProbe, run: str) -> None:
        """Prepare; nothing is asked yet."""
        self._environment = environment
        self._history = history
        self._probe = probe
        self._run = run
        self._numbers = itertools.count(1)

    async def reach(self, months: tuple[Month, ...], deadline_seconds: float) -> None:
        """Wait for health, then write one probe event into each month; raise :class:`SteadyStateError`."""
        try:
            await self.wait(months, deadline_seconds)
        except DeadlineExceeded as error:
            why = await self.describe(months)
            raise SteadyStateError(
                f"The target {self._environment.target.name!r} was not healthy before any fault: {error} ({why}). "
                f"Its log is {self._environment.service.log_path}; mend the service or its target file first."
            ) from error
        async with httpx.AsyncClient(timeout=10.0, trust_env=False) as client:
            for month in months:
                status = 0
                for _ in range(_PROBE_TRIES):
                    status = await self._write(client, month)
                    if status == 201:
                        break
                    await self.wait(months, deadline_seconds)
                else:
                    raise SteadyStateError(
                        f"The target {self._environment.target.name!r} answered {status} instead of 201 to a probe "
                        f"event of {month.label} before any fault. Its log is {self._environment.service.log_path}."
                    )

    async def wait(self, months: tuple[Month, ...], deadline_seconds: float) -> None:
        """Wait until ready, healthy and drained; raise :class:`DeadlineExceeded`."""

        async def healthy() -> bool:
            return not await self.describe(months)

        await wait_until(
            healthy,
            what="the service to be ready, its months healthy and its DLQ empty",
            deadline_seconds=deadline_seconds,
            interval_seconds=_INTERVAL_SECONDS,
        )

    async def describe(self, months: tuple[Month, ...]) -> str:
        """Say what is not healthy; empty when all is well."""
        reads = self._environment.target.reads
        ready = await self._probe.ready(0.0)
        if ready.status != 200 or ready.degraded:
            return f"/health/ready answered {ready.status or 'nothing'} {', '.join(ready.degraded)}".strip()
        # The depth before the metrics, whose page costs the service ten times as much.
        if reads.dlq:
            depth = (await self._probe.dlq(0.0)).depth
            if depth != 0:
                return f"the DLQ's depth is {depth if depth >= 0 else 'not to be read'}"
        if reads.metrics:
            sample = await self._probe.metrics(0.0)
            for month in months:
                name = f'datastorage_partition_status{{partition="{month.label}",status="healthy"}}'
                if sample.series.get(name) != 1.0:
                    return f"{name} is {sample.series.get(name, 'missing')}"
        return ""

    async def backlog(self) -> int:
        """Return the DLQ's depth, -1 when it cannot be known."""
        return (await self._probe.dlq(0.0)).depth if self._environment.target.reads.dlq else -1

    async def _write(self, client: httpx.AsyncClient, month: Month) -> int:
        op = -next(self._numbers)
        seed = random.Random(f"{_PROBE_SEED}/{self._run}/{op}").getrandbits(32)
        plain = Load(months=(month,), resend_share=0.0, conflict_share=0.0, invalid_share=0.0, anonymous_share=0.0)
        planned = Stream(seed, PROBE_WRITER, month, plain, self._run).next(op)
        self._history.mark(
            lambda t: Invoke(t, op, PROBE_WRITER, planned.kind, planned.event_id, planned.event_date, planned.content)
        )
        try:
            answer = await client.post(
                self._environment.service.base_url + EVENTS_PATH,
                content=planned.content.encode(),
                headers={"content-type": "application/json"},
            )
            headers = answer.headers
            reply = Reply(
                answer.status_code, headers.get("content-type", ""), headers.get("retry-after", ""), answer.content
            )
        except (httpx.HTTPError, OSError) as problem:
            reply = Reply(error=type(problem).__name__)
        self._history.mark(lambda t: completed(t, op, planned, reply))
        return reply.status
