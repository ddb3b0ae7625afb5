"""Files of PostgreSQL by their path below the data directory, and small file systems: the only file access there is.

Every function is small and names what it does, so that it can act in a container instead.  What is written belongs
to whoever owns the data directory, since root may be the one who writes.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from ..errors import FaultError

CHUNK_BYTES = 1 << 20
FILLER = "harness-filler"
_MOUNTS = Path("/proc/self/mountinfo")


def segments(data_dir: Path, path: str) -> list[str]:
    """Return the files of one fork: the first one, and those of further gigabytes."""
    found = [path] if (data_dir / path).exists() else []
    number = 1
    while found and (data_dir / f"{path}.{number}").exists():
        found.append(f"{path}.{number}")
        number += 1
    return found


def exists(data_dir: Path, path: str) -> bool:
    """Tell whether there is such a file."""
    return (data_dir / path).exists()


def size_of(data_dir: Path, path: str) -> int:
    """Return its size in bytes, 0 when there is none."""
    try:
        return (data_dir / path).stat().st_size
    except FileNotFoundError:
        return 0


def read_file(data_dir: Path, path: str) -> bytes:
    """Return what is in it."""
    return (data_dir / path).read_bytes()


def write_in_place(data_dir: Path, path: str, content: bytes) -> None:
    """Make it hold exactly ``content``; whoever has it open sees the same file.  It is made if there is none."""
    place = data_dir / path
    descriptor = os.open(place, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        owned_like(data_dir, place)
        os.ftruncate(descriptor, len(content))
        written = 0
        while written < len(content):
            written += os.pwrite(descriptor, content[written : written + CHUNK_BYTES], written)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def rename(data_dir: Path, path: str, other: str) -> None:
    """Give it another name; descriptors stay with it."""
    (data_dir / path).rename(data_dir / other)


def remove(data_dir: Path, path: str) -> None:
    """Remove it; harmless when there is none."""
    (data_dir / path).unlink(missing_ok=True)


def mode_of(data_dir: Path, path: str) -> int:
    """Return its permission bits."""
    return (data_dir / path).stat().st_mode & 0o7777


def set_mode(data_dir: Path, path: str, mode: int) -> None:
    """Set its permission bits."""
    (data_dir / path).chmod(mode)


def owned_like(model: Path, place: Path) -> None:
    """Give ``place`` the owner of ``model``, where the caller may."""
    owner = model.stat()
    if os.geteuid() == 0:
        os.chown(place, owner.st_uid, owner.st_gid)


def tree_bytes(folder: Path) -> int:
    """Return how much room the files below ``folder`` take on disk pages."""
    total = 0
    for place in folder.rglob("*"):
        if place.is_file():
            total += -(-place.stat().st_size // 4096) * 4096
    return total


def mounted(place: Path) -> bool:
    """Tell whether a file system is mounted at ``place``, as the kernel lists it."""
    wanted = os.fspath(place.resolve())
    return any(line.split()[4] == wanted for line in _MOUNTS.read_text().splitlines()) if _MOUNTS.exists() else False


def mount_small(place: Path, size_bytes: int, *, like: Path) -> None:
    """Mount a tmpfs of ``size_bytes`` at ``place``, owned like ``like``; raises :class:`FaultError` without the right.

    A small file system is the only way to a full one that harms nobody else: PostgreSQL has no quota of its own, and
    a limit on file sizes (RLIMIT_FSIZE) is another error (EFBIG) and would end the server at its next WAL file.
    """
    owner = like.stat()
    options = f"size={size_bytes},mode=0700,uid={owner.st_uid},gid={owner.st_gid}"
    program = shutil.which("mount")
    if os.geteuid() != 0 or program is None:
        raise FaultError(
            "A full disk needs a small file system of its own, and mounting one needs root and the mount program. "
            "Run the harness as root (PostgreSQL is then run as an unprivileged user), or leave this scenario out."
        )
    _run([program, "-t", "tmpfs", "-o", options, "harness-small", os.fspath(place)], "mount a small file system")


def unmount(place: Path) -> None:
    """Unmount what is mounted at ``place``; harmless when nothing is."""
    if mounted(place):
        _run([shutil.which("umount") or "umount", os.fspath(place)], "unmount the small file system")


def fill(folder: Path) -> int:
    """Fill the file system of ``folder`` with one file, to its last byte, and return that file's size."""
    written = 0
    with (folder / FILLER).open("ab", buffering=0) as file:
        for chunk in (CHUNK_BYTES, 4096, 1):
            try:
                while True:
                    written += file.write(b"\0" * chunk)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
    return written


def unfill(folder: Path) -> None:
    """Remove the filler; harmless when there is none."""
    (folder / FILLER).unlink(missing_ok=True)


def copy_tree(source: Path, target: Path) -> None:
    """Copy all files of one folder into another that exists, owners and modes as they are."""
    program = shutil.which("cp") or "cp"
    _run([program, "-a", f"{source}/.", f"{target}/"], f"copy {source.name}")


def copied_anew(source: Path, target: Path) -> None:
    """Copy the files of a folder, but for the filler, into a new one, whatever was there before."""
    remove_folder(target)
    target.mkdir(mode=0o700)
    owned_like(source, target)
    unfill(source)
    copy_tree(source, target)


def replace_folder(source: Path, target: Path) -> None:
    """Give ``source`` the name of ``target``, which goes."""
    remove_folder(target)
    source.rename(target)


def remove_folder(folder: Path) -> None:
    """Remove a folder with all in it; harmless when there is none."""
    if folder.exists():
        shutil.rmtree(folder)


def _run(command: Sequence[str], doing: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode:
        raise FaultError(
            f"Could not {doing}: {done.stderr.strip() or done.returncode}. In a container that needs the capability "
            "SYS_ADMIN; leave this scenario out where it cannot be given."
        )
