"""Turns: an exclusive scenario plays alone, also beside other harnesses of the same user on the machine.

All share one lock in the user's cache.  A run holds its share while it starts, plays and is judged; an exclusive one
gives its share for the whole lock when it has started, and takes a share again when its environment has ended.  So
nothing starts, plays or is judged beside what it measures (an environment that waits for its turn may be there, idle),
and yet it starts while others still play, and is judged while the next one starts.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from ._wait import wait_until
from .errors import DeadlineExceeded, SetupError

LOCK_NAME = "exclusive.lock"
"""The lock's file in the user's cache: runs, sweeps and labs that gave it other names would not see each other."""
DEADLINE_SECONDS = 1800.0
_INTERVAL_SECONDS = 0.1

Alone = Callable[[], AbstractAsyncContextManager[None]]
"""Keeps all other runs away for as long as it is entered."""


class Turn:
    """One run's share of the lock, open from before its environment starts until it has been judged."""

    def __init__(self, path: Path, descriptor: int) -> None:
        """Take the open lock file."""
        self._path = path
        self._descriptor = descriptor

    def _locked(self, how: int) -> bool:
        try:
            fcntl.flock(self._descriptor, how | fcntl.LOCK_NB)
        except BlockingIOError:
            # Two that both want the lock alone would wait for each other's shares for ever.
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            return False
        return True

    async def _wait(self, how: int, what: str) -> None:
        async def locked() -> bool:
            return self._locked(how)

        try:
            await wait_until(locked, what=what, deadline_seconds=DEADLINE_SECONDS, interval_seconds=_INTERVAL_SECONDS)
        except DeadlineExceeded as error:
            raise SetupError(
                f"{error}. The lock {self._path} is free as soon as nobody has it open: end what still plays (fuser "
                "names it), and run again."
            ) from error

    async def share(self) -> None:
        """Wait until no exclusive run plays; raises :class:`SetupError` after half an hour."""
        await self._wait(fcntl.LOCK_SH, "the exclusive scenario of another harness on this machine to end")

    @asynccontextmanager
    async def alone(self, waiting: Callable[[], Awaitable[None]] | None = None) -> AsyncIterator[None]:
        """Keep all other runs away; ``waiting`` is awaited once if some are still there.

        Raises :class:`SetupError` after half an hour.
        """
        if not self._locked(fcntl.LOCK_EX):
            if waiting is not None:
                await waiting()
            await self._wait(fcntl.LOCK_EX, "all other scenarios of this user on this machine to end")
        try:
            yield
        finally:
            # Without a share what follows is only not kept from a neighbour's measurement; nothing here needs it.
            self._locked(fcntl.LOCK_SH)


@asynccontextmanager
async def turn(path: Path) -> AsyncIterator[Turn]:
    """Take a share of the lock at ``path``, which is made if it is missing; raises :class:`SetupError`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        mine = Turn(path, descriptor)
        await mine.share()
        yield mine
    finally:
        os.close(descriptor)
