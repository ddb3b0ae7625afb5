"""Nemesis: plays the faults of a schedule and always undoes them.

Each fault gets its own ledger entry before it is injected, and its marks on the run's clock.  Heals go on after
one that fails; every one is recorded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from ._wait import wait_until
from .blast import ServiceState
from .errors import DeadlineExceeded, FaultNotConfirmed, HarnessError
from .events import Destroyed, FaultMark, FaultStep, ServiceMark
from .fault import DestroyedRows, Fault, Scene, fault_to_json, radius_to_json
from .history import History
from .ledger import EntryState, Ledger
from .schedule import Schedule
from .stacks.base import Environment
from .values import Month

INJECT_DEADLINE_SECONDS = 45.0
HEAL_DEADLINE_SECONDS = 60.0
PROBE_DEADLINE_SECONDS = 20.0
CONFIRM_DEADLINE_SECONDS = 4.0
_CONFIRM_INTERVAL_SECONDS = 0.2
_PROBE_INTERVAL_SECONDS = 0.02


class Nemesis:
    """Plays one schedule on one environment, writing every step to the history."""

    def __init__(self, environment: Environment, history: History, ledger: Ledger, schedule: Schedule) -> None:
        """Prepare a scene for each fault; nothing is touched yet."""
        self._environment = environment
        self._history = history
        self._faults: list[Fault] = [step.fault for step in schedule.steps]
        self._scenes = [
            Scene(environment, ledger.entry(number, fault.name), self._destroyed(number))
            for number, fault in enumerate(self._faults)
        ]
        self._open: list[int] = []
        self._pid = environment.service.pid

    @property
    def open_faults(self) -> tuple[int, ...]:
        """Faults that may still have an effect, in the order of their injection."""
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
            return False
        self._watch_service()
        self._mark(number, FaultStep.CONFIRMED, evidence)
        if fault.momentary:
            await self.heal(number)
        return True

    async def heal(self, number: int) -> float | None:
        """Heal one fault and return the time of the first successful probe, None when it did not heal."""
        fault, scene = self._faults[number], self._scenes[number]
        self._mark(number, FaultStep.HEALING)
        try:
            async with asyncio.timeout(HEAL_DEADLINE_SECONDS):
                await fault.heal(scene)
            self._watch_service()
            self._mark(number, FaultStep.HEALED)
            if number in self._open:
                self._open.remove(number)
            await wait_until(
                lambda: fault.probe(scene),
                what=f"{fault.name} to be healed, as a probe of the harness sees it",
                deadline_seconds=PROBE_DEADLINE_SECONDS,
                interval_seconds=_PROBE_INTERVAL_SECONDS,
            )
            scene.ledger.mark(EntryState.HEALED)
        except Exception as error:  # noqa: BLE001  (the heals of other faults go on)
            self._mark(number, FaultStep.HEAL_FAILED, _said(error) or f"took over {HEAL_DEADLINE_SECONDS:g} s")
            return None
        return self._mark(number, FaultStep.PROBED)

    async def heal_all(self) -> float | None:
        """Heal what is open, last injected first; return the last probe's time, None when any heal failed."""
        probes = [await self.heal(number) for number in reversed(self.open_faults)]
        times = [probe for probe in probes if probe is not None]
        return max(times) if times and len(times) == len(probes) else None

    async def undo(self) -> None:
        """Heal what is open on the way out of a run that broke off; every heal is marked as usual."""
        for number in reversed(self.open_faults):
            self._mark(number, FaultStep.HEALING)
            try:
                async with asyncio.timeout(HEAL_DEADLINE_SECONDS):
                    await self._faults[number].heal(self._scenes[number])
                self._open.remove(number)
                self._scenes[number].ledger.mark(EntryState.HEALED)
                self._mark(number, FaultStep.HEALED)
            except Exception as error:  # noqa: BLE001  (the heals of other faults go on)
                self._mark(number, FaultStep.HEAL_FAILED, _said(error))

    def _watch_service(self) -> None:
        """Record that the service lives another life, since its counters begin anew."""
        pid = self._environment.service.pid
        if pid != self._pid:
            self._pid = pid
            self._history.mark(lambda t: ServiceMark(t, "restarted" if pid else "down", pid or 0))

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
