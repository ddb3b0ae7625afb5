"""Player: faults that come and go at any moment of one run, by a hand in a lab or by the recording of one.

The nemesis injects and heals; what is done here beside it is what the conductor does for a schedule of phases: around
each of them the load is slow, since edges may not outnumber what is judged strictly, and the tally counts nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from ._wait import pause
from .conductor import EDGE_SLACK_SECONDS, LoadDriver
from .history import Clock
from .nemesis import Nemesis
from .oracle import forgotten
from .targets.model import Limits


class EdgePace:
    """Keeps the load slow, and the tally from counting, while any fault comes or goes and until that is forgotten."""

    def __init__(self, load: LoadDriver, clock: Clock) -> None:
        """Begin with no edge."""
        self._load = load
        self._clock = clock
        self._under_way = 0
        self._until = 0.0
        self._ending: asyncio.Task[None] | None = None

    @property
    def on(self) -> bool:
        """Tell whether an edge is on."""
        return self._under_way > 0 or self._clock.now() < self._until

    def begin(self) -> None:
        """An edge begins: a fault comes or goes from now on."""
        self._under_way += 1
        self._load.set_edge(True)
        self._load.tally.unstable()

    def over(self, until: float) -> None:
        """The fault has come or gone, which may show until a time of the run's clock."""
        self._under_way -= 1
        self._until = max(self._until, until)
        if self._ending is None or self._ending.done():
            self._ending = asyncio.create_task(self._outlast())

    async def outlasted(self) -> None:
        """Wait until no edge is left but of what comes or goes right now."""
        if self._ending is not None:
            await asyncio.shield(self._ending)

    async def close(self) -> None:
        """End the task that waits."""
        if self._ending is not None:
            self._ending.cancel()
            with suppress(asyncio.CancelledError):
                await self._ending

    async def _outlast(self) -> None:
        while (left := self._until - self._clock.now()) > 0:
            await pause(left)
        if not self._under_way:
            self._load.set_edge(False)
            self._load.tally.stable(self._clock.now())


class Player:
    """Injects and heals faults of one nemesis by their numbers, with edges around them."""

    def __init__(self, nemesis: Nemesis, load: LoadDriver, clock: Clock, limits: Limits) -> None:
        """Take the live parts of a run."""
        self._nemesis = nemesis
        self._clock = clock
        self._limits = limits
        self.edges = EdgePace(load, clock)

    async def inject(self, number: int) -> bool:
        """Inject and confirm a fault; False when it did not bite, which its marks explain."""
        self.edges.begin()
        began, lasting = self._clock.now(), True
        try:
            confirmed = await self._nemesis.inject(number)
            late = forgotten(began, self._clock.now(), self._limits) > self._clock.now()
            lasting = self._nemesis.fault(number).momentary or (self._nemesis.locks_others(number) and late)
        finally:
            self.edges.over(self._recovered() if lasting else self._clock.now())
        return confirmed

    async def heal(self, numbers: Sequence[int]) -> float | None:
        """Heal open faults in the order given; the last probe's time, None when any of them is not healed."""
        self.edges.begin()
        probed: float | None = None
        try:
            probed = await self._nemesis.heal_these(numbers)
        finally:
            self.edges.over(self._recovered() if probed is None else self._recovered(probed))
        return probed

    def _recovered(self, since: float | None = None) -> float:
        at = self._clock.now() if since is None else since
        return at + self._limits.recovery_seconds + EDGE_SLACK_SECONDS
