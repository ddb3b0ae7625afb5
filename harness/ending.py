"""Ending: how a command ends before its time, and with which exit code.

What plays (:func:`complete`) heals every open fault and stops every environment first.  The first Ctrl-C (SIGTERM and
SIGHUP alike) ends the faults and the load.  A second one does not interrupt the heals, it only says that they are under
way.  A third one gives up waiting: what is left is then the reaper's or the watchdog's, and that of ``harness heal``.

Everything else is just ended by them (:func:`heard`).  Whatever nobody caught comes to :func:`end`: exit code 1 says
that a promise is broken, so it is that of no signal and of no defect of the harness.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, TypeVar

import click

from .errors import Defect, HarnessError
from .redaction import Secrets, environment_secrets

T = TypeVar("T")

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""By which a user, a CI server and a terminal that closes end a command."""
_PATIENT_SIGNALS = 2
"""So many signals of the user are answered by healing; one more ends the process."""
_TOLD: list[signal.Signals] = []
"""The signals but Ctrl-C by which the present command was told to end; signals are a process's own, and so is this."""


class _Ending:
    """What the signals of one command came to."""

    def __init__(self, task: asyncio.Task[Any]) -> None:
        self._task = task
        self.by: signal.Signals | None = None
        self._count = 0

    def hear(self, by: signal.Signals) -> None:
        """Cancel at the first, explain at the second, let go at the third."""
        self._count += 1
        if self.by is None:
            self.by = by
            self._task.cancel()
        elif self._count <= _PATIENT_SIGNALS:
            click.echo(
                "harness: still healing and stopping; once more ends this at once and leaves the rest to the watchdog "
                "(or reaper) process and to `harness heal`.",
                err=True,
            )
        else:
            # Not by an exception: that would cancel the heals, and so wait for them half done.
            click.echo("harness: let go; see `harness heal`.", err=True)
            os._exit(128 + by)


def complete(work: Coroutine[Any, Any, T], left: Callable[[], str]) -> T:
    """Run to the end; Ctrl-C, SIGTERM and SIGHUP heal every open fault and stop every environment first.

    ``left`` says afterwards what is stored.
    """
    endings: list[_Ending] = []

    async def until_ended() -> T:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        if task is not None:
            endings.append(_Ending(task))
            for by in SIGNALS:
                loop.add_signal_handler(by, endings[0].hear, by)
        return await work

    try:
        with _handlers_kept():
            return asyncio.run(until_ended())
    except (KeyboardInterrupt, asyncio.CancelledError):
        # Everything is healed and stopped: a late second Ctrl-C must not spoil the last words.
        deaf()
        by = (endings[0].by if endings else None) or told_by() or signal.SIGINT
        click.echo(
            f"harness: ended by {by.name}; open faults were healed and environments stopped (what could not be is the "
            f"watchdog's and the reaper's).\n{left()}",
            err=True,
        )
        raise SystemExit(128 + by) from None
    except BaseExceptionGroup as group:
        own = group.subgroup(HarnessError)
        if own is None:
            raise
        raise _first(own) from None


@contextmanager
def heard() -> Iterator[None]:
    """Have SIGTERM and SIGHUP end the block as Ctrl-C does, by KeyboardInterrupt; :func:`told_by` says which it was.

    A signal that somebody has ignored, as nohup has SIGHUP, stays so.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Signals are for the main thread alone.
        return
    _TOLD.clear()
    with _handlers_kept():
        for by in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(by) == signal.SIG_DFL:
                signal.signal(by, _hear)
        yield


def _hear(number: int, frame: FrameType | None) -> None:
    _TOLD.append(signal.Signals(number))
    of_ctrl_c = signal.getsignal(signal.SIGINT)
    # While a loop runs, its own: that cancels the work where an exception would tear the loop out of it.
    (of_ctrl_c if callable(of_ctrl_c) else signal.default_int_handler)(number, frame)


def told_by() -> signal.Signals | None:
    """Return the signal by which the present command was told to end, None for Ctrl-C and for none."""
    return _TOLD[0] if _TOLD else None


def deaf() -> None:
    """Ignore further signals for the rest of the command, whose last words are those of the first."""
    if threading.current_thread() is threading.main_thread():
        for by in SIGNALS:
            signal.signal(by, signal.SIG_IGN)


@contextmanager
def _handlers_kept() -> Iterator[None]:
    """Put the handlers back at the end: a loop leaves those of its signals to the system."""
    before = {by: signal.getsignal(by) for by in SIGNALS}
    try:
        yield
    finally:
        for by, handler in before.items():
            if handler is not None:
                signal.signal(by, handler)


def code_of(error: BaseException) -> int:
    """Return what a command ends with by an error that nobody caught.

    Of the harness's own errors it is theirs, of a signal 128 and its number.  Everything else is a defect of the
    harness, which is as inconclusive as a fault that did not bite.
    """
    if isinstance(error, HarnessError):
        return int(error.exit_code)
    if isinstance(error, SystemExit) and isinstance(error.code, int):
        return int(error.code)
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return 128 + (told_by() or signal.SIGINT)
    if isinstance(error, BrokenPipeError) and _unread():
        return 128 + signal.SIGPIPE
    return Defect.exit_code


def end(error: BaseException) -> int:
    """Say by which error a command ends, with what to do next, and return its exit code."""
    deaf()
    code = code_of(error)
    for descriptor in _unread():
        # What is still buffered would be tried again at the very end, and would change the exit code.
        os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
    with suppress(OSError):
        click.echo(_last_words(error, code), err=True, nl=False)
    return code


def _last_words(error: BaseException, code: int) -> str:
    if isinstance(error, HarnessError):
        return f"harness: {error}\n"
    if code == 128 + signal.SIGPIPE:
        return ""  # Whoever read has what was wanted.
    if code > 128:
        by = signal.Signals(code - 128).name
        return f"harness: ended by {by}, before it was done. What is stored stays: `harness list runs` shows it.\n"
    told = told_traceback(error)
    return f"{told}harness: {defect_of(error, 'The traceback is above; report it with the command that you gave.')}\n"


def told_traceback(error: BaseException) -> str:
    """Return the traceback of an error as lines, without what is or looks like a secret."""
    hidden = Secrets(guessed=environment_secrets()).hidden
    return "".join(hidden(line) for part in traceback.format_exception(error) for line in part.splitlines(True))


def defect_of(error: BaseException, next_step: str) -> Defect:
    """Return what to tell of an error that nobody foresaw; ``next_step``: where its traceback is, and what to do."""
    found = _first(error)
    said = Secrets(guessed=environment_secrets()).hidden(f"{type(found).__name__}: {found}")
    return Defect(
        f"The harness itself failed: {said}. That is a defect of the harness: nothing was decided, and nothing is said "
        f"about the service. {next_step}"
    )


def _first(error: BaseException) -> BaseException:
    """Return the error itself, or the first one within a group."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _unread() -> list[int]:
    """Return the descriptors among standard output and standard error whose reader has gone."""
    gone = []
    for stream in (sys.stdout, sys.stderr):
        try:
            descriptor = stream.fileno()
        except (AttributeError, OSError, ValueError):
            continue  # No file: it was closed before the start, or is a test's.
        poll = select.poll()
        poll.register(descriptor, 0)
        if any(state & (select.POLLERR | select.POLLHUP) for _, state in poll.poll(0)):
            gone.append(descriptor)
    return gone
