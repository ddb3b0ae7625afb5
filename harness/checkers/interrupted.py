"""A fault met a drain: some of what was queued before it was drained before it, some only after it (no promise)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from .. import events as ev
from ..checking import CHECKERS, CheckResult
from ..oracle import QUEUED
from ..rundata import FaultWindow, Run
from ._common import nothing_sent, reaches, shared
from ._stored import Stored

NAME = "interrupted"
CLOCK_SLACK_SECONDS = 0.5


@CHECKERS.register(NAME)
def interrupted(run: Run) -> CheckResult:
    """Say UNKNOWN for each fault that was to strike a drain and met none, by the times at which rows were stored.

    Drained before the fault is what was stored between the heals that its step asks for and the fault, and only events
    that the healed faults had kept back count: others may have been queued, and drained, at any time.
    """
    empty = nothing_sent(NAME, run)
    if empty is not None:
        return empty
    if not run.reads.sql:
        return CheckResult(NAME, not_checked="sql")
    unknowns: list[str] = []
    facts: dict[str, float] = {}
    stored = shared(run, Stored)
    counts = _after_healing(run)
    for window in run.windows:
        if not counts.get(window.fault):
            continue
        before, after, untold = _drained(run, window, _healed(run, window, counts[window.fault]), stored)
        said = f"{window.name} was to strike while the queue drained, but"
        if not before:
            unknowns.append(f"{said} nothing had been drained by then.")
        elif not after:
            unknowns.append(f"{said} all {before} events had been drained by then, or by its bite.")
        if untold > before + after:
            unknowns.append(f"{said} of {untold} queued events it is not known when they were stored.")
        facts |= {f"drained_before_{window.fault}": float(before), f"drained_after_{window.fault}": float(after)}
    if not any(counts.values()):
        unknowns.append("No fault of this run was to strike a drain, so there is nothing that could prove it.")
    elif not facts:
        unknowns.append("The fault that was to strike while the queue drained was never injected.")
    return CheckResult(NAME, unknowns=tuple(unknowns), facts=facts)


def _after_healing(run: Run) -> Mapping[int, int]:
    """How many faults the scenario has healed before each of its faults, by number; nothing when it does not say."""
    try:
        steps = json.loads(run.started.scenario_json)["schedule"]
        return {number: int(step.get("after_healing", 0)) for number, step in enumerate(steps)}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _healed(run: Run, window: FaultWindow, count: int) -> Sequence[FaultWindow]:
    """The last ``count`` faults that were healed before this one."""
    earlier = [one for one in run.windows if one.healing is not None and one.healing < window.injecting]
    return sorted(earlier, key=lambda one: one.healing or 0.0)[-count:]


def _drained(run: Run, window: FaultWindow, healed: Sequence[FaultWindow], stored: Stored) -> tuple[int, int, int]:
    """Of the events queued before the heals: stored between them and the fault, after its bite, and nobody knows."""
    bite = window.confirmed if window.confirmed is not None else run.end
    # By the database's clock, which may be a little behind.
    began = min((one.healing for one in healed if one.healing is not None), default=run.end) - CLOCK_SLACK_SECONDS
    queued = [
        operation
        for operation in run.operations
        if operation.kind is ev.OpKind.WRITE
        and operation.status == QUEUED
        and operation.completed < window.injecting
        and any(reaches(one, operation.month) and operation.invoked >= one.injecting for one in healed)
    ]
    times = [at for operation in queued if (at := stored.stored_at(operation)) is not None]
    before, after = sum(began <= at < window.injecting for at in times), sum(at > bite for at in times)
    return before, after, len(queued) - len(times)
