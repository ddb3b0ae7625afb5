"""What a run and a suite came to: the typed values that gate and reports read."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from .checking import REACHED_PREFIX, SOMETIMES, CheckResult, Clocks, Finding
from .rundata import Run
from .scenario import Scenario
from .values import Verdict

__all__ = ["NOT_BEGUN", "Clocks", "Reached", "RunResult", "Skipped", "SuiteBegun", "SuiteResult", "Waits"]

NOT_BEGUN = "not-begun"
"""The check of a run that the suite's own bounds kept from beginning; it says why."""


@dataclass(frozen=True)
class Waits:
    """Time of a run that no faster machine would shorten.

    ``edge_seconds``: recovery edges of the oracle that must pass.  ``timeout_seconds``: time-outs of the target
    that faults have to outwait.  ``sampling_seconds``: the paced phases, at the pace that the scenario asks for.
    """

    edge_seconds: float = 0.0
    timeout_seconds: float = 0.0
    sampling_seconds: float = 0.0

    @property
    def total_seconds(self) -> float:
        """All of them."""
        return self.edge_seconds + self.timeout_seconds + self.sampling_seconds


@dataclass(frozen=True)
class RunResult:
    """One scenario run, judged.  ``setup_error`` is set when it never got to be judged.

    ``aborted``: it was ended before its time on purpose, by a halt file or since somebody else uses its database.
    ``data`` is the history that was judged, for the reports that come next; it is let go with :meth:`slim`.
    """

    run: str
    folder: Path
    scenario: Scenario
    seed: int
    seconds: float
    checks: tuple[CheckResult, ...] = ()
    clocks: tuple[Clocks, ...] = ()
    waits: Waits = Waits()
    setup_error: str = ""
    timings: dict[str, float] = field(default_factory=dict)
    repeat_command: str = ""
    aborted: bool = False
    data: Run | None = field(default=None, repr=False, compare=False)

    def slim(self) -> RunResult:
        """Return it without the history, which takes megabytes."""
        return replace(self, data=None)

    @property
    def verdict(self) -> Verdict:
        """Worst of the checks that could be made; a run without any is UNKNOWN."""
        if self.setup_error:
            return Verdict.UNKNOWN
        return Verdict.worst(check.verdict for check in self.checks if not check.not_checked)

    @property
    def begun(self) -> bool:
        """Tell whether it began at all; one that did not has neither history nor reports of its own."""
        return all(check.checker != NOT_BEGUN for check in self.checks)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All broken promises, in the order of the checkers."""
        return tuple(finding for check in self.checks for finding in check.findings)


@dataclass(frozen=True)
class Skipped:
    """A scenario that this machine cannot play: what it lacks, and how to get it."""

    scenario: Scenario
    reason: str


@dataclass(frozen=True, kw_only=True)
class SuiteBegun:
    """What a command is about to play: its suite's name, and with how many environments at once (``jobs``)."""

    suite: str
    target: str
    seed: int
    jobs: int
    scenarios: tuple[Scenario, ...]
    skipped: tuple[Skipped, ...] = ()


@dataclass(frozen=True)
class Reached:
    """One state of ``SOMETIMES`` over a suite: in how many runs it was reached, of those that could see it."""

    name: str
    sentence: str
    runs: int
    of: int

    @property
    def missing(self) -> bool:
        """Tell whether runs could see it and none did; a state that nobody can see is not missing."""
        return self.of > 0 and self.runs == 0


@dataclass(frozen=True)
class SuiteResult:
    """All runs of one command.  ``full``: it was every scenario of the default suite, so each state is owed."""

    suite: str
    folder: Path
    runs: tuple[RunResult, ...]
    seconds: float
    jobs: int
    skipped: tuple[Skipped, ...] = ()
    full: bool = False

    @property
    def verdict(self) -> Verdict:
        """Worst wins; a full suite that never reached a state proves nothing about it, which is UNKNOWN."""
        owed = [Verdict.UNKNOWN] if self.owed else []
        return Verdict.worst([*(run.verdict for run in self.runs), *owed])

    @property
    def reached(self) -> tuple[Reached, ...]:
        """Every state that matters, with the runs that reached it."""
        return tuple(self._reached(name, sentence) for name, sentence in SOMETIMES.items())

    @property
    def owed(self) -> tuple[Reached, ...]:
        """The states that leave the suite UNKNOWN, since all of it was played and none reached them."""
        return tuple(one for one in self.reached if one.missing) if self.full else ()

    def _reached(self, name: str, sentence: str) -> Reached:
        fact = f"{REACHED_PREFIX}{name}"
        told = [check.facts[fact] for run in self.runs for check in run.checks if fact in check.facts]
        return Reached(name, sentence, sum(value > 0 for value in told), len(told))
