"""A child process of an environment: started in a session of its own, its output appended to a log file."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .._wait import wait_until
from ..errors import DeadlineExceeded, SetupError
from . import reaper
from .runtime_user import RuntimeUser, caller


@dataclass(frozen=True)
class Child:
    """A running (or ended) part.  Signals go to its whole process group, workers included."""

    process: subprocess.Popen[bytes]

    @classmethod
    def spawn(
        cls,
        command: Sequence[str],
        *,
        cwd: Path,
        environment: Mapping[str, str],
        log_path: Path,
        user: RuntimeUser | None = None,
    ) -> Child:
        """Start it.  The log file is opened by the caller, so that ``user`` need not be able to.

        Raises :class:`harness.errors.SetupError` when the program is missing or cannot be executed.
        """
        owner = user or caller()
        with log_path.open("ab") as log:
            try:
                process = subprocess.Popen(
                    list(command),
                    cwd=cwd,
                    env=dict(environment),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    user=owner.popen_uid,
                    group=owner.popen_gid,
                    extra_groups=owner.popen_groups,
                )
            except OSError as error:
                raise SetupError(
                    f"{command[0]} could not be started in {cwd}: {error.strerror}. Check that the program "
                    f"exists and that the user {owner.name} may run it there."
                ) from error
        return cls(process)

    @property
    def pid(self) -> int:
        """The process, dead or alive."""
        return self.process.pid

    def living_pid(self) -> int | None:
        """The process, None once it has ended."""
        return self.process.pid if self.process.poll() is None else None

    def exit_code(self) -> int | None:
        """How it ended (negative: by that signal), None while it lives."""
        return self.process.poll()

    def signal(self, number: int) -> None:
        """Send a signal to the leader alone; harmless when it has ended."""
        if self.process.poll() is None:
            os.kill(self.process.pid, number)

    def signal_group(self, number: int) -> None:
        """Send a signal to the leader and whatever it started; harmless when the leader has ended.

        Without its leader the group's number may be somebody else's; the environment's end finds such
        orphans.
        """
        if self.process.poll() is None:
            os.killpg(self.process.pid, number)

    async def wait(self, deadline_seconds: float) -> bool:
        """Whether it has ended within the deadline."""

        async def ended() -> bool:
            return self.process.poll() is not None

        try:
            await wait_until(
                ended,
                what=f"process {self.pid} to end",
                deadline_seconds=deadline_seconds,
                interval_seconds=0.005,
            )
        except DeadlineExceeded:
            return False
        return True

    async def kill(self) -> None:
        """SIGKILL the group and wait for the leader; works on a stopped process as well."""
        self.signal_group(signal.SIGKILL)
        await self.wait(10.0)
        reaper.remove_faketime(self.pid)


def tail(path: Path, lines: int = 12) -> str:
    """The last lines of a log, for an error message; says so when there is nothing."""
    try:
        text = path.read_text(errors="replace")
    except OSError as error:
        return f"(unreadable: {error.strerror})"
    found = text.strip().splitlines()[-lines:]
    return "\n".join(found) if found else "(empty)"
