"""Loading: the load of a lab, in the background for as long as it was asked for."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from .. import guard
from .._wait import pause
from ..errors import UsageError
from ..scenario import Load, LoadPhase
from ..values import Month, Phase
from .parts import LabParts
from .protocol import PlayLoad
from .recording import LoadDeed
from .sharing import share
from .state import Say
from .status import LoadState, pace_text


class Loading:
    """One load at a time; whatever changes it waits for ``turn``."""

    def __init__(self, parts: LabParts) -> None:
        """Take the parts; nothing is sent yet."""
        self._parts = parts
        self.turn = asyncio.Lock()
        self._ending: asyncio.Task[None] | None = None
        self._sharing: AsyncExitStack | None = None

    async def play(self, asked: PlayLoad, say: Say) -> list[str]:
        """Have a load on instead of the one that may be; raises :class:`UsageError` for months that nobody makes."""
        parts = self._parts
        guard.refuse_when_halted(parts.plan.reports)
        months = asked.months or parts.plan.scenario.load.months
        self._refuse(months)
        said = pace_text(asked.rate_per_month, asked.writers_per_month, [month.label for month in months])
        async with self.turn:
            if self._sharing is None:
                self._sharing = await share(parts.plan.lock_file, say, "the load begins")
            parts.wake()
            for month in months:
                parts.samplers.watch(month)
            await self._rest()
            if Phase.DURING not in parts.book.phases and Phase.BEFORE not in parts.book.phases:
                parts.enter(Phase.BEFORE)
            now, pace = parts.clock.now(), asked.rate_per_month / asked.writers_per_month
            deed = LoadDeed(now, months, asked.writers_per_month, pace)
            await parts.load.play(self._load_of(deed))
            parts.deeds.loads.append(deed)
            parts.note(f"load: {said}")
            if asked.seconds is not None:
                deed.due = now + asked.seconds
                self._ending = asyncio.create_task(self._end_later(deed, asked.seconds))
        until = "until `harness lab load --stop`" if asked.seconds is None else f"for {asked.seconds:g} s"
        return [f"load on {until}: {said}"]

    async def stop(self) -> list[str]:
        """Send nothing more; requests in flight end first."""
        async with self.turn:
            was_on = self._parts.load.on is not None
            await self._end()
        return ["load stopped" if was_on else "no load was on"]

    def state(self) -> LoadState | None:
        """Return the load that is on, None for none."""
        parts = self._parts
        if parts.load.on is None or not parts.deeds.loads:
            return None
        deed, now = parts.deeds.loads[-1], parts.clock.now()
        return LoadState(
            months=tuple(month.label for month in deed.months),
            writers_per_month=deed.writers_per_month,
            rate_per_month=deed.rate_per_writer * deed.writers_per_month,
            since_seconds=now - deed.since,
            left_seconds=None if deed.due is None else max(0.0, deed.due - now),
            slowed=parts.player.edges.on,
        )

    async def close(self) -> None:
        """Send nothing more, at once."""
        if self._ending is not None:
            self._ending.cancel()
        await self._parts.load.abort()
        await self._leave_machine()

    def _refuse(self, months: tuple[Month, ...]) -> None:
        target = self._parts.environment.target
        strange = target.lacks(months)
        if strange:
            raise UsageError(
                f"The target {target.name} does not list {min(strange).label} in `months` ({target.path}), so nobody "
                f"would make its partition; it has {', '.join(month.label for month in target.months)}."
            )

    def _load_of(self, deed: LoadDeed) -> Load:
        phase = LoadPhase(
            from_seconds=0.0,
            months=deed.months,
            writers_per_month=deed.writers_per_month,
            rate_per_writer=deed.rate_per_writer,
        )
        return self._parts.plan.scenario.load.during(phase)

    async def _rest(self) -> None:
        """End the load that is on, and what would have ended it later."""
        parts, ending = self._parts, self._ending
        self._ending = None
        if ending is not None and ending is not asyncio.current_task():
            ending.cancel()
        if parts.load.on is not None:
            parts.note("load: stopped")
            parts.deeds.loads[-1].until = parts.clock.now()
        await parts.load.rest()

    async def _end_later(self, deed: LoadDeed, seconds: float) -> None:
        await pause(seconds)
        async with self.turn:
            if self._parts.deeds.loads[-1] is deed:
                await self._end()

    async def _end(self) -> None:
        """Send nothing more, and let exclusive scenarios play, whatever a writer of the load raised."""
        try:
            await self._rest()
        finally:
            await self._leave_machine()

    async def _leave_machine(self) -> None:
        if self._sharing is not None and self._parts.load.on is None:
            stack, self._sharing = self._sharing, None
            await stack.aclose()
