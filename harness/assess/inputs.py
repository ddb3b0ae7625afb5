"""Inputs: ``assess.toml``, what people have to say since no run can: how often, how bad, at what cost, how long.

What is not given stays unknown; nothing has a default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..tables import Table
from ..targets.model import read_toml
from .features import FEATURES

DEFAULT_FILE = Path("assess.toml")
_PAGE = "docs/how-to/assess.md shows a whole file."
_KEYS = {"unit", "recovery", "features"}
_OF_RECOVERY = {"manual_minutes", "source"}
_OF_FEATURE = ("frequency_per_year", "impact", "cost")


@dataclass(frozen=True, kw_only=True)
class FeatureInputs:
    """What people say of one feature: how often it would have been needed, what each time costs, what it costs to ship.

    ``impact`` and ``cost`` are in the same unit.
    """

    frequency_per_year: float | None = None
    impact: float | None = None
    cost: float | None = None

    @property
    def missing(self) -> tuple[str, ...]:
        """The inputs without which there is no score."""
        return tuple(name for name in _OF_FEATURE if getattr(self, name) is None)

    @property
    def score(self) -> float | None:
        """How often, in a year, what shipping costs comes back; None while an input is missing."""
        if self.frequency_per_year is None or self.impact is None or self.cost is None:
            return None
        return self.frequency_per_year * self.impact / self.cost


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The whole file; ``path`` is None where there was none.

    ``manual_minutes`` is what one recovery by hand takes people, from and to, and ``source`` where that is from.
    """

    path: Path | None = None
    unit: str = ""
    manual_minutes: tuple[float, float] | None = None
    source: str = ""
    features: Mapping[str, FeatureInputs] = field(default_factory=dict)

    def of(self, feature: str) -> FeatureInputs:
        """The inputs of one feature; one that the file does not name has none."""
        return self.features.get(feature, FeatureInputs())


def load_inputs(path: Path | None) -> Inputs:
    """Read the file; without a name the one beside the user, if there is one.  Raises :class:`UsageError`."""
    if path is None and not DEFAULT_FILE.is_file():
        return Inputs()
    path = path or DEFAULT_FILE
    raw = read_toml(path, "file of inputs", "Name one with --inputs, or leave it out.", _PAGE, UsageError)
    top = Table.of(str(path), raw, _KEYS, _PAGE)
    recovery = top.inner("recovery", _OF_RECOVERY)
    features = top.inner("features", {one.name for one in FEATURES})
    return Inputs(
        path=path,
        unit=_text(top, "unit"),
        manual_minutes=_minutes(recovery),
        source=_text(recovery, "source"),
        features={name: _feature(path, name, given) for name, given in features.raw.items()},
    )


def _text(table: Table, key: str) -> str:
    return table.text(key) if key in table else ""


def _feature(path: Path, name: str, given: Any) -> FeatureInputs:
    table = Table.of(f"{path} [features.{name}]", given, _OF_FEATURE, _PAGE)
    values = {key: table.from_zero(key) for key in _OF_FEATURE if key in table}
    if values.get("cost") == 0:
        raise table.wrong(f"cost is 0, by which no score can be divided; leave it out. {_PAGE}")
    return FeatureInputs(**values)


def _minutes(recovery: Table) -> tuple[float, float] | None:
    if "manual_minutes" not in recovery:
        return None
    given = recovery.raw["manual_minutes"]
    if not isinstance(given, list) or len(given) != 2:
        raise recovery.wrong(f"manual_minutes must be two numbers, from and to, as [15, 35]. {_PAGE}")
    names = ("the first of manual_minutes", "the second of manual_minutes")
    both = Table(recovery.place, dict(zip(names, given, strict=True)), _PAGE)
    low, high = (both.from_zero(name) for name in names)
    if low > high:
        raise recovery.wrong(f"manual_minutes = [{low:g}, {high:g}] falls; give the smaller one first.")
    return low, high
