"""Loads that follow each other in one run: one at a time, each with months, writers and pace of its own.

What a closed loop is for a whole run, one phase of a lab or of its recording is here.  Operations are numbered through
all of them, and each has another seed, so that no event of one is sent again by the next.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

from ..history import History
from ..scenario import Load
from ..values import Month
from .closed import ClosedLoop
from .tally import Tally


@dataclass
class PhasedLoad:
    """The load that is on, if any.  ``first_op`` is the number of its first operation in the history."""

    load: Load
    seed: int
    run: str
    history: History
    base_url: Callable[[], str]
    client_timeout_seconds: float
    first_op: int = 1
    tally: Tally = field(default_factory=Tally)

    def __post_init__(self) -> None:
        """Prepare; nothing is sent before :meth:`play`."""
        self._ops = itertools.count(self.first_op)
        self._seeds = itertools.count(self.seed)
        self._loop: ClosedLoop | None = None
        self._edge = False

    @property
    def on(self) -> Load | None:
        """The load that is on, None while nothing is sent."""
        return self._loop.load if self._loop is not None else None

    @property
    def months(self) -> tuple[Month, ...]:
        """Months that are written into right now."""
        return self._loop.load.months if self._loop is not None else ()

    async def start(self) -> None:
        """Begin with the whole load, unless it has phases, which come at their times."""
        if not self.load.phases:
            await self.play(self.load)

    async def play(self, load: Load) -> None:
        """Have this load on from now on, instead of the one that was; raises what a writer of that one raised."""
        await self.rest()
        loop = ClosedLoop(
            load,
            next(self._seeds),
            self.run,
            self.history,
            self.base_url,
            self.client_timeout_seconds,
            self.tally,
            self._ops,
        )
        loop.set_edge(self._edge)
        await loop.start()
        self._loop = loop

    async def rest(self) -> None:
        """Let the requests in flight end, and send nothing more; harmless when nothing is on."""
        if self._loop is None:
            return
        try:
            await self._loop.stop()
        except Exception:
            self._loop = None
            raise
        # Not before: whoever is cancelled while the last answers come has still to find what must be aborted.
        self._loop = None

    async def stop(self) -> None:
        """End, as a run does."""
        await self.rest()

    async def abort(self) -> None:
        """Cancel everything at once."""
        loop, self._loop = self._loop, None
        if loop is not None:
            await loop.abort()

    def set_edge(self, edge: bool) -> None:
        """Slow down for an edge, or go back to full pace; what is played later keeps to it as well."""
        self._edge = edge
        if self._loop is not None:
            self._loop.set_edge(edge)

    def join(self, month: Month) -> None:
        """Add the writers of a month to the load that is on."""
        if self._loop is not None:
            self._loop.join(month)
