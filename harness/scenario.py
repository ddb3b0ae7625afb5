"""Scenario: a claim in one sentence, as data.

A scenario is collected as a pytest item, run by the command line and replayed from JSON by one and the same
lifecycle (``harness.runner``).  Scenario files hold a module-level ``SCENARIO``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .errors import ScenarioError, UsageError
from .redaction import kept_back
from .schedule import Schedule
from .stacks.base import Capability
from .values import Month

MIN_STRICT_EVENTS = 200
"""Strictly judged events a month that each phase owes (docs/reference/oracle.md)."""


@dataclass(frozen=True, kw_only=True)
class LoadPhase:
    """A part of a load that comes and goes: from when to when, in seconds from its beginning (None: to the end)."""

    from_seconds: float
    months: tuple[Month, ...]
    to_seconds: float | None = None
    writers_per_month: int = 4
    rate_per_writer: float = 25.0

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {**self.__dict__, "months": [month.label for month in self.months]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LoadPhase:
        """Read it back."""
        return cls(**{**data, "months": tuple(Month.parse(label) for label in data["months"])})


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

    With ``phases`` the load comes and goes at times, as in the recording of a lab: one phase after the other, each with
    months, writers and pace of its own.
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
    phases: tuple[LoadPhase, ...] = ()

    def __post_init__(self) -> None:
        """Raise :class:`UsageError` for what Locust's users would silently not send, and for phases out of order."""
        if self.locust_users and (self.batch_writers or self.poison_share or self.late_months or self.phases):
            raise UsageError(
                "Locust's users send neither batches nor poison, join no late months and know no phases; leave "
                "batch_writers, poison_share, late_months and phases out, or locust_users."
            )
        before: float | None = 0.0
        for number, phase in enumerate(self.phases):
            end = phase.to_seconds
            if before is None or phase.from_seconds < before or (end is not None and end < phase.from_seconds):
                raise UsageError(
                    f"Phase {number} of the load begins before the one ahead of it has ended, or ends first."
                )
            strange = sorted(set(phase.months) - set(self.all_months))
            if strange or not phase.months:
                named = strange[0].label if strange else "none"
                raise UsageError(f"Phase {number} of the load writes into {named}, which is none of the load's months.")
            before = end

    def during(self, phase: LoadPhase) -> Load:
        """Return the load as it is in one of its phases; at edges no quicker than elsewhere."""
        pace, edge = phase.rate_per_writer, self.edge_rate_per_writer
        return replace(
            self,
            months=phase.months,
            late_months=(),
            phases=(),
            writers_per_month=phase.writers_per_month,
            rate_per_writer=pace,
            edge_rate_per_writer=min(pace, edge) if pace > 0 else edge,
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

    def __post_init__(self) -> None:
        """Raise :class:`UsageError` for what Locust's users cannot play."""
        if self.timed and self.load.locust_users:
            raise UsageError(
                f"The scenario {self.name} has times for its faults, which a load by Locust cannot keep; leave "
                "at_seconds out, or locust_users."
            )

    @property
    def timed(self) -> bool:
        """Tell whether faults or load come and go at times of their own, as in the recording of a lab."""
        return self.schedule.timed or bool(self.load.phases)

    @property
    def needs(self) -> frozenset[Capability]:
        """Capabilities of all its faults."""
        return frozenset().union(*(step.fault.needs for step in self.schedule.steps))

    def to_json(self) -> dict[str, Any]:
        """Return the scenario as JSON, faults included, and the secrets of its service's environment."""
        load, phases = self.load, [phase.to_json() for phase in self.load.phases]
        plain = {key: value for key, value in load.__dict__.items() if key != "phases"}
        return {
            "name": self.name,
            "claim": self.claim,
            "requirements": list(self.requirements),
            "load": {
                **plain,
                "months": [month.label for month in load.months],
                "late_months": [month.label for month in load.late_months],
                **({"phases": phases} if phases else {}),
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

    def told_json(self) -> dict[str, Any]:
        """Return it as JSON that may be written down: enough for a replay by one who has the secrets."""
        return {**self.to_json(), "service_environment": kept_back(self.service_environment)}

    @classmethod
    def from_json(cls, text: str) -> Scenario:
        """Read back what :meth:`to_json` or :meth:`told_json` gave; raise :class:`ScenarioError` for anything else."""
        try:
            data = json.loads(text)
            load = dict(data.pop("load"))
            for key in ("months", "late_months"):
                load[key] = tuple(Month.parse(label) for label in load[key])
            load["phases"] = tuple(LoadPhase.from_json(phase) for phase in load.get("phases", ()))
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


def retold(text: str) -> Any:
    """Return the JSON of a stored scenario as it may be shown; an earlier version wrote down what this one keeps back.

    Raises ValueError for what is no JSON.
    """
    data = json.loads(text)
    environment = data.get("service_environment") if isinstance(data, dict) else None
    if isinstance(environment, dict):
        data["service_environment"] = kept_back({name: str(value) for name, value in environment.items()})
    return data
