"""Display: what hears of a suite while it runs; the console, the event stream, and whoever else wants to."""

from __future__ import annotations

from typing import Protocol

from .events import FaultMark, PhaseMark
from .results import RunResult, SuiteBegun
from .runner import RunObserver
from .scenario import Scenario
from .stacks.base import Environment


class Display(Protocol):
    """What shows progress and results; ``harness.report.console.Console`` is one."""

    def suite_started(self, begun: SuiteBegun) -> None:
        """A command is about to play."""

    def scenario_started(self, run: str, scenario: Scenario) -> None:
        """A run begins."""

    def step(self, run: str, number: int, text: str, events: int) -> None:
        """A run enters a step of the lifecycle, or has answered more events."""

    def marked(self, run: str, mark: FaultMark | PhaseMark) -> None:
        """A fault or the workload of a run has come to a step."""

    def scenario_finished(self, result: RunResult) -> None:
        """A run has been judged."""


class SilentDisplay:
    """Shows nothing."""

    def suite_started(self, begun: SuiteBegun) -> None:
        """Ignore."""

    def scenario_started(self, run: str, scenario: Scenario) -> None:
        """Ignore."""

    def step(self, run: str, number: int, text: str, events: int) -> None:
        """Ignore."""

    def marked(self, run: str, mark: FaultMark | PhaseMark) -> None:
        """Ignore."""

    def scenario_finished(self, result: RunResult) -> None:
        """Ignore."""


class Displays:
    """Several at once, told in their order."""

    def __init__(self, *displays: Display) -> None:
        """Tell these."""
        self._displays = displays

    def suite_started(self, begun: SuiteBegun) -> None:
        """Pass it on."""
        for display in self._displays:
            display.suite_started(begun)

    def scenario_started(self, run: str, scenario: Scenario) -> None:
        """Pass it on."""
        for display in self._displays:
            display.scenario_started(run, scenario)

    def step(self, run: str, number: int, text: str, events: int) -> None:
        """Pass it on."""
        for display in self._displays:
            display.step(run, number, text, events)

    def marked(self, run: str, mark: FaultMark | PhaseMark) -> None:
        """Pass it on."""
        for display in self._displays:
            display.marked(run, mark)

    def scenario_finished(self, result: RunResult) -> None:
        """Pass it on."""
        for display in self._displays:
            display.scenario_finished(result)


class Observer(RunObserver):
    """Passes a run's steps to the display, and counts its events for it."""

    def __init__(self, display: Display, gate: RunObserver | None) -> None:
        """Tell ``display``, and ``gate`` as well, which may hold a run at a step."""
        self._display = display
        self._gate = gate
        self._steps: dict[str, tuple[int, str]] = {}

    async def step(self, run: str, number: int, text: str, environment: Environment | None) -> None:
        """Pass a step on, and wait at the gate."""
        self._steps[run] = (number, text)
        self._display.step(run, number, text, 0)
        if self._gate is not None:
            await self._gate.step(run, number, text, environment)

    def events(self, run: str, count: int) -> None:
        """Pass on how many events have been answered, with the step that the run is in."""
        number, text = self._steps.get(run, (0, ""))
        self._display.step(run, number, text, count)

    def marked(self, run: str, mark: FaultMark | PhaseMark) -> None:
        """Pass it on."""
        self._display.marked(run, mark)
