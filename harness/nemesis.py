"""Nemesis: plays the faults of a schedule and always undoes them.

Each fault gets its own ledger entry before it is injected, and its marks on the run's clock.  Heals go on after
one that fails, which is tried again once another has been healed; every one is recorded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from ._wait import wait_until
from .blast import Edge, ServiceState
from .errors import DeadlineExceeded, FaultNotConfirmed, HarnessError, ServiceEnded
from .events import Destroyed, FaultMark, FaultStep, ServiceMark
from .fault import DestroyedRows, Fault, Scene, fault_to_json, radius_to_json
from .history import History
from .ledger import EntryState, Ledger
from .repairs import HEALED_BY
from .schedule import Schedule
from .stacks.base import Environment
from .values import Month

Item = TypeVar("Item")

INJECT_DEADLINE_SECONDS = 45.0
HEAL_DEADLINE_SECONDS = 60.0
PROBE_DEADLINE_SECONDS = 20.0
EARLY_PROBE_SECONDS = 1.0
"""How long a probe is asked while other faults are open, which may be what keeps it from seeing health."""
CONFIRM_DEADLINE_SECONDS = 4.0
_CONFIRM_INTERVAL_SECONDS = 0.2
_PROBE_INTERVAL_SECONDS = 0.02


async def heal_in_passes(
    items: Sequence[Item], heal: Callable[[Item], Awaitable[None]]
) -> tuple[Sequence[Item], Sequence[tuple[Item, Exception]]]:
    """Heal in the order given, and what failed again, as long as a pass over it heals something.

    A table with a damaged page, for one, cannot be attached before the page is repaired, whichever came first.  A heal
    that fails may still have cleared the way for another: that of an unreadable file gives the mode back, and fails at
    the index that another fault has cut, whose own heal can read the table only now.  So several that are left get one
    more pass after one that healed none.  Returns what was healed, in that order, and what was not, with what its last
    try raised.
    """
    healed: list[Item] = []
    left = items
    barren = 0
    while True:
        failed: list[tuple[Item, Exception]] = []
        for item in left:
            try:
                await heal(item)
                healed.append(item)
            except Exception as error:  # noqa: BLE001  (the heals of other faults go on)
                failed.append((item, error))
        barren = barren + 1 if len(failed) == len(left) else 0
        if not failed or barren == 2 or (barren and len(failed) == 1):
            return healed, failed
        left = [item for item, _ in failed]


class Nemesis:
    """Plays one schedule on one environment, writing every step to the history."""

    def __init__(self, environment: Environment, history: History, ledger: Ledger, schedule: Schedule) -> None:
        """Prepare a scene for each fault; nothing is touched yet."""
        self._environment = environment
        self._history = history
        self._ledger = ledger
        self._faults: list[Fault] = []
        self._scenes: list[Scene] = []
        self._open: list[int] = []
        self._pid = environment.service.pid
        for step in schedule.steps:
            self.add(step.fault)

    def add(self, fault: Fault) -> int:
        """Take one more fault, which no schedule knew of, and return its number; nothing is touched yet."""
        number = len(self._faults)
        self._faults.append(fault)
        self._scenes.append(Scene(self._environment, self._ledger.entry(number, fault.name), self._destroyed(number)))
        return number

    def take_up(self) -> None:
        """Count as open what another nemesis of this run left unhealed, as the ledger has it."""
        left = (EntryState.INJECTING, EntryState.INJECTED)
        self._open = [number for number, scene in enumerate(self._scenes) if scene.ledger.state in left]

    def fault(self, number: int) -> Fault:
        """Return the fault of a number."""
        return self._faults[number]

    @property
    def open_faults(self) -> tuple[int, ...]:
        """Faults that no probe has seen healed yet, in the order of their injection."""
        return tuple(self._open)

    def hurt_months(self) -> frozenset[Month] | None:
        """Months inside any radius of the schedule; None for all months."""
        months: frozenset[Month] = frozenset()
        for fault in self._faults:
            radius = fault.radius(self._environment)
            if radius.months is None:
                return None
            months |= radius.months
        return months

    def silences_service(self) -> bool:
        """Tell whether a fault of the schedule keeps the service from answering for as long as it is on."""
        silent = (ServiceState.PAUSED, ServiceState.DOWN)
        radii = [fault.radius(self._environment) for fault in self._faults if not fault.momentary]
        return any(radius.service in silent for radius in radii)

    def locks_others(self, number: int) -> bool:
        """Tell whether the statements of a fault may lock months that it does not cover."""
        radius = self._faults[number].radius(self._environment)
        return radius.edge is Edge.DDL and not radius.whole_database

    async def inject(self, number: int) -> bool:
        """Inject and confirm one fault; False (and marks that say why) when it did not bite."""
        fault, scene = self._faults[number], self._scenes[number]
        radius = radius_to_json(fault.radius(self._environment))
        self._history.mark(lambda t: FaultMark(t, number, fault.name, FaultStep.INJECTING, radius_json=radius))
        self._open.append(number)
        try:
            scene.ledger.mark(EntryState.INJECTING, fault_to_json(fault))
            async with asyncio.timeout(INJECT_DEADLINE_SECONDS):
                await fault.inject(scene)
                scene.ledger.mark(EntryState.INJECTED)
                self._mark(number, FaultStep.INJECTED)
                evidence = await confirmed(fault, scene)
        except Exception as error:  # noqa: BLE001  (whatever went wrong, the fault is healed and the run UNKNOWN)
            reason = _said(error) or f"no effect within {INJECT_DEADLINE_SECONDS:g} s"
            self._mark(number, FaultStep.NOT_CONFIRMED, reason)
            self._watch_end(error)
            return False
        self._watch_service()
        self._mark(number, FaultStep.CONFIRMED, evidence)
        if fault.momentary:
            await self.heal(number)
        return True

    async def heal(self, number: int) -> float | None:
        """Heal one fault and return the time of the first successful probe, None when it did not heal."""
        try:
            await self._heal(number)
        except Exception:  # noqa: BLE001  (recorded; the heals of other faults go on)
            return None
        return await self._probed(number)

    async def heal_all(self) -> float | None:
        """Heal what is open, last injected first; return the last probe's time, None when any heal failed."""
        return await self.heal_these(self.open_faults[::-1])

    async def heal_last(self, count: int) -> float | None:
        """Heal so many of the open faults, last injected first, and return as :meth:`heal_all` does.

        A momentary fault that no probe has seen over yet is open too, and is none of those that a schedule counts.
        """
        lasting = [number for number in self.open_faults[::-1] if not self._faults[number].momentary]
        return await self.heal_these(lasting[:count])

    async def heal_these(self, numbers: Sequence[int]) -> float | None:
        """Heal open faults in passes, and probe each as soon as it is healed, since recovery is timed from there.

        Where a fault that is still open may be in the way of the probe, it is asked again once all heals are over,
        beside the others: none waits for the health that another one's probe asks for.
        """
        probes: list[float | None] = []

        async def heal(number: int) -> None:
            await self._heal(number)
            if self._open != [number]:
                probes.append(await self._probed_early(number))

        healed, _ = await heal_in_passes(numbers, heal)
        probes += await asyncio.gather(*(self._probed(number) for number in healed if number in self._open))
        times = [probe for probe in probes if probe is not None]
        return max(times) if times and not set(numbers) & set(self._open) else None

    async def undo(self) -> None:
        """Heal what is open on the way out of a run that broke off; every heal is marked as usual."""

        async def heal(number: int) -> None:
            await self._heal(number, probed_later=False)
            self._open.remove(number)

        await heal_in_passes(self.open_faults[::-1], heal)

    async def _heal(self, number: int, *, probed_later: bool = True) -> None:
        """Heal one fault and mark it; raises what the heal raised.  Without a probe the ledger takes its word."""
        fault, scene = self._faults[number], self._scenes[number]
        self._mark(number, FaultStep.HEALING)
        try:
            async with asyncio.timeout(HEAL_DEADLINE_SECONDS):
                await fault.heal(scene)
            if not probed_later:
                scene.ledger.mark(EntryState.HEALED)
        except Exception as error:
            self._mark(number, FaultStep.HEAL_FAILED, _said(error) or f"took over {HEAL_DEADLINE_SECONDS:g} s")
            self._watch_end(error)
            raise
        self._watch_service()
        self._mark(number, FaultStep.HEALED, str(scene.ledger.load(HEALED_BY) or ""))

    async def _probed_early(self, number: int) -> float | None:
        """Return the time of a successful probe if one comes soon; that none does is no failure yet."""
        try:
            return await self._see_health(number, EARLY_PROBE_SECONDS)
        except Exception:  # noqa: BLE001  (asked again)
            return None

    async def _probed(self, number: int) -> float | None:
        """Return the time of the first successful probe, None (and a mark that says why) when none came."""
        try:
            return await self._see_health(number, PROBE_DEADLINE_SECONDS)
        except Exception as error:  # noqa: BLE001  (the heals of other faults go on)
            self._mark(number, FaultStep.HEAL_FAILED, _said(error))
            return None

    async def _see_health(self, number: int, deadline_seconds: float) -> float:
        fault, scene = self._faults[number], self._scenes[number]
        await wait_until(
            lambda: fault.probe(scene),
            what=f"{fault.name} to be healed, as a probe of the harness sees it",
            deadline_seconds=deadline_seconds,
            interval_seconds=_PROBE_INTERVAL_SECONDS,
        )
        scene.ledger.mark(EntryState.HEALED)
        if number in self._open:
            self._open.remove(number)
        return self._mark(number, FaultStep.PROBED)

    def _watch_service(self) -> None:
        """Record that the service lives another life, since its counters begin anew."""
        pid = self._environment.service.pid
        if pid != self._pid:
            self._pid = pid
            self._history.mark(lambda t: ServiceMark(t, "restarted" if pid else "down", pid or 0))

    def _watch_end(self, error: BaseException | None) -> None:
        """Record that the service ended by itself when it was started, if that is at the bottom of the error."""
        while error is not None:
            if isinstance(error, ServiceEnded):
                self._history.mark(lambda t: ServiceMark(t, "ended"))
                return
            error = error.__cause__

    def _mark(self, number: int, step: FaultStep, detail: str = "") -> float:
        name = self._faults[number].name
        return self._history.mark(lambda t: FaultMark(t, number, name, step, detail))

    def _destroyed(self, number: int) -> Callable[[DestroyedRows], Awaitable[None]]:
        async def record(rows: DestroyedRows) -> None:
            self._history.mark(lambda t: Destroyed(t, number, rows.event_ids, rows.restored))

        return record


async def confirmed(fault: Fault, scene: Scene) -> str:
    """Ask for the proof again for a while: on a busy machine one probe may time out by itself.

    Returns the evidence; raises :class:`FaultNotConfirmed` with the last reason.
    """
    last: list[FaultNotConfirmed] = []

    async def ask() -> str:
        try:
            return await fault.confirm(scene)
        except FaultNotConfirmed as error:
            last[:] = [error]
            return ""

    try:
        return await wait_until(
            ask,
            what=f"the effect of {fault.name}",
            deadline_seconds=CONFIRM_DEADLINE_SECONDS,
            interval_seconds=_CONFIRM_INTERVAL_SECONDS,
        )
    except DeadlineExceeded:
        raise last[0] from None


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, HarnessError | TimeoutError) else f"{type(error).__name__}: {error}"
