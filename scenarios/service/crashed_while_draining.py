"""The service is killed while it recovers: in the middle of its drain."""

from __future__ import annotations

from harness.faults.process import CrashService
from harness.scenario import Scenario

from .._drains import QUICK_BACKLOG, into_the_drain

SCENARIO = Scenario(
    name="service-killed-while-draining",
    claim=(
        "A service killed with SIGKILL in the middle of the drain that followed a re-attach goes on with it in its "
        "next life, and each event that it answered 201 or 202 is stored exactly once."
    ),
    requirements=("S3", "S5"),
    load=QUICK_BACKLOG,
    schedule=into_the_drain(CrashService()),
    extra_checkers=("interrupted",),
)
