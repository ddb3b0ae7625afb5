"""What the final reads say of each event: table rows, queue rows, and what a fault destroyed."""

from __future__ import annotations

from collections import defaultdict
from datetime import date, datetime
from functools import cached_property

from .. import events as ev
from ..rundata import Operation, Run
from ._common import epoch
from ._content import correlation_of

Identity = tuple[str, date]
LATE_SECONDS = 1.0
"""A row whose storing began this long after its 201 was not stored when the 201 was sent."""


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
        self.folded = run.condensed.stored if run.condensed is not None else {}
        """By number of an operation whose row was folded: when (Unix seconds) it was stored."""
        self.destroyed_at = _destroyed(run)
        self._run = run
        self._touched = {event_id.lower() for record in run.of_kind(ev.Destroyed) for event_id in record.event_ids}

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
        if self.stored_late(operation) is not None:
            return ""
        if any(row.month == operation.month.label for row in self.rows.get(self.identity(operation), [])):
            return "the row is in its month, so the fault's declared radius was wrong"
        return ""

    def stored_late(self, operation: Operation) -> float | None:
        """Seconds from the 201 of a first send to the beginning of the transaction that stored it; None if honest.

        None also where that cannot be known: no row, no time, or a fault that destroyed the row, which a later
        re-send may have stored again.
        """
        after = self._after_answer(operation)
        if after is None:
            return None
        return after - self._skew if after - self._skew > LATE_SECONDS else None

    def stored_at(self, operation: Operation) -> float | None:
        """When, on the run's clock, the transaction began that stored the event; None when that is not known."""
        began, identity = epoch(self._run), self.identity(operation)
        if began is None or identity[0] in self._touched:
            return None
        if operation.op in self.folded:
            return self.folded[operation.op] - began - self._skew
        times = [t for row in self.rows.get(identity, []) if (t := moment_of(row.recorded_at)) is not None]
        return min(times) - began - self._skew if times else None

    def recorded_at(self, row: ev.TableRow) -> float | None:
        """When, on the run's clock, the transaction began that stored this row; None when that is not known."""
        began, recorded = epoch(self._run), moment_of(row.recorded_at)
        return None if began is None or recorded is None else recorded - began - self._skew

    def _after_answer(self, operation: Operation) -> float | None:
        began = epoch(self._run)
        identity = self.identity(operation)
        first_send = operation.kind is ev.OpKind.WRITE and operation.status == 201
        if began is None or not first_send or identity[0] in self._touched:
            return None
        times = [t for row in self.rows.get(identity, []) if (t := moment_of(row.recorded_at)) is not None]
        return min(times) - began - operation.completed if times else None

    @cached_property
    def _skew(self) -> float:
        """How far the database's clock is ahead at least: no row can be stored so long after every answer."""
        return max(0.0, min((t for op in self._run.operations if (t := self._after_answer(op)) is not None), default=0))


def moment_of(text: str) -> float | None:
    """Unix seconds of the time that a row carries; None for none."""
    try:
        return datetime.fromisoformat(text).timestamp() if text else None
    except ValueError:
        return None


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
