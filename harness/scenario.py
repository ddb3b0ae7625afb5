"""Scenario: a claim in one sentence, as data.

A scenario is collected as a pytest item, run by the command line and replayed from JSON by one and the same
lifecycle (``harness.runner``).  Scenario files hold a module-level ``SCENARIO``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .errors import ScenarioError, UsageError
from .schedule import Schedule
from .stacks.base import Capability
from .values import Month

MIN_STRICT_EVENTS = 200
"""Strictly judged events a month that each phase owes (docs/reference/oracle.md)."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """The workload as data.

    ``writers_per_month`` closed-loop writers each keep to one month, so that a hanging month takes the pace of no
    other.  ``rate_per_writer`` is requests a second (0: as fast as answers come); edges are paced by
    ``edge_rate_per_writer``, since they may not outnumber what is judged strictly.  ``late_months`` join when the
    first fault has been confirmed.  ``locust_users`` above 0 has Locust's FastHttpUser drive the load instead.

    The shares are of events.  Those of ``anonymous_share`` leave their id to the service, those of ``poison_share`` can
    only be refused by the database.  ``batch_writers`` more writers send ``batch_size`` events a request, mixed of all
    months.  Locust's users send single events to the first months, and none of them poison.
    """

    months: tuple[Month, ...]
    late_months: tuple[Month, ...] = ()
    writers_per_month: int = 4
    rate_per_writer: float = 25.0
    edge_rate_per_writer: float = 4.0
    resend_share: float = 0.02
    conflict_share: float = 0.01
    invalid_share: float = 0.02
    anonymous_share: float = 0.02
    poison_share: float = 0.0
    batch_writers: int = 0
    batch_size: int = 20
    locust_users: int = 0

    def __post_init__(self) -> None:
        """Raise :class:`UsageError` for what Locust's users would silently not send."""
        if self.locust_users and (self.batch_writers or self.poison_share or self.late_months):
            raise UsageError(
                "Locust's users send neither batches nor poison, and join no late months; leave batch_writers, "
                "poison_share and late_months out, or locust_users."
            )

    @property
    def all_months(self) -> tuple[Month, ...]:
        """Every month the workload writes into."""
        return (*self.months, *self.late_months)


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One claim, and how to put it to the test.

    ``requirements`` are ids of docs/reference/requirements.md that a PASS proves.  ``exclusive`` scenarios run
    alone, which latency promises (``judge_latency``) need.  ``extra_checkers`` judge
    besides the default set.  ``strict_phases`` are the phases that owe strictly judged events (None: all); a fault
    that is nothing but edges leaves its own phase to conservation, and its scenario says so by leaving it out.
    ``fault_seconds`` is about how long the fault keeps its own phase waiting beyond the pace of the load (time-outs of
    clients, a queue that has to fill): a suite begins with what takes longest, and nothing else is told by it.
    """

    name: str
    claim: str
    requirements: tuple[str, ...]
    load: Load
    schedule: Schedule = Schedule()
    extra_checkers: tuple[str, ...] = ()
    exclusive: bool = False
    judge_latency: bool = False
    min_strict_events: int = MIN_STRICT_EVENTS
    strict_phases: tuple[str, ...] | None = None
    min_latency_samples: int = 0
    recovery_deadline_seconds: float = 20.0
    fault_seconds: float = 0.0
    service_environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def needs(self) -> frozenset[Capability]:
        """Capabilities of all its faults."""
        return frozenset().union(*(step.fault.needs for step in self.schedule.steps))

    def to_json(self) -> dict[str, Any]:
        """Return the scenario as JSON, faults included: enough for a replay."""
        load = self.load
        return {
            "name": self.name,
            "claim": self.claim,
            "requirements": list(self.requirements),
            "load": {
                **load.__dict__,
                "months": [month.label for month in load.months],
                "late_months": [month.label for month in load.late_months],
            },
            "schedule": self.schedule.to_json(),
            "extra_checkers": list(self.extra_checkers),
            "exclusive": self.exclusive,
            "judge_latency": self.judge_latency,
            "min_strict_events": self.min_strict_events,
            "strict_phases": None if self.strict_phases is None else list(self.strict_phases),
            "min_latency_samples": self.min_latency_samples,
            "recovery_deadline_seconds": self.recovery_deadline_seconds,
            "fault_seconds": self.fault_seconds,
            "service_environment": dict(self.service_environment),
        }

    @classmethod
    def from_json(cls, text: str) -> Scenario:
        """Read back what :meth:`to_json` gave; raise :class:`ScenarioError` for anything else."""
        try:
            data = json.loads(text)
            load = dict(data.pop("load"))
            for key in ("months", "late_months"):
                load[key] = tuple(Month.parse(label) for label in load[key])
            schedule = Schedule.from_json(data.pop("schedule"))
            for key in ("requirements", "extra_checkers"):
                data[key] = tuple(data[key])
            if data.get("strict_phases") is not None:
                data["strict_phases"] = tuple(data["strict_phases"])
            return cls(load=Load(**load), schedule=schedule, **data)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ScenarioError(
                f"The stored scenario cannot be read: {error!r}. Was it written by this version?"
            ) from error
