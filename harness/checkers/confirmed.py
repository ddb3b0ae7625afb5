"""Every fault of the schedule bit, was healed, and was seen healed: else the run proves nothing (no promise)."""

from __future__ import annotations

from ..checking import CHECKERS, CONDENSABLE, CheckResult, nothing_more
from ..rundata import FaultWindow, Run
from ._common import wishes

NAME = "confirmed"


@CHECKERS.register(NAME)
def confirmed(run: Run) -> CheckResult:
    """Say UNKNOWN for each fault that was not injected, confirmed, healed and probed."""
    unknowns = [reason for window in run.windows if (reason := _reason(window))]
    missing = wishes(run).faults - len(run.windows)
    if missing > 0:
        unknowns.append(f"{missing} faults of the schedule were never injected, so nothing was proved about them.")
    facts = {
        "faults_scheduled": float(wishes(run).faults),
        "faults_confirmed": float(sum(window.confirmed is not None for window in run.windows)),
    }
    return CheckResult(NAME, unknowns=tuple(unknowns), facts=facts)


CONDENSABLE.register(NAME)(nothing_more)


def _reason(window: FaultWindow) -> str:
    problem = f" ({window.problem})" if window.problem else ""
    if window.confirmed is None:
        return f"{window.name} was not confirmed{problem}: nothing shows that it bit."
    if window.healing is None:
        return f"{window.name} was never healed{problem}: recovery was not seen."
    if window.healed is None:
        return f"The heal of {window.name} failed{problem}: what follows says nothing about the service."
    if window.probed is None:
        return f"{window.name} was healed, but no probe showed health{problem}: recovery was not seen."
    return f"{window.name} had a problem{problem}." if problem else ""
