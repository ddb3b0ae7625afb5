"""Judging: from a run's folder to its result; the same code after a run and for ``harness check``.

The waits and timings of a run are kept beside its history in ``measured.json``, so that a second judgement loses
nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from .checkers import DEFAULT_CHECKERS
from .checkers.clocks import clocks
from .checkers.judge import judge
from .history import read_history
from .results import RunResult, Waits
from .rundata import Run, build_run
from .scenario import Scenario

_MEASURED = "measured.json"


def load_run(folder: Path) -> Run:
    """Read and index a stored run; raises :class:`harness.errors.HistoryError`."""
    return build_run(read_history(folder))


def judge_folder(
    folder: Path,
    *,
    waits: Waits,
    timings: Mapping[str, float],
    seconds: Callable[[], float],
    repeat_command: str,
) -> RunResult:
    """Judge the history in ``folder``; ``seconds`` is asked last, so that judging counts as part of the run."""
    run = load_run(folder)
    scenario = Scenario.from_json(run.started.scenario_json)
    checks = judge(run, (*DEFAULT_CHECKERS, *scenario.extra_checkers))
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


def judge_again(folder: Path, repeat_command: str) -> RunResult:
    """Judge a stored run; one whose runner was killed has no figures of its own, and keeps none."""
    path = folder / _MEASURED
    data = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return judge_folder(
        folder,
        waits=Waits(**data.get("waits", {})),
        timings=data.get("timings", {}),
        seconds=lambda: float(data.get("seconds", 0.0)),
        repeat_command=str(data.get("repeat_command", repeat_command)),
    )
