"""Trends: what earlier stored runs of the scenarios of a suite came to, on the same target.

Runs are found by their folders' names, which begin with the time and end with the scenario; what is in the folder
decides.  What cannot be read is not there, and nothing is compared with it.
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import HistoryError
from ..results import Clocks, RunResult, SuiteResult
from .judged import Judged, read_judged
from .summary import PASS, clock_values, headline

RUNS_COMPARED = 12
"""Earlier runs of a scenario that are looked at, the newest ones."""
ENOUGH_RUNS = 5
"""From so many earlier figures on, one above all of them is called slower."""
SLOWER_SHARE = 1.2
SLOWER_SECONDS = 0.1
_NAME = re.compile(r"(?P<began>\d{8}-\d{6})-(?P<scenario>.+)-[0-9a-f]{4}(?:-again)*\Z")
_AGAIN = "-again"


@dataclass(frozen=True, kw_only=True)
class Past:
    """One earlier run: the name of its folder, the word of its verdict, its clocks, and whether its page is there.

    ``is_alike``: it had the load and the faults of now, without which its clocks are those of something else.
    """

    folder: str
    verdict: str
    clocks: tuple[Clocks, ...]
    is_alike: bool
    has_page: bool

    @property
    def began(self) -> str:
        """When it began, by its name: ``2026-11-27 19:19:48``."""
        return began_text(self.folder)


@dataclass(frozen=True)
class Clock:
    """One clock of one fault, now and in the earlier runs that passed and had it, oldest first; in seconds."""

    now: float | None
    before: tuple[float, ...]
    passed: int
    """How many earlier runs passed, also those that never had it."""

    @property
    def slower(self) -> bool:
        """Whether it is above all of enough earlier ones, and by more than they differ by chance."""
        if self.now is None or len(self.before) < ENOUGH_RUNS:
            return False
        return self.now > max(self.before) * SLOWER_SHARE and self.now > max(self.before) + SLOWER_SECONDS

    @property
    def missing(self) -> bool:
        """Whether it never came this time, though it came in each of enough earlier runs."""
        return self.now is None and len(self.before) >= max(ENOUGH_RUNS, self.passed)

    @property
    def median(self) -> float | None:
        """Of the earlier ones."""
        return statistics.median(self.before) if self.before else None


@dataclass(frozen=True)
class Trend:
    """One run of the suite, and the earlier runs of its scenario, oldest first."""

    result: RunResult
    past: tuple[Past, ...]

    def clocks(self, index: int) -> tuple[Clock, ...]:
        """The four clocks of the fault with this place; earlier runs count whose fault there was the same."""
        mine = self.result.clocks[index]
        passed = [found for one in self.past if one.verdict == PASS.word and (found := seconds_of(one, index, mine))]
        return tuple(
            Clock(now, tuple(value for each in passed if (value := each[place]) is not None), len(passed))
            for place, now in enumerate(clock_values(mine))
        )

    @property
    def turned(self) -> str:
        """What is new about the verdict against the newest earlier run; empty for nothing."""
        verdict = headline(self.result).word
        if not self.past or self.past[-1].verdict == verdict:
            return ""
        return f"{self.past[-1].verdict} before"


def seconds_of(past: Past, index: int, like: Clocks) -> tuple[float | None, ...]:
    """The four clocks (seconds) of the fault with this place; empty unless run and fault are like those of now."""
    if not past.is_alike or len(past.clocks) <= index or past.clocks[index].fault != like.fault:
        return ()
    values = clock_values(past.clocks[index])
    return tuple(None if value is None or not math.isfinite(value) else value for value in values)


def trends(suite: SuiteResult, reports: Path) -> list[Trend]:
    """Look for the earlier runs of each scenario of a suite below ``reports``; those without any have none."""
    ran = [result for result in suite.runs if result.begun]
    first = min((result.folder.name for result in ran), default="")
    judged = {result.run: _judged(result.folder) for result in ran}
    # A run that could not be set up does not tell its target; the suite has one.
    target = next((one.target for one in judged.values() if one is not None and one.target), "")
    if not target:  # Nothing says what the runs would be comparable with.
        return [Trend(result, ()) for result in ran]
    earlier = _earlier(reports, {result.scenario.name for result in ran}, first)
    return [
        Trend(result, _past(reports, earlier.get(result.scenario.name, ()), target, judged[result.run]))
        for result in ran
    ]


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
        # A run that was played again for its doubtful verdict counts by the last time only.
        if match is None or name >= first or name + _AGAIN in there or match["scenario"] not in scenarios:
            continue
        found.setdefault(match["scenario"], []).append(name)
    return found


def _past(reports: Path, names: Iterable[str], target: str, now: Judged | None) -> tuple[Past, ...]:
    found: list[Past] = []
    for name in names:
        if len(found) == RUNS_COMPARED:
            break
        one = _judged(reports / name)
        if one is not None and one.target == target:
            found.append(
                Past(
                    folder=name,
                    verdict=one.verdict,
                    clocks=one.clocks,
                    is_alike=now is not None and one.shape == now.shape,
                    has_page=(reports / name / "report.html").exists(),
                )
            )
    return tuple(reversed(found))


def _judged(folder: Path) -> Judged | None:
    try:
        return read_judged(folder)
    except HistoryError:
        return None


def began_text(name: str) -> str:
    """When a run began, by the name of its folder; the name itself if it is another."""
    match = _NAME.match(name)
    if match is None:
        return name
    day, time = match["began"].split("-")
    return f"{day[:4]}-{day[4:6]}-{day[6:]} {time[:2]}:{time[2:4]}:{time[4:]}"
