"""The bulkhead in front of the pool: who gets the next connection, and who waits for none."""

import asyncio
from collections import Counter
from collections.abc import Callable

# A month that stalls or fails holds at most this many connections; a healthy one may use them all.
STALLING_SHARE = 4
# A month stalls when its oldest write is this old and none of its writes came back meanwhile.
STALL_SECONDS = 0.25


class DismissedError(Exception):
    """The wait for a connection ended without one: too long, or no longer worth it."""


class Admission:
    """Hands out as many tickets as the pool has connections, first come first served among those eligible.

    Keys are months, or the name of a background job. Everything runs on the event loop.
    """

    def __init__(self, size: int, clock: Callable[[], float]) -> None:
        self._free = size
        self._clock = clock
        self._waiting: dict[asyncio.Future[int], str] = {}
        self._busy: Counter[str] = Counter()
        self._started: dict[str, dict[int, float]] = {}
        self._returned_at: dict[str, float] = {}
        self._last_ticket = 0

    def stalls(self, key: str) -> bool:
        """Whether the writes of this key have stopped coming back."""
        oldest = next(iter(self._started.get(key, {}).values()), None)
        if oldest is None:
            return False
        limit = self._clock() - STALL_SECONDS
        return oldest < limit and self._returned_at.get(key, limit - 1) < limit

    def _eligible(self, key: str) -> bool:
        return self._busy[key] < STALLING_SHARE or not self.stalls(key)

    def _grant(self, key: str) -> int:
        self._free -= 1
        self._busy[key] += 1
        self._last_ticket += 1
        self._started.setdefault(key, {})[self._last_ticket] = self._clock()
        return self._last_ticket

    async def enter(self, key: str, timeout_seconds: float, queued: Callable[[], None]) -> int:
        """A ticket; calls `queued` first if it is not free at once. Raises DismissedError."""
        if self._free > 0 and self._eligible(key):
            return self._grant(key)
        queued()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[int] = loop.create_future()
        self._waiting[future] = key
        timer = loop.call_later(timeout_seconds, self._send_away, future, "no connection became free in time")
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                self.leave(key, future.result())
            raise
        finally:
            timer.cancel()
            self._waiting.pop(future, None)

    def leave(self, key: str, ticket: int) -> None:
        """The connection is back in the pool."""
        self._free += 1
        self._busy[key] -= 1
        self._started[key].pop(ticket, None)
        self._returned_at[key] = self._clock()
        self._admit()

    def _admit(self) -> None:
        if not self._waiting:
            return
        for future, key in list(self._waiting.items()):
            if self._free <= 0:
                return
            if not future.done() and self._eligible(key):
                del self._waiting[future]
                future.set_result(self._grant(key))

    def _send_away(self, future: asyncio.Future[int], reason: str) -> None:
        self._waiting.pop(future, None)
        if not future.done():
            future.set_exception(DismissedError(reason))

    def dismiss(self, key: str | None = None) -> None:
        """Send away those who wait: of one key, or all."""
        for future, waiting_key in list(self._waiting.items()):
            if key in (None, waiting_key):
                self._send_away(future, "its breaker opened")
