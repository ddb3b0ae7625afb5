"""Promise 5: after the repair direct writes resume and the queue drains, with no operator step; live writes go on."""

from __future__ import annotations

import math
from dataclasses import replace

from .. import events as ev
from ..checking import CHECKERS, CONDENSABLE, CheckResult, Finding, Needs
from ..oracle import CREATED
from ..rundata import FaultWindow, Run
from ..values import Month, Promise
from ._common import Canary, event_ids, nothing_sent, reaches, shared
from ._deviations import Owner, deviations, grouped
from ._draining import drain_findings, drain_needs, ended_at_start, not_back
from .clocks import clocks, measured_times

NAME = Owner.RECOVERY.value
SLACK_SECONDS = 0.5
NOT_RECOVERED = "recovery"
"""Topic of the note that the lifecycle leaves when the steady state does not return within its deadline."""


@CHECKERS.register(NAME)
def recovery(run: Run) -> CheckResult:
    """Judge the first 201 of each covered month, late 202s, begin, end and emptying of the drain, and who waited."""
    empty = nothing_sent(NAME, run)
    if empty is not None:
        return empty
    found, unsure = grouped(deviations(run, Owner.RECOVERY))
    findings, unknowns = [*found, *ended_at_start(run)], list(unsure)
    for window in run.windows:
        if window.probed is None and (gone := not_back(run, window)) is not None:
            findings.append(gone)
            continue
        if window.probed is None:
            problem = window.problem or "no probe after its heal succeeded"
            unknowns.append(f"Recovery from {window.name} was not judged: {problem}.")
            continue
        for month in run.months:
            if reaches(window, month):
                _resumed(run, window, month, findings, unknowns)
    _drained(run, findings, unknowns)
    beside, figures = drain_findings(run)
    findings += beside
    if all(window.probed is not None for window in run.windows):
        for note in run.of_kind(ev.Note):
            if note.topic == NOT_RECOVERED:
                said = f"The service did not come back to its steady state: {note.text}"
                findings.append(Finding(Promise.RECOVERY, said, _last_answered(run), note.t))
    facts = {
        f"{clock}_{window.fault}_{window.name}_seconds": value
        for window, each in zip(run.windows, clocks(run), strict=True)
        for clock in ("recover", "drain")
        if (value := getattr(each, f"{clock}_seconds")) is not None
    } | figures
    return CheckResult(NAME, tuple(findings), tuple(unknowns), facts=facts)


@CONDENSABLE.register(NAME)
def _needs(run: Run) -> Needs:
    bounds = [one.probed + run.limits.recovery_seconds + SLACK_SECONDS for one in run.windows if one.probed is not None]
    found = drain_needs(run)
    return replace(found, cuts=(*found.cuts, *measured_times(run), *bounds))


def _last_answered(run: Run) -> tuple[str, ...]:
    """The last accepted event of each month: what the service did last before it should have been well."""
    last = {operation.month: operation for operation in run.seen if operation.acknowledged}
    return event_ids(last.values())


def _resumed(run: Run, window: FaultWindow, month: Month, findings: list[Finding], unknowns: list[str]) -> None:
    """The month's first 201 comes within the recovery time of the probe, if anyone wrote into it by then."""
    others = [other for other in run.windows if reaches(other, month) and other.fault != window.fault]
    assert window.probed is not None
    bound = window.probed + run.limits.recovery_seconds + SLACK_SECONDS
    if any(other.injecting <= bound and (other.probed or math.inf) > window.probed for other in others):
        return  # The fault that is repaired last is the one recovery is timed from.
    begun = window.healing if window.healing is not None else window.probed
    if any(op.status == CREATED and begun <= op.completed <= bound for op in run.seen_in(month)):
        return
    tried = [
        operation
        for operation in run.under_way(window.probed, bound, months=(month,))
        if operation.kind is ev.OpKind.WRITE and window.probed <= operation.invoked and operation.completed <= bound
    ]
    waited = f"{run.limits.recovery_seconds:g} s after {window.name} was repaired"
    if tried and shared(run, Canary).stalled_between(month, window.probed, bound):
        unknowns.append(f"No direct write into {month} within {waited}, but the canary's own inserts stalled as well.")
    elif tried:
        answers = ", ".join(sorted({str(operation.status or "none") for operation in tried}))
        said = f"No direct write into {month} within {waited}; answers were {answers}."
        findings.append(Finding(Promise.RECOVERY, said, event_ids(tried), window.probed))
    else:
        unknowns.append(f"Nobody wrote into {month} within {waited}, so its recovery was not seen.")


def _drained(run: Run, findings: list[Finding], unknowns: list[str]) -> None:
    """No event is pending at the final read, and the service's own depth agrees from then on."""
    final = run.final
    if any(window.probed is None for window in run.windows):
        return  # Said already: without a repair nothing has to drain.
    if not run.reads.dlq:
        return  # The target does not let anyone look; the checker `reads` says so.
    if final is None or not final.dlq:
        unknowns.append("The queue was not read at the end, so it is not known whether it drained.")
        return
    pending = [row for row in run.of_kind(ev.DlqRow) if row.state != "dead"]
    if pending:
        said = f"{len(pending)} events were still queued at the end of the run."
        findings.append(Finding(Promise.RECOVERY, said, tuple(row.event_id for row in pending), final.t))
        return
    last = next((sample for sample in reversed(run.of_kind(ev.DlqSample)) if sample.t >= final.t), None)
    if last is not None and last.depth > 0:
        said = f"The service still reports a queue depth of {last.depth}, although no event is pending."
        findings.append(Finding(Promise.RECOVERY, said, (), last.t))
