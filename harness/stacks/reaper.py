"""The reaper: one small process per runner that ends what a killed runner left behind.

It holds the read end of a pipe whose only write end is the runner's.  A runner that closes in good order
writes ``bye`` first; end of file without it means that the runner is gone, SIGKILL included, and everything
of its root directory goes: processes, shared memory segments, files.

Run by path with ``python -I -S``, so it imports nothing but the standard library and starts in about 15 ms.
The functions below are also what the runner itself uses to clean up.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import struct
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

ROOT_VARIABLE = "PARTITION_HARNESS_ROOT"
"""Environment variable by which a process declares the runner's root that it belongs to."""

_PROC = Path("/proc")
_SHM = Path("/dev/shm")  # noqa: S108  (where the C library keeps POSIX shared memory)
_IPC_RMID = 0
_MNT_DETACH = 2
_GETFLAGS, _SETFLAGS, _IMMUTABLE = 0x80086601, 0x40086602, 0x10
"""FS_IOC_GETFLAGS, FS_IOC_SETFLAGS and FS_IMMUTABLE_FL of linux/fs.h on 64 bits."""


def processes_of(root: Path) -> list[int]:
    """Pids whose working directory is in ``root``, or whose environment names it; zombies are not listed.

    Linux only: without ``/proc`` the pid files that the stack writes (``<part>.pid`` in ``root``) are read
    instead.
    """
    if not (_PROC / "self").exists():
        return list(_from_pid_files(root))
    place = os.fsencode(root)
    marker = ROOT_VARIABLE.encode() + b"=" + place
    own = str(os.getpid())
    return [
        int(process.name)
        for process in _PROC.iterdir()
        if process.name.isdigit() and process.name != own and _belongs(process, place, marker)
    ]


def parent_of(pid: int) -> int | None:
    """The parent of ``pid``, None when there is no such process or no ``/proc``."""
    try:
        stat = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    return int(stat.rpartition(")")[2].split()[1])


def kill_all(root: Path, deadline_seconds: float = 10.0) -> list[int]:
    """SIGKILL every process of ``root`` until none is left; return those that outlived the deadline.

    Killing one may reveal another that it had just started, hence the repetition.
    """
    end = time.monotonic() + deadline_seconds
    tick = threading.Event()
    while pids := processes_of(root):
        for pid in pids:
            _signal(pid, signal.SIGKILL)
        if time.monotonic() >= end:
            return processes_of(root)
        tick.wait(0.005)
    return []


def remove_shared_memory(data_dir: Path) -> None:
    """Remove the System V segment that a SIGKILLed postmaster leaves behind; harmless when there is none.

    The last line but one of ``postmaster.pid`` names it by key and id.  It goes only if the kernel lists that
    very pair with nobody attached, because ids are used again.
    """
    try:
        key, segment = (data_dir / "postmaster.pid").read_text().splitlines()[6].split()
        listed = (_PROC / "sysvipc/shm").read_text().splitlines()[1:]
    except (OSError, IndexError, ValueError):
        return
    for line in listed:
        columns = line.split()
        same = int(columns[0]) & 0xFFFFFFFF == int(key) & 0xFFFFFFFF and columns[1] == segment
        if same and columns[6] == "0":
            import ctypes

            ctypes.CDLL(None).shmctl(int(segment), _IPC_RMID, None)


def remove_faketime(pid: int) -> None:
    """Remove the two shared objects that libfaketime makes for a process and leaves behind when that is killed."""
    for name in (f"faketime_shm_{pid}", f"sem.faketime_sem_{pid}"):
        with contextlib.suppress(OSError):
            (_SHM / name).unlink(missing_ok=True)


def unmount_all(root: Path) -> None:
    """Unmount what is mounted below ``root``, the deepest first; harmless where nothing is, or without ``/proc``."""
    try:
        lines = (_PROC / "self/mountinfo").read_text().splitlines()
    except OSError:
        return
    places = [line.split()[4].replace("\\040", " ") for line in lines]
    mounted = sorted((place for place in places if place.startswith(f"{root}/")), reverse=True)
    if mounted:
        import ctypes

        for place in mounted:
            ctypes.CDLL(None).umount2(os.fsencode(place), _MNT_DETACH)


def set_immutable(path: Path, *, immutable: bool) -> None:
    """Set or clear the immutable flag, which stops writes by descriptors already open; raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        flags = bytearray(8)
        fcntl.ioctl(descriptor, _GETFLAGS, flags)
        now = int(struct.unpack("l", flags)[0])
        due = now | _IMMUTABLE if immutable else now & ~_IMMUTABLE
        if due != now:
            fcntl.ioctl(descriptor, _SETFLAGS, struct.pack("l", due))
    finally:
        os.close(descriptor)


def remove_tree(root: Path) -> None:
    """Remove a directory with all in it, files too that a fault has made immutable; what will not go stays."""
    shutil.rmtree(root, ignore_errors=True)
    if not root.exists():
        return
    # Links and pipes are gone by now.  What vanishes meanwhile, by another reaper of the same root, is no error.
    for folder, _, names in os.walk(root):
        for name in names:
            with contextlib.suppress(OSError):
                set_immutable(Path(folder, name), immutable=False)
    shutil.rmtree(root, ignore_errors=True)


def destroy(root: Path) -> list[str]:
    """Kill every process of ``root``, free its shared memory, remove the tree; return what would not go."""
    pids = processes_of(root)
    left = [f"process {pid}" for pid in kill_all(root)]
    for pid in pids:
        remove_faketime(pid)
    for pid_file in [*root.glob("*/postmaster.pid"), *root.glob("*/*/postmaster.pid")]:
        remove_shared_memory(pid_file.parent)
    unmount_all(root)
    remove_tree(root)
    if root.exists():
        left.append(f"directory {root}")
    return left


def main(root: Path, pipe: int) -> None:
    """Wait for the runner's farewell or its end, and act on the latter."""
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # The signal that ends the runner may be meant for the whole group: the reaper outlives it on purpose.
        signal.signal(name, signal.SIG_IGN)
    said = b""
    while chunk := os.read(pipe, 64):
        said += chunk
    if b"bye" not in said:
        destroy(root)


def _belongs(process: Path, place: bytes, marker: bytes) -> bool:
    try:
        cwd = os.fsencode((process / "cwd").readlink())
        if cwd == place or cwd.startswith(place + b"/"):
            return True
        return marker in (process / "environ").read_bytes().split(b"\0")
    except OSError:
        # Gone meanwhile, a zombie, a kernel thread, or somebody else's: none of ours.
        return False


def _from_pid_files(root: Path) -> Iterator[int]:
    for path in [*root.glob("*/*.pid"), *root.glob("*/*/postmaster.pid")]:
        try:
            pid = int(path.read_text().split()[0])
            os.kill(pid, 0)
        except (OSError, ValueError, IndexError):
            continue
        yield pid


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
