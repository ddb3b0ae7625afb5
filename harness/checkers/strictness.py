"""Enough was judged strictly: each phase has enough operations that no edge touched, or the run proves nothing."""

from __future__ import annotations

from collections import Counter

from .. import events as ev
from ..checking import CHECKERS, CONDENSABLE, CheckResult, nothing_more
from ..rundata import Run
from ..values import Month, Phase
from ._common import nothing_sent, weighed_expectations, wishes

NAME = "strictness"


@CHECKERS.register(NAME)
def strictness(run: Run) -> CheckResult:
    """Count strictly judged writes by phase and month; too few, or less than half of them, is UNKNOWN."""
    empty = nothing_sent(NAME, run)
    if empty is not None:
        return empty
    strict: Counter[tuple[Phase, Month]] = Counter()
    every: Counter[tuple[Phase, Month]] = Counter()
    for operation, expected, count in weighed_expectations(run):
        if operation.kind is ev.OpKind.WRITE and operation.writer >= 0:
            every[expected.phase, operation.month] += count
            strict[expected.phase, operation.month] += count * expected.strict
    wanted = wishes(run)
    least = wanted.min_strict_events
    unknowns: list[str] = []
    for phase in _phases(run):
        months = run.months if wanted.months is None else sorted(wanted.months)
        due = [month for month in months if phase is not Phase.BEFORE or month not in wanted.late_months]
        counts = {month: strict[phase, month] for month in due}
        short = [f"{month} {count}" for month, count in counts.items() if count < least]
        if short:
            unknowns.append(f"Too few events judged strictly {phase}: {', '.join(short)}; {least} are needed.")
        for month, judged in counts.items():
            if 2 * judged < every[phase, month]:
                said = f"Only {judged} of {every[phase, month]} events of {month} {phase} the fault"
                unknowns.append(f"{said} were judged strictly; half is needed.")
    facts = {f"strict_{phase}_{month}": float(strict[phase, month]) for phase, month in sorted(every)}
    facts |= {f"sent_{phase}_{month}": float(count) for (phase, month), count in sorted(every.items())}
    return CheckResult(NAME, unknowns=tuple(unknowns), facts=facts)


CONDENSABLE.register(NAME)(nothing_more)


def _phases(run: Run) -> list[Phase]:
    """Phases that the scenario demands: its own list, else all three with faults, else those it marked."""
    wanted = wishes(run).strict_phases
    if wanted is not None:
        return [phase for phase in Phase if phase.value in wanted]
    if run.windows:
        return list(Phase)
    marked = {mark.phase for mark in run.of_kind(ev.PhaseMark)}
    return [phase for phase in Phase if phase.value in marked]
