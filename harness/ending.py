"""Ending: a command that is told to end heals every open fault and stops every environment first.

The first Ctrl-C (SIGTERM and SIGHUP alike) ends the faults and the load.  A second one does not interrupt the heals,
it only says that they are under way.  A third one gives up waiting: what is left is then the reaper's or the
watchdog's, and that of ``harness heal``.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import click

from .errors import HarnessError

T = TypeVar("T")

_PATIENT_SIGNALS = 2
"""So many signals of the user are answered by healing; one more ends the process."""


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
            for by in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                loop.add_signal_handler(by, endings[0].hear, by)
        return await work

    try:
        return asyncio.run(until_ended())
    except (KeyboardInterrupt, asyncio.CancelledError):
        # Everything is healed and stopped: a late second Ctrl-C must not spoil the last words.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        by = (endings[0].by if endings else None) or signal.SIGINT
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
        first: BaseException = own
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from None
