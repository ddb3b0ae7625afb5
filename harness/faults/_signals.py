"""The processes of PostgreSQL as the operating system sees them, and signals to them: the one place that sends any.

Linux: the children of the postmaster and their states are read from ``/proc``.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

from .._wait import wait_until_sync
from ..errors import FaultError
from ..stacks.base import DatabaseServer

_PROC = Path("/proc")
STOPPED = "T"


def postmaster_of(database: DatabaseServer) -> int:
    """Return the postmaster; raises :class:`FaultError` when there is none."""
    pid = database.pid
    if pid is None:
        raise FaultError("PostgreSQL is not running, so its processes cannot be disturbed; start it first.")
    return pid


def children_of(postmaster: int) -> list[int]:
    """List the postmaster's children, auxiliary processes too; empty when it is gone."""
    try:
        return [int(pid) for pid in (_PROC / f"{postmaster}/task/{postmaster}/children").read_text().split()]
    except OSError:
        return []


def state_of(pid: int) -> str:
    """Return the state letter of a process ("T" is stopped), "" when it is gone."""
    try:
        return (_PROC / f"{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""


def title_of(pid: int) -> str:
    """Return how a process calls itself, "" when it is gone."""
    try:
        return (_PROC / f"{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def kill_backend(postmaster: int, pid: int) -> None:
    """SIGKILL one backend; raises :class:`FaultError` when it is no child of the postmaster any more."""
    if pid not in children_of(postmaster):
        raise FaultError(f"Process {pid} is no backend of postmaster {postmaster} any more; try again.")
    _send(pid, signal.SIGKILL)


def stop_all(postmaster: int) -> list[int]:
    """SIGSTOP the postmaster, then each child, until no child runs; return who was stopped."""
    _send(postmaster, signal.SIGSTOP)

    def all_stopped() -> list[int]:
        children = children_of(postmaster)
        for pid in children:
            _send(pid, signal.SIGSTOP)
        return [postmaster, *children] if not running_of(postmaster) else []

    return wait_until_sync(
        all_stopped, what="every process of PostgreSQL to stop", deadline_seconds=5.0, interval_seconds=0.002
    )


def running_of(postmaster: int) -> list[int]:
    """Return the postmaster and its children, as far as they are not stopped (nor zombies)."""
    return [pid for pid in (postmaster, *children_of(postmaster)) if state_of(pid) not in (STOPPED, "", "Z")]


def continue_all(postmaster: int) -> None:
    """SIGCONT every child and the postmaster; harmless to those that run."""
    for pid in (*children_of(postmaster), postmaster):
        _send(pid, signal.SIGCONT)


def catch_startup(postmaster: int, deadline_seconds: float) -> int:
    """Wait for a startup process and stop it; raises DeadlineExceeded.  Returns its pid."""

    def caught() -> int | None:
        for pid in children_of(postmaster):
            if "startup" in title_of(pid):
                _send(pid, signal.SIGSTOP)
                return pid
        return None

    return wait_until_sync(
        caught, what="PostgreSQL's startup process", deadline_seconds=deadline_seconds, interval_seconds=0.0005
    )


def _send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
    except PermissionError as error:
        raise FaultError(
            f"Process {pid} of PostgreSQL may not be signalled by this user; run the harness as root or as the user "
            "who runs PostgreSQL."
        ) from error
