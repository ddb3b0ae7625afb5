"""Promise 2: every answer is one that the oracle allows in the state of its month."""

from __future__ import annotations

from collections import Counter

from .. import events as ev
from ..checking import CHECKERS, CONDENSABLE, CheckResult, Finding, nothing_more
from ..rundata import Run
from ..values import Promise
from ._common import event_ids, expectations, nothing_sent, shared, weighed_expectations
from ._deviations import Owner, deviations, grouped
from ._stored import LATE_SECONDS, Stored

NAME = Owner.STATUS.value


@CHECKERS.register(NAME)
def honest_status(run: Run) -> CheckResult:
    """Judge the operations that a fault covers, and those of fault-free times; no answer breaks promise 4."""
    empty = nothing_sent(NAME, run)
    if empty is not None:
        return empty
    findings, unknowns = grouped(deviations(run, Owner.STATUS))
    answers: Counter[int] = Counter()
    for operation, count in run.weighed:
        answers[operation.status] += count
    facts = {f"answers_{status or 'none'}": float(count) for status, count in sorted(answers.items())}
    facts["judged_strictly"] = float(sum(count for _, expected, count in weighed_expectations(run) if expected.strict))
    return CheckResult(NAME, (*findings, *_misplaced(run), *_stored_later(run)), unknowns, facts=facts)


# An answer that is not allowed, names another month or came before its row was stored is never folded.
CONDENSABLE.register(NAME)(nothing_more)


def _misplaced(run: Run) -> tuple[Finding, ...]:
    """An acceptance names the month of the event; a service that names none is not judged by it."""
    wrong = [
        operation
        for operation in run.operations
        if operation.kind is not ev.OpKind.INVALID
        and operation.acknowledged
        and operation.partition
        and operation.partition != operation.month.label
    ]
    if not wrong:
        return ()
    said = f"{len(wrong)} x answer names partition {wrong[0].partition} for an event of {wrong[0].month}."
    return (Finding(Promise.HONEST_STATUS, said, event_ids(wrong), wrong[0].invoked),)


def _stored_later(run: Run) -> tuple[Finding, ...]:
    """A 201 says that the row is committed: one that was only queued, and drained afterwards, was a 202."""
    stored = shared(run, Stored)
    late = [
        (operation, seconds)
        for operation, expected in expectations(run)
        if operation.status in expected.allowed and (seconds := stored.stored_late(operation)) is not None
    ]
    if not late:
        return ()
    longest = max(seconds for _, seconds in late)
    said = f"{len(late)} x 201 for an event that was stored more than {LATE_SECONDS:g} s later (up to {longest:.1f} s)."
    operations = [operation for operation, _ in late]
    return (Finding(Promise.HONEST_STATUS, said, event_ids(operations), operations[0].invoked),)
