"""Striking: faults by hand, each confirmed before it is told of, and healed by name, by number, or all of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from .. import guard
from ..blast import Edge
from ..errors import FaultNotConfirmed, HealFailed, UsageError
from ..events import FaultStep
from ..fault import Fault
from ..stacks.base import remedy
from ..values import Phase
from .parameters import shown_parameters
from .parts import LabParts
from .protocol import Heal
from .recording import FaultDeed
from .state import Say


class Striking:
    """One thing with the faults at a time."""

    def __init__(self, parts: LabParts) -> None:
        """Take the parts; nothing is damaged yet."""
        self._parts = parts
        self._turn = asyncio.Lock()
        self._deeds: dict[int, FaultDeed] = {}

    @asynccontextmanager
    async def doing(self, what: str, say: Say) -> AsyncIterator[None]:
        """Do one thing with the faults; whoever comes meanwhile is told what goes on, and waits."""
        parts = self._parts
        if self._turn.locked():
            say(f"waits until `{parts.busy}` is done")
        async with self._turn:
            parts.busy = what
            parts.wake()
            try:
                yield
            finally:
                parts.busy = ""

    async def inject(self, fault: Fault, say: Say) -> list[str]:
        """Inject a fault and prove that it bites.

        Raises :class:`UsageError` for one that is on already or that this environment cannot play, and
        :class:`FaultNotConfirmed` for one that did not bite, which is then undone.
        """
        parts = self._parts
        guard.refuse_when_halted(parts.plan.reports)
        async with self.doing(f"inject {fault.name}", say):
            self._refuse(fault)
            lines = self._doubts()
            if Phase.DURING not in parts.book.phases:
                parts.enter(Phase.DURING)
            number = parts.nemesis.add(fault)
            flapping = fault.radius(parts.environment).edge is Edge.FLAPPING
            deed = FaultDeed(fault, parts.clock.now(), only_edges=flapping or fault.momentary)
            parts.deeds.faults.append(deed)
            self._deeds[number] = deed
            deed.confirmed = await parts.player.inject(number)
            if not deed.confirmed:
                raise await self._undone(number)
            proof = parts.book.last(number, FaultStep.CONFIRMED)
            shown = f" {shown_parameters(fault)}".rstrip()
            lines.append(f"{fault.name}{shown} bites: {proof.detail if proof else ''}")
            if number not in parts.nemesis.open_faults:
                return [*lines, "it is over already, and a probe sees health"]
            return [*lines, f"heal it by: harness lab heal {self._reference(number)}{parts.plan.option}"]

    async def heal(self, asked: Heal, say: Say) -> list[str]:
        """Heal what is asked for; raises :class:`UsageError` for what is not on, :class:`HealFailed` for what stays."""
        parts = self._parts
        async with self.doing("heal", say):
            numbers = self._chosen(asked)
            if not numbers:
                return ["no fault is on"]
            await parts.player.heal(numbers)
            for number in numbers:
                if number in self._deeds:
                    self._deeds[number].healed_at = parts.book.healed_at(number)
            left = [number for number in numbers if number in parts.nemesis.open_faults]
            if not parts.nemesis.open_faults:
                parts.enter(Phase.AFTER)
            lines = [f"{self._name(n)}: healed, and a probe sees health" for n in numbers if n not in left]
            if left:
                raise HealFailed("\n".join([*lines, *(self._unhealed(number) for number in left)]))
            return lines

    async def _undone(self, number: int) -> FaultNotConfirmed:
        """Undo a fault that did not bite, and return the error that says why it did not."""
        parts = self._parts
        refused = parts.book.last(number, FaultStep.NOT_CONFIRMED)
        undone = await parts.player.heal((number,)) is not None
        again = f"`harness lab heal{parts.plan.option}` tries again"
        what = "It was undone" if undone else f"It could not be undone; {again}"
        why = refused.detail if refused else "no reason is known."
        return FaultNotConfirmed(f"{self._name(number)} did not bite: {why} {what}.")

    def _refuse(self, fault: Fault) -> None:
        """Raise :class:`UsageError` for a fault that cannot be injected here and now."""
        missing = fault.needs - self._parts.environment.capabilities
        if missing:
            way = remedy(missing)
            asked = " In a lab that is: harness lab up --service-env NAME=VALUE." if "the scenario" in way else ""
            needs = ", ".join(sorted(missing))
            raise UsageError(f"{fault.name} needs {needs}, which this lab lacks. {way}.{asked}")
        twins = [number for number in self._parts.nemesis.open_faults if self._parts.nemesis.fault(number) == fault]
        if twins:
            raise UsageError(
                f"{fault.name} is on already with these parameters; heal it first: harness lab heal "
                f"{twins[0]}{self._parts.plan.option}."
            )

    def _doubts(self) -> list[str]:
        """Say what the verdict will lack, while it can still be mended."""
        parts = self._parts
        if Phase.DURING in parts.book.phases:
            return []
        months, wanted = parts.load.months, parts.plan.scenario.min_strict_events
        if not months:
            begin = f"`harness lab load{parts.plan.option}` begins one"
            return [f"note: no load is on, so nobody sees what the service answers; {begin}"]
        sent = parts.load.tally.strict(months)
        if sent >= wanted:
            return []
        doubt = f"only {sent} events of each month came before this first fault, where a verdict needs {wanted}"
        return [f"note: {doubt} as its control; `harness lab check{parts.plan.option}` will say UNKNOWN"]

    def _chosen(self, asked: Heal) -> list[int]:
        """Numbers of the faults to heal, last injected first."""
        on = list(self._parts.nemesis.open_faults[::-1])
        told = ", ".join(f"{number} ({self._name(number)})" for number in on[::-1])
        if asked.everything or not on:
            return on
        if not asked.which:
            if len(on) > 1:
                raise UsageError(f"{len(on)} faults are on: {told}. Name one, by name or number, or give --all.")
            return on
        found = [number for number in on if asked.which in (str(number), self._name(number))]
        if not found:
            raise UsageError(f"No fault {asked.which!r} is on; on are {told}.")
        return found

    def _reference(self, number: int) -> str:
        """How to name a fault to heal it: by name, or by number where several of its name are on."""
        alike = [other for other in self._parts.nemesis.open_faults if self._name(other) == self._name(number)]
        return self._name(number) if len(alike) == 1 else str(number)

    def _unhealed(self, number: int) -> str:
        failed = self._parts.book.last(number, FaultStep.HEAL_FAILED)
        return f"{self._name(number)} is NOT healed: {failed.detail if failed else 'no reason is known'}"

    def _name(self, number: int) -> str:
        return self._parts.nemesis.fault(number).name
