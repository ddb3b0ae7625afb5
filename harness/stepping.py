"""``--step``: a run that pauses at each step of its lifecycle and says how to look."""

from __future__ import annotations

import asyncio
import sys
from typing import TextIO

from .runner import RunObserver
from .stacks.base import Environment


class StepGate(RunObserver):
    """Prints where a run stands and waits for Enter; at the end of input it goes on by itself."""

    def __init__(self, stream: TextIO) -> None:
        """Print to ``stream``; answers come from standard input."""
        self._stream = stream

    async def step(self, run: str, number: int, text: str, environment: Environment | None) -> None:
        """Pause before a step."""
        lines = [f"\nstep {number}: {text}  ({run})"]
        if environment is not None and number >= 3:
            lines += how_to_look(environment)
        print("\n".join(lines), file=self._stream, flush=True)
        print("Enter to go on, Ctrl-C to heal and end: ", end="", file=self._stream, flush=True)
        await asyncio.to_thread(sys.stdin.readline)


def how_to_look(environment: Environment) -> list[str]:
    """Commands that show an environment from outside, ready to be pasted into another terminal."""
    base = environment.service.base_url
    return [
        f"  look at the database:   psql '{environment.database.admin_conninfo}' -c '\\d+ audit_events'",
        f"  as the service sees it: psql '{environment.database.proxied_admin_conninfo}'",
        f"  look at the service:    curl -s {base}/health/ready",
        f"  its queue:              curl -s {base}/api/v1/dlq",
        f"  its metrics:            curl -s {environment.service.metrics_url} | grep datastorage_",
        f"  its log:                tail -f {environment.service.log_path}",
    ]
