"""A fault met a drain: some of what was queued before it was drained before it, some only after it (no promise)."""

from __future__ import annotations

import json
from collections.abc import Sequence

from .. import events as ev
from ..checking import CHECKERS, CheckResult
from ..oracle import QUEUED
from ..rundata import FaultWindow, Run
from ._common import nothing_sent
from ._stored import Stored

NAME = "interrupted"


@CHECKERS.register(NAME)
def interrupted(run: Run) -> CheckResult:
    """Say UNKNOWN for each fault that was to strike a drain and met none, by the times at which rows were stored."""
    empty = nothing_sent(NAME, run)
    if empty is not None:
        return empty
    if not run.reads.sql:
        return CheckResult(NAME, not_checked="sql")
    unknowns: list[str] = []
    facts: dict[str, float] = {}
    stored = Stored(run)
    for window in _striking(run):
        before, after, untold = _drained(run, window, stored)
        said = f"{window.name} was to strike while the queue drained, but"
        if not before:
            unknowns.append(f"{said} nothing had been drained by then.")
        elif not after:
            unknowns.append(f"{said} all {before} events had been drained by then, or by its bite.")
        if untold > before + after:
            unknowns.append(f"{said} of {untold} queued events it is not known when they were stored.")
        facts |= {f"drained_before_{window.fault}": float(before), f"drained_after_{window.fault}": float(after)}
    return CheckResult(NAME, unknowns=tuple(unknowns), facts=facts)


def _striking(run: Run) -> Sequence[FaultWindow]:
    """The faults that the scenario has strike once others were healed."""
    try:
        steps = json.loads(run.started.scenario_json)["schedule"]
        numbers = {number for number, step in enumerate(steps) if step.get("after_healing")}
    except (ValueError, KeyError, TypeError, AttributeError):
        return ()
    return [window for window in run.windows if window.fault in numbers]


def _drained(run: Run, window: FaultWindow, stored: Stored) -> tuple[int, int, int]:
    """Of the events queued before the fault: how many were stored before it, how many after its bite, and neither."""
    bite = window.confirmed if window.confirmed is not None else run.end
    queued = [
        operation
        for operation in run.operations
        if operation.kind is ev.OpKind.WRITE and operation.status == QUEUED and operation.completed < window.injecting
    ]
    times = [at for operation in queued if (at := stored.stored_at(operation)) is not None]
    before, after = sum(at < window.injecting for at in times), sum(at > bite for at in times)
    return before, after, len(queued) - len(times)
