"""Locust as a subprocess, its records followed live into the run's history.

``--exit-code-on-error 0``, since during faults the harness judges and not Locust.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from .._wait import pause, wait_until
from ..errors import SetupError
from ..events import Complete, Invoke, Note, OpKind
from ..history import History
from ..jsonlines import decode
from ..scenario import Load
from ..values import Month
from .tally import Tally

_LOCUSTFILE = Path(__file__).with_name("locustfile.py")
_PACKAGE_ROOT = Path(__file__).parents[2]
_FOLLOW_INTERVAL_SECONDS = 0.05
_START_DEADLINE_SECONDS = 30.0
_STOP_DEADLINE_SECONDS = 15.0


class LocustLoad:
    """The running Locust process and the task that follows its record file."""

    def __init__(
        self, load: Load, seed: int, run: str, history: History, workdir: Path, log: Path, timeout_seconds: float
    ) -> None:
        """Prepare; ``workdir`` is the environment's, so that a killed runner leaves no Locust behind."""
        self.tally = Tally()
        self._load = load
        self._history = history
        self._workdir = workdir
        self._log = log
        self._out = workdir / "locust.jsonl"
        self._edge = workdir / "locust.edge"
        self._plan = {
            "months": [month.label for month in load.months],
            "seed": seed,
            "run": run,
            "origin": history.clock.origin,
            "out": str(self._out),
            "edge": str(self._edge),
            "edge_pause_seconds": 1 / load.edge_rate_per_writer if load.edge_rate_per_writer > 0 else 0.0,
            "timeout_seconds": timeout_seconds,
        }
        self._process: asyncio.subprocess.Process | None = None
        self._follower: asyncio.Task[None] | None = None
        self._invoked: dict[int, tuple[Month, float]] = {}
        self._position = 0

    async def start(self, base_url: str) -> None:
        """Start Locust and wait for its first answers; raise :class:`SetupError` when none come."""
        self._out.touch()
        environment = {
            **os.environ,
            "HARNESS_LOCUST_PLAN": json.dumps(self._plan),
            "PYTHONPATH": os.pathsep.join(filter(None, (str(_PACKAGE_ROOT), os.environ.get("PYTHONPATH", "")))),
        }
        users = str(self._load.locust_users)
        command = [sys.executable, "-m", "locust", "-f", str(_LOCUSTFILE), "--headless", "--host", base_url]
        command += ["-u", users, "-r", users, "--exit-code-on-error", "0", "--stop-timeout", "10", "--only-summary"]
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *command, cwd=self._workdir, env=environment, stdout=log, stderr=log
            )
        self._follower = asyncio.create_task(self._follow())

        async def answered() -> bool:
            if self._process is not None and self._process.returncode is not None:
                raise SetupError(
                    f"Locust ended with exit code {self._process.returncode} before it sent anything; see {self._log}."
                )
            return self.tally.events > 0

        await wait_until(answered, what="Locust's first answers", deadline_seconds=_START_DEADLINE_SECONDS)

    def set_edge(self, edge: bool) -> None:
        """Have each user pause between two events for an edge, or not: by a file, which Locust's process looks for."""
        if edge:
            self._edge.touch()
        else:
            self._edge.unlink(missing_ok=True)

    def join(self, month: Month) -> None:
        """Refuse: the months of a Locust load are fixed when it starts."""
        raise SetupError(f"A Locust load cannot add {month.label} while it runs; give the month from the beginning.")

    async def stop(self) -> None:
        """SIGTERM, wait until requests in flight have ended, and take the last records."""
        await self._end(signal.SIGTERM)

    async def abort(self) -> None:
        """End it at once."""
        await self._end(signal.SIGKILL)

    async def _end(self, how: signal.Signals) -> None:
        process = self._process
        if process is not None and process.returncode is not None:
            text = f"Locust ended by itself with exit code {process.returncode}; see {self._log.name}"
            self._history.add(Note(self._history.clock.now(), "load", text))
        if process is not None and process.returncode is None:
            process.send_signal(how)
            try:
                async with asyncio.timeout(_STOP_DEADLINE_SECONDS):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
        if self._follower is not None:
            self._follower.cancel()
            await asyncio.gather(self._follower, return_exceptions=True)
            self._follower = None
            self._take()

    async def _follow(self) -> None:
        while True:
            self._take()
            await pause(_FOLLOW_INTERVAL_SECONDS)

    def _take(self) -> None:
        with self._out.open("rb") as file:
            file.seek(self._position)
            chunk = file.read()
        whole = chunk[: chunk.rfind(b"\n") + 1]
        self._position += len(whole)
        for line in whole.decode().splitlines():
            record = decode(line)
            self._history.add(record)
            if isinstance(record, Invoke) and record.kind is OpKind.WRITE:
                self._invoked[record.op] = (Month.of(record.event_date), record.t)
            elif isinstance(record, Complete) and record.op in self._invoked:
                month, invoked = self._invoked.pop(record.op)
                self.tally.count(month, invoked, created=record.status == 201)
