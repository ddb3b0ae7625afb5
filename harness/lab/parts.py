"""Parts: what a lab is made of, shared by what is done with its load, with its faults, and with its history."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..events import Note, PhaseMark
from ..history import Clock
from ..ledger import Ledger
from ..load.phased import PhasedLoad
from ..nemesis import Nemesis
from ..player import Player
from ..probes.http import HttpProbe
from ..runner import client_timeout_seconds
from ..samplers import Samplers
from ..scenario import Scenario
from ..schedule import Schedule
from ..stacks.base import Environment
from ..steadystate import SteadyState
from ..values import Phase
from .book import Book, LabHistory
from .recording import Deeds
from .state import name_option

IDLE_SLOWNESS = 4.0
"""So much slower is sampled while nothing is on: few records, but so many that no standstill is read from them."""


@dataclass(frozen=True, kw_only=True)
class LabPlan:
    """What a lab is, beside its parts: ``scenario`` is what it would be if nothing were done in it.

    ``played``: the scenario of a run that had the environment before, whose faults have the first numbers.
    ``lock_file`` is that of exclusive scenarios.
    """

    name: str
    run: str
    folder: Path
    reports: Path
    seed: int
    scenario: Scenario
    lock_file: Path
    played: Scenario | None = None

    @property
    def option(self) -> str:
        """What a command needs to mean this lab, where one is told of: ``--name NAME``, "" for the usual name."""
        return name_option(self.name)


class LabParts:
    """The live parts; see :class:`LabPlan`."""

    def __init__(self, plan: LabPlan, environment: Environment, history: LabHistory, ledger: Ledger) -> None:
        """Make them, within a running loop; nothing is touched yet."""
        self.plan = plan
        self.environment = environment
        self.history = history
        self.deeds = Deeds()
        self.nemesis = Nemesis(environment, history, ledger, plan.played.schedule if plan.played else Schedule())
        self.probe = HttpProbe(environment)
        self.samplers = Samplers(environment, history, self.probe)
        self.steady = SteadyState(environment, history, self.probe, plan.run)
        self.load = PhasedLoad(
            plan.scenario.load,
            plan.seed,
            plan.run,
            history,
            lambda: environment.service.base_url,
            client_timeout_seconds(environment.target),
            first_op=history.book.last_op + 1,
        )
        self.player = Player(self.nemesis, self.load, self.clock, environment.target.limits)
        self.busy = ""
        """What is being done with the faults right now."""

    @property
    def clock(self) -> Clock:
        """The lab's clock."""
        return self.history.clock

    @property
    def book(self) -> Book:
        """What is known of the history."""
        return self.history.book

    @property
    def idle(self) -> bool:
        """Tell whether nothing is on: no load, no fault, no edge of one."""
        return not (self.load.months or self.nemesis.open_faults or self.player.edges.on or self.busy)

    def keep_pace(self) -> None:
        """Sample slowly while nothing is on, and at the usual pace else."""
        self.samplers.slowness = IDLE_SLOWNESS if self.idle else 1.0

    def wake(self) -> None:
        """Sample at the usual pace from now on: something is about to be done."""
        self.samplers.slowness = 1.0

    def enter(self, phase: Phase) -> None:
        """Mark a phase when it is entered first, and count from anew for it; a lab may come back to one."""
        if phase not in self.book.phases and phase is not Phase.AFTER:
            self.history.mark(lambda t: PhaseMark(t, phase))
        self.load.tally.open_phase()
        if not self.player.edges.on:
            self.load.tally.stable(self.clock.now())

    def note(self, text: str) -> None:
        """Write a line of the lab's own into the history."""
        self.history.mark(lambda t: Note(t, "lab", text))
