"""The cases of the contract for the faults of the service: its process, its limits, its queue, its clock.

What this machine cannot do is left out here and named in ``ELSEWHERE``, with the way to get it in ``MISSING_HERE``.
"""

from __future__ import annotations

from harness.fault import Fault
from harness.faults.clock import PassMonthEnd, ShiftClock
from harness.faults.dlq import DlqDeleted, DlqDiskFull, DlqFull, DlqLocked, DlqReadOnly
from harness.faults.limits import LimitDescriptors, LimitMemory
from harness.faults.process import PauseService, RestartLoop, TerminateService
from harness.stacks import host
from harness.stacks.base import Capability
from harness.stacks.service_extras import find_faketime
from harness.values import Month

DECEMBER = Month(2025, 12)


_READ_ONLY: tuple[Fault, ...] = (DlqReadOnly(),) if Capability.IMMUTABLE in host.granted() else ()
_CLOCK: tuple[Fault, ...] = (
    (ShiftClock(days=40), ShiftClock(days=-40), PassMonthEnd(seconds_before=0.5)) if find_faketime() else ()
)

CASES: tuple[Fault, ...] = (
    PauseService(),
    TerminateService(),
    RestartLoop(times=2),
    LimitDescriptors(),
    LimitDescriptors(spare=3),
    LimitMemory(),
    DlqFull(months=(DECEMBER,)),
    DlqLocked(),
    DlqDeleted(),
    *_READ_ONLY,
    *_CLOCK,
)

MISSING_HERE = {
    name: remedy
    for name, remedy, has in (
        (DlqReadOnly.name, "needs root and a temporary folder on ext4, xfs or btrfs", _READ_ONLY),
        (ShiftClock.name, "needs libfaketime: apt-get install faketime", _CLOCK),
        (PassMonthEnd.name, "needs libfaketime: apt-get install faketime", _CLOCK),
    )
    if not has
}

ELSEWHERE = frozenset({DlqDiskFull.name, *MISSING_HERE})
"""Faults that test_faults_disk.py puts through the contract, or tells why not."""
