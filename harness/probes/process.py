"""What a process of this host holds, by ``/proc``: memory, open descriptors, threads, sockets to the database.

Linux only; where there is no ``/proc``, or no process, every figure is absent, and nothing raises.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from ..events import ProcessSample

ABSENT = -1
_STATUS = re.compile(r"^(RssAnon|Threads):\s+(\d+)", re.MULTILINE)
_BYTES_PER_KB = 1024


def read_process(t: float, pid: int | None) -> ProcessSample:
    """Read the process's status and count its descriptors; figures that cannot be had are -1, the pid then 0."""
    if pid is None:
        return ProcessSample(t, 0)
    try:
        status = {name: int(value) for name, value in _STATUS.findall(Path(f"/proc/{pid}/status").read_text())}
    except OSError:
        return ProcessSample(t, pid)
    memory_kb = status.get("RssAnon", ABSENT)
    return ProcessSample(
        t,
        pid,
        memory_bytes=memory_kb * _BYTES_PER_KB if memory_kb >= 0 else ABSENT,
        descriptors=_descriptors(pid),
        threads=status.get("Threads", ABSENT),
    )


def _descriptors(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208  (once a second beside the load: no Path objects)
    except OSError:
        return ABSENT


def database_sockets(pid: int | None, port: int) -> int:
    """Count the established sockets of a process to a local port; -1 where that cannot be known."""
    if pid is None:
        return ABSENT
    # The JVM, for one, reaches IPv4 addresses by sockets of IPv6; a kernel without IPv6 has no such table.
    return _sockets(pid, "tcp", port) or max(0, _sockets(pid, "tcp6", port))


def _sockets(pid: int, table: str, port: int) -> int:
    # Remote port and state "established" stand side by side, so most lines need no taking apart.
    wanted = f":{port:04X} 01 "
    try:
        lines = Path(f"/proc/{pid}/net/{table}").read_text().splitlines()
        inodes = {line.split()[9] for line in lines if wanted in line}
        if not inodes:
            return 0
        found = 0
        with os.scandir(f"/proc/{pid}/fd") as entries:
            for entry in entries:
                try:
                    link = os.readlink(entry.path)  # noqa: PTH115  (three times a second: no Path objects)
                except OSError:
                    continue
                found += link.startswith("socket:[") and link[8:-1] in inodes
    except OSError:
        return ABSENT
    return found
