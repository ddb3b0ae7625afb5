"""``--step``: a run that pauses at each step of its lifecycle and says how to look."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import shutil
import sys
import threading
from typing import TextIO

from .errors import UsageError
from .runner import RunObserver
from .stacks.base import Environment


class StepGate(RunObserver):
    """Prints where a run stands and waits for Enter; Ctrl-C is heard while it waits."""

    def __init__(self, stream: TextIO) -> None:
        """Print to ``stream``; answers are lines of standard input."""
        self._stream = stream
        self._lines = 0
        self._ended = False
        self._arrived = asyncio.Event()
        self._reader: threading.Thread | None = None

    async def step(self, run: str, number: int, text: str, environment: Environment | None) -> None:
        """Pause before a step; raise :class:`UsageError` when standard input has ended."""
        lines = [f"\nstep {number}: {text}  ({run})"]
        if environment is not None and number >= 3:
            lines += how_to_look(environment)
        print("\n".join(lines), file=self._stream, flush=True)
        print("Enter to go on, Ctrl-C to heal and end: ", end="", file=self._stream, flush=True)
        await self._line()

    async def _line(self) -> None:
        if self._reader is None:
            loop = asyncio.get_running_loop()
            self._reader = threading.Thread(target=self._read, args=(loop,), name="harness-step", daemon=True)
            self._reader.start()
        while self._lines == 0:
            if self._ended:
                raise UsageError("--step waits for Enter, but standard input has ended; run it from a terminal.")
            self._arrived.clear()
            await self._arrived.wait()
        self._lines -= 1

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        """Count lines in a thread of its own; unbuffered, so that nothing is locked when the process ends."""
        # A terminal that goes away is an error of the read and not its end; both end the stepping.
        with contextlib.suppress(OSError):
            while chunk := os.read(sys.stdin.fileno(), 4096):
                loop.call_soon_threadsafe(self._take, chunk.count(b"\n"), False)
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(self._take, 0, True)

    def _take(self, lines: int, ended: bool) -> None:
        self._ended = ended
        self._lines += lines
        self._arrived.set()


def how_to_look(environment: Environment) -> list[str]:
    """Commands that show an environment from outside, ready to be pasted into another terminal."""
    base, tokens = environment.service.base_url, environment.target.tokens
    psql = shutil.which("psql") or str(environment.database.psql)
    admin, metrics = (
        f" -H 'authorization: Bearer {token}'" if token else "" for token in (tokens.admin, tokens.metrics)
    )
    return [
        f"  look at the database:  {shlex.quote(psql)} '{environment.database.admin_conninfo}' -c '\\d+ audit_events'",
        f"  through the proxy:     {shlex.quote(psql)} '{environment.database.proxied_admin_conninfo}'",
        f"  look at the service:   curl -s {base}/health/ready",
        f"  its queue:             curl -s{admin} {base}/api/v1/dlq",
        f"  its metrics:           curl -s{metrics} {environment.service.metrics_url} | grep datastorage_",
        f"  its log:               tail -f {environment.service.log_path}",
    ]
