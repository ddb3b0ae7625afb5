"""Fault: one reversible disturbance, as frozen data with three verbs.

``inject`` damages, ``confirm`` proves from outside that it bites (the service's way in, not a superuser's), and
``heal`` undoes it; heal is safe twice and after half an inject.  ``probe`` shows health after heal, and is
where recovery is timed from.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import types
import typing
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from .blast import BlastRadius
from .errors import UsageError
from .ledger import LedgerEntry
from .registry import Registry
from .stacks.base import Capability, Environment
from .values import Month


@dataclass(frozen=True)
class DestroyedRows:
    """Event ids that an inject destroyed; reported through :attr:`Scene.destroyed`."""

    event_ids: tuple[str, ...]
    restored: bool


@dataclass(frozen=True)
class Scene:
    """Where a fault acts: the environment, its own ledger entry, and a way to report destroyed rows."""

    environment: Environment
    ledger: LedgerEntry
    destroyed: Callable[[DestroyedRows], Awaitable[None]]


class Fault(Protocol):
    """One reversible disturbance.  Implementations are frozen keyword-only dataclasses in ``harness.faults``."""

    name: ClassVar[str]
    needs: ClassVar[frozenset[Capability]]
    momentary: ClassVar[bool]
    """True when the effect is over as soon as it is confirmed (a crash with restart): the nemesis then heals and
    probes at once, and only edges remain."""

    def radius(self, environment: Environment) -> BlastRadius:
        """Declare whom it reaches on this environment (an old PostgreSQL may widen it)."""

    async def inject(self, scene: Scene) -> None:
        """Damage.  Saves to the ledger first whatever heal will need; raises FaultError."""

    async def confirm(self, scene: Scene) -> str:
        """Prove the effect as the service sees it and return the evidence; raises FaultNotConfirmed."""

    async def heal(self, scene: Scene) -> None:
        """Undo; safe twice, safe after half an inject; raises HealFailed."""

    async def probe(self, scene: Scene) -> bool:
        """Tell whether what was damaged works again, by the way that confirm used."""


FAULTS: Registry[type[Fault]] = Registry("fault")

Planner = Callable[[Any, Environment | None], tuple[str, ...]]
"""What gives a fault's plan, statement by statement; each line begins with ``inject:``, ``confirm:``, ``heal:`` …"""

PLANS: Registry[Planner] = Registry("plan")
"""Plans by the name of the fault; ``harness.faults._plans`` fills it.  A fault may have a method ``plan`` instead."""

_VERBS = ("inject", "confirm", "heal", "probe")


def plan_of(fault: Fault, environment: Environment | None = None) -> tuple[str, ...]:
    """Return what the fault would do, line by line; what no plan tells is taken from the docstrings of its verbs."""
    own = getattr(fault, "plan", None)
    told: tuple[str, ...] = ()
    if callable(own):
        told = tuple(own(environment))
    elif fault.name in set(PLANS):
        told = PLANS.get(fault.name)(fault, environment)
    lines = [*told]
    for verb in _VERBS:
        if not any(line.startswith(f"{verb}:") for line in told):
            said = " ".join((inspect.getdoc(getattr(type(fault), verb)) or "").split())
            lines.append(f"{verb}: {said or 'not described'}")
    return tuple(sorted(lines, key=lambda line: _turn(line)))


def _turn(line: str) -> int:
    return next((number for number, verb in enumerate(_VERBS) if line.startswith(f"{verb}:")), 0)


def fault_to_json(fault: Fault) -> dict[str, Any]:
    """Return the fault as JSON: ``fault`` is its name, the rest are its fields."""
    fields = {f.name: _to_json(getattr(fault, f.name)) for f in dataclasses.fields(fault)}  # type: ignore[arg-type]
    return {"fault": fault.name, **fields}


def fault_from_json(data: dict[str, Any]) -> Fault:
    """Build a fault from its JSON; raise :class:`UsageError` for an unknown name or field."""
    kind = FAULTS.get(str(data.get("fault")))
    hints = typing.get_type_hints(kind)
    known = {f.name for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = set(data) - known - {"fault"}
    if unknown:
        raise UsageError(f"The fault {data['fault']} has no field {sorted(unknown)[0]!r}; it has {sorted(known)}.")
    values = {key: _from_json(hints[key], value) for key, value in data.items() if key != "fault"}
    try:
        return kind(**values)
    except TypeError as error:
        raise UsageError(f"The fault {data['fault']} cannot be built from {data}: {error}.") from error


def _to_json(value: Any) -> Any:
    if isinstance(value, Month):
        return value.label
    if isinstance(value, tuple):
        return [_to_json(item) for item in value]
    return value


def _from_json(hint: Any, value: Any) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None:
            return None
        return _from_json(next(a for a in arguments if a is not types.NoneType), value)
    if origin is tuple:
        return tuple(_from_json(arguments[0], item) for item in value)
    if hint is Month:
        return Month.parse(value)
    return hint(value) if isinstance(hint, type) else value


def radius_to_json(radius: BlastRadius) -> str:
    """One line of JSON for the history."""
    months = None if radius.months is None else sorted(month.label for month in radius.months)
    dates = None if radius.dates is None else [day.isoformat() for day in radius.dates]
    return json.dumps({**dataclasses.asdict(radius), "months": months, "dates": dates})
