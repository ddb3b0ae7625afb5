"""Conductor: the middle of a run, in which load and nemesis play together through three phases.

Each phase goes on until every month has enough events that no edge touched, so that a verdict never rests on a
handful.  Edges are paced lower, since they may not outnumber what is judged.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Protocol

from ._wait import pause, wait_until
from .errors import DeadlineExceeded
from .events import Note, PhaseMark
from .history import History
from .load.tally import Tally, out_of_reach
from .nemesis import Nemesis
from .oracle import forgotten
from .results import Waits
from .samplers import Samplers
from .scenario import Scenario
from .steadystate import SteadyState
from .targets.model import Target
from .values import Month, Phase

PHASE_DEADLINE_SECONDS = 45.0
PACE_KNOWN_SECONDS = 15.0
"""After so long the pace of a phase tells whether it can have its samples of latency before the deadline."""
MIN_SCRAPES = 8
"""Successful scrapes that the fault must last for, so that the metrics can be judged while it is on."""
SLOWEST_DRAIN_PER_SECOND = 200.0
"""A drain may take this long in proportion to the backlog, beyond the scenario's own deadline."""
_SURPLUS_EVENTS = 5
_INTERVAL_SECONDS = 0.02
EDGE_SLACK_SECONDS = 0.05
_STALL_SLACK_SECONDS = 0.5


class LoadDriver(Protocol):
    """What the conductor needs of a running load."""

    tally: Tally

    def set_edge(self, edge: bool) -> None:
        """Slow down for an edge, or go back to full pace."""

    def join(self, month: Month) -> None:
        """Add the writers of a month."""


class _Drain:
    """Watches the queue over a heal: it drains once there are fewer events than there were."""

    def __init__(self, steady: SteadyState, healing: asyncio.Task[float | None]) -> None:
        self._steady = steady
        self._healing = healing
        self._peak = 0
        self._seen = False

    async def healed(self) -> bool:
        """Look at the queue, and tell whether the heals are over; their own deadlines see to that."""
        await self.shrunk()
        return self._healing.done()

    async def shrunk(self) -> bool:
        """Look at the queue, and tell whether it has shrunk since the first look."""
        if not self._seen:
            depth = await self._steady.backlog()
            self._seen = 0 <= depth < self._peak
            self._peak = max(self._peak, depth)
        return self._seen


StepHook = Callable[[int, str], Awaitable[None]]


class Conductor:
    """Plays one scenario's phases.  ``confirmed`` tells afterwards whether every fault bit."""

    def __init__(
        self,
        scenario: Scenario,
        target: Target,
        history: History,
        load: LoadDriver,
        nemesis: Nemesis,
        steady: SteadyState,
        samplers: Samplers,
        step: StepHook,
    ) -> None:
        """Take the live parts of a run."""
        self._scenario = scenario
        self._limits = target.limits
        self._reads = target.reads
        self._samplers = samplers
        self._history = history
        self._load = load
        self._nemesis = nemesis
        self._steady = steady
        self._step = step
        self.confirmed = True
        self._edge_seconds = 0.0
        self._timeout_seconds = 0.0
        self._sampling_seconds = 0.0

    @property
    def waits(self) -> Waits:
        """The waits of this run that no faster machine would shorten, so far."""
        return Waits(self._edge_seconds, self._timeout_seconds, self._sampling_seconds)

    async def before(self) -> None:
        """Play the control phase: the load alone."""
        self._open(Phase.BEFORE)
        self._stable_from_now()
        await self._enough(self._scenario.load.months, latency=True)

    async def during(self) -> None:
        """Inject and confirm every fault in turn, then let the load run into them."""
        self._open(Phase.DURING)
        steps = self._scenario.schedule.steps
        healed: float | None = None
        if self._scenario.schedule.cyclic:
            await self._samplers.look()
        for number, step in enumerate(steps):
            await self._step(5, f"about to inject {step.fault.name}")
            if step.after_events:
                if healed is not None and not step.after_recovery:
                    await self._outlast_edge(healed)
                    healed = None
                self._stable_from_now()
                await self._enough(self._scenario.load.months, minimum=step.after_events)
            self._load.set_edge(True)
            self._load.tally.unstable()
            if step.after_healing:
                heal = self._heal_and_recover if step.after_recovery else self._heal_into_drain
                healed = await heal(step.after_healing)
                self.confirmed = healed is not None
            began = self._history.clock.now()
            self.confirmed = self.confirmed and await self._nemesis.inject(number)
            if not self.confirmed:
                return
            bitten = self._history.clock.now()
            locked = self._nemesis.locks_others(number) and forgotten(began, bitten, self._limits) > bitten
            if step.fault.momentary or locked:
                await self._outlast_edge(bitten)
        if healed is not None and not steps[-1].after_recovery:
            await self._outlast_edge(healed)
        if steps:
            await self._step(5, "injected and confirmed: look now")
        late = self._scenario.load.late_months
        for month in self._unhurt(late):
            # What no fault keeps from being there is looked at before its first event comes.
            self._samplers.watch(month)
        for month in late:
            self._load.join(month)
        if self._scenario.judge_latency:
            stall = self._limits.lock_timeout_seconds + _STALL_SLACK_SECONDS
            self._load.set_edge(False)
            await pause(stall)
            self._timeout_seconds += stall
        self._stable_from_now()
        scrapes = self._history.scrapes + (
            MIN_SCRAPES if self._reads.metrics and not self._nemesis.silences_service() else 0
        )
        await self._enough(self._scenario.load.all_months, latency=True, scrapes=scrapes)

    async def _heal_into_drain(self, count: int) -> float | None:
        """Heal the last faults and wait until the queue shrinks; the last probe's time, None when a heal failed.

        The queue is looked at while they heal: by the time that a probe has seen health, it may be half drained.
        """
        async with asyncio.TaskGroup() as group:
            healing = group.create_task(self._nemesis.heal_last(count))
            drain = _Drain(self._steady, healing)
            if self._reads.dlq:
                await wait_until(drain.healed, what="the heals", deadline_seconds=math.inf)
        probed = healing.result()
        if probed is None or not self._reads.dlq:
            return probed
        try:
            await wait_until(drain.shrunk, what="the queue to shrink", deadline_seconds=self._limits.recovery_seconds)
        except DeadlineExceeded as error:
            self._note("drain", f"{error}; the next fault strikes nevertheless")
        return probed

    async def _heal_and_recover(self, count: int) -> float | None:
        """Heal the last faults, wait for the steady state, and look at what the service holds in that quiet."""
        probed = await self._nemesis.heal_last(count)
        if probed is None:
            return None
        await self._recovered(self._scenario.load.months)
        await self._samplers.look()
        return probed

    async def after(self) -> None:
        """Heal everything, outlast the recovery edge, and let the load prove health again."""
        self._open(Phase.AFTER)
        self._load.set_edge(bool(self._scenario.schedule.steps))
        if self._scenario.schedule.steps:
            await self._step(6, "heal all")
            probed = await self._nemesis.heal_all()
            if self._nemesis.open_faults:
                self._note("heal", "a fault was not healed; what follows says nothing about the service")
            elif probed is not None:
                await self._outlast_edge(probed)
        await self._step(7, "recovery")
        for month in self._scenario.load.late_months:
            self._samplers.watch(month)
        self._stable_from_now()
        if self.confirmed:
            await self._enough(self._scenario.load.all_months)
        await self._recovered(self._scenario.load.all_months)
        if self._scenario.schedule.cyclic:
            await self._samplers.look()

    async def _recovered(self, months: tuple[Month, ...]) -> None:
        backlog = max((await self._steady.backlog(), 0))
        deadline = self._scenario.recovery_deadline_seconds + backlog / SLOWEST_DRAIN_PER_SECOND
        try:
            await self._steady.wait(months, deadline)
        except DeadlineExceeded as error:
            why = await self._steady.describe(months)
            self._note("recovery", f"{error}; {why}")

    async def _outlast_edge(self, probed: float) -> None:
        remaining = probed + self._limits.recovery_seconds + EDGE_SLACK_SECONDS - self._history.clock.now()
        self._edge_seconds += max(0.0, remaining)
        await pause(remaining)

    def _open(self, phase: Phase) -> None:
        self._load.tally.open_phase()
        self._history.mark(lambda t: PhaseMark(t, phase))

    def _stable_from_now(self) -> None:
        self._load.set_edge(False)
        self._load.tally.stable(self._history.clock.now())

    async def _enough(
        self, months: tuple[Month, ...], *, minimum: int = 0, latency: bool = False, scrapes: int = 0
    ) -> None:
        tally, scenario = self._load.tally, self._scenario
        wanted = minimum or scenario.min_strict_events + _SURPLUS_EVENTS
        healthy = self._unhurt(months)
        hurt = tuple(month for month in months if month not in healthy)
        samples = scenario.min_latency_samples if latency and not minimum else 0

        judged = hurt or healthy
        began = self._history.clock.now()

        def sampled() -> int:
            return tally.strict(judged) * len(judged)

        async def over() -> bool:
            if not (
                tally.enough(months, wanted) and tally.created(healthy) >= samples and self._history.scrapes >= scrapes
            ):
                return False
            spent = self._history.clock.now() - began
            return sampled() >= samples or (
                spent >= PACE_KNOWN_SECONDS and out_of_reach(sampled(), samples, spent, PHASE_DEADLINE_SECONDS - spent)
            )

        try:
            await wait_until(
                over,
                what=f"{wanted} strictly judged events in each of {', '.join(m.label for m in months)}",
                deadline_seconds=PHASE_DEADLINE_SECONDS,
                interval_seconds=_INTERVAL_SECONDS,
            )
        except DeadlineExceeded as error:
            self._note("phase", f"{error}; the month with fewest has {tally.strict(months)}")
        if sampled() < samples:
            self._note("phase", f"{sampled()} of {samples} samples of latency; more were out of reach at this pace")
        if scenario.load.rate_per_writer > 0:
            # What the pace itself asks for; a machine that cannot keep it up pays the rest as slowness.
            self._sampling_seconds += wanted / (scenario.load.rate_per_writer * scenario.load.writers_per_month)

    def _unhurt(self, months: tuple[Month, ...]) -> tuple[Month, ...]:
        hurt = self._nemesis.hurt_months()
        return () if hurt is None else tuple(month for month in months if month not in hurt)

    def _note(self, topic: str, text: str) -> None:
        self._history.mark(lambda t: Note(t, topic, text))
