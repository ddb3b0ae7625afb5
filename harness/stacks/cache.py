"""Where prepared things are kept between runs: the Toxiproxy binary, template data directories, copied binaries.

Two places: the user's own cache, and for root, whose home nobody may enter, one that PostgreSQL's user can
reach. Whatever lands in a cache is built beside its final name, under a file lock, and renamed: a crash
leaves nothing half.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import SetupError
from .runtime_user import RuntimeUser, unreachable_part

_NAME = "partition-harness"
_SHARED_FOR_ROOT = Path("/var/cache") / _NAME


def user_cache() -> Path:
    """``$XDG_CACHE_HOME/partition-harness``, or the same below ``~/.cache``; made if it is missing.

    Raises :class:`harness.errors.SetupError` when it cannot be written.
    """
    configured = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if configured.is_absolute():
        return _made(configured / _NAME)
    try:
        return _made(Path.home() / ".cache" / _NAME)
    except RuntimeError as error:
        raise SetupError(
            f"There is no home directory to keep a cache in ({error}). Set XDG_CACHE_HOME to an absolute path that "
            "can be written."
        ) from error


def shared_cache(user: RuntimeUser) -> Path:
    """A cache for PostgreSQL's files that ``user`` can reach: the caller's own, else one in ``/var/cache``.

    Raises :class:`harness.errors.SetupError` when neither will do.
    """
    own = user_cache()
    if unreachable_part(own, user) is None:
        return _opened(own / "postgres")
    shared = _opened(_SHARED_FOR_ROOT)
    blocked = unreachable_part(shared, user)
    if blocked is not None:
        raise SetupError(
            f"The user {user.name}, who runs PostgreSQL, can enter neither {own} nor {shared} ({blocked} "
            "lacks the permission). Set XDG_CACHE_HOME to a directory that every user may enter."
        )
    return _opened(shared / "postgres")


@contextmanager
def build_directory(final: Path) -> Iterator[Path | None]:
    """Under the lock of ``final``: yield an empty directory to build in, or None if ``final`` is there already.

    The caller renames what it built to ``final``; the directory is removed in the end whatever happens, and
    so are those of builders that died.
    """
    if final.exists():
        yield None
        return
    final.parent.mkdir(parents=True, exist_ok=True)
    with _locked(final.with_name(final.name + ".lock")):
        if final.exists():
            yield None
            return
        prefix = f".build-{final.name}-"
        for abandoned in final.parent.glob(f"{prefix}*"):
            shutil.rmtree(abandoned, ignore_errors=True)
        place = Path(tempfile.mkdtemp(prefix=prefix, dir=final.parent))
        try:
            yield place
        finally:
            shutil.rmtree(place, ignore_errors=True)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _opened(path: Path) -> Path:
    _made(path).chmod(0o755)
    return path


def _made(path: Path) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True)
        reason = "" if os.access(path, os.W_OK | os.X_OK) else "permission denied"
    except OSError as error:
        reason = error.strerror or str(error)
    if reason:
        raise SetupError(
            f"The cache directory {path} cannot be made or written ({reason}). Free or repair it, or set "
            "XDG_CACHE_HOME to an absolute path that can be written."
        )
    return path
