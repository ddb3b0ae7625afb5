"""What the service asks of a dead letter queue, whatever store is behind it."""

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from ..models import Event


class DlqError(Exception):
    """The queue could not do it; `outcome` says what became of the event: not_stored or unknown."""

    def __init__(self, message: str, outcome: str) -> None:
        super().__init__(message)
        self.outcome = outcome


class Receipt(enum.Enum):
    """What became of an enqueued event."""

    QUEUED = "queued"
    KNOWN = "known"
    CONFLICT = "conflict"


@dataclass(frozen=True)
class LastError:
    """Why an event is in the queue."""

    sqlstate: str | None
    message: str


@dataclass(frozen=True)
class Entry:
    """One event in the queue; `event` is its whole JSON, times are Unix seconds."""

    seq: int
    event_id: str
    event_date: str
    partition: str
    state: str
    attempts: int
    sqlstate: str | None
    message: str
    queued_at: float
    event: str

    @property
    def last_error(self) -> LastError:
        """Why it was queued, or why it was not drained since."""
        return LastError(self.sqlstate, self.message)


@dataclass(frozen=True)
class Retry:
    """What a failed attempt that was the event's own fault leaves: due again later, or dead for a reason."""

    seq: int
    error: LastError
    due_at: float
    dead_reason: str | None = None


class DeadLetterQueue(Protocol):
    """A durable queue; every method that touches the store raises DlqError."""

    capacity: int
    available: bool

    async def enqueue(self, event: Event, error: LastError, timeout_seconds: float) -> Receipt:
        """Store durably, once per identity; answers only after the commit."""

    async def find(self, event: Event) -> Entry | None:
        """The entry with this event's identity."""

    async def due(self, partition: str, limit: int) -> list[Entry]:
        """The oldest pending entries of a month whose time has come."""

    async def remove(self, seqs: Iterable[int]) -> None:
        """Forget entries that are in the table."""

    async def put_back(self, retries: Iterable[Retry]) -> None:
        """Record failed attempts."""

    async def page(self, state: str | None, after_seq: int, limit: int) -> list[Entry]:
        """Entries in the order of their arrival."""

    def may_hold(self, event: Event) -> bool:
        """False only if the identity is surely not in the queue."""

    def pending_by_partition(self) -> dict[str, int]:
        """Pending events of each month that has any."""

    def dead_by_reason(self) -> dict[str, int]:
        """Dead letters of each reason that has any."""

    def oldest_age_seconds(self) -> float:
        """Age of the oldest pending event, 0 without one."""
