"""Requests reach the database, answers never come back."""

from __future__ import annotations

from harness.faults.network import Blackhole
from harness.scenario import Scenario
from harness.schedule import Schedule
from harness.stacks.base import Direction

from .._months import TWO_MONTHS

SCENARIO = Scenario(
    name="answers-black-holed",
    claim=(
        "With requests carried out by the database and every answer lost, writes are answered 202 within the "
        "deadline, and no event is stored twice."
    ),
    requirements=(
        "C2",
        "S6",
    ),
    load=TWO_MONTHS,
    schedule=Schedule.of(Blackhole(directions=(Direction.DOWNSTREAM,))),
)
