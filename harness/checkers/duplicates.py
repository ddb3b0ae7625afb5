"""Promise 6: retries, ambiguous commits, drainers and restarts make no second row of an event."""

from __future__ import annotations

from collections import defaultdict

from .. import events as ev
from ..checking import CHECKERS, CONDENSABLE, CheckResult, Finding, nothing_more
from ..rundata import Run
from ..values import Promise
from ._common import nothing_sent, shared
from ._content import correlation_of
from ._stored import Identity, Stored

NAME = "duplicates"


@CHECKERS.register(NAME)
def duplicates(run: Run) -> CheckResult:
    """Look for two rows of one identity, and for one invocation stored as several events."""
    empty = nothing_sent(NAME, run)
    if empty is not None:
        return empty
    if not run.reads.sql:
        return CheckResult(NAME, not_checked="sql")
    stored = shared(run, Stored)
    if not stored.table_read:
        return CheckResult(NAME, unknowns=(f"The table was not read at the end: {stored.detail}.",))
    findings: list[Finding] = []
    twice = [event_id for (event_id, _), rows in stored.rows.items() if len(rows) > 1]
    if twice:
        said = f"{len(twice)} events are in the table more than once under the same id and date."
        findings.append(Finding(Promise.NO_DUPLICATES, said, tuple(twice), timeless=True))
    copied = _copied(run)
    if copied:
        said = f"{len(copied)} events are stored again under another id or date (same correlation_id, sent once)."
        findings.append(Finding(Promise.NO_DUPLICATES, said, tuple(copied), timeless=True))
    folded = run.condensed.rows if run.condensed is not None else 0
    rows = folded + sum(len(found) for found in stored.rows.values())
    facts = {"rows": float(rows), "identities": float(folded + len(stored.rows))}
    return CheckResult(NAME, tuple(findings), facts=facts)


CONDENSABLE.register(NAME)(nothing_more)


def _copied(run: Run) -> list[str]:
    """Ids of rows beyond the number of events that were sent with their correlation id."""
    sent: dict[str, set[Identity]] = defaultdict(set)
    for operation in run.operations:
        own_id = operation.event_id.lower() or f"operation {operation.op}"
        sent[correlation_of(operation.content)].add((own_id, operation.event_date))
    stored: dict[str, dict[Identity, None]] = defaultdict(dict)
    for row in run.of_kind(ev.TableRow):
        stored[row.correlation_id][row.event_id.lower(), row.event_date] = None
    ids: dict[str, None] = {}
    for correlation, identities in stored.items():
        if correlation in sent and len(identities) > len(sent[correlation]):
            surplus = [identity for identity in identities if identity not in sent[correlation]] or list(identities)
            ids.update((event_id, None) for event_id, _ in surplus)
    return list(ids)
