"""Cases of the contract: sessions, the server that stays up in name, the network that cuts or flaps."""

from __future__ import annotations

from harness.fault import Fault
from harness.faults.commit import CutCommit
from harness.faults.flapping import FlappingProxy
from harness.faults.network import Bandwidth, Blackhole, Latency
from harness.faults.server import KillBackend, PauseDatabase, ReadOnly, SlowStart
from harness.faults.sessions import (
    LimitRoleConnections,
    TakeConnectionSlots,
    TerminateBackends,
    TerminateBackendsRepeatedly,
)
from harness.faults.timeouts import ForceStatementTimeout
from harness.faults.toxics import LimitData, Slicer, SlowClose
from harness.stacks.base import Direction

DATABASE_CASES: tuple[Fault, ...] = (
    TerminateBackends(),
    TerminateBackendsRepeatedly(interval_ms=50),
    LimitRoleConnections(),
    LimitRoleConnections(limit=2),
    TakeConnectionSlots(),
    KillBackend(),
    PauseDatabase(),
    SlowStart(),
    ReadOnly(),
    ForceStatementTimeout(),
    SlowClose(delay_ms=400),
    SlowClose(delay_ms=400, direction=Direction.UPSTREAM),
    Slicer(average_bytes=100, delay_us=4000),
    LimitData(limit_bytes=4000),
    LimitData(limit_bytes=4000, direction=Direction.UPSTREAM),
    FlappingProxy(interval_ms=40),
    CutCommit(),
    Latency(delay_ms=30, directions=(Direction.UPSTREAM,)),
    Latency(delay_ms=30, directions=(Direction.DOWNSTREAM,)),
    Bandwidth(rate_kb_per_second=8, directions=(Direction.UPSTREAM,)),
    Bandwidth(rate_kb_per_second=1, directions=(Direction.DOWNSTREAM,)),
    Blackhole(directions=(Direction.UPSTREAM,)),
    Blackhole(directions=(Direction.DOWNSTREAM,)),
)
