"""What became of one event, in one sentence.

The words in capitals (LOST, DOUBLED …) follow the rules of the checker ``conservation``; where it says UNKNOWN, so does
the sentence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from .. import events as ev
from ..checkers._common import reaches
from ..checkers._stored import Stored
from ..oracle import Oracle, Side, side_of
from ..rundata import FaultWindow, Operation, Run
from ..values import Month
from .summary import Story, changes_of, seconds_text

_REFUSED = (400, 409, 413)


def sides(run: Run, operation: Operation) -> list[tuple[FaultWindow, Side]]:
    """Return the faults that were on, or at an edge, for one operation."""
    placed = [(window, side_of(window, operation, run.limits)) for window in run.windows]
    return [
        (window, side)
        for window, side in placed
        if side is not Side.OFF and (side is Side.EDGE or window.radius.on(operation.event_date) is not None)
    ]


def conclude(run: Run, stored: Stored, story: Story, findings: int, *, judged: bool) -> str:
    """Say what was answered, where the event ended, and whether the stored verdict has anything against it."""
    accounts = [_Account.of(run, stored, story, day) for day in story.dates]
    if not accounts:
        return "Nothing is known of it but that a fault destroyed it."
    told = [account.text() for account in accounts]
    if len(accounts) > 1:
        told = [f"of {account.day} {text}" for account, text in zip(accounts, told, strict=True)]
    sentence = "; ".join([*told, _verdict(accounts, findings, judged=judged)])
    return f"{sentence[0].upper()}{sentence[1:]}."


def _verdict(accounts: Sequence[_Account], findings: int, *, judged: bool) -> str:
    if not judged:
        return "the run is not judged (`harness check` does)"
    if findings:
        return f"{findings} finding{'s name' if findings > 1 else ' names'} it"
    if any(account.broken for account in accounts):
        return "yet no stored finding names it: judge the run again with `harness check`"
    if any(account.disallowed for account in accounts):
        return "no finding names it, although an answer was not one of those due (UNKNOWN, or excused)"
    return "nothing wrong" if not any(account.unsure for account in accounts) else "no finding names it"


@dataclass(frozen=True)
class _End:
    """Where an event was at the end; ``broken`` when that breaks a promise beyond doubt."""

    text: str
    broken: bool = False


@dataclass(frozen=True)
class _Account:
    """All that is known of one identity: an id on one date."""

    run: Run
    stored: Stored
    day: date
    operations: tuple[Operation, ...]
    rows: tuple[ev.TableRow, ...]
    queued: tuple[ev.DlqRow, ...]

    @classmethod
    def of(cls, run: Run, stored: Stored, story: Story, day: date) -> _Account:
        operations = tuple(operation for operation in story.operations if operation.event_date == day)
        rows = tuple(row for row in story.rows if row.event_date == day)
        return cls(run, stored, day, operations, rows, tuple(e for e in story.queued if e.event_date == day))

    @property
    def acknowledged(self) -> list[Operation]:
        return [operation for operation in self.operations if operation.acknowledged]

    @property
    def due(self) -> list[Operation]:
        """Acknowledged requests whose rows no fault destroyed."""
        return [operation for operation in self.acknowledged if not self.stored.destroyed(operation)]

    @property
    def contested(self) -> bool:
        return any(operation.kind is ev.OpKind.CONFLICT for operation in self.operations)

    @property
    def poison(self) -> bool:
        """Whether no database can take it: a dead letter is where it may end."""
        return any(operation.kind is ev.OpKind.POISON for operation in self.operations)

    @property
    def withheld(self) -> bool:
        month = Month.of(self.day)
        return any(window.probed is None and reaches(window, month) for window in self.run.windows)

    @property
    def disallowed(self) -> bool:
        oracle = Oracle(self.run)
        return any(operation.status not in oracle.expect(operation).allowed for operation in self.operations)

    @property
    def refused(self) -> bool:
        """Whether every request was answered such that nothing may be stored."""
        return bool(self.operations) and all(_refuses(operation) for operation in self.operations)

    @property
    def unsure(self) -> bool:
        """Whether it could not be looked for everywhere."""
        missing = not self.rows and not self.queued and self.due
        return bool(missing) and not self._surely_lost

    @property
    def _surely_lost(self) -> bool:
        if self.rows or self.queued or not self.due or self.withheld or not self.stored.table_read:
            return False
        return self.stored.dlq_read or (not self.run.reads.dlq and any(op.status == 201 for op in self.due))

    @property
    def broken(self) -> bool:
        """Whether where it ended breaks a promise beyond doubt."""
        return self._end().broken

    def text(self) -> str:
        """Say what was answered, and where it ended."""
        return f"{self._answer()}; {self._end().text}"

    def _answer(self) -> str:
        if not self.operations:
            return "nobody sent it"
        told = min(self.acknowledged or self.operations, key=lambda operation: operation.completed)
        said = f"answered {told.status} at {seconds_text(told.completed)}"
        if not told.status:
            said = f"sent at {seconds_text(told.invoked)}, and nobody answered"
        under = [
            f"while {window.name} was on" if side is Side.ON else f"at an edge of {window.name}"
            for window, side in sides(self.run, told)
        ]
        more = len(self.operations) - 1
        others = f" (one of {more + 1} requests)" if more else ""
        return " and ".join([f"{said}{others}", *under]) if len(under) > 1 else " ".join([f"{said}{others}", *under])

    def _end(self) -> _End:
        if self.rows:
            return self._in_table()
        if self.queued:
            return self._in_queue()
        return self._nowhere()

    def _in_table(self) -> _End:
        if not self.operations:
            return _End("UNEXPECTED in the table", broken=True)
        if self.refused:
            return _End("STORED although it was refused", broken=True)
        if self.poison:
            return _End("STORED although the table can never take it as it was sent", broken=True)
        if len(self.rows) > 1:
            return _End(f"DOUBLED: {len(self.rows)} rows", broken=True)
        row = self.rows[0]
        if row.month != Month.of(self.day).label:
            return _End(f"MISPLACED in {row.month or 'a default partition'}", broken=True)
        if changes_of(self.operations, [row]):
            return _End("CHANGED: stored with other content", broken=True)
        at = self.stored.recorded_at(row)
        when = f" at {seconds_text(at)}" if at is not None else ""
        pending = [entry for entry in self.queued if entry.state != "dead"]
        if pending:
            return _End(f"QUEUED still, although stored as well{when}", broken=not self.withheld)
        return _End(f"{self._how_stored(at)}{when}")

    def _how_stored(self, at: float | None) -> str:
        if not self.acknowledged:
            return "recovered: stored in the table"
        first = min(self.acknowledged, key=lambda operation: operation.completed)
        drained = first.status == 202 and (at is None or at > first.invoked)
        return "drained into the table" if drained else "stored in the table"

    def _in_queue(self) -> _End:
        entry = self.queued[0]
        if not self.operations:
            return _End("UNEXPECTED in the queue", broken=True)
        if self.refused:
            return _End("QUEUED although it was refused", broken=True)
        if entry.state != "dead":
            if self.withheld:
                return _End("still queued, in a month whose fault was never seen repaired")
            return _End("QUEUED still", broken=self.stored.table_read)
        why = entry.reason or "no reason given"
        if self.poison:
            return _End(f"a dead letter, as poison may be ({why})")
        if self.contested and self._rivalless:
            return _End(f"LOST to a rival that is not there: a dead letter ({why})", broken=True)
        if self.contested:
            return _End(f"dead ({why})")
        return _End(f"DEAD without being poison or in conflict ({why})", broken=True)

    @property
    def _rivalless(self) -> bool:
        """Whether the row is surely missing that must own the identity of a conflict's dead letter."""
        destroyed = any(self.stored.destroyed(operation) for operation in self.operations)
        return bool(self.due) and self.stored.table_read and not self.withheld and not destroyed

    def _nowhere(self) -> _End:
        if self._surely_lost:
            where = (
                "in the table nor in the queue" if self.stored.dlq_read else "in the table, nor may the queue be read"
            )
            return _End(f"LOST: neither {where}", broken=True)
        if self.acknowledged and not self.due:
            return _End("destroyed by a fault, which accounts for it")
        if not self.stored.table_read:
            return _End(f"not looked for in the table at the end ({self.stored.detail})")
        if not self.acknowledged:
            return _End("rightly nowhere" if self.refused else "nowhere, which it may be")
        if self.withheld:
            return _End("not to be read in a month whose fault was never seen repaired")
        return _End("not in the table, and the queue was not read")


def _refuses(operation: Operation) -> bool:
    return operation.status in _REFUSED or (operation.status == 503 and operation.outcome == "not_stored")
