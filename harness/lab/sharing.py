"""Sharing: a lab keeps away from exclusive scenarios of other harnesses, which measure latencies on this machine."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

from ..turns import turn
from .state import Say

_PATIENCE_SECONDS = 0.5


async def share(lock_file: Path, say: Say, what: str) -> AsyncExitStack:
    """Take a share of the lock of exclusive scenarios, and return what gives it back.

    Whoever has to wait for one is told what waits (``what``).  Raises :class:`harness.errors.SetupError` after half an
    hour.
    """
    stack = AsyncExitStack()
    entering = asyncio.ensure_future(stack.enter_async_context(turn(lock_file)))
    done, _ = await asyncio.wait({entering}, timeout=_PATIENCE_SECONDS)
    if not done:
        say(f"an exclusive scenario of another harness plays on this machine; {what} when it has ended")
    await entering
    return stack
