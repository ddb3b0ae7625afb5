"""Who runs PostgreSQL: it refuses root, so root hands it to an unprivileged user.

Also the one place that starts helper programs to their end (initdb, cp, go, pip), with output captured.
"""

from __future__ import annotations

import os
import pwd
import stat
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import SetupError

_CANDIDATES = ("nobody", "postgres", "daemon")


@dataclass(frozen=True)
class RuntimeUser:
    """The account of PostgreSQL's processes and files; ``switches`` is False when it is the caller's own."""

    name: str
    uid: int
    gid: int
    switches: bool

    @property
    def popen_uid(self) -> int | None:
        """For ``subprocess``'s ``user``."""
        return self.uid if self.switches else None

    @property
    def popen_gid(self) -> int | None:
        """For ``subprocess``'s ``group``."""
        return self.gid if self.switches else None

    @property
    def popen_groups(self) -> Sequence[int] | None:
        """For ``subprocess``'s ``extra_groups``: none at all, lest root's own come along."""
        return () if self.switches else None


@dataclass(frozen=True)
class ToolResult:
    """How a helper program ended; ``output`` is standard output and error together."""

    exit_code: int
    output: str

    def last_lines(self, count: int = 12) -> str:
        """The end of the output, for an error message."""
        return "\n".join(self.output.strip().splitlines()[-count:])


def runtime_user() -> RuntimeUser:
    """The caller, or for root the first of nobody, postgres and daemon that exists.

    Raises :class:`harness.errors.SetupError` when root finds none of them.
    """
    uid = os.geteuid()
    if uid != 0:
        return RuntimeUser(_name_of(uid), uid, os.getegid(), switches=False)
    for name in _CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return RuntimeUser(name, entry.pw_uid, entry.pw_gid, switches=True)
    raise SetupError(
        "PostgreSQL refuses to run as root, and none of the users nobody, postgres and daemon exists to "
        "run it instead. Add one (useradd --system postgres), or run the harness as an ordinary user."
    )


def caller() -> RuntimeUser:
    """The invoking user, root included: for the programs that do not mind."""
    return RuntimeUser(_name_of(os.geteuid()), os.geteuid(), os.getegid(), switches=False)


def unreachable_part(path: Path, user: RuntimeUser) -> Path | None:
    """The first part of ``path`` that ``user`` may not enter or read, None when all is well.

    Judged by the mode bits; a part that does not exist counts as unreachable.
    """
    if not user.switches:
        return None if os.access(path, os.R_OK) else path
    for part in [*reversed(path.parents), path]:
        try:
            mode = part.stat()
        except OSError:
            return part
        wanted = 0o5 if part == path and stat.S_ISDIR(mode.st_mode) else 0o1
        if part == path and not stat.S_ISDIR(mode.st_mode):
            wanted = 0o4
        if mode.st_uid == user.uid:
            granted = mode.st_mode >> 6
        elif mode.st_gid == user.gid:
            granted = mode.st_mode >> 3
        else:
            granted = mode.st_mode
        if granted & wanted != wanted:
            return part
    return None


def run_tool(
    command: Sequence[str | Path],
    *,
    user: RuntimeUser | None = None,
    cwd: Path,
    environment: Mapping[str, str] | None = None,
    stdin: str = "",
    timeout_seconds: float = 120.0,
) -> ToolResult:
    """Run a program to its end; raises :class:`harness.errors.SetupError` when it cannot start or end."""
    owner = user or caller()
    shown = Path(command[0]).name
    try:
        done = subprocess.run(
            [str(part) for part in command],
            cwd=cwd,
            env=None if environment is None else dict(environment),
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=timeout_seconds,
            user=owner.popen_uid,
            group=owner.popen_gid,
            extra_groups=owner.popen_groups,
        )
    except subprocess.TimeoutExpired as error:
        raise SetupError(
            f"{shown} did not end within {timeout_seconds:g} s and was stopped. The machine may be "
            "overloaded: try again, with fewer scenarios in parallel."
        ) from error
    except OSError as error:
        raise SetupError(
            f"{command[0]} could not be started as the user {owner.name}: {error.strerror}. Check that the "
            "file exists, is executable, and was made for this machine."
        ) from error
    return ToolResult(done.returncode, done.stdout)


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
