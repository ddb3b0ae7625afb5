"""Timed: plays a scenario whose faults and loads have their times, as the recording of a lab has.

The three phases are those of every run.  The control phase ends with the first fault, and lasts longer than recorded
where this machine needs that for its strictly judged events; the last phase begins with the heal after which no fault
is on.  No gap between two moves is shorter than recorded; what takes longer here puts off what follows.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from ._wait import pause
from .conductor import MIN_SCRAPES, Conductor, StepHook
from .history import History
from .load.phased import PhasedLoad
from .nemesis import Nemesis
from .player import Player
from .samplers import Samplers
from .scenario import Scenario
from .steadystate import SteadyState
from .targets.model import Target
from .values import Phase


class MoveKind(enum.IntEnum):
    """What is done at a time; of moves at the same time a lower one comes first."""

    REST = 0
    LOAD = 1
    HEAL = 2
    INJECT = 3


@dataclass(frozen=True, order=True)
class Move:
    """One thing to be done, so many seconds after the beginning; ``number`` is the fault's or the load phase's."""

    at_seconds: float
    kind: MoveKind
    number: int


@dataclass(frozen=True)
class Moves:
    """All moves of a scenario, by the phase of the run that they belong to."""

    before: tuple[Move, ...]
    during: tuple[Move, ...]
    after: tuple[Move, ...]


def moves_of(scenario: Scenario) -> Moves:
    """Put the times of a scenario in order, and find where its phases begin."""
    moves: list[Move] = []
    for number, step in enumerate(scenario.schedule.steps):
        moves.append(Move(step.at_seconds or 0.0, MoveKind.INJECT, number))
        if step.healed_at_seconds is not None:
            moves.append(Move(step.healed_at_seconds, MoveKind.HEAL, number))
    for number, phase in enumerate(scenario.load.phases):
        moves.append(Move(phase.from_seconds, MoveKind.LOAD, number))
        if phase.to_seconds is not None:
            moves.append(Move(phase.to_seconds, MoveKind.REST, number))
    moves.sort()
    strikes = [index for index, move in enumerate(moves) if move.kind is MoveKind.INJECT]
    if not strikes:
        return Moves(tuple(moves), (), ())
    closing = _closing(scenario, moves, strikes[-1])
    return Moves(tuple(moves[: strikes[0]]), tuple(moves[strikes[0] : closing]), tuple(moves[closing:]))


def _closing(scenario: Scenario, moves: list[Move], last_strike: int) -> int:
    """Index of the heal after which no fault is on any more; the end of all moves where one stays on until then."""
    lasting = {number for number, step in enumerate(scenario.schedule.steps) if not step.fault.momentary}
    healed = {move.number: index for index, move in enumerate(moves) if move.kind is MoveKind.HEAL}
    if not lasting:
        return last_strike + 1
    if lasting - healed.keys():
        return len(moves)
    return max(max(healed[number] for number in lasting), last_strike + 1)


class TimedConductor(Conductor):
    """Plays the moves of a scenario at their times; else as every conductor."""

    def __init__(
        self,
        scenario: Scenario,
        target: Target,
        history: History,
        load: PhasedLoad,
        nemesis: Nemesis,
        steady: SteadyState,
        samplers: Samplers,
        step: StepHook,
    ) -> None:
        """Take the live parts of a run."""
        super().__init__(scenario, target, history, load, nemesis, steady, samplers, step)
        self._phased = load
        self._player = Player(nemesis, load, history.clock, target.limits)
        self._moves = moves_of(scenario)
        self._origin = 0.0

    async def before(self) -> None:
        """Play what comes before the first fault, and go on until it can be judged."""
        self._open(Phase.BEFORE)
        self._stable_from_now()
        self._origin = self._history.clock.now()
        await self._play(*self._moves.before)
        if self._moves.during:
            await self._due(self._moves.during[0])
        await self._enough_sent()

    async def during(self) -> None:
        """Play everything from the first fault to the heal after which none is on."""
        if not self._moves.during:
            return
        self._open(Phase.DURING)
        self._stable_from_now()
        await self._play(*self._moves.during)
        if not self.confirmed:
            return
        await self._step(5, "all faults have come: look now")
        if self._moves.after:
            await self._due(self._moves.after[0])
        await self._player.edges.outlasted()
        silent = not self._reads.metrics or self._nemesis.silences_service()
        await self._enough_sent(scrapes=self._history.scrapes + (0 if silent else MIN_SCRAPES))

    async def after(self) -> None:
        """Heal, play the rest, and let the load prove health again."""
        if self._moves.during:
            self._open(Phase.AFTER)
            await self._step(6, "heal all")
            if self.confirmed:
                await self._play(*self._moves.after)
            if self._nemesis.open_faults:
                await self._player.heal(self._nemesis.open_faults[::-1])
            if self._nemesis.open_faults:
                self._note("heal", "a fault was not healed; what follows says nothing about the service")
            await self._player.edges.outlasted()
        await self._step(7, "recovery")
        self._stable_from_now()
        if self.confirmed and self._moves.during:
            await self._enough_sent()
        await self._recovered(self._scenario.load.all_months)
        await self._player.edges.close()

    async def _play(self, *moves: Move) -> None:
        """Play moves at their times; a fault that does not bite ends it."""
        for move in moves:
            await self._due(move)
            match move.kind:
                case MoveKind.REST:
                    await self._phased.rest()
                case MoveKind.LOAD:
                    await self._begin(move.number)
                case MoveKind.HEAL if move.number in self._nemesis.open_faults:
                    await self._player.heal((move.number,))
                case MoveKind.INJECT:
                    await self._step(5, f"about to inject {self._nemesis.fault(move.number).name}")
                    self.confirmed = await self._player.inject(move.number)
                    if not self.confirmed:
                        return

    async def _begin(self, number: int) -> None:
        load = self._scenario.load
        phase = load.phases[number]
        for month in phase.months:
            self._samplers.watch(month)
        await self._phased.play(load.during(phase))

    async def _due(self, move: Move) -> None:
        """Wait for the time of a move; one that is late puts off all that follow."""
        left = self._origin + move.at_seconds - self._history.clock.now()
        self._sampling_seconds += max(0.0, left)
        self._origin -= min(0.0, left)
        await pause(left)

    async def _enough_sent(self, scrapes: int = 0) -> None:
        """Go on until the months that are written into have their strictly judged events; at once where none is."""
        if self._phased.months:
            await self._enough(self._phased.months, scrapes=scrapes)
