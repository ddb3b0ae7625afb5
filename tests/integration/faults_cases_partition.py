"""Cases of the contract for what is attached and for the obstacles in the way of rows."""

from __future__ import annotations

from harness.fault import Fault
from harness.faults.bounds import START, AttachWrongBounds, InterruptDetach
from harness.faults.byhand import DropAndRestoreByHand
from harness.faults.default import DetachWithDefault
from harness.faults.obstacles import (
    REINDEX,
    HoldLockIdle,
    RefuseByCheck,
    RefuseByParentCheck,
)
from harness.faults.triggers import RefuseByTrigger, SlowPartition
from tests.integration.faults_lab import DECEMBER

PARTITION_CASES: tuple[Fault, ...] = (
    DropAndRestoreByHand(month=DECEMBER),
    DetachWithDefault(months=(DECEMBER,)),
    DetachWithDefault(),
    InterruptDetach(month=DECEMBER),
    AttachWrongBounds(month=DECEMBER),
    AttachWrongBounds(month=DECEMBER, missing=START),
    RefuseByCheck(months=(DECEMBER,)),
    RefuseByCheck(),
    RefuseByParentCheck(),
    RefuseByTrigger(months=(DECEMBER,)),
    RefuseByTrigger(sqlstate="22003"),
    RefuseByTrigger(months=(DECEMBER,), sqlstate="23502"),
    RefuseByTrigger(months=(DECEMBER,), sqlstate="57P01"),
    SlowPartition(months=(DECEMBER,), delay_ms=50),
    SlowPartition(delay_ms=1500),
    HoldLockIdle(months=(DECEMBER,)),
    HoldLockIdle(),
    HoldLockIdle(months=(DECEMBER,), how=REINDEX),
)
