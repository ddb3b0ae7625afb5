"""Schedule: data that says which faults play when; the nemesis plays it.

The steps are injected one after the other, stay active together through the ``during`` phase, and are healed in
the reverse order.  A step may wait for events first, so that a second fault overlaps a first one that has
already bitten, and may have faults before it healed first, so that it strikes while the service recovers from them, or
once it has recovered: that makes cycles.
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
    ``after_recovery``: not while the queue shrinks, but once the service is in its steady state again and what it holds
    was looked at.  Nobody waits for the recovery edge between such cycles, so nothing in them is judged strictly.
    """

    fault: Fault
    after_events: int = 0
    after_healing: int = 0
    after_recovery: bool = False


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
            if step.after_recovery and not step.after_healing:
                raise UsageError(
                    f"Step {number} ({step.fault.name}) waits for a recovery, but has nothing healed before it. "
                    "Give after_healing as well."
                )
            lasting += (not step.fault.momentary) - step.after_healing

    @classmethod
    def of(cls, *faults: Fault) -> Schedule:
        """Build the common schedule: these faults at once."""
        return cls(tuple(Step(fault) for fault in faults))

    @classmethod
    def cycles(cls, fault: Fault, *, times: int, after_events: int) -> Schedule:
        """Build identical cycles: the fault, healed after so many events a month and recovered from, again and again.

        The last one is healed as every schedule is.
        """
        again = Step(fault, after_events=after_events, after_healing=1, after_recovery=True)
        return cls((Step(fault), *(again for _ in range(times - 1))))

    @property
    def cyclic(self) -> bool:
        """Tell whether any step waits until the service has recovered from the faults before it."""
        return any(step.after_recovery for step in self.steps)

    def to_json(self) -> list[dict[str, Any]]:
        """Return the schedule as JSON."""
        return [
            {
                "after_events": step.after_events,
                "after_healing": step.after_healing,
                "after_recovery": step.after_recovery,
                **fault_to_json(step.fault),
            }
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
            after_recovery = fields.pop("after_recovery", False) is True
            steps.append(Step(fault_from_json(fields), after_events, after_healing, after_recovery))
        return cls(tuple(steps))
