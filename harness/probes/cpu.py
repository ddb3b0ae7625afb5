"""What processes of this host compute, by ``/proc``: seconds of CPU since they began.  Linux only; nothing raises."""

from __future__ import annotations

import os
from pathlib import Path

_BUSY = (0, 1, 2, 5, 6, 7)
"""Of the columns of ``/proc/stat``: user, nice, system, irq, softirq, and steal, which a neighbour took."""
_COLUMNS = 8
_UTIME, _STIME = 11, 12
"""Of the fields of ``/proc/PID/stat`` behind the name, which may hold spaces and brackets."""


def cpu_seconds(pid: int | None) -> float | None:
    """CPU that a process has taken, all its threads together; None where nobody can say."""
    if pid is None:
        return None
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[_UTIME]) + int(fields[_STIME])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None


def machine_seconds() -> tuple[float, float] | None:
    """Seconds that the cores were busy, and those that they had, since the machine began; None where nobody can say."""
    try:
        first = Path("/proc/stat").read_text().splitlines()[0].split()
        columns = [int(field) for field in first[1 : _COLUMNS + 1]]
        ticks = os.sysconf("SC_CLK_TCK")
        return sum(columns[at] for at in _BUSY) / ticks, sum(columns) / ticks
    except (OSError, ValueError, IndexError):
        return None
