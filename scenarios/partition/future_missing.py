"""A future month is missing because the service is kept from making it."""

from __future__ import annotations

from harness.faults.creation import PreventPartitionCreation
from harness.scenario import Load, Scenario
from harness.schedule import Schedule

from .._months import JANUARY, first_missing_month

_MISSING = first_missing_month()

SCENARIO = Scenario(
    name="future-month-missing",
    claim=(
        "While the partition of a future month cannot be created its events go to the DLQ, other months are stored, "
        "and once creation is possible again the service makes the partition and drains by itself."
    ),
    requirements=("S8", "S3"),
    load=Load(months=(JANUARY,), late_months=(_MISSING,)),
    schedule=Schedule.of(PreventPartitionCreation(month=_MISSING)),
)
