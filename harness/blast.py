"""Blast radius: what a fault may do to whom, on independent axes (docs/reference/oracle.md).

A radius is declared by its fault and proved by ``confirm``; the oracle turns it into the answers that an
operation may get.  ``None`` for ``months`` means every month.
"""

from __future__ import annotations

import dataclasses
import enum
from dataclasses import dataclass
from datetime import date

from .values import Month


class Write(enum.StrEnum):
    """Whether a valid event of the month can be stored while the fault is active."""

    YES = "yes"
    NO = "no"
    PARTIAL = "partial"
    DELAYED = "delayed"


class Dlq(enum.StrEnum):
    """Whether the dead-letter queue takes events while the fault is active."""

    YES = "yes"
    NO = "no"
    PARTIAL = "partial"
    DESTROYED = "destroyed"


class ServiceState(enum.StrEnum):
    """Whether the service process can answer at all."""

    UP = "up"
    PARTIAL = "partial"
    """It answers some requests and others not: it is short of descriptors or memory."""
    PAUSED = "paused"
    DOWN = "down"


class Edge(enum.StrEnum):
    """Whom the injecting and the healing of a fault disturb beyond its own months.

    ``MONTHS``: nobody else.  ``DDL``: every month, while the statements run.  ``RESTART``: every month, until
    the recovery edge of the heal (or, on inject, the confirmation) is over.  ``FLAPPING``: the fault is nothing but
    edges, for every month and from its inject to the end of the recovery, so that nothing in it is judged strictly.
    """

    MONTHS = "months"
    DDL = "ddl"
    RESTART = "restart"
    FLAPPING = "flapping"


@dataclass(frozen=True, kw_only=True)
class BlastRadius:
    """The declared reach of one active fault.

    ``delay_ms`` counts only with ``Write.DELAYED`` and is the delay of one whole write.  ``dates`` narrows the
    months to [first, end) for faults that hit part of a month; ``rest`` is then what the other days of those months
    may meet.  Isolation is promised between months, so a service may spare a month as a whole: ``Write.PARTIAL``.
    """

    months: frozenset[Month] | None
    write: Write = Write.YES
    delay_ms: float = 0.0
    read: bool = True
    dlq: Dlq = Dlq.YES
    service: ServiceState = ServiceState.UP
    dates: tuple[date, date] | None = None
    rest: Write = Write.YES
    edge: Edge = Edge.DDL
    outlives_clients: bool = False
    """True while backends may outlive their clients (lock, network, pause, restart): connection counts of
    ``pg_stat_activity`` then say nothing about the pool."""
    true_clock: bool = True
    """False when the service's calendar is shifted: what it dated since then says nothing, also after the heal."""

    def covers(self, day: date) -> bool:
        """Tell whether an event of that UTC date is inside the radius."""
        if self.months is not None and Month.of(day) not in self.months:
            return False
        return self.dates is None or self.dates[0] <= day < self.dates[1]

    def on(self, day: date) -> BlastRadius | None:
        """Return what an event of that UTC date meets while the fault is on: this radius, that of the rest, or None."""
        if self.covers(day):
            return self
        if self.rest is Write.YES or not dataclasses.replace(self, dates=None).covers(day):
            return None
        return dataclasses.replace(self, write=self.rest, dates=None)

    @property
    def whole_database(self) -> bool:
        """True when no month is spared."""
        return self.months is None
