"""Promise 1: every acknowledged event is, at the end, in the table once, in its own month, with equal content."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .. import events as ev
from ..checking import CHECKERS, CONDENSABLE, CheckResult, Finding, nothing_more
from ..rundata import Operation, Run
from ..values import Promise
from ._common import event_ids, nothing_sent, reaches, shared
from ._content import Content, parse_content
from ._stored import Identity, Stored

NAME = "conservation"
_REFUSED = (400, 409, 413)


@CHECKERS.register(NAME)
def conservation(run: Run) -> CheckResult:
    """Compare the acknowledged operations with the final reads of table and queue."""
    empty = nothing_sent(NAME, run)
    if empty is not None:
        return empty
    if not run.reads.sql:
        return CheckResult(NAME, not_checked="sql")
    books = _Books(run)
    if not books.stored.table_read:
        return CheckResult(NAME, unknowns=(f"The table was not read at the end: {books.stored.detail}.",))
    books.settle_acknowledged()
    books.settle_rows()
    books.settle_queue()
    return books.result()


CONDENSABLE.register(NAME)(nothing_more)


@dataclass(frozen=True)
class _Account:
    """All operations of one identity."""

    identity: Identity
    operations: tuple[Operation, ...]

    @property
    def acknowledged(self) -> tuple[Operation, ...]:
        return tuple(operation for operation in self.operations if operation.acknowledged)

    @property
    def may_be_stored(self) -> tuple[Operation, ...]:
        """Operations after which the event may rightly be somewhere: acknowledged, or nobody can know."""
        return tuple(operation for operation in self.operations if _may_be_stored(operation))

    @property
    def contested(self) -> bool:
        """True when the workload sent this identity with different contents on purpose."""
        return any(operation.kind is ev.OpKind.CONFLICT for operation in self.operations)

    @property
    def poison(self) -> bool:
        """True when no database can take the event."""
        return any(operation.kind is ev.OpKind.POISON for operation in self.operations)


def _may_be_stored(operation: Operation) -> bool:
    if operation.status in _REFUSED:
        return False
    return not (operation.status == 503 and operation.outcome == "not_stored")


class _Books:
    """Accounts, rows and what does not add up between them."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self.stored = shared(run, Stored)
        by_identity: dict[Identity, list[Operation]] = defaultdict(list)
        for operation in run.operations:
            by_identity[self.stored.identity(operation)].append(operation)
        self._accounts = {key: _Account(key, tuple(operations)) for key, operations in by_identity.items()}
        self._wrong: dict[tuple[Promise, str, bool], list[str]] = defaultdict(list)
        self._unsure: dict[str, list[str]] = defaultdict(list)
        # Each folded write was acknowledged and is stored once, in its month, with equal content.
        folded = sum(group.count for group in run.groups if group.like.kind is ev.OpKind.WRITE)
        self._facts: Counter[str] = Counter(events_acknowledged=folded, rows=folded)

    def settle_acknowledged(self) -> None:
        """Every acknowledgement must be backed by a stored row, or by a dead letter of a contested identity."""
        if not self.stored.dlq_read and self._run.reads.dlq:
            self._unsure[f"the queue was not read at the end ({self.stored.detail})"] = []
        for account in self._accounts.values():
            acknowledged = account.acknowledged
            if acknowledged:
                self._facts["events_acknowledged"] += 1
                rows = self.stored.rows.get(account.identity, [])
                queued = self.stored.queued.get(account.identity, [])
                if rows:
                    self._content(account, rows, queued)
                else:
                    self._missing(account, queued)
            elif account.identity in self.stored.rows and account.may_be_stored:
                self._facts["recovered"] += 1
                self._content(account, self.stored.rows[account.identity], [])

    def settle_rows(self) -> None:
        """Every row must have been sent, not been refused, and lie in the partition of its date."""
        for identity, rows in self.stored.rows.items():
            self._facts["rows"] += len(rows)
            for row in rows:
                expected = f"{row.event_date:%Y_%m}"
                if row.month != expected and self._withheld(identity):
                    said = "events are in another partition than their month's, whose fault was never seen repaired"
                    self._unsure[said].append(row.event_id)
                elif row.month != expected:
                    place = f"the partition of {row.month}" if row.month else "a default partition"
                    self._blame(Promise.CONSERVATION, f"of {expected} lie in {place}", row.event_id)
            self._origin(identity, rows[0].event_id, "are stored in the table")

    def settle_queue(self) -> None:
        """At the end nothing may be pending, and only contested identities and poison may be dead."""
        for identity, entries in self.stored.queued.items():
            event_id = entries[0].event_id
            account = self._accounts.get(identity)
            for entry in entries:
                if entry.state != "dead":
                    also = ", although they are stored as well" if identity in self.stored.rows else ""
                    self._pending(identity, event_id, also)
                elif account is None or not (account.contested or account.poison):
                    reason = f"dead letters ({entry.reason or 'no reason given'}) without being poison or in conflict"
                    self._blame(Promise.CONSERVATION, f"are {reason}", event_id)
            self._origin(identity, event_id, "are in the queue")

    def _pending(self, identity: Identity, event_id: str, also: str) -> None:
        if self._withheld(identity):
            self._unsure["events are still queued for a month whose fault was never seen repaired"].append(event_id)
        else:
            self._blame(Promise.CONSERVATION, f"are still queued at the end{also}", event_id, timeless=False)

    def _origin(self, identity: Identity, event_id: str, where: str) -> None:
        account = self._accounts.get(identity)
        if account is None:
            self._blame(Promise.CONSERVATION, f"{where}, but nobody sent them", event_id)
        elif not account.may_be_stored:
            answers = " and ".join(str(status) for status in sorted({op.status for op in account.operations}))
            self._blame(Promise.HONEST_STATUS, f"{where} although they were answered {answers} (not stored)", event_id)

    def _missing(self, account: _Account, queued: Sequence[ev.DlqRow]) -> None:
        event_id = event_ids(account.operations)[0]
        if any(entry.state != "dead" for entry in queued) or (queued and not (account.contested or account.poison)):
            return  # Judged by settle_queue, which says that it is still queued, or dead for no reason.
        dead = [parse_content(entry.content) for entry in queued]
        if account.poison and dead:
            changed = [fields for operation in account.acknowledged if (fields := _difference(operation, dead))]
            if changed:
                said = f"are dead letters with other content: {', '.join(changed[0])} changed"
                self._blame(Promise.CONSERVATION, said, event_id)
            return
        owed = [operation for operation in account.acknowledged if _difference(operation, dead, absent=True)]
        due = [operation for operation in owed if not self.stored.destroyed(operation)]
        if not due and any(self.stored.destroyed(operation) for operation in account.operations):
            self._facts["destroyed_by_fault"] += 1
        elif self._withheld(account.identity):
            self._unsure["events are not readable in a month whose fault was never seen repaired"].append(event_id)
        elif not self._run.reads.dlq:
            if any(operation.status == 201 for operation in due):
                self._lose(account, "not in the table")
            else:
                self._facts["queued_not_checked"] += 1
        elif self.stored.dlq_read and queued:
            self._lose(account, "not in the table, where the owner of a conflict's dead letter must be")
        elif self.stored.dlq_read:
            self._lose(account, "neither in the table nor in the queue")
        else:
            self._unsure["events are not in the table, and the queue was not read"].append(event_id)

    def _lose(self, account: _Account, where: str) -> None:
        answers = "/".join(str(status) for status in sorted({op.status for op in account.acknowledged}))
        said = f"of {account.operations[0].month} answered {answers} are lost: {where}"
        self._facts["lost"] += 1
        self._blame(Promise.CONSERVATION, said, event_ids(account.operations)[0])

    def _content(self, account: _Account, rows: Sequence[ev.TableRow], queued: Sequence[ev.DlqRow]) -> None:
        """The stored content must be what was acknowledged; in a conflict the first one stored owns the identity."""
        event_id = rows[0].event_id
        contents = [parse_content(row.content) for row in rows]
        created = [operation for operation in account.operations if operation.status == 201]
        owners = created or list(account.may_be_stored)
        differing = [_difference(operation, contents) for operation in owners]
        wrong = [fields for fields in differing if fields]
        if (created and wrong) or (not created and len(wrong) == len(differing) and wrong):
            self._blame(Promise.CONSERVATION, f"are stored with other content: {', '.join(wrong[0])} changed", event_id)
            return
        dead = [parse_content(entry.content) for entry in queued]
        for operation in account.acknowledged:
            if not _difference(operation, contents) or not _difference(operation, dead, absent=True):
                continue
            if self.stored.dlq_read:
                said = "were acknowledged with a content that is neither stored nor a dead letter of the conflict"
                self._blame(Promise.CONSERVATION, said, event_id)

    def _withheld(self, identity: Identity) -> bool:
        """Tell whether the event's month may still be under a fault that nobody saw repaired."""
        account = self._accounts.get(identity)
        if account is None:
            return False
        month = account.operations[0].month
        return any(window.probed is None and reaches(window, month) for window in self._run.windows)

    def _blame(self, promise: Promise, said: str, event_id: str, *, timeless: bool = True) -> None:
        self._wrong[promise, said, timeless].append(event_id)

    def result(self) -> CheckResult:
        """One finding for all events that suffer the same."""
        facts = dict.fromkeys(("events_acknowledged", "rows", "recovered", "destroyed_by_fault", "lost"), 0.0)
        facts.update({name: float(count) for name, count in self._facts.items()})
        return CheckResult(
            NAME,
            findings=tuple(
                Finding(promise, f"{len(_once(ids))} events {said}.", _once(ids), timeless=timeless)
                for (promise, said, timeless), ids in self._wrong.items()
            ),
            unknowns=tuple(
                f"{len(ids)} {reason}, such as {ids[0]}." if ids else f"{reason[0].upper()}{reason[1:]}."
                for reason, ids in self._unsure.items()
            ),
            facts=facts,
        )


def _difference(operation: Operation, contents: Iterable[Content], *, absent: bool = False) -> tuple[str, ...]:
    """Fields by which the operation's content differs from the nearest of ``contents``; empty when equal to one.

    With ``absent``, no contents at all counts as a difference.
    """
    sent = parse_content(operation.content)
    differences = [sent.differing(content) for content in contents]
    if not differences:
        return ("everything",) if absent else ()
    return min(differences, key=len)


def _once(ids: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(ids))
