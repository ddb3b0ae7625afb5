"""What the endurance benches share: an environment, where its logs go, faults without a runner, a port to ask."""

from __future__ import annotations

import argparse
import asyncio
import gc
import random
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from harness.errors import HarnessError
from harness.fault import DestroyedRows, Scene
from harness.ledger import Ledger
from harness.session import REFERENCE_TARGET
from harness.stacks.base import Environment
from harness.stacks.embedded import EmbeddedStack
from harness.targets.model import load_target


@dataclass
class Stage:
    """One environment, the folder of its logs, and what happened on it, in order."""

    environment: Environment
    folder: Path
    seed: int
    began: float = field(default_factory=time.monotonic)
    timeline: list[str] = field(default_factory=list)
    _scenes: int = 0

    @property
    def seconds(self) -> float:
        """Since the environment was ready."""
        return time.monotonic() - self.began

    def port(self) -> int:
        """Where the service listens now."""
        return int(self.environment.service.base_url.rpartition(":")[2])

    def note(self, what: str) -> None:
        """Write down what is done to the environment, by the monotonic clock that answers are timed with."""
        self.timeline.append(f"{time.monotonic():.3f} ({self.seconds:8.3f} s) {what}")

    def progress(self, text: str) -> None:
        """One line for whoever watches."""
        print(f"  {self.seconds:6.1f} s  {text}", file=sys.stderr, flush=True)

    def scene(self, name: str) -> Scene:
        """A scene for one fault of this name, with a ledger entry of its own."""
        self._scenes += 1

        async def destroyed(rows: DestroyedRows) -> None:
            raise HarnessError(f"{name} destroys rows, which no bench allows for.")

        return Scene(self.environment, Ledger(self.folder / "ledger").entry(self._scenes, name), destroyed)


@asynccontextmanager
async def on_stage(name: str, options: argparse.Namespace, folder: Path) -> AsyncIterator[Stage]:
    """Start the embedded stack with the service of the target file."""
    stack = EmbeddedStack()
    async with stack.environment(
        load_target(options.target), name=name, artifacts=folder, environment_overrides={}
    ) as environment:
        yield Stage(environment, folder, options.seed)


def parser(name: str, description: str) -> argparse.ArgumentParser:
    """The command line that all have."""
    made = argparse.ArgumentParser(
        prog=f"python -m bench.{name}", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--seed", type=int, default=random.randrange(10**6), help="of the workload and of the faults")
    made.add_argument("--target", type=Path, default=REFERENCE_TARGET, help="a target.toml (the reference service)")
    return made


def perform(name: str, work: Callable[[Path], Awaitable[bool]]) -> None:
    """Run ``work`` with a folder for its logs and exit: 0 when the promise held, 1 when not, 2 when nobody knows."""
    folder = Path(tempfile.mkdtemp(prefix=f"bench-{name}-"))
    # Cycles are collected in pauses that grow with what is remembered, and would be taken for the service's.
    gc.disable()
    held: bool | None = None
    try:
        held = asyncio.run(_awaited(work(folder)))
    except* HarnessError as group:
        # Whatever stopped the environment, it proves nothing about the promise.
        print("\n".join(str(error) for error in group.exceptions))
    if held:
        shutil.rmtree(folder)
    else:
        print(f"{'INCONCLUSIVE' if held is None else 'BROKEN'}; logs: {folder}")
    sys.exit(2 if held is None else 0 if held else 1)


async def _awaited(work: Awaitable[bool]) -> bool:
    return await work
