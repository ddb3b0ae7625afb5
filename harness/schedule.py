"""Schedule: data that says which faults play when; the nemesis plays it.

The steps are injected one after the other, stay active together through the ``during`` phase, and are healed in
the reverse order.  A step may wait for events first, so that a second fault overlaps a first one that has
already bitten, and may have faults before it healed first, so that it strikes while the service recovers from them, or
once it has recovered: that makes cycles.  The recording of a lab has times instead: when each fault came and went.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .errors import UsageError
from .fault import Fault, fault_from_json, fault_to_json

_TIMES = ("at_seconds", "healed_at_seconds")


@dataclass(frozen=True)
class Step:
    """One fault, injected once ``after_events`` strictly judged events a month followed the step before it.

    ``after_healing``: so many of the faults that are on, last injected first, are healed before it, and it strikes as
    soon as the queue is seen to shrink.  The extra checker ``interrupted`` proves that it met the drain.
    ``after_recovery``: not while the queue shrinks, but once the service is in its steady state again and what it holds
    was looked at.  Nobody waits for the recovery edge between such cycles, so nothing in them is judged strictly.

    ``at_seconds`` and ``healed_at_seconds`` count from the beginning of the load and stand for all of the above: the
    fault comes and goes at these times, or stays until the end where the second is None.
    """

    fault: Fault
    after_events: int = 0
    after_healing: int = 0
    after_recovery: bool = False
    at_seconds: float | None = None
    healed_at_seconds: float | None = None

    @property
    def waits(self) -> bool:
        """Tell whether it waits for something else than its time."""
        return bool(self.after_events or self.after_healing or self.after_recovery)


@dataclass(frozen=True)
class Schedule:
    """The steps of one fault window, in the order of their injection."""

    steps: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        """Raise :class:`UsageError` for a step that has more faults healed than are on by then, and for wrong times."""
        if self.timed:
            self._in_time()
            return
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
            if step.healed_at_seconds is not None:
                raise UsageError(
                    f"Step {number} ({step.fault.name}) has healed_at_seconds, but no at_seconds; give both."
                )
            lasting += (not step.fault.momentary) - step.after_healing

    def _in_time(self) -> None:
        before = 0.0
        for number, step in enumerate(self.steps):
            which, at, healed_at = f"Step {number} ({step.fault.name})", step.at_seconds, step.healed_at_seconds
            if at is None or step.waits:
                raise UsageError(
                    f"{which} is one of a schedule with times: give each of its steps at_seconds, and none "
                    "after_events, after_healing or after_recovery."
                )
            if at < before:
                raise UsageError(
                    f"{which} comes at {at:g} s, before the step ahead of it; put the steps in their order."
                )
            if healed_at is not None and (step.fault.momentary or healed_at <= at):
                why = "is over by itself" if step.fault.momentary else f"comes only at {at:g} s"
                raise UsageError(
                    f"{which} cannot be healed at {healed_at:g} s, since it {why}; mend healed_at_seconds."
                )
            before = at

    @property
    def timed(self) -> bool:
        """Tell whether the faults come and go at times of their own."""
        return any(step.at_seconds is not None for step in self.steps)

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
                **{key: value for key in _TIMES if (value := getattr(step, key)) is not None},
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
            at, healed_at = (None if (told := fields.pop(key, None)) is None else float(told) for key in _TIMES)
            steps.append(Step(fault_from_json(fields), after_events, after_healing, after_recovery, at, healed_at))
        return cls(tuple(steps))
