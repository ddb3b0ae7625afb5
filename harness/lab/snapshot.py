"""Snapshot: the history of a living lab so far, with a last reading, as a run of its own that can be judged.

The lab goes on writing its own history, so the judged one is a copy: final reads in the middle of a history would count
its rows twice.  The copy's first record says what was really played, so that it can be replayed like any run.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from dataclasses import replace
from pathlib import Path

from ..events import LogLine, Note, PhaseMark, RunStarted
from ..finalread import read_everything
from ..history import Clock
from ..probes.http import HttpProbe
from ..probes.logs import read_log
from ..redaction import Secrets, redact_logs
from ..scenario import Scenario
from ..stacks.base import Environment
from ..values import Phase
from .book import LabHistory

_LOGS = ("service.log", "postgres.log", "toxiproxy.log")


def started_as(started: RunStarted, scenario: Scenario) -> RunStarted:
    """Return the first record of a lab, as one of the scenario that was played in it."""
    return replace(started, scenario=scenario.name, scenario_json=json.dumps(scenario.told_json(), ensure_ascii=False))


async def write_snapshot(
    source: LabHistory,
    folder: Path,
    started: RunStarted,
    environment: Environment,
    probe: HttpProbe,
    *,
    recovered_from: float | None,
    problem: str,
) -> LabHistory:
    """Write it while nothing is sent; return its closed history.

    ``recovered_from``: since when no fault is on (seconds), None while one is.  ``problem``: why the service did not
    come back to its steady state, empty when it did.
    """
    clock = source.clock
    size = source.path.stat().st_size  # Whole lines: each is one write, and none is under way.
    folder.mkdir(parents=True)
    copy = LabHistory(folder, clock, started.run)
    try:
        copy.hide_all(source.secrets)
        copy.add(started)
        await asyncio.to_thread(_append, source.path, copy.path, size)
        copy.acknowledged |= source.acknowledged
        if recovered_from is not None:
            copy.add(PhaseMark(recovered_from, Phase.AFTER))
        if problem:
            copy.add(Note(clock.now(), "recovery", problem))
        await read_everything(environment, copy, probe)
        if environment.target.reads.metrics:
            copy.add(await probe.metrics(clock.now()))
        for line in await asyncio.to_thread(_log_lines, environment.service.log_path, clock):
            copy.add(line)
    finally:
        copy.close()
    await asyncio.to_thread(_copy_logs, environment.artifacts, folder, source.secrets)
    return copy


def _append(source: Path, target: Path, size: int) -> None:
    """Append the first ``size`` bytes of a history, without its first line, to another."""
    with source.open("rb") as read, target.open("ab") as write:
        left = size - len(read.readline())
        while left > 0 and (piece := read.read(min(left, 1 << 20))):
            write.write(piece)
            left -= len(piece)


def _log_lines(path: Path, clock: Clock) -> list[LogLine]:
    return list(read_log(path, clock))


def _copy_logs(artifacts: Path, folder: Path, secrets: Secrets) -> None:
    for name in _LOGS:
        log = artifacts / name
        if log.is_file():
            shutil.copyfile(log, folder / name)
    redact_logs(folder, secrets)
