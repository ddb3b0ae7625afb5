"""Kept: a lab over the environment of a run that has ended, in the process that played it."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime
from typing import TextIO

import click

from ..display import SilentDisplay
from ..errors import HistoryError, LabError
from ..events import DlqRow, FinalRead, LogLine, PartitionRow, PhaseMark, Record, RunStarted, TableRow
from ..history import Clock, read_history
from ..ledger import FOLDER, Ledger
from ..redaction import Secrets, redact_logs, secrets_of
from ..results import RunResult
from ..scenario import Scenario
from ..stacks.cache import user_cache
from ..turns import LOCK_NAME
from ..values import Phase
from .book import LabHistory
from .daemon import Stopping, serve
from .desk import Desk
from .keeping import Keeper, Parked
from .live import LiveLab, opened
from .parameters import inject_command
from .parts import LabPlan
from .protocol import Welcome
from .state import Claim, claim, write_holder
from .verbs import show_welcome

MAX_AGE_SECONDS = 7200.0
"""As that of ``harness lab up``."""
_ANOTHER_SEED = 1_000_003
"""What is sent in the lab is none of what the run sent."""
_MOST_NAMES = 50
_NAME_CHARACTERS = 36
_STRANGE = re.compile(r"[^a-z0-9._-]+")
_READ_LAST = (TableRow, DlqRow, PartitionRow, FinalRead, LogLine)
"""What a run reads at its end: a history that goes on has it read again."""


class Verdicts(SilentDisplay):
    """Tells the keeper of each run that was judged: now it is known what becomes of its environment."""

    def __init__(self, mine: Keeper) -> None:
        """Tell this one."""
        self._keeper = mine

    def scenario_finished(self, result: RunResult) -> None:
        """Keep its environment, or end it."""
        self._keeper.judged(result)


async def live_on(mine: Keeper, exit_code: int, stream: TextIO) -> None:
    """Serve what was kept as a lab until that is ended; the starter is given the exit code as soon as it is up."""
    if mine.kept is None:
        return
    parked, result = mine.kept
    # As it was played: what the history that was judged tells of the service's variables is redacted.
    result = replace(result, scenario=replace(result.scenario, service_environment=parked.overrides))
    taken = _name(result.scenario.name)
    mine.kept = None
    stopping = Stopping()
    try:
        async with AsyncExitStack() as ending:
            # Known as a lab until its parts are gone.
            ending.callback(taken.close)
            ending.callback(taken.folder.remove)
            ending.push_async_callback(parked.ending.aclose)
            await _serve(mine, exit_code, stream, parked, result, taken, stopping)
    finally:
        redact_logs(result.folder, _secrets(parked, result))


def _secrets(parked: Parked, result: RunResult) -> Secrets:
    scenario = result.scenario
    known = secrets_of(parked.environment.target, scenario.service_environment, (scenario.name,))
    return known.and_known(parked.environment.secrets)


async def _serve(
    mine: Keeper,
    exit_code: int,
    stream: TextIO,
    parked: Parked,
    result: RunResult,
    taken: Claim,
    stopping: Stopping,
) -> None:
    write_holder(taken.descriptor)
    desk: Desk | None = None
    plan = _plan(taken.folder.name, result)
    plan.folder.mkdir()
    records = await asyncio.to_thread(read_history, result.folder)
    started = next((record for record in records if isinstance(record, RunStarted)), None)
    if started is None:
        raise HistoryError(f"The history of {result.folder} does not say what was run, so no lab can go on with it.")
    plan = replace(plan, run=started.run)
    history = LabHistory(plan.folder, clock_of(started), started.run)
    history.hide_all(_secrets(parked, result))
    for record in continued(records):
        history.add(record)
    ledger = Ledger(result.folder / FOLDER)
    months = sorted({*result.scenario.load.all_months, *parked.environment.target.months})

    def why() -> str:
        return desk.why if desk is not None else "it could not be kept"

    async with opened(plan, parked.environment, history, ledger, started, months, why, fresh=False) as lab:
        desk = Desk(lab, MAX_AGE_SECONDS)

        def hand_over(welcome: Welcome) -> None:
            click.echo("\n".join(_told(lab, result)), file=stream)
            show_welcome(welcome, stream)
            mine.let_go(exit_code, taken.folder.log)

        await serve(lab, desk, taken.folder, ledger, stopping, hand_over)


def _name(scenario: str) -> Claim:
    """Take a free name for a lab like that of the scenario; raises :class:`LabError` when none is free."""
    plain = _STRANGE.sub("-", scenario.lower())[:_NAME_CHARACTERS].strip("-._") or "kept"
    for number in range(1, _MOST_NAMES):
        taken = claim(plain if number == 1 else f"{plain}-{number}")
        if taken is None:
            continue
        if taken.folder.record() is None:
            return taken
        taken.close()  # A dead one, whose remains are for `harness lab down` to tell of.
    raise LabError(f"{_MOST_NAMES} labs of the name {plain} are up or dead; `harness lab down --all` ends them.")


def _plan(name: str, result: RunResult) -> LabPlan:
    return LabPlan(
        name=name,
        run=result.run,
        folder=result.folder.with_name(f"{result.folder.name}-kept"),
        reports=result.folder.parent,
        seed=result.seed + _ANOTHER_SEED,
        scenario=scenario_of_kept(result.scenario),
        lock_file=user_cache() / LOCK_NAME,
        played=result.scenario,
    )


def scenario_of_kept(played: Scenario) -> Scenario:
    """Return what a kept lab would be if nothing more were done in it: the run's months and service, no fault."""
    load = replace(played.load, months=played.load.all_months, late_months=(), phases=(), locust_users=0)
    return Scenario(
        name=f"{played.name}-kept",
        claim=f"What came after the run of {played.name}: every promise holds.",
        requirements=(),
        load=load,
        service_environment=dict(played.service_environment),
    )


def continued(records: Sequence[Record]) -> list[Record]:
    """Return the history of a run as one that goes on: without its last readings, and without its last phase."""
    return [
        record
        for record in records
        if not isinstance(record, _READ_LAST) and not (isinstance(record, PhaseMark) and record.phase == Phase.AFTER)
    ]


def clock_of(started: RunStarted) -> Clock:
    """Return the clock of a run, going on; its 0 is known by the wall clock."""
    clock = Clock()
    clock.started_at = datetime.fromisoformat(started.started_at)
    clock.origin = time.monotonic() - (datetime.now(UTC) - clock.started_at).total_seconds()
    return clock


def _told(lab: LiveLab, result: RunResult) -> list[str]:
    """Say what of the run is still there, and how to have its faults back."""
    parts, played = lab.parts, result.scenario
    name = parts.plan.name
    on = list(parts.nemesis.open_faults)
    left = [f"  still on, since its heal failed: {parts.nemesis.fault(number).name} (fault {number})" for number in on]
    whole = {step.fault for step in played.schedule.steps} - {parts.nemesis.fault(number) for number in on}
    again = dict.fromkeys(step.fault for step in played.schedule.steps if step.fault in whole)
    return [
        "",
        f"kept: the environment of {played.name}. Its load has stopped. Its faults were healed, as in every run: what",
        "      is there now is what was judged.",
        *left,
        *(f"  have it back by:       {inject_command(fault, name)}" for fault in again),
    ]
