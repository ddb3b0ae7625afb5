"""50 Locust users against a pool of 25 on a slow database."""

from __future__ import annotations

from harness.faults.network import Latency
from harness.scenario import Load, Scenario
from harness.schedule import Schedule

from .._months import DECEMBER, JANUARY

SCENARIO = Scenario(
    name="pool-exhausted",
    claim=(
        "With 50 users on a pool of 25 and a slow database every connection is in use, the other requests wait for "
        "a bounded time, and every event is stored (201)."
    ),
    requirements=("S1", "S2"),
    load=Load(months=(DECEMBER, JANUARY), rate_per_writer=0.0, locust_users=50),
    schedule=Schedule.of(Latency(delay_ms=25)),
    extra_checkers=("exhaustion",),
    exclusive=True,
)
