"""The one temporary directory of a runner, below which every part of every environment lives.

It exists while at least one environment does.  A reaper process watches the runner, and each new root first
sweeps the roots of runners that died together with their reaper.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

from ..errors import SetupError
from . import reaper
from .runtime_user import RuntimeUser, unreachable_part

_PREFIX = "ph-"
_LOCK = ".partition-harness.lock"
_OPEN_TO_ALL = ("/tmp", "/var/tmp")  # noqa: S108 - a directory of unforeseeable name is made in it

_guard = threading.Lock()
_current: RunnerRoot | None = None
_users = 0
_counter = 0


@dataclass(frozen=True)
class RunnerRoot:
    """A live root: its ``path``, and what keeps it: the locked file and the pipe to the reaper."""

    path: Path
    lock_fd: int
    pipe_fd: int
    reaper_process: subprocess.Popen[bytes]

    def new_workdir(self) -> Path:
        """A fresh directory for one environment; short, and reachable for the user who runs PostgreSQL."""
        global _counter
        with _guard:
            _counter += 1
            path = self.path / f"e{_counter}"
        path.mkdir()
        # By chmod, which no umask narrows.
        path.chmod(0o755)
        return path


def acquire(user: RuntimeUser) -> RunnerRoot:
    """The runner's root, made if this is its first environment; every call needs one :func:`release`.

    Raises :class:`harness.errors.SetupError` when there is no temporary directory that ``user`` can reach.
    """
    global _current, _users
    with _guard:
        if _current is None:
            _current = _create(_base(user))
        _users += 1
        return _current


def release() -> None:
    """Give the root back; the last one removes it and says good-bye to the reaper."""
    global _current, _users
    with _guard:
        _users -= 1
        if _users > 0 or _current is None:
            return
        root, _current = _current, None
    left = reaper.destroy(root.path)
    # With something left the reaper is let go without a farewell: it then tries again by itself.
    if not left:
        os.write(root.pipe_fd, b"bye")
    os.close(root.pipe_fd)
    root.reaper_process.wait(timeout=30)
    os.close(root.lock_fd)


def sweep(base: Path) -> list[Path]:
    """Remove the roots below ``base`` whose runner is dead (its lock is free); return them.

    Only this user's: a stranger's directory is his to name, so its contents prove nothing.
    """
    swept = []
    for root in base.glob(f"{_PREFIX}*"):
        try:
            if root.is_symlink() or root.lstat().st_uid != os.geteuid():
                continue
            fd = os.open(root / _LOCK, os.O_RDWR)
        except OSError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue
        else:
            reaper.destroy(root)
            swept.append(root)
        finally:
            os.close(fd)
    return swept


def _base(user: RuntimeUser) -> Path:
    places = [Path(tempfile.gettempdir())]
    if user.switches:
        places += [Path(place) for place in _OPEN_TO_ALL]
    for place in places:
        if unreachable_part(place.resolve(), user) is None:
            return place.resolve()
    raise SetupError(
        f"The temporary directory {places[0]} cannot be reached by the user {user.name}, who runs "
        f"PostgreSQL ({unreachable_part(places[0].resolve(), user)} lacks the permission). Set TMPDIR to a "
        "directory that every user may enter, such as /tmp."
    )


def _create(base: Path) -> RunnerRoot:
    sweep(base)
    # The reaper first: from the moment the directory exists there is somebody to remove it.
    path = base / f"{_PREFIX}{secrets.token_hex(5)}"
    process, pipe_fd = _start_reaper(path)
    path.mkdir()
    path.chmod(0o755)
    # Locked before it gets its name, so that no sweeper ever sees a free lock of a living runner.
    unnamed = path / f"{_LOCK}.new"
    lock_fd = os.open(unnamed, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock_fd, fcntl.LOCK_EX)
    unnamed.rename(path / _LOCK)
    return RunnerRoot(path, lock_fd, pipe_fd, process)


def _start_reaper(root: Path) -> tuple[subprocess.Popen[bytes], int]:
    read_fd, pipe_fd = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", reaper.__file__, str(root), str(read_fd)],
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(read_fd,),
        start_new_session=True,
    )
    os.close(read_fd)
    return process, pipe_fd
