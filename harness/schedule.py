"""Schedule: data that says which faults play when; the nemesis plays it.

The steps are injected one after the other, stay active together through the ``during`` phase, and are healed in
the reverse order.  A step may wait for events first, so that a second fault overlaps a first one that has
already bitten.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .fault import Fault, fault_from_json, fault_to_json


@dataclass(frozen=True)
class Step:
    """One fault, injected once ``after_events`` strictly judged events a month followed the step before it."""

    fault: Fault
    after_events: int = 0


@dataclass(frozen=True)
class Schedule:
    """The steps of one fault window, in the order of their injection."""

    steps: tuple[Step, ...] = ()

    @classmethod
    def of(cls, *faults: Fault) -> Schedule:
        """Build the common schedule: these faults at once."""
        return cls(tuple(Step(fault) for fault in faults))

    def to_json(self) -> list[dict[str, Any]]:
        """Return the schedule as JSON."""
        return [{"after_events": step.after_events, **fault_to_json(step.fault)} for step in self.steps]

    @classmethod
    def from_json(cls, data: list[dict[str, Any]]) -> Schedule:
        """Read it back; raises :class:`harness.errors.UsageError`."""
        steps = []
        for item in data:
            fields = dict(item)
            after_events = int(fields.pop("after_events", 0))
            steps.append(Step(fault_from_json(fields), after_events))
        return cls(tuple(steps))
