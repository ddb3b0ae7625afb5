"""Trends: what earlier stored runs of the scenarios of a suite came to, on the same target.

Runs are found by their folders' names, which begin with the time and end with the scenario; what is in the folder
decides.  What cannot be read is not there, and nothing is compared with it.
"""

from __future__ import annotations

import json
import math
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..results import RunResult, SuiteResult
from .summary import CLOCK_NAMES, clock_values, headline

RUNS_COMPARED = 12
"""Earlier runs of a scenario that are looked at, the newest ones."""
ENOUGH_RUNS = 5
"""From so many earlier figures on, one above all of them is called slower."""
SLOWER_SHARE = 1.2
SLOWER_SECONDS = 0.1
_NAME = re.compile(r"(?P<began>\d{8}-\d{6})-(?P<scenario>.+)-[0-9a-f]{4}(?P<again>-again)?\Z")
_AGAIN = "-again"


@dataclass(frozen=True)
class FaultClocks:
    """The four clocks of one fault, in seconds and in the order of their names; None for one that never came."""

    fault: str
    seconds: tuple[float | None, ...]


@dataclass(frozen=True)
class Past:
    """One earlier run: the name of its folder, the word of its verdict, its clocks, and whether its page is there."""

    folder: str
    verdict: str
    clocks: tuple[FaultClocks, ...]
    has_page: bool = False

    @property
    def began(self) -> str:
        """When it began, by its name: ``2026-11-27 19:19:48``."""
        return began_text(self.folder)


@dataclass(frozen=True)
class Clock:
    """One clock of one fault, now and in the earlier runs that passed and had it, oldest first; in seconds."""

    now: float | None
    before: tuple[float, ...]

    @property
    def slower(self) -> bool:
        """Whether it is above all of enough earlier ones, and by more than they differ by chance."""
        if self.now is None or len(self.before) < ENOUGH_RUNS:
            return False
        return self.now > max(self.before) * SLOWER_SHARE and self.now > max(self.before) + SLOWER_SECONDS

    @property
    def missing(self) -> bool:
        """Whether it never came this time, though it came in each of enough earlier runs."""
        return self.now is None and len(self.before) >= ENOUGH_RUNS

    @property
    def median(self) -> float | None:
        """Of the earlier ones."""
        return statistics.median(self.before) if self.before else None


@dataclass(frozen=True)
class Trend:
    """One run of the suite, and the earlier runs of its scenario, oldest first."""

    result: RunResult
    past: tuple[Past, ...]

    @property
    def now(self) -> tuple[FaultClocks, ...]:
        """The clocks of this run."""
        return tuple(FaultClocks(each.fault, clock_values(each)) for each in self.result.clocks)

    def clocks(self, index: int) -> tuple[Clock, ...]:
        """The four clocks of the fault with this place; earlier runs count whose fault there was the same."""
        mine = self.now[index]
        alike = [
            one.clocks[index].seconds
            for one in self.past
            if one.verdict == "PASS" and len(one.clocks) > index and one.clocks[index].fault == mine.fault
        ]
        return tuple(
            Clock(now, tuple(value for one in alike if (value := one[place]) is not None))
            for place, now in enumerate(mine.seconds)
        )

    @property
    def turned(self) -> str:
        """What is new about the verdict against the newest earlier run; empty for nothing."""
        verdict = headline(self.result).word
        if not self.past or self.past[-1].verdict == verdict:
            return ""
        return f"{self.past[-1].verdict} before"


def trends(suite: SuiteResult, reports: Path) -> list[Trend]:
    """Look for the earlier runs of each scenario of a suite below ``reports``; those without any have none."""
    ran = [result for result in suite.runs if result.begun]
    first = min((result.folder.name for result in ran), default="")
    target = next((name for result in ran if (name := _target_of(_read(result.folder)))), "")
    if not target:  # Nothing says what the runs would be comparable with.
        return [Trend(result, ()) for result in ran]
    earlier = _earlier(reports, {result.scenario.name for result in ran}, first)
    return [Trend(result, _past(reports, earlier.get(result.scenario.name, ()), target)) for result in ran]


def _earlier(reports: Path, scenarios: set[str], first: str) -> Mapping[str, Sequence[str]]:
    """Names of the folders of earlier runs by scenario, newest first."""
    try:
        names = sorted((path.name for path in reports.iterdir()), reverse=True)
    except OSError:
        return {}
    there = set(names)
    found: dict[str, list[str]] = {}
    for name in names:
        match = _NAME.match(name)
        # A run that was played again for its doubtful verdict counts by the second time only.
        if match is None or name >= first or name + _AGAIN in there or match["scenario"] not in scenarios:
            continue
        found.setdefault(match["scenario"], []).append(name)
    return found


def _past(reports: Path, names: Iterable[str], target: str) -> tuple[Past, ...]:
    found: list[Past] = []
    for name in names:
        if len(found) == RUNS_COMPARED:
            break
        data = _read(reports / name)
        one = _past_of(name, data) if _target_of(data) == target else None
        if one is not None:
            found.append(replace(one, has_page=(reports / name / "report.html").exists()))
    return tuple(reversed(found))


def _past_of(name: str, data: Mapping[str, Any]) -> Past | None:
    try:
        clocks = tuple(
            FaultClocks(str(each["fault"]), tuple(_seconds(each[f"{clock}_seconds"]) for clock in CLOCK_NAMES))
            for each in data["clocks"]
        )
        return Past(name, str(data["verdict"]), clocks)
    except (KeyError, TypeError, ValueError):
        return None


def _seconds(value: Any) -> float | None:
    if value is None:
        return None
    seconds = float(value)
    return seconds if math.isfinite(seconds) else None


def _read(folder: Path) -> dict[str, Any]:
    """The result of a stored run; empty when there is none that can be read."""
    try:
        data = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _target_of(data: Mapping[str, Any]) -> str:
    target = data.get("target")
    return target if isinstance(target, str) else ""


def began_text(name: str) -> str:
    """When a run began, by the name of its folder; the name itself if it is another."""
    match = _NAME.match(name)
    if match is None:
        return name
    day, time = match["began"].split("-")
    return f"{day[:4]}-{day[4:6]}-{day[6:]} {time[:2]}:{time[2:4]}:{time[4:]}"
