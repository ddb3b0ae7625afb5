"""The one polling loop of the tree: everything that waits for a condition waits here.

No other module sleeps (a test enforces it), so that waiting is always for a condition with a deadline and
never for a guessed duration.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from .errors import DeadlineExceeded

T = TypeVar("T")


async def wait_until(
    condition: Callable[[], Awaitable[T | None]],
    *,
    what: str,
    deadline_seconds: float,
    interval_seconds: float = 0.02,
) -> T:
    """Poll the asynchronous ``condition`` until it returns a truthy value, and return that value.

    ``what`` completes the sentence "timed out after N s waiting for …".  The condition is asked at least
    once, also with a deadline of 0.  Raises :class:`harness.errors.DeadlineExceeded`.
    """
    end = time.monotonic() + deadline_seconds
    while True:
        value = await condition()
        if value:
            return value
        if time.monotonic() >= end:
            raise DeadlineExceeded(f"timed out after {deadline_seconds:g} s waiting for {what}")
        await asyncio.sleep(interval_seconds)


def wait_until_sync(
    condition: Callable[[], T | None],
    *,
    what: str,
    deadline_seconds: float,
    interval_seconds: float = 0.02,
) -> T:
    """Blocking twin of :func:`wait_until`, for code that runs in no event loop."""
    end = time.monotonic() + deadline_seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= end:
            raise DeadlineExceeded(f"timed out after {deadline_seconds:g} s waiting for {what}")
        time.sleep(interval_seconds)


async def pause(seconds: float) -> None:
    """Give way for ``seconds``: the pace of a load or of a sampler, never a wait for something to happen."""
    await asyncio.sleep(max(0.0, seconds))
