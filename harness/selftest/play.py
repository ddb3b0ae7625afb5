"""Play: runs against many broken services side by side, as one suite.

Each broken service has a session of its own, since each is another target; all share places and judges, so that an
exclusive run is alone here as it is in any suite.
"""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..discovery import Scenarios
from ..judges import Judges
from ..results import RunResult
from ..session import Session, SessionOptions, SilentDisplay
from ..suite import Places, default_jobs
from .catalogue import Catalogue
from .plan import weight_seconds
from .records import Task

Heard = Callable[[Task, RunResult], None]
"""Hears of each run that ended; not of one that the time budget kept from beginning."""


def _silent(line: str) -> None:
    """No progress wanted."""


@dataclass(frozen=True, kw_only=True)
class PlayOptions:
    """How to play.  ``runs`` and ``targets`` are folders; a control's round adds to ``seed``, so that rounds differ."""

    runs: Path
    targets: Path
    seed: int
    jobs: int | None = None
    pg_bindir: Path | None = None
    time_budget_seconds: float | None = None
    progress: Callable[[str], None] = field(default=_silent, repr=False)


async def play(
    catalogue: Catalogue, scenarios: Scenarios, tasks: Sequence[Task], options: PlayOptions, heard: Heard
) -> None:
    """Play all: the shared ones side by side, the longest of each round first, then the exclusive ones alone."""
    if not tasks:
        return
    places, judges = Places(options.jobs or default_jobs()), Judges()

    def order(task: Task) -> tuple[bool, int, float]:
        scenario = scenarios.get(task.scenario)
        return scenario.exclusive, task.round, -weight_seconds(scenario, places.jobs)

    @functools.cache
    def session_of(defect: str, number: int) -> Session:
        chosen = SessionOptions(
            target=shown(catalogue.write_target(catalogue.get(defect), options.targets)),
            scenarios=shown(catalogue.scenarios),
            reports=shown(options.runs),
            seed=options.seed + number,
            jobs=options.jobs,
            pg_bindir=options.pg_bindir,
            time_budget_seconds=options.time_budget_seconds,
            progress=options.progress,
        )
        return Session(chosen, SilentDisplay(), places=places, judges=judges)

    async def one(task: Task) -> None:
        result = await session_of(task.defect, task.round).suite_runner.run(scenarios.get(task.scenario))
        if result.begun:
            heard(task, result)

    ordered = sorted(tasks, key=order)
    first = session_of(ordered[0].defect, ordered[0].round)
    first.begin()
    # What is made once per machine is found by the other sessions; only runs count against the budget.
    await first.prepare()
    places.restart()
    async with asyncio.TaskGroup() as group:
        for task in ordered:
            group.create_task(one(task))


def shown(path: Path) -> Path:
    """Shorten a path below the working directory to what one types here, since repeat commands name it."""
    relative = Path(os.path.relpath(path))
    return path if relative.parts[:1] == ("..",) else relative
