"""The service is killed while it recovers: in the middle of its drain."""

from __future__ import annotations

import dataclasses

from harness.faults.partition import DetachPartition
from harness.faults.process import CrashService
from harness.faults.triggers import SlowPartition
from harness.scenario import Scenario
from harness.schedule import Schedule, Step

from .._months import DECEMBER, TWO_MONTHS

SCENARIO = Scenario(
    name="service-killed-while-draining",
    claim=(
        "A service killed with SIGKILL in the middle of the drain that followed a re-attach goes on with it in its "
        "next life, and each event that it answered 201 or 202 is stored exactly once."
    ),
    requirements=("S3", "S5"),
    # Quickly a backlog that outlasts the heal, its probe and a slow machine.
    load=dataclasses.replace(TWO_MONTHS, rate_per_writer=40.0),
    schedule=Schedule(
        (
            # Some milliseconds a row are nothing to a live write, and keep the drain going until the kill comes.
            Step(SlowPartition(months=(DECEMBER,), delay_ms=5)),
            Step(DetachPartition(months=(DECEMBER,))),
            Step(CrashService(), after_events=600, after_healing=1),
        )
    ),
    extra_checkers=("interrupted",),
)
