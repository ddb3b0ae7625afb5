"""Another process holds the queue's lock while a month is detached."""

from __future__ import annotations

from harness.faults.dlq import DlqLocked
from harness.faults.partition import DetachPartition
from harness.scenario import Load, Scenario
from harness.schedule import Schedule, Step

from .._months import DECEMBER, JANUARY

SCENARIO = Scenario(
    name="dlq-locked",
    claim=(
        "With December detached and the queue locked by another process, December events are refused with 503, "
        "January is stored, and the queue works again once the lock is gone."
    ),
    requirements=("S3", "S5"),
    # A write into a locked file waits for it, and all that wait are refused at once: many writers see it often.
    load=Load(months=(DECEMBER, JANUARY), writers_per_month=12, rate_per_writer=3.0, edge_rate_per_writer=2.0),
    schedule=Schedule((Step(DetachPartition(months=(DECEMBER,))), Step(DlqLocked(), after_events=30))),
)
