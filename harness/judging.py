"""Judging: from a run's folder to its result; the same code after a run and for ``harness check``.

The waits and timings of a run are kept beside its history in ``measured.json``, so that a second judgement loses
nothing.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from . import columnar
from .checkers import DEFAULT_CHECKERS
from .checkers.clocks import clocks
from .checkers.judge import judge
from .history import FILE_NAME, read_history
from .results import RunResult, Waits
from .rundata import Run, build_run
from .scenario import Scenario

_MEASURED = "measured.json"
LARGE_BYTES = 120_000_000
"""From this size of a history on, some hundred thousand operations, columns and DuckDB are quicker than objects."""


def _silent(_: str) -> None:
    """Nobody is told how far it is."""


def load_run(folder: Path) -> Run:
    """Read and index a stored run; raises :class:`harness.errors.HistoryError`."""
    return build_run(read_history(folder))


def is_large(folder: Path) -> bool:
    """Tell whether the run's history is judged by columns: it is long, or nothing but its columns was kept."""
    try:
        return (folder / FILE_NAME).stat().st_size >= LARGE_BYTES
    except OSError:
        return (folder / columnar.FOLDER).is_dir()


@dataclass(frozen=True)
class Opened:
    """A stored run to be judged, and how to get all of it when a checker needs that."""

    run: Run
    names: tuple[str, ...]
    whole: Callable[[], Run]


def open_run(folder: Path, progress: Callable[[str], None] = _silent) -> Opened:
    """Read a stored run, condensed if it is large, with the checkers that its scenario wants.

    Raises :class:`harness.errors.HistoryError`.
    """
    if not is_large(folder):
        run = load_run(folder)
        return Opened(run, _names(run), lambda: run)
    from .columnar import condense, convert, store  # DuckDB: most runs are judged without it.

    columns = store.Store(convert.columns_of(folder, progress))
    names = _names(build_run(columns.rest_records()))
    return Opened(condense.condense(columns, names), names, functools.cache(lambda: build_run(columns.every_record())))


def _names(run: Run) -> tuple[str, ...]:
    return (*DEFAULT_CHECKERS, *Scenario.from_json(run.started.scenario_json).extra_checkers)


def judge_folder(
    folder: Path,
    *,
    waits: Waits,
    timings: Mapping[str, float],
    seconds: Callable[[], float],
    repeat_command: str,
    progress: Callable[[str], None] = _silent,
) -> RunResult:
    """Judge the history in ``folder``; ``seconds`` is asked last, so that judging counts as part of the run."""
    opened = open_run(folder, progress)
    run = opened.run
    scenario = Scenario.from_json(run.started.scenario_json)
    checks = judge(run, opened.names, opened.whole)
    result = RunResult(
        run=run.started.run,
        folder=folder,
        scenario=scenario,
        seed=run.started.seed,
        seconds=seconds(),
        checks=checks,
        clocks=clocks(run),
        waits=waits,
        timings=dict(timings),
        repeat_command=repeat_command,
        data=run,
    )
    measured = {
        "seconds": result.seconds,
        "waits": waits.__dict__,
        "timings": dict(timings),
        "repeat_command": repeat_command,
    }
    (folder / _MEASURED).write_text(json.dumps(measured), encoding="utf-8")
    return result


def judge_again(folder: Path, repeat_command: str, progress: Callable[[str], None] = _silent) -> RunResult:
    """Judge a stored run; one whose runner was killed has no figures of its own, and keeps none."""
    path = folder / _MEASURED
    data = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return judge_folder(
        folder,
        waits=Waits(**data.get("waits", {})),
        timings=data.get("timings", {}),
        seconds=lambda: float(data.get("seconds", 0.0)),
        repeat_command=str(data.get("repeat_command", repeat_command)),
        progress=progress,
    )
