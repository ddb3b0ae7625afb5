"""Watching: what PostgreSQL, the service and the whole machine compute while a run's load is on.

The samples are kept beside the run's history in ``cpu.json``, with wall-clock times, since the run's own clock is not
known here.  Where there is no ``/proc`` there are none.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from .._wait import pause
from ..display import Display
from ..events import FaultMark, PhaseMark
from ..probes.connections import connection_limit
from ..probes.cpu import cpu_seconds, machine_seconds
from ..report.series import CPU_FILE
from ..runner import RunObserver
from ..stacks.base import Environment

_INTERVAL_SECONDS = 1.0
_LOAD, _FINAL = 4, 8
"""Steps of the lifecycle: the load begins, and the load has ended."""


@dataclass(frozen=True)
class CpuSample:
    """CPU taken so far, in seconds: of PostgreSQL's processes, of the service, of all cores; and what the cores had."""

    at: float
    postgres: float
    service: float
    busy: float
    had: float


@dataclass(frozen=True)
class Watched:
    """What was seen beside one run.  ``connection_limit``: connections that PostgreSQL allows ordinary roles."""

    samples: tuple[CpuSample, ...] = ()
    cores: int = 0
    connection_limit: int | None = None


class CpuWatch(RunObserver):
    """Samples from the begin of the load to its end; :meth:`close` ends it, however the run ended.

    ``display`` hears of the run's steps and events meanwhile.
    """

    def __init__(self, display: Display) -> None:
        """Watch nothing yet."""
        self._display = display
        self._step = (0, "")
        self._samples: list[CpuSample] = []
        self._task: asyncio.Task[None] | None = None
        self._limit: int | None = None
        self._last: dict[int, float] = {}
        self._postgres = 0.0

    async def step(self, run: str, number: int, text: str, environment: Environment | None) -> None:
        """Begin with the load, and end with it."""
        self._step = (number, text)
        self._display.step(run, number, text, 0)
        if number == _LOAD and environment is not None and self._task is None:
            self._limit = await connection_limit(environment.database)
            self._task = asyncio.create_task(self._watch(environment))
        elif number == _FINAL:
            await self.close()

    def events(self, run: str, count: int) -> None:
        """Pass on how many events were answered."""
        self._display.step(run, *self._step, count)

    def marked(self, run: str, mark: FaultMark | PhaseMark) -> None:
        """Pass on what a fault has come to."""
        self._display.marked(run, mark)

    async def close(self) -> None:
        """Stop; harmless twice."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def keep(self, folder: Path) -> None:
        """Write what was seen beside a run's history."""
        seen = Watched(tuple(self._samples), os.cpu_count() or 0, self._limit)
        with contextlib.suppress(OSError):
            (folder / CPU_FILE).write_text(json.dumps(asdict(seen)), encoding="utf-8")

    async def _watch(self, environment: Environment) -> None:
        while True:
            # It reads a file of every process of PostgreSQL, and of all others to find those.
            await asyncio.to_thread(self._look, environment)
            await pause(_INTERVAL_SECONDS)

    def _look(self, environment: Environment) -> None:
        machine, service = machine_seconds(), cpu_seconds(environment.service.pid)
        if machine is None or service is None:
            return
        for pid in environment.database.backend_pids():
            now = cpu_seconds(pid)
            if now is not None:
                # A backend that is new began at zero; one that ended is no longer there to be asked.
                self._postgres += max(0.0, now - self._last.get(pid, 0.0))
                self._last[pid] = now
        self._samples.append(CpuSample(time.time(), self._postgres, service, *machine))


def read_watched(folder: Path) -> Watched:
    """Read what was seen beside a run; nothing where nothing was kept."""
    try:
        data = json.loads((folder / CPU_FILE).read_text(encoding="utf-8"))
        samples = tuple(CpuSample(**{key: float(value) for key, value in one.items()}) for one in data["samples"])
        limit = data["connection_limit"]
        return Watched(samples, int(data["cores"]), None if limit is None else int(limit))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Watched()


@dataclass(frozen=True, kw_only=True)
class Cpu:
    """Cores that were busy on average: PostgreSQL's, the service's, and the share of all cores of the machine."""

    postgres_cores: float
    service_cores: float
    machine_share: float
    cores: int


def cpu_between(seen: Watched, start: float, end: float) -> Cpu | None:
    """What was computed between two moments (Unix seconds); None for fewer than two samples within."""
    within: Sequence[CpuSample] = [sample for sample in seen.samples if start <= sample.at <= end]
    if len(within) < 2:
        return None
    first, last = within[0], within[-1]
    seconds, had = last.at - first.at, last.had - first.had
    if seconds <= 0 or had <= 0:
        return None
    return Cpu(
        postgres_cores=(last.postgres - first.postgres) / seconds,
        service_cores=(last.service - first.service) / seconds,
        machine_share=(last.busy - first.busy) / had,
        cores=seen.cores,
    )
