"""What the final reads say of each event: table rows, queue rows, and what a fault destroyed."""

from __future__ import annotations

from collections import defaultdict
from datetime import date

from .. import events as ev
from ..rundata import Operation, Run
from ._content import correlation_of

Identity = tuple[str, date]


class Stored:
    """The final reads of a run, indexed by identity (event id in lower case, date)."""

    def __init__(self, run: Run) -> None:
        """Index rows by identity and by correlation id, and destroyed rows by id."""
        final = run.final
        self.table_read = final is not None and final.table
        self.dlq_read = final is not None and final.dlq
        self.detail = "the run never came to its final read" if final is None else final.detail or "no reason given"
        self.rows: dict[Identity, list[ev.TableRow]] = defaultdict(list)
        self.queued: dict[Identity, list[ev.DlqRow]] = defaultdict(list)
        self._by_correlation: dict[str, Identity] = {}
        for row in run.of_kind(ev.TableRow):
            identity = (row.event_id.lower(), row.event_date)
            self.rows[identity].append(row)
            self._by_correlation.setdefault(row.correlation_id, identity)
        for entry in run.of_kind(ev.DlqRow):
            identity = (entry.event_id.lower(), entry.event_date)
            self.queued[identity].append(entry)
            self._by_correlation.setdefault(correlation_of(entry.content), identity)
        self.destroyed_at = _destroyed(run)

    def identity(self, operation: Operation) -> Identity:
        """The identity that an operation asked for; one whose id the service made is found by its correlation id."""
        if operation.event_id:
            return (operation.event_id.lower(), operation.event_date)
        correlation = correlation_of(operation.content)
        return self._by_correlation.get(correlation, (f"operation {operation.op}", operation.event_date))

    def destroyed(self, operation: Operation) -> bool:
        """Tell whether a fault destroyed what this operation stored: only what was sent before can be excused."""
        at = self.destroyed_at.get(self.identity(operation)[0])
        return at is not None and operation.invoked <= at

    def radius_was_wrong(self, operation: Operation) -> str:
        """Say why a 201 where none could be written proves nothing; empty when the row is surely not there."""
        if not self.table_read:
            return f"the table was not read at the end ({self.detail}), so the row cannot be looked for"
        if self.destroyed(operation):
            return "the fault destroyed rows of this month, so the row cannot be looked for"
        if any(row.month == operation.month.label for row in self.rows.get(self.identity(operation), [])):
            return "the row is in its month, so the fault's declared radius was wrong"
        return ""


def _destroyed(run: Run) -> dict[str, float]:
    """Ids that no heal brought back, with the time of their destruction."""
    destroyed: dict[str, float] = {}
    for record in run.of_kind(ev.Destroyed):
        for event_id in record.event_ids:
            if record.restored:
                destroyed.pop(event_id.lower(), None)
            else:
                destroyed[event_id.lower()] = record.t
    return destroyed
