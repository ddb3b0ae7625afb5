"""The lab itself: a run whose schedule a human plays.

It holds what a run holds, and does with that what it is asked.  Nothing here knows of sockets or terminals.
"""

from __future__ import annotations

import asyncio
import sys
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

from .._wait import wait_until
from ..conductor import PHASE_DEADLINE_SECONDS, SLOWEST_DRAIN_PER_SECOND
from ..errors import DeadlineExceeded, UsageError
from ..events import RunStarted
from ..ledger import Holder, Ledger
from ..runner import STEADY_DEADLINE_SECONDS
from ..scenario import Scenario
from ..schedule import Schedule
from ..stacks.base import Environment
from ..suite import new_run_id
from ..values import Month
from . import looking
from .book import LabHistory
from .loading import Loading
from .parts import IDLE_SLOWNESS, LabParts, LabPlan
from .protocol import Snapshot
from .recording import scenario_of
from .snapshot import started_as, write_snapshot
from .state import Say
from .status import Status
from .striking import Striking

_CLOSE_SECONDS = 15.0
_SURPLUS_EVENTS = 5


class LiveLab:
    """One lab: its load, its faults, and what is known and made of both."""

    def __init__(self, parts: LabParts, started: RunStarted) -> None:
        """Take the parts and the first record of the history; nothing runs before :meth:`begin`."""
        self.parts = parts
        self.started = started
        self.loading = Loading(parts)
        self.striking = Striking(parts)

    async def begin(self, months: Sequence[Month]) -> None:
        """Take up what an earlier nemesis left, and start to sample."""
        self.parts.nemesis.take_up()
        self.parts.samplers.slowness = IDLE_SLOWNESS
        self.parts.samplers.start(tuple(months))

    async def status(self, ends_in_seconds: float) -> Status:
        """Return how everything is."""
        parts = self.parts
        ready, queue, tables = await looking.look(parts.environment, parts.probe)
        now, book = parts.clock.now(), parts.book
        return Status(
            name=parts.plan.name,
            target=parts.environment.target.name,
            up_seconds=now,
            ends_in_seconds=ends_in_seconds,
            folder=str(parts.plan.folder),
            service=looking.service_state(parts.environment, ready),
            queue=looking.queue_state(queue),
            pool=looking.pool_state(list(book.scrapes), tables.waiting_for_locks, now),
            tables=tables.tables,
            faults=looking.fault_states(parts.nemesis, book, now),
            load=self.loading.state(),
            answers=dict(book.answers),
            database_problem=tables.problem,
            busy=parts.busy,
        )

    async def snapshot(self, *, wait: bool, say: Say) -> Snapshot:
        """Store what happened so far as a run that can be judged, with a last reading while nothing is sent."""
        parts = self.parts
        async with self.striking.doing("check", say):
            if wait and not parts.nemesis.open_faults:
                await self._enough(say)
            async with self.loading.turn:
                load = parts.load.on
                problem = "" if parts.nemesis.open_faults else await self._recovered(say)
                await parts.load.rest()
                try:
                    return await self._written(problem, say)
                finally:
                    if load is not None:
                        await parts.load.play(load)

    async def _written(self, problem: str, say: Say) -> Snapshot:
        parts = self.parts
        say("reads queue, table and catalog")
        folder = parts.plan.reports / new_run_id(f"lab-{parts.plan.name}-check")
        healed = parts.book.healing_began()
        copy = await write_snapshot(
            parts.history,
            folder,
            started_as(self.started, self.scenario()),
            parts.environment,
            parts.probe,
            recovered_from=healed if healed and not parts.nemesis.open_faults else None,
            problem=problem,
        )
        strange = copy.book.strangers
        notes: list[str] = []
        if strange:
            said = f"{len(strange)} stored events were not sent by this lab's load (such as {strange[0]})"
            notes.append(f"{said}: what is written by hand is in no history, so the service is accused of it")
        return Snapshot(folder=str(folder), seconds=parts.clock.now(), notes=tuple(notes))

    def scenario(self) -> Scenario:
        """Return what was played so far, as a scenario that is judged as it was played."""
        played, deeds, base = self.parts.plan.played, self.parts.deeds, self.parts.plan.scenario
        if played is None:
            return scenario_of(deeds, base)
        faults = [*(step.fault for step in played.schedule.steps), *(deed.fault for deed in deeds.bitten)]
        late = {month for deed in deeds.loads for month in deed.months} - set(played.load.months)
        load = replace(played.load, late_months=tuple(sorted({*late, *played.load.late_months})), phases=())
        return replace(
            played,
            name=base.name,
            load=replace(load, locust_users=0),
            schedule=Schedule.of(*faults),
            exclusive=False,
            judge_latency=False,
            # A fault that lasts owes its own phase, whatever those of the run were.
            strict_phases=played.strict_phases if all(deed.only_edges for deed in deeds.bitten) else None,
        )

    def recording(self, name: str, longest_gap_seconds: float | None) -> Scenario:
        """Return what was done here as a scenario of that name; raise :class:`UsageError` when that proves nothing."""
        if not self.parts.deeds.loads:
            raise UsageError(
                "No load was on so far, so a replay of this lab would have nothing to judge; `harness lab load` first."
            )
        claim = f"As played by hand in the lab {self.parts.plan.name}: every promise holds."
        base = replace(self.parts.plan.scenario, name=name, claim=claim)
        return scenario_of(self.parts.deeds, base, longest_gap_seconds)

    async def _enough(self, say: Say) -> None:
        """Wait for strictly judged events of the last phase, while a load is on that brings them."""
        load, wanted = self.parts.load, self.parts.plan.scenario.min_strict_events + _SURPLUS_EVENTS
        if not load.months or load.tally.enough(load.months, wanted):
            return
        say(f"waits until {wanted} events of each month can be judged strictly (--no-wait does not)")

        async def enough() -> bool:
            return not load.months or load.tally.enough(load.months, wanted)

        with suppress(DeadlineExceeded):
            await wait_until(enough, what="events to judge", deadline_seconds=PHASE_DEADLINE_SECONDS)

    async def _recovered(self, say: Say) -> str:
        """Wait for the steady state, as every run does; say why it did not come, "" when it did."""
        parts = self.parts
        months = tuple(sorted({month for deed in parts.deeds.loads for month in deed.months}))
        if not months:
            return ""
        backlog = max(await parts.steady.backlog(), 0)
        if backlog:
            say(f"waits until the queue of {backlog} events has drained")
        deadline = parts.plan.scenario.recovery_deadline_seconds + backlog / SLOWEST_DRAIN_PER_SECOND
        try:
            await parts.steady.wait(months, deadline)
        except DeadlineExceeded as error:
            return f"{error}; {await parts.steady.describe(months)}"
        return ""

    async def close(self, why: str) -> None:
        """Stop everything of the lab's own, undo what is on, and close the history; the environment ends afterwards."""
        parts = self.parts
        with suppress(OSError):
            parts.note(f"ended: {why}")
        # Faults that do something again and again do it in this process, and end with their heal alone.
        await _in_time(self.loading.close)
        await _in_time(parts.player.edges.close)
        await _in_time(parts.nemesis.undo)
        await _in_time(parts.samplers.stop)
        await _in_time(parts.probe.close)
        parts.history.close()


async def _in_time(end: Callable[[], Awaitable[None]]) -> None:
    """End one part; what will not within its time, or goes wrong, is gone with the environment."""
    try:
        async with asyncio.timeout(_CLOSE_SECONDS):
            await end()
    except Exception:  # noqa: BLE001  (the parts after it have to end as well; this goes to daemon.log)
        traceback.print_exc(file=sys.stderr)


@asynccontextmanager
async def opened(
    plan: LabPlan,
    environment: Environment,
    history: LabHistory,
    ledger: Ledger,
    started: RunStarted,
    months: Sequence[Month],
    ending: Callable[[], str],
    *,
    fresh: bool,
) -> AsyncIterator[LiveLab]:
    """Have a lab over a living environment, whose ledger is held and open as long; ``ending`` says why it ends.

    A ``fresh`` one has to be healthy first; raises :class:`harness.errors.SteadyStateError`.
    """
    with ledger.held(Holder.LAB):
        ledger.begin(plan.run, environment.reopen)
        lab = LiveLab(LabParts(plan, environment, history, ledger), started)
        try:
            if fresh:
                await lab.parts.steady.reach(tuple(months), STEADY_DEADLINE_SECONDS)
            await lab.begin(months)
            yield lab
        finally:
            await lab.close(ending())
            ledger.finish()
