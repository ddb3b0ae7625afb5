"""Promise 7: what the table can never take is refused or ends as a dead letter, and nothing else does."""

from __future__ import annotations

from collections import defaultdict

from .. import events as ev
from ..checking import CHECKERS, CONDENSABLE, CheckResult, Finding, nothing_more
from ..rundata import Operation, Run
from ..values import Promise
from ._common import event_ids, nothing_sent, shared, wishes
from ._stored import Identity, Stored

NAME = "poison"


@CHECKERS.register(NAME)
def poison(run: Run) -> CheckResult:
    """Look for poison in the table, for poison that no dead letter keeps, and for dead letters that are none.

    Whether an answer to it was honest is judged with all others by ``honest-status``; whether it held up others shows
    in what is still queued (``recovery``).
    """
    empty = nothing_sent(NAME, run)
    if empty is not None:
        return empty
    if not (run.reads.sql or run.reads.dlq):
        return CheckResult(NAME, not_checked="sql and dlq")
    stored = shared(run, Stored)
    sent = [operation for operation in run.operations if operation.kind is ev.OpKind.POISON]
    unknowns: list[str] = []
    if not sent and wishes(run).poison:
        unknowns.append("The load was to send poison and sent none, so nothing was seen of it.")
    if (sent and run.reads.sql and not stored.table_read) or (run.reads.dlq and not stored.dlq_read):
        unknowns.append(f"Table or queue was not read at the end ({stored.detail}), so dead letters were not judged.")
    facts = {
        "poison_sent": float(len(sent)),
        "poison_queued": float(sum(operation.acknowledged for operation in sent)),
        "dead_letters": float(sum(row.state == "dead" for rows in stored.queued.values() for row in rows)),
    }
    findings = (*_in_table(stored, sent), *_vanished(run, stored, sent), *_ordinary(run, stored))
    return CheckResult(NAME, findings, tuple(unknowns), facts=facts)


CONDENSABLE.register(NAME)(nothing_more)


def _in_table(stored: Stored, sent: list[Operation]) -> list[Finding]:
    found = [operation for operation in sent if stored.identity(operation) in stored.rows]
    said = f"{len(found)} events that the table can never take as they were sent are stored in it."
    return [Finding(Promise.POISON, said, event_ids(found), found[0].invoked)] if found else []


def _vanished(run: Run, stored: Stored, sent: list[Operation]) -> list[Finding]:
    """Poison that was acknowledged is a dead letter at the end, unless a fault destroyed it or was never repaired."""
    if not (run.reads.dlq and stored.dlq_read) or any(window.probed is None for window in run.windows):
        return []
    found = [
        operation
        for operation in sent
        if operation.acknowledged
        and not stored.destroyed(operation)
        and not any(row.state == "dead" for row in stored.queued.get(stored.identity(operation), []))
    ]
    said = f"{len(found)} events that the table can never take were acknowledged, and are no dead letters at the end."
    return [Finding(Promise.POISON, said, event_ids(found), found[0].invoked)] if found else []


def _ordinary(run: Run, stored: Stored) -> list[Finding]:
    """Dead letters of events with which nothing is wrong: faults of partition or database do not count as attempts."""
    sent, wrong = set[Identity](), set[Identity]()
    for operation in run.operations:
        identity = stored.identity(operation)
        sent.add(identity)
        if operation.kind in (ev.OpKind.POISON, ev.OpKind.CONFLICT):
            wrong.add(identity)
    ordinary = sent - wrong
    found: dict[str, list[Identity]] = defaultdict(list)
    for identity, rows in stored.queued.items():
        for row in rows:
            if row.state == "dead" and identity in ordinary:
                found[row.error or row.reason or "no reason given"].append(identity)
    return [
        Finding(
            Promise.POISON,
            f"{len(identities)} ordinary events are dead letters, after {reason}.",
            tuple(event_id for event_id, _ in identities),
        )
        for reason, identities in found.items()
    ]
