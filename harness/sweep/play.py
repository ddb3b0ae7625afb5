"""Play: the runs of a sweep, one after the other and alone on the machine, each written down as it ends."""

from __future__ import annotations

import asyncio
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from ..discovery import Scenarios
from ..display import Display
from ..errors import HarnessError, RunAborted
from ..guard import halt_file
from ..judges import Judges, Order, report
from ..report.summary import shown_path
from ..results import RunResult, Waits
from ..runner import RunPlan, not_run, run_scenario
from ..session import SWITCH_SECONDS
from ..stacks.cache import user_cache
from ..stacks.embedded import EmbeddedOptions, EmbeddedStack
from ..suite import new_run_id
from ..targets.model import Target, load_target
from ..turns import LOCK_NAME, turn
from .plan import Question, Store, Task, scenario_of, write_target
from .watching import CpuWatch

Heard = Callable[[Task, RunResult], None]
"""Hears of each run that ended."""
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Course:
    """What all runs of a sweep share."""

    question: Question
    scenarios: Scenarios
    base: Target
    store: Store
    say: Say
    display: Display


async def play(course: Course, tasks: Sequence[Task], heard: Heard) -> None:
    """Play all; raises :class:`harness.errors.SetupError` when nothing can be started on this machine."""
    if not tasks:
        return
    sys.setswitchinterval(SWITCH_SECONDS)
    bindir = Path(course.question.pg_bindir) if course.question.pg_bindir else None
    stack, judges = EmbeddedStack(EmbeddedOptions(pg_bindir=bindir, progress=course.say)), Judges()
    await asyncio.to_thread(stack.prepare, course.base)
    for task in tasks:
        _refuse_when_halted(course)
        result = await _one(course, task, stack, judges)
        # What the file has cut short is no run of its size: it is played again.
        _refuse_when_halted(course)
        heard(task, result)


def _refuse_when_halted(course: Course) -> None:
    found = halt_file(course.store.folder.parent) or halt_file(course.store.runs_folder)
    if found is not None:
        raise RunAborted(f"Halted by the file {found}; remove it, and resume the sweep.")


async def _one(course: Course, task: Task, stack: EmbeddedStack, judges: Judges) -> RunResult:
    question = course.question
    scenario = scenario_of(question, course.scenarios, task.size)
    run = new_run_id(scenario.name)
    folder = course.store.runs_folder.resolve() / run
    targets = course.store.targets_folder
    targets.mkdir(mode=0o700, parents=True, exist_ok=True)
    plan = RunPlan(
        run=run,
        folder=folder,
        scenario=scenario,
        target=load_target(write_target(question, course.base, task.size, targets)),
        seed=question.seed + task.round,
        # No file has this scenario, so that the run itself is what repeats it.
        repeat_command=f"harness replay {shlex.quote(shown_path(folder))}",
        pg_bindir=question.pg_bindir,
    )
    watch = CpuWatch(course.display)
    course.display.scenario_started(run, scenario)

    async def judge(played: RunPlan, waits: Waits, timings: Mapping[str, float], started: float) -> RunResult:
        watch.keep(played.folder)
        order = Order(played.folder, Path(question.scenarios), waits, dict(timings), started, played.repeat_command)
        return await judges.judged(order)

    async with AsyncExitStack() as held:
        mine = await held.enter_async_context(turn(user_cache() / LOCK_NAME))

        async def waiting() -> None:
            course.say("waits until nothing else plays on this machine")

        await held.enter_async_context(mine.alone(waiting))
        held.push_async_callback(watch.close)
        try:
            result = await run_scenario(plan, stack, watch, judge)
        except HarnessError as error:
            result = not_run(plan, str(error), 0.0)
        if result.setup_error:
            report(result)
    result = result.slim()
    course.display.scenario_finished(result)
    return result
