"""The whole service is stopped for a while, as by a live migration."""

from __future__ import annotations

from harness.faults.process import PauseService
from harness.scenario import Load, Scenario
from harness.schedule import Schedule

from .._months import DECEMBER, JANUARY

SCENARIO = Scenario(
    name="service-paused",
    claim="A service stopped with SIGSTOP and continued loses nothing that it answered, and works as before at once.",
    requirements=("S5",),
    # A request into the pause takes the client's whole time-out, so that only many writers meet it often.
    load=Load(months=(DECEMBER, JANUARY), writers_per_month=110, rate_per_writer=1.0, edge_rate_per_writer=0.5),
    schedule=Schedule.of(PauseService()),
    # Three rounds of 110 requests a month, each the whole time-out of the client; the first is an edge.
    fault_seconds=20.0,
)
