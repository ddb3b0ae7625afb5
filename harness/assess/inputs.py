"""Inputs: ``assess.toml``, what people have to say since no run can: how often, how bad, at what cost, how long.

What is not given stays unknown; nothing has a default.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import UsageError
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
    _known(path, "", raw, _KEYS)
    recovery = _table(path, "recovery", raw.get("recovery", {}))
    _known(path, "recovery.", recovery, _OF_RECOVERY)
    features = _table(path, "features", raw.get("features", {}))
    _known(path, "features.", features, {one.name for one in FEATURES})
    return Inputs(
        path=path,
        unit=_text(path, "unit", raw.get("unit", "")),
        manual_minutes=_minutes(path, recovery.get("manual_minutes")),
        source=_text(path, "recovery.source", recovery.get("source", "")),
        features={name: _feature(path, name, table) for name, table in features.items()},
    )


def _feature(path: Path, name: str, raw: Any) -> FeatureInputs:
    table = _table(path, f"features.{name}", raw)
    _known(path, f"features.{name}.", table, set(_OF_FEATURE))
    values = {key: _number(path, f"features.{name}.{key}", value) for key, value in table.items()}
    if values.get("cost") == 0:
        raise UsageError(f"{path}: features.{name}.cost is 0, by which no score can be divided; leave it out. {_PAGE}")
    return FeatureInputs(**values)


def _minutes(path: Path, raw: Any) -> tuple[float, float] | None:
    if raw is None:
        return None
    if not isinstance(raw, list) or len(raw) != 2:
        raise UsageError(f"{path}: recovery.manual_minutes must be two numbers, from and to, as [15, 35]. {_PAGE}")
    low, high = (_number(path, "recovery.manual_minutes", one) for one in raw)
    if low > high:
        raise UsageError(f"{path}: recovery.manual_minutes = [{low:g}, {high:g}] falls; give the smaller one first.")
    return low, high


def _number(path: Path, key: str, raw: Any) -> float:
    if isinstance(raw, bool) or not isinstance(raw, int | float) or not math.isfinite(raw) or raw < 0:
        raise UsageError(f"{path}: {key} must be a number from 0 on, not {raw!r}. {_PAGE}")
    return float(raw)


def _text(path: Path, key: str, raw: Any) -> str:
    if not isinstance(raw, str):
        raise UsageError(f"{path}: {key} must be a string, not {raw!r}. {_PAGE}")
    return raw


def _table(path: Path, key: str, raw: Any) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise UsageError(f"{path}: [{key}] must be a table. {_PAGE}")
    return raw


def _known(path: Path, prefix: str, table: Mapping[str, Any], known: set[str]) -> None:
    unknown = sorted(set(table) - known)
    if unknown:
        raise UsageError(
            f"{path}: unknown key {prefix}{unknown[0]}; known here are {', '.join(sorted(known))}. {_PAGE}"
        )
