"""Drill: what a recovery takes by hand and by itself, from the newest run that timed it.

The fault ``drop-and-restore-by-hand`` takes an operator's steps and times each, in one run in which the service drains
the same queue by itself.  What is timed is the machine's part; reading, deciding and typing no machine can time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import HistoryError
from ..faults.byhand import DropAndRestoreByHand
from ..judging import load_run
from ..repairs import RepairStep, from_text
from ..report.judged import Judged

FAULT = DropAndRestoreByHand.name
SCENARIO = "december-recovered-by-hand"
"""The scenario that ships with the harness and plays it."""


@dataclass(frozen=True, kw_only=True)
class Drill:
    """One timed recovery; ``problem`` says why there is none.

    The other times are the service's own: until it noticed, and from the probe after the repair to the first direct
    write, and to the empty queue.
    """

    run: Judged | None = None
    steps: tuple[RepairStep, ...] = ()
    detect_seconds: float | None = None
    recover_seconds: float | None = None
    drain_seconds: float | None = None
    problem: str = ""

    @property
    def machine_seconds(self) -> float | None:
        """What all steps by hand took the machine; None where a step was not timed, since a part is no whole."""
        if not self.steps or any(step.seconds is None for step in self.steps):
            return None
        return sum(step.seconds or 0.0 for step in self.steps)


def newest_drill(runs: Sequence[Judged]) -> Drill:
    """Find the newest run that timed a recovery, runs being the oldest first; only one that passed counts."""
    played = [run for run in runs if FAULT in run.faults]
    if not played:
        return Drill(problem=f"no run has timed a recovery by hand; `harness run {SCENARIO}` does")
    passed = [run for run in played if run.verdict == "PASS"]
    if not passed:
        return Drill(run=played[-1], problem=f"the run that timed it, {played[-1].run}, is {played[-1].verdict}")
    run = passed[-1]
    try:
        windows = load_run(run.folder).windows
    except HistoryError as error:
        return Drill(run=run, problem=str(error))
    number, repair = next(((at, one.repair) for at, one in enumerate(windows) if one.name == FAULT), (0, ""))
    steps = from_text(repair)
    if not steps:
        return Drill(run=run, problem=f"{run.run} does not say what its steps took; run {SCENARIO} again")
    clocks = run.clocks[number] if number < len(run.clocks) else None
    return Drill(
        run=run,
        steps=steps,
        detect_seconds=clocks.detect_seconds if clocks else None,
        recover_seconds=clocks.recover_seconds if clocks else None,
        drain_seconds=clocks.drain_seconds if clocks else None,
    )
