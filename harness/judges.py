"""Judges: processes beside the runner that judge its runs and write their reports.

An interpreter has one thread of Python at a time.  A run that is judged in the process that plays the others takes
their time: their load gets slower, and one of the cores has nothing to do.  These processes import what judging needs
once, take one run after the other, and end with the runner, however that ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from .discovery import load_scenarios
from .errors import HarnessError
from .judging import judge_folder
from .results import RunResult, Waits


@dataclass(frozen=True)
class Order:
    """A run to judge: its folder, and what no history tells.  ``started``: monotonic seconds, of any process here."""

    folder: Path
    scenarios: Path
    waits: Waits
    timings: Mapping[str, float]
    started: float
    repeat_command: str


Report = Callable[[RunResult], None]


def judge_and_report(order: Order, report: Report) -> RunResult:
    """Judge a run, write its reports, and return the result without the history."""
    result = judge_folder(
        order.folder,
        waits=order.waits,
        timings=order.timings,
        seconds=lambda: time.monotonic() - order.started,
        repeat_command=order.repeat_command,
    )
    report(result)
    return result.slim()


async def judged(order: Order, report: Report) -> RunResult:
    """Have a run judged beside this process; in a thread of it where that cannot be.

    A checker that only this process knows is one reason; what is wrong with the run itself is raised by the thread.
    """
    with contextlib.suppress(BrokenProcessPool, OSError, HarnessError):
        return await asyncio.wrap_future(_pool().submit(_judge_here, order, report))
    return await asyncio.to_thread(judge_and_report, order, report)


@functools.cache
def _pool() -> ProcessPoolExecutor:
    # Forked copies of a process with threads may wait for locks that nobody will ever give back.
    context = multiprocessing.get_context("spawn")
    count = max(1, (os.cpu_count() or 2) // 2)
    return ProcessPoolExecutor(count, mp_context=context, initializer=_begin)


def _begin() -> None:
    """Leave the user's signals to the runner, which heals first, and end when it is gone."""
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)
    threading.Thread(target=_follow, name="judge-follows", daemon=True).start()


def _follow() -> None:
    runner = multiprocessing.parent_process()
    if runner is not None:
        multiprocessing.connection.wait([runner.sentinel])
        os._exit(1)


def _judge_here(order: Order, report: Report) -> RunResult:
    with contextlib.suppress(HarnessError):
        _know(order.scenarios)
    return judge_and_report(order, report)


@functools.cache
def _know(scenarios: Path) -> None:
    """Import what the runner has imported, since scenarios may bring checkers of their own."""
    load_scenarios(scenarios)
