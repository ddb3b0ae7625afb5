"""Connections that the server ended look alive to the service."""

from __future__ import annotations

from harness.faults.sessions import TerminateBackends
from harness.faults.toxics import SlowClose
from harness.scenario import Scenario
from harness.schedule import Schedule, Step

from .._months import TWO_MONTHS

SCENARIO = Scenario(
    name="ended-connections-look-alive",
    claim=(
        "With the ends of connections held back for two seconds, sessions that an administrator ended cost no "
        "event and no duplicate, and direct writes go on."
    ),
    requirements=(
        "C2",
        "S5",
    ),
    load=TWO_MONTHS,
    schedule=Schedule((Step(SlowClose(delay_ms=2000)), Step(TerminateBackends(), after_events=60))),
)
