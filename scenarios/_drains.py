"""A drain for faults to strike: December's, from a backlog that outlasts a slow machine."""

from __future__ import annotations

import dataclasses

from harness.fault import Fault
from harness.faults.partition import DetachPartition
from harness.faults.triggers import SlowPartition
from harness.schedule import Schedule, Step

from ._months import DECEMBER, PRESSED

QUICK_BACKLOG = dataclasses.replace(PRESSED, rate_per_writer=40.0)
"""Quickly a backlog that outlasts the heal and its probe."""

DETACHED = DetachPartition(months=(DECEMBER,))


def into_the_drain(fault: Fault, *, after: Fault = DETACHED) -> Schedule:
    """Return a schedule in which the fault strikes while December's queue drains once ``after`` has been healed."""
    return Schedule(
        (
            # Some milliseconds a row are nothing to a live write, and keep the drain going until the fault comes.
            Step(SlowPartition(months=(DECEMBER,), delay_ms=5)),
            Step(after),
            Step(fault, after_events=600, after_healing=1),
        )
    )
