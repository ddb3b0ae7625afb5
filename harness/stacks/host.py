"""What this machine lets the harness do beside starting programs: mount, flag files, shift a process's clock.

A scenario that needs what is lacking is skipped with the way to get it, since no service can be judged by it here.
"""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

from ..errors import FaultError
from .base import Capability, remedy
from .local_files import LocalFiles
from .reaper import set_immutable
from .service_extras import find_faketime

_TRIED = "small"

OF_THE_HOST = frozenset({Capability.MOUNT, Capability.SMALL_DISK, Capability.IMMUTABLE, Capability.SERVICE_CLOCK})
"""What only the machine can give."""


@functools.cache
def granted() -> frozenset[Capability]:
    """Return those of :data:`OF_THE_HOST` that this machine gives, tried out and not guessed."""
    given: set[Capability] = set()
    if _mounts():
        given |= {Capability.MOUNT, Capability.SMALL_DISK}
    if _flags():
        given.add(Capability.IMMUTABLE)
    if find_faketime() is not None:
        given.add(Capability.SERVICE_CLOCK)
    return frozenset(given)


def lacking(needs: frozenset[Capability]) -> str:
    """Say what of ``needs`` this machine lacks and how to get it; empty when it lacks nothing."""
    missing = (needs & OF_THE_HOST) - granted()
    return f"needs {remedy(missing)}" if missing else ""


def _mounts() -> bool:
    with tempfile.TemporaryDirectory(prefix="harness-mount-") as folder:
        files = LocalFiles(Path(folder))
        files.make_folder(_TRIED)
        try:
            files.mount_small(_TRIED, 1 << 20)
        except FaultError:
            return False
        files.unmount(_TRIED)
    return True


def _flags() -> bool:
    with tempfile.NamedTemporaryFile(prefix="harness-flag-") as file:
        try:
            set_immutable(Path(file.name), immutable=True)
            set_immutable(Path(file.name), immutable=False)
        except OSError:
            return False
    return True
