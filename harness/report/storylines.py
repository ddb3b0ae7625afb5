"""The lines of one event's story, typed: what was sent and answered, what happened around it, where it ended.

Times are seconds on the run's clock; None where nobody knows when.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import ClassVar

from ..events import FaultStep, OpKind
from ..values import Phase
from .changes import Change
from .faultnames import numbered
from .summary import latency_text

CONTENT_CHARACTERS = 160
"""So much of a content is shown on its line; the JSON of a story has all of it."""


@dataclass(frozen=True, kw_only=True)
class StoryLine:
    """One thing that happened to the event or near it."""

    kind: ClassVar[str] = ""
    t: float | None

    @property
    def text(self) -> str:
        """Say it in one line, without the time."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Sent(StoryLine):
    """A request with the event began."""

    kind: ClassVar[str] = "sent"
    op: int
    op_kind: OpKind
    writer: int
    of: int | None
    event_date: date
    content: str

    @property
    def text(self) -> str:
        """Operation, meaning, writer and the beginning of the content."""
        of = f" of op {self.of}" if self.of is not None else ""
        return f"op {self.op} by writer {self.writer}, {self.op_kind}{of}: {shortened(self.content)}"


@dataclass(frozen=True, kw_only=True)
class Answered(StoryLine):
    """A request with the event ended: what came back, and what the oracle allows at that moment."""

    kind: ClassVar[str] = "answered"
    op: int
    status: int
    outcome: str
    partition: str
    error: str
    seconds: float
    allowed: tuple[int, ...]
    strict: bool
    phase: Phase
    under: tuple[str, ...]
    """Faults that were on or at an edge, such as ``detach-partition (on)``."""

    @property
    def as_allowed(self) -> bool:
        """Whether the oracle allows it."""
        return self.status in self.allowed

    @property
    def text(self) -> str:
        """Answer, latency, and what was allowed."""
        said = f"{self.status} {self.outcome}".strip() if self.status else f"no answer ({self.error or 'unfinished'})"
        where = f" in {self.partition}" if self.partition else ""
        allowed = " or ".join(str(status) if status else "no answer" for status in self.allowed)
        honest = "allowed: " if self.as_allowed else "NOT ALLOWED, due was "
        sure = "strict" if self.strict else "at an edge"
        under = f", under {', '.join(self.under)}" if self.under else ""
        took = latency_text(self.seconds)
        return f"op {self.op}: {said}{where} after {took} ({honest}{allowed}; {sure}, {self.phase}{under})"


@dataclass(frozen=True, kw_only=True)
class FaultMarked(StoryLine):
    """A step of a fault of the run, and what the fault means for the event's date."""

    kind: ClassVar[str] = "fault"
    fault: int
    name: str
    step: FaultStep
    detail: str
    reach: str

    @property
    def text(self) -> str:
        """Fault, step, evidence; the reach where it begins."""
        reach = f" ({self.reach})" if self.step is FaultStep.INJECTING else ""
        detail = f": {shortened(self.detail)}" if self.detail else ""
        return f"{numbered(self.name, self.fault)} {self.step}{reach}{detail}"


@dataclass(frozen=True, kw_only=True)
class StatusSeen(StoryLine):
    """The metrics showed another status of the event's month than before."""

    kind: ClassVar[str] = "status"
    month: str
    status: str
    before: str

    @property
    def text(self) -> str:
        """Month and status."""
        before = f", before it {self.before}" if self.before else ""
        return f"metrics show {self.month} {self.status}{before}"


@dataclass(frozen=True, kw_only=True)
class DepthSeen(StoryLine):
    """The queue of the event's month began, was longest, or was empty again; ``what`` says which."""

    kind: ClassVar[str] = "queue"
    month: str
    depth: int
    what: str

    @property
    def text(self) -> str:
        """Month, depth and turn."""
        return f"the DLQ holds {self.depth} events of {self.month} ({self.what})"


@dataclass(frozen=True, kw_only=True)
class Logged(StoryLine):
    """A log line of the service about the event's month, or about what concerns all months."""

    kind: ClassVar[str] = "log"
    level: str
    message: str
    suppressed: int

    @property
    def text(self) -> str:
        """Level and message."""
        more = f" (+{self.suppressed} suppressed)" if self.suppressed else ""
        return f"{self.level} {shortened(self.message)}{more}"


@dataclass(frozen=True, kw_only=True)
class ServiceSeen(StoryLine):
    """The service's process ended or began a new life."""

    kind: ClassVar[str] = "service"
    what: str

    @property
    def text(self) -> str:
        """Say what it did."""
        return f"service {self.what}"


@dataclass(frozen=True, kw_only=True)
class RowFound(StoryLine):
    """The final read found it in the table; ``t`` is when the transaction that stored it began."""

    kind: ClassVar[str] = "stored"
    month: str
    event_date: date
    recorded_at: str
    changes: tuple[Change, ...]

    @property
    def text(self) -> str:
        """Partition and date, and each key whose value is not the sent one."""
        place = f"partition {self.month}" if self.month else "a default partition"
        changed = changed_text(self.changes) or ", content as sent"
        return f"stored in {place} (event_date {self.event_date}){changed}"


@dataclass(frozen=True, kw_only=True)
class QueueFound(StoryLine):
    """The final read found it in the DLQ."""

    kind: ClassVar[str] = "queued"
    state: str
    reason: str
    event_date: date
    changes: tuple[Change, ...]

    @property
    def text(self) -> str:
        """State and reason."""
        why = f" ({self.reason})" if self.reason else ""
        return f"at the end {self.state} in the DLQ{why} (event_date {self.event_date}){changed_text(self.changes)}"


@dataclass(frozen=True, kw_only=True)
class DestroyedBy(StoryLine):
    """A fault destroyed the event's row, or its heal brought it back."""

    kind: ClassVar[str] = "destroyed"
    fault: int
    name: str
    restored: bool

    @property
    def text(self) -> str:
        """Fault and what it did."""
        return f"{'restored by the heal of' if self.restored else 'destroyed by'} {numbered(self.name, self.fault)}"


@dataclass(frozen=True, kw_only=True)
class FinallyRead(StoryLine):
    """The final reads: what was looked into, and whether the event was there."""

    kind: ClassVar[str] = "final"
    ending: str

    @property
    def text(self) -> str:
        """Say where it was."""
        return f"final read: {self.ending}"


def changed_text(changes: Sequence[Change]) -> str:
    """Append each key whose value is not the sent one; empty for none."""
    return f"; CHANGED {'; '.join(map(str, changes))}" if changes else ""


def shortened(text: str) -> str:
    """Cut a text that is too long for a line, and say that it was cut."""
    return text if len(text) <= CONTENT_CHARACTERS else f"{text[:CONTENT_CHARACTERS]}…"
