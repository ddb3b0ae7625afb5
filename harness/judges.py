"""Judges: processes beside the runner that judge its runs and write their reports.

An interpreter has one thread of Python at a time.  A run that is judged in the process that plays the others takes
their time: their load gets slower, and one of the cores has nothing to do.  A judge imports what judging needs once,
takes one run after the other from its standard input, and ends when that does, so with the runner, however the runner
ends.  What a judge cannot do is done here, in a thread: a judge makes a suite shorter, never its verdict another.

The processes are not multiprocessing's, whose pool waits for ever at exit for a worker that outlives another, lets
Ctrl-C interrupt one that starts, and cannot give up a task that has begun.
"""

from __future__ import annotations

import asyncio
import functools
import os
import pickle
import queue
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from .discovery import load_scenarios
from .errors import HistoryError
from .judging import judge_folder, load_run
from .report.base import REPORTERS, load_reporters, write_all
from .results import RunResult, Waits

_Asked = tuple["Order", tuple[str, ...]]
"""An order, and the reporters that the runner has: a judge that lacks one of them leaves the run to the runner."""

_SERVE = "import sys; sys.path[:] = sys.argv[1:]; from harness.judges import serve; serve()"


@dataclass(frozen=True)
class Order:
    """A run to judge: its folder, and what no history tells.  ``started``: monotonic seconds, of any process here."""

    folder: Path
    scenarios: Path
    waits: Waits
    timings: Mapping[str, float]
    started: float
    repeat_command: str


def report(result: RunResult) -> None:
    """Write all reports of one run; a run that never began has no history to show, or one in part."""
    run = result.data
    if run is None:
        with suppress(HistoryError):
            run = load_run(result.folder)
    write_all(result, run, result.folder)


def judge_and_report(order: Order) -> RunResult:
    """Judge a run in this process, write its reports, and return the result without the history."""
    result = judge_folder(
        order.folder,
        waits=order.waits,
        timings=order.timings,
        seconds=lambda: time.monotonic() - order.started,
        repeat_command=order.repeat_command,
    )
    report(result)
    return result.slim()


class Judges:
    """The judges of one session: at most one for two cores, each started when it is first needed."""

    def __init__(self, count: int | None = None) -> None:
        """Start none yet; they end with this object, with the process, or one by one when their work is cancelled."""
        self._turns = asyncio.Semaphore(count or max(1, (os.cpu_count() or 2) // 2))
        self._idle: list[_Judge] = []
        self._living: set[_Judge] = set()
        self.close = weakref.finalize(self, _end_all, self._living)
        """End all of them."""

    async def judged(self, order: Order) -> RunResult:
        """Have a run judged and reported; raises what :func:`judge_and_report` raises."""
        async with self._turns:
            answer = await self._beside(order)
        return answer if answer is not None else await asyncio.to_thread(judge_and_report, order)

    async def _beside(self, order: Order) -> RunResult | None:
        try:
            judge = self._idle.pop() if self._idle else self._new()
        except OSError:
            return None
        try:
            answer = await asyncio.to_thread(judge.ask, order)
        except BaseException as error:
            # Cancelled: nobody waits for this verdict any more; or the judge has died, or said what nobody can read.
            self._living.discard(judge)
            judge.end()
            if isinstance(error, Exception):
                return None
            raise
        self._idle.append(judge)
        return answer

    def _new(self) -> _Judge:
        judge = _Judge()
        self._living.add(judge)
        return judge


class _Judge:
    """A process that judges, seen from the runner."""

    def __init__(self) -> None:
        # A session of its own: the user's Ctrl-C is the runner's, which heals first.
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVE, *sys.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def ask(self, order: Order) -> RunResult | None:
        """Wait for the verdict on a run, None when the judge cannot give it; raises whatever the pipes raise."""
        orders, answers = self._process.stdin, self._process.stdout
        if orders is None or answers is None:
            return None
        orders.write(pickle.dumps((order, _reporters())))
        orders.flush()
        answer = pickle.load(answers)  # noqa: S301  (both ends of the pipe are this program)
        return answer if isinstance(answer, RunResult) else None

    def end(self) -> None:
        """Kill it, and wait until it is gone."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()


def _end_all(judges: set[_Judge]) -> None:
    while judges:
        judges.pop().end()


def _reporters() -> tuple[str, ...]:
    load_reporters()
    return tuple(REPORTERS)


def serve() -> None:
    """Be a judge: answer each order on standard input, until that ends."""
    answers = os.fdopen(os.dup(1), "wb")
    # What a checker prints must not get between the answers.
    os.dup2(2, 1)
    orders: queue.SimpleQueue[_Asked] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(sys.stdin.buffer, orders), daemon=True).start()
    while True:
        answer = _answer(*orders.get())
        try:
            data = pickle.dumps(answer)
        except Exception:  # noqa: BLE001  (a fault or a fact of somebody's own; the runner judges by itself)
            data = pickle.dumps(None)
        answers.write(data)
        answers.flush()


def _receive(pipe: BinaryIO, orders: queue.SimpleQueue[_Asked]) -> None:
    """Read on while a run is judged, and end the process at once when nobody is left who would read the answer."""
    try:
        while True:
            orders.put(pickle.load(pipe))  # noqa: S301  (both ends of the pipe are this program)
    finally:
        os._exit(0)


def _answer(order: Order, reporters: tuple[str, ...]) -> RunResult | None:
    _know(order.scenarios)
    if not set(reporters) <= set(_reporters()):
        return None
    try:
        return judge_and_report(order)
    except BaseException:  # noqa: BLE001  (the runner judges by itself, and says what is wrong)
        return None


@functools.cache
def _know(scenarios: Path) -> None:
    """Import what the runner has imported, as far as that can be: scenarios may bring checkers of their own."""
    with suppress(BaseException):
        load_scenarios(scenarios)
