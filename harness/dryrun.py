"""``--dry-run``: a run rehearsed in words, step by step and each fault statement by statement.

Nothing is started, written or damaged.  For parts that outlive the runner the checks that a run begins with are made
in earnest, since they only look.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from . import guard
from .errors import ScenarioError
from .fault import plan_of
from .redaction import kept_back
from .scenario import LoadPhase, Scenario
from .schedule import Step
from .session import REFERENCE_TARGET
from .targets.model import Target, load_target

Say = Callable[[str], None]


def rehearse(scenarios: Sequence[Scenario], target_path: Path | None, reports: Path, *, force: bool, say: Say) -> None:
    """Print what running the scenarios would do; raise :class:`harness.errors.UsageError` for what forbids it."""
    target = load_target(target_path or REFERENCE_TARGET)
    guard.refuse_when_halted(reports)
    found = _found(target, reports, force=force)
    for scenario in scenarios:
        guard.refuse_forbidden_faults(target, scenario.schedule)
        for line in lines_of(scenario, target, found):
            say(line)
    say("dry run: nothing was done")


def lines_of(scenario: Scenario, target: Target, found: Sequence[str] = ()) -> list[str]:
    """Return the lines of one scenario; raise :class:`ScenarioError` when the target lacks one of its months."""
    load, steps = scenario.load, scenario.schedule.steps
    missing = target.lacks(load.months)
    if missing:
        raise ScenarioError(f"The scenario {scenario.name} writes into {min(missing)}, which {target.path} lacks.")
    lines = [f"{scenario.name}: {scenario.claim}", *_start(scenario, target, found)]
    lines.append("  3 steady state: ready, every month healthy, the queue empty; one probe event into each month")
    months = ", ".join(month.label for month in load.all_months)
    pace = f"{load.rate_per_writer:g} a second each" if load.rate_per_writer else "as fast as answers come"
    if not load.phases:
        lines.append(f"  4 load: {load.writers_per_month} writers a month ({months}), {pace}")
    lines += [f"  4 load {phase_text(phase)}" for phase in load.phases]
    if not steps:
        lines.append("  5 no fault: the control")
    for number, step in enumerate(steps):
        needs = ", ".join(sorted(step.fault.needs)) or "nothing"
        after = f", after {step.after_events} more events a month" if step.after_events else ""
        met = "once the service has recovered from" if step.after_recovery else "while the queue drains of"
        healed = f", {met} the last {step.after_healing} healed" if step.after_healing else ""
        timed = f", {_times_of(step)}" if step.at_seconds is not None else ""
        lines.append(f"  5 fault {number}: {step.fault} (needs {needs}{after}{healed}{timed})")
        lines.append("      ledger: the fault, its state and all that its heal needs, fsynced first")
        lines += [f"      {line}" for line in plan_of(step.fault)]
    lines += [
        "  6 heal all, last injected first, also after Ctrl-C; "
        + (
            "the watchdog does it when the runner dies" if target.external else "the reaper ends all if the runner dies"
        ),
        "  7 recovery: steady state again; 8 final reads of queue, table and catalog; 9 logs; 10 stop; 11 judge",
    ]
    return lines


def phase_text(phase: LoadPhase) -> str:
    """Tell one phase of a load in a line."""
    pace = f"{phase.rate_per_writer:g} a second each" if phase.rate_per_writer else "as fast as answers come"
    until = "the end" if phase.to_seconds is None else f"{phase.to_seconds:g} s"
    months = ", ".join(month.label for month in phase.months)
    return f"from {phase.from_seconds:g} s to {until}: {phase.writers_per_month} writers a month ({months}), {pace}"


def _times_of(step: Step) -> str:
    """When a fault comes and goes, after the beginning of the load."""
    lasting = "" if step.fault.momentary else " until the end"
    until = lasting if step.healed_at_seconds is None else f" until {step.healed_at_seconds:g} s"
    return f"from {step.at_seconds:g} s{until}"


def _start(scenario: Scenario, target: Target, found: Sequence[str]) -> list[str]:
    if target.external is not None:
        return [f"  1 check {target.name}", *(f"      {line}" for line in found), "  2 claim it; start the watchdog"]
    started = "the service" if target.launch else f"wait for the service at {target.url}"
    settings = " ".join(f"{key}={value}" for key, value in sorted(kept_back(scenario.service_environment).items()))
    return [
        f"  1 check {target.name}",
        f"  2 start PostgreSQL, Toxiproxy and {started} of its own{f' with {settings}' if settings else ''}",
    ]


def _found(target: Target, reports: Path, *, force: bool) -> Sequence[str]:
    if target.external is None:
        return ()
    from .stacks.external import ExternalStack

    return asyncio.run(ExternalStack(force=force).preflight(target, reports)).lines
