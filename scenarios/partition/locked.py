"""December is locked under 50 writers, half of them for December."""

from __future__ import annotations

from harness.faults.partition import LockPartition
from harness.scenario import Load, Scenario
from harness.schedule import Schedule

from .._months import DECEMBER, JANUARY

SCENARIO = Scenario(
    name="december-locked",
    claim=(
        "With the December partition locked and 50 writers pressing, January keeps its status and its latency, "
        "and December goes to the DLQ as fast as a healthy write."
    ),
    requirements=("S2", "S3", "S4"),
    load=Load(months=(DECEMBER, JANUARY), writers_per_month=25, rate_per_writer=0.0, edge_rate_per_writer=4.0),
    schedule=Schedule.of(LockPartition(months=(DECEMBER,))),
    exclusive=True,
    judge_latency=True,
    min_latency_samples=2100,
)
