"""Recording: what was done in a lab becomes a scenario, and a scenario becomes a file that the loader takes."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..fault import Fault
from ..redaction import is_kept_back, kept_back
from ..scenario import Load, LoadPhase, Scenario
from ..schedule import Schedule, Step
from ..values import Month, Phase

_SHORTEST_SECONDS = 0.01
"""Times are written to this; a fault that came and went within it went so much later."""
_WIDTH = 116
_AROUND = (Phase.BEFORE.value, Phase.AFTER.value)
"""The phases that owe strictly judged events where the faults are nothing but edges."""


@dataclass
class LoadDeed:
    """A load that was on, by the lab's clock in seconds; ``until`` is None while it is, ``due`` when it is to end."""

    since: float
    months: tuple[Month, ...]
    writers_per_month: int
    rate_per_writer: float
    until: float | None = None
    due: float | None = None


@dataclass
class FaultDeed:
    """A fault that was injected, by the lab's clock; one that never bit is left out of a recording.

    ``only_edges``: nothing is judged strictly while it is on, since it is over at once or comes and goes all the while.
    """

    fault: Fault
    at: float
    confirmed: bool = False
    healed_at: float | None = None
    only_edges: bool = False


@dataclass
class Deeds:
    """Everything that was done in a lab, in its order."""

    loads: list[LoadDeed] = field(default_factory=list)
    faults: list[FaultDeed] = field(default_factory=list)

    @property
    def bitten(self) -> Sequence[FaultDeed]:
        """The faults that bit."""
        return [deed for deed in self.faults if deed.confirmed]

    def unrecorded(self) -> list[str]:
        """Say what a recording leaves out."""
        return [f"{deed.fault.name} never bit, so it is left out" for deed in self.faults if not deed.confirmed]

    def times(self) -> list[float]:
        """Every moment at which something was done, rising."""
        found = [time for deed in self.loads for time in (deed.since, deed.until)]
        found += [time for deed in self.bitten for time in (deed.at, deed.healed_at)]
        return sorted(time for time in found if time is not None)


def scenario_of(deeds: Deeds, base: Scenario, longest_gap_seconds: float | None = None) -> Scenario:
    """Return what was done as a scenario like ``base``, whose times count from the first thing that was done.

    Pauses longer than ``longest_gap_seconds`` are shortened to it.
    """
    at = _clock(deeds.times(), longest_gap_seconds)
    phases = tuple(_phase(deed, at) for deed in deeds.loads)
    months, late = _months(deeds)
    steps = [_step(deed, at) for deed in deeds.bitten]
    schedule = Schedule(tuple(steps))
    load = replace(base.load, months=months or base.load.months, late_months=late, phases=phases)
    return replace(
        base,
        load=load,
        schedule=schedule,
        fault_seconds=_length(schedule, load),
        strict_phases=_AROUND if steps and all(deed.only_edges for deed in deeds.bitten) else base.strict_phases,
    )


def unwritten(scenario: Scenario) -> list[str]:
    """Say which variables of the service are recorded without their values, since those are secrets."""
    names = [name for name, value in kept_back(scenario.service_environment).items() if is_kept_back(value)]
    return [f"the value of {name} is a secret and not written down; set {name} where you replay it" for name in names]


def _clock(times: Sequence[float], longest_gap_seconds: float | None) -> Callable[[float], float]:
    """From the lab's clock to that of the recording: 0 at the first deed, and no gap longer than allowed."""
    told: dict[float, float] = {}
    now, before = 0.0, times[0] if times else 0.0
    for time in times:
        now += time - before if longest_gap_seconds is None else min(time - before, longest_gap_seconds)
        told[time] = round(now, 2)
        before = time
    return told.__getitem__


def _phase(deed: LoadDeed, at: Callable[[float], float]) -> LoadPhase:
    return LoadPhase(
        from_seconds=at(deed.since),
        to_seconds=None if deed.until is None else at(deed.until),
        months=deed.months,
        writers_per_month=deed.writers_per_month,
        rate_per_writer=deed.rate_per_writer,
    )


def _step(deed: FaultDeed, at: Callable[[float], float]) -> Step:
    begun = at(deed.at)
    if deed.healed_at is None or deed.fault.momentary:
        return Step(deed.fault, at_seconds=begun)
    healed = max(at(deed.healed_at), round(begun + _SHORTEST_SECONDS, 2))
    return Step(deed.fault, at_seconds=begun, healed_at_seconds=healed)


def _months(deeds: Deeds) -> tuple[tuple[Month, ...], tuple[Month, ...]]:
    """Months that were written from before the first fault on, and those that came later.

    Late ones owe nothing before the faults; where all are late there is no control phase, and that is to be said.
    """
    struck = min((deed.at for deed in deeds.bitten), default=None)
    early = _once(month for deed in deeds.loads if struck is None or deed.since < struck for month in deed.months)
    every = _once(month for deed in deeds.loads for month in deed.months)
    return (early, tuple(month for month in every if month not in early)) if early else (every, ())


def _once(months: Iterable[Month]) -> tuple[Month, ...]:
    return tuple(sorted(set(months)))


def _length(schedule: Schedule, load: Load) -> float:
    times = [step.healed_at_seconds or step.at_seconds or 0.0 for step in schedule.steps]
    times += [phase.to_seconds or phase.from_seconds for phase in load.phases]
    return max(times, default=0.0)


def source_of(scenario: Scenario, docstring: str) -> str:
    """Return a scenario file that holds the scenario, as a human would write it."""
    writer = _Writer()
    fields = _differing(scenario, Scenario, always=("name", "claim", "requirements", "load"))
    call = writer.call("Scenario", "harness.scenario", fields)
    imports = "\n".join(
        f"from {module} import {', '.join(sorted(names))}" for module, names in sorted(writer.imports.items())
    )
    return f'"""{docstring}"""\n\nfrom __future__ import annotations\n\n{imports}\n\nSCENARIO = {call}\n'


def _differing(value: Any, kind: type, always: Sequence[str] = ()) -> Mapping[str, Any]:
    """Fields of a dataclass that are not as by default, or that are always told."""
    found: dict[str, Any] = {}
    for each in dataclasses.fields(kind):
        told = getattr(value, each.name)
        usual = each.default_factory() if each.default_factory is not dataclasses.MISSING else each.default
        if each.name in always or told != usual:
            found[each.name] = told
    return found


class _Writer:
    """Writes values as Python, and remembers what has to be imported for them."""

    def __init__(self) -> None:
        self.imports: dict[str, set[str]] = {}

    def call(self, name: str, module: str, fields: Mapping[str, Any], depth: int = 0) -> str:
        """A constructor with keywords, on one line if that is short."""
        self.imports.setdefault(module, set()).add(name)
        told = [f"{key}={self.value(value, depth + 1)}" for key, value in fields.items()]
        return _wrapped(f"{name}(", told, ")", depth)

    def value(self, value: Any, depth: int) -> str:
        """Any value that scenarios are made of."""
        if isinstance(value, Month):
            self.imports.setdefault("harness.values", set()).add("Month")
            return f"Month({value.year}, {value.month})"
        if isinstance(value, enum.Enum):
            self.imports.setdefault(type(value).__module__, set()).add(type(value).__name__)
            return f"{type(value).__name__}.{value.name}"
        if isinstance(value, tuple):
            items = [self.value(item, depth + 1) for item in value]
            return _wrapped("(", items, ",)" if len(items) == 1 else ")", depth)
        if isinstance(value, Mapping):
            pairs = [f"{self.value(key, depth + 1)}: {self.value(item, depth + 1)}" for key, item in value.items()]
            return _wrapped("{", pairs, "}", depth)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            kind = type(value)
            always = [each.name for each in dataclasses.fields(kind) if each.default is dataclasses.MISSING]
            return self.call(kind.__name__, kind.__module__, _differing(value, kind, always), depth)
        return _text(value) if isinstance(value, str) else repr(value)


def _text(value: str) -> str:
    """A string in double quotes, as the house has them."""
    quoted = repr(value)
    return f'"{quoted[1:-1]}"' if quoted.startswith("'") and '"' not in value else quoted


def _wrapped(begin: str, items: Sequence[str], end: str, depth: int) -> str:
    """Items between brackets: on one line where they fit, else a line each."""
    line = f"{begin}{', '.join(items)}{end}"
    if len(line) + 4 * depth <= _WIDTH and "\n" not in line:
        return line
    indent = "    " * (depth + 1)
    return f"{begin}\n" + "".join(f"{indent}{item},\n" for item in items) + "    " * depth + end.removeprefix(",")
