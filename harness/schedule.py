"""Schedule: data that says which faults play when; the nemesis plays it.

The steps are injected one after the other, stay active together through the ``during`` phase, and are healed in
the reverse order.  A step may wait for events first, so that a second fault overlaps a first one that has
already bitten, and may have faults before it healed first, so that it strikes while the service recovers from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .errors import UsageError
from .fault import Fault, fault_from_json, fault_to_json


@dataclass(frozen=True)
class Step:
    """One fault, injected once ``after_events`` strictly judged events a month followed the step before it.

    ``after_healing``: so many of the faults that are on, last injected first, are healed before it, and it strikes as
    soon as the queue is seen to shrink.  The extra checker ``interrupted`` proves that it met the drain.
    """

    fault: Fault
    after_events: int = 0
    after_healing: int = 0


@dataclass(frozen=True)
class Schedule:
    """The steps of one fault window, in the order of their injection."""

    steps: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        """Raise :class:`UsageError` for a step that has more faults healed than are on by then."""
        lasting = 0
        for number, step in enumerate(self.steps):
            if not 0 <= step.after_healing <= lasting:
                raise UsageError(
                    f"Step {number} ({step.fault.name}) cannot have {step.after_healing} faults healed before it: "
                    f"{lasting} are on by then. Give after_healing from 0 to {lasting}."
                )
            lasting += (not step.fault.momentary) - step.after_healing

    @classmethod
    def of(cls, *faults: Fault) -> Schedule:
        """Build the common schedule: these faults at once."""
        return cls(tuple(Step(fault) for fault in faults))

    def to_json(self) -> list[dict[str, Any]]:
        """Return the schedule as JSON."""
        return [
            {"after_events": step.after_events, "after_healing": step.after_healing, **fault_to_json(step.fault)}
            for step in self.steps
        ]

    @classmethod
    def from_json(cls, data: list[dict[str, Any]]) -> Schedule:
        """Read it back; raises :class:`harness.errors.UsageError`."""
        steps = []
        for item in data:
            fields = dict(item)
            after_events = int(fields.pop("after_events", 0))
            after_healing = int(fields.pop("after_healing", 0))
            steps.append(Step(fault_from_json(fields), after_events, after_healing))
        return cls(tuple(steps))
