"""The control run: no fault, and everything must be as in health."""

from __future__ import annotations

from harness.scenario import Scenario

from ._months import TWO_MONTHS

SCENARIO = Scenario(
    name="baseline",
    claim="Without any fault every event is answered 201, stored once and unchanged, and nothing is queued.",
    requirements=("S1", "S4"),
    load=TWO_MONTHS,
)
