"""The bulkhead in front of the pool: who gets the next connection, and who waits for none."""

import asyncio
import math
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

# A month that stalls or fails holds at most this many connections; a healthy one may use them all.
STALLING_SHARE = 4
# A month stalls when its oldest write is this old and none of its writes came back meanwhile.
STALL_SECONDS = 0.25


class DismissedError(Exception):
    """The wait for a connection ended without one: too long, or no longer worth it."""


class Admission:
    """As many places as connections, first come first served among eligible keys: months, background jobs."""

    def __init__(self, size: int, clock: Callable[[], float]) -> None:
        self._free, self._clock = size, clock
        self._waiting: dict[asyncio.Future[float], str] = {}
        # When each of a key's places was taken, oldest first, and when one was last given back.
        self._taken_at: defaultdict[str, list[float]] = defaultdict(list)
        self._returned_at: defaultdict[str, float] = defaultdict(lambda: -math.inf)

    def stalls(self, key: str) -> bool:
        """Whether the writes of this key have stopped coming back."""
        limit, taken_at = self._clock() - STALL_SECONDS, self._taken_at[key]
        return bool(taken_at) and taken_at[0] < limit and self._returned_at[key] < limit

    def _eligible(self, key: str) -> bool:
        return len(self._taken_at[key]) < STALLING_SHARE or not self.stalls(key)

    def _admit(self) -> None:
        for future, key in list(self._waiting.items()):
            if self._free > 0 and not future.done() and self._eligible(key):
                del self._waiting[future]
                self._free -= 1
                self._taken_at[key].append(self._clock())
                future.set_result(self._taken_at[key][-1])

    @asynccontextmanager
    async def place(self, key: str, timeout_seconds: float, queued: Callable[[], None]) -> AsyncIterator[None]:
        """Hold a place; calls `queued` first if none is free at once. Raises DismissedError."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[float] = loop.create_future()
        self._waiting[future] = key
        self._admit()
        if not future.done():
            queued()
        timer = loop.call_later(timeout_seconds, self._send_away, future, "no connection became free in time")
        try:
            await future
            yield
        finally:
            timer.cancel()
            self._waiting.pop(future, None)
            # Not only after the use: a place may be granted in the moment in which its waiter is cancelled.
            if not future.cancelled() and future.exception() is None:
                self._free += 1
                self._taken_at[key].remove(future.result())
                self._returned_at[key] = self._clock()
                self._admit()

    def _send_away(self, future: asyncio.Future[float], reason: str) -> None:
        if self._waiting.pop(future, None) is not None and not future.done():
            future.set_exception(DismissedError(reason))

    def dismiss(self, key: str | None = None) -> None:
        """Send away those who wait: of one key, or all."""
        for future, waiting_key in list(self._waiting.items()):
            if key in (None, waiting_key):
                self._send_away(future, "its breaker opened")
