"""What a scenario may ask for beside its service: a small disk for its queue, and a clock that can be set.

Asked for among the scenario's ``service_environment``; what this machine cannot give is not granted as a capability,
so that the faults that need it refuse with :func:`harness.stacks.base.remedy`.

``HARNESS_SMALL_DISK_MB``: a tmpfs of that size at ``{workdir}/small-disk`` (needs root, and ``mount``).
``HARNESS_CLOCK``: libfaketime is preloaded, told by a file that a fault can write; the monotonic clock stays true.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .base import Capability

SMALL_DISK_MB = "HARNESS_SMALL_DISK_MB"
CLOCK = "HARNESS_CLOCK"
SMALL_DISK_FOLDER = "small-disk"
_CLOCK_FILE = "service.faketime"
_LIBRARIES = (
    "lib/*/faketime/libfaketimeMT.so.1",
    "lib/faketime/libfaketimeMT.so.1",
    "lib64/faketime/libfaketimeMT.so.1",
    "local/lib/faketime/libfaketimeMT.so.1",
)


@dataclass(frozen=True)
class ServiceExtras:
    """What was made ready for one service before it starts."""

    environment: Mapping[str, str] = field(default_factory=dict)
    capabilities: frozenset[Capability] = frozenset()
    clock_file: Path | None = None


def prepare(workdir: Path, wanted: Mapping[str, str]) -> ServiceExtras:
    """Make what ``wanted`` asks for, as far as this machine can; never raises for what it cannot."""
    environment: dict[str, str] = {}
    granted: set[Capability] = set()
    clock_file: Path | None = None
    if wanted.get(SMALL_DISK_MB) and _mounted(workdir / SMALL_DISK_FOLDER, int(wanted[SMALL_DISK_MB])):
        granted.add(Capability.SMALL_DISK)
    library = find_faketime() if wanted.get(CLOCK) else None
    if library is not None:
        # Beside the folder and not inside: the service's disk may be full or read-only.
        clock_file = workdir.parent / _CLOCK_FILE
        clock_file.write_text("+0\n")
        granted.add(Capability.SERVICE_CLOCK)
        environment = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(clock_file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            # Without this its waits on monotonic conditions end late or never, and so do all thread pools.
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",
            # File times stay true: SQLite and log rotation compare them with each other only.
            "NO_FAKE_STAT": "1",
        }
    return ServiceExtras(environment, frozenset(granted), clock_file)


def find_faketime() -> Path | None:
    """The multi-threaded libfaketime of this machine, None where it is not installed."""
    found = (path for pattern in _LIBRARIES for path in sorted(Path("/usr").glob(pattern)))
    return next(found, None)


def _mounted(place: Path, megabytes: int) -> bool:
    """Mount a tmpfs there; the end of the environment unmounts it (harness.stacks.reaper)."""
    place.mkdir(mode=0o700)
    if os.geteuid() != 0:
        return False
    size = f"size={megabytes}m,mode=0700"
    try:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", size, "harness-small-disk", str(place)], check=False, capture_output=True
        )
    except OSError:
        return False
    return done.returncode == 0
