"""The disk of the queue is full while a month is detached."""

from __future__ import annotations

from harness.faults.dlq import DlqDiskFull
from harness.faults.partition import DetachPartition
from harness.scenario import Scenario
from harness.schedule import Schedule, Step
from harness.stacks.service_extras import SMALL_DISK_FOLDER, SMALL_DISK_MB

from .._months import DECEMBER, TWO_MONTHS

SCENARIO = Scenario(
    name="dlq-disk-full",
    claim=(
        "With December detached and the queue's disk full, nothing is acknowledged that is not on it, January is "
        "stored, and the queue works again once there is room."
    ),
    requirements=("S3", "S5"),
    load=TWO_MONTHS,
    schedule=Schedule((Step(DetachPartition(months=(DECEMBER,))), Step(DlqDiskFull(), after_events=30))),
    service_environment={
        SMALL_DISK_MB: "64",
        "DLQ_URL": f"sqlite:///{{workdir}}/{SMALL_DISK_FOLDER}/dlq.sqlite3",
    },
)
