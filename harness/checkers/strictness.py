"""Enough was judged strictly: each phase has enough operations that no edge touched, or the run proves nothing."""

from __future__ import annotations

from collections import Counter

from .. import events as ev
from ..checking import CHECKERS, CheckResult
from ..rundata import Run
from ..values import Month, Phase
from ._common import expectations, nothing_sent, wishes

NAME = "strictness"


@CHECKERS.register(NAME)
def strictness(run: Run) -> CheckResult:
    """Count strictly judged writes by phase and month; too few, or less than half of a phase, is UNKNOWN."""
    empty = nothing_sent(NAME, run)
    if empty is not None:
        return empty
    strict: Counter[tuple[Phase, Month]] = Counter()
    every: Counter[tuple[Phase, Month]] = Counter()
    for operation, expected in expectations(run):
        if operation.kind is ev.OpKind.WRITE:
            every[expected.phase, operation.month] += 1
            strict[expected.phase, operation.month] += expected.strict
    least, late = wishes(run).min_strict_events, wishes(run).late_months
    unknowns: list[str] = []
    for phase in _phases(run):
        due = [month for month in run.months if phase is not Phase.BEFORE or month not in late]
        counts = {month: strict[phase, month] for month in due}
        short = [f"{month} {count}" for month, count in counts.items() if count < least]
        if short:
            unknowns.append(f"Too few events judged strictly {phase}: {', '.join(short)}; {least} are needed.")
        judged, sent = sum(counts.values()), sum(every[phase, month] for month in due)
        if 2 * judged < sent:
            unknowns.append(f"Only {judged} of {sent} events {phase} were judged strictly; half is needed.")
    facts = {f"strict_{phase}_{month}": float(strict[phase, month]) for phase, month in sorted(every)}
    facts |= {f"sent_{phase}_{month}": float(count) for (phase, month), count in sorted(every.items())}
    return CheckResult(NAME, unknowns=tuple(unknowns), facts=facts)


def _phases(run: Run) -> list[Phase]:
    """Phases that the scenario demands: its own list, else all three with faults, else those it marked."""
    wanted = wishes(run).strict_phases
    if wanted is not None:
        return [phase for phase in Phase if phase.value in wanted]
    if run.windows:
        return list(Phase)
    marked = {mark.phase for mark in run.of_kind(ev.PhaseMark)}
    return [phase for phase in Phase if phase.value in marked]
