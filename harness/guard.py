"""Guard: what ends a run before its time, with everything healed, because going on is not safe or not wanted.

A halt file stops every run that sees it and refuses new ones: ``HALT`` in the folder of reports, or the file that the
environment variable HARNESS_HALT names.  Where the database is not the harness's own, rows of somebody else end
the run as well: then it is a database that matters to somebody.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from ._wait import pause
from .errors import RunAborted, UsageError
from .probes.foreign import rows_of_others
from .schedule import Schedule
from .stacks.base import Environment
from .targets.model import Target

HALT_FILE = "HALT"
HALT_VARIABLE = "HARNESS_HALT"
_INTERVAL_SECONDS = 0.25
ROWS_INTERVAL_SECONDS = 2.0

Reason = Callable[[], Awaitable[str]]


def halt_file(reports: Path) -> Path | None:
    """Return the halt file that exists, None for none."""
    named = os.environ.get(HALT_VARIABLE)
    places = [reports / HALT_FILE, *([Path(named)] if named else [])]
    return next((place for place in places if place.exists()), None)


def refuse_when_halted(reports: Path) -> None:
    """Raise :class:`UsageError` while a halt file exists."""
    found = halt_file(reports)
    if found is not None:
        raise UsageError(f"Runs are halted by the file {found}; remove it to let them begin again.")


def refuse_forbidden_faults(target: Target, schedule: Schedule) -> None:
    """Raise :class:`UsageError` when faults would act on parts whose target does not allow them."""
    if schedule.steps and target.external is not None and not target.allow_faults:
        raise UsageError(
            f"The target {target.name} does not say allow_faults = true, so no fault acts on it ({target.path}). Add "
            "that line if its database, its proxy and its service may be damaged, or run baseline alone."
        )


@asynccontextmanager
async def aborting(reason: Reason, *, interval_seconds: float = _INTERVAL_SECONDS) -> AsyncIterator[None]:
    """Run the block until ``reason`` gives one; then cancel it, let it clean up, and raise :class:`RunAborted`."""
    task, why = asyncio.current_task(), ""
    if task is None:
        raise RuntimeError("aborting() needs a task to cancel")

    async def watch() -> None:
        nonlocal why
        while not why:
            why = await reason()
            if why:
                task.cancel()
            else:
                await pause(interval_seconds)

    watcher = asyncio.create_task(watch())
    try:
        yield
    except asyncio.CancelledError:
        if why and task.uncancel() == 0:
            raise RunAborted(why) from None
        raise
    finally:
        watcher.cancel()


def halted(reports: Path) -> Reason:
    """Give a reason once a halt file exists."""

    async def reason() -> str:
        found = halt_file(reports)
        return f"The file {found} halted the run; its faults were healed." if found else ""

    return reason


def disturbed(environment: Environment) -> Reason:
    """Give a reason once the table holds rows that neither this run nor its canary wrote."""

    async def reason() -> str:
        conninfo = environment.database.admin_conninfo
        if not await rows_of_others(conninfo, environment.rows_since, environment.name):
            return ""
        return (
            "Somebody else writes into audit_events of this database, so the run was ended and its faults healed. "
            "Use a database that nobody else uses."
        )

    return reason
