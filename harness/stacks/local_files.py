"""Files of a part that runs on this host, by paths below its root folder: see :class:`harness.stacks.base.Files`."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import FaultError
from .base import HARNESS_PREFIX

_CHUNK_BYTES = 1 << 20
_DISK_PAGE_BYTES = 4096
_TOOL_SECONDS = 60
_MOUNTS = Path("/proc/self/mountinfo")


@dataclass(frozen=True)
class LocalFiles:
    """The files below ``root`` on this host, touched by system calls and the programs ``cp``, ``mount``, ``umount``."""

    root: Path

    def absolute(self, path: str) -> str:
        """Return the path as the programs of this host know it."""
        return os.fspath(self._place(path))

    def exists(self, path: str) -> bool:
        """Tell whether there is such a file or folder."""
        return self._place(path).exists()

    def size(self, path: str) -> int:
        """Return its size in bytes, 0 when there is none."""
        try:
            return self._place(path).stat().st_size
        except FileNotFoundError:
            return 0

    def read(self, path: str, offset: int = 0, length: int = -1) -> bytes:
        """Return ``length`` bytes from ``offset`` on, all for -1, fewer at the end of the file."""
        with self._place(path).open("rb") as file:
            file.seek(offset)
            return file.read(length)

    def write(self, path: str, content: bytes) -> None:
        """Make it hold exactly ``content``, durably and in place; it is made if there is none."""
        descriptor = os.open(self._place(path), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            self._own(descriptor)
            os.ftruncate(descriptor, len(content))
            _write_at(descriptor, 0, content)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def patch(self, path: str, pieces: Sequence[tuple[int, bytes]]) -> None:
        """Overwrite each piece at its offset, durably and in place; nothing else of the file changes."""
        descriptor = os.open(self._place(path), os.O_RDWR)
        try:
            for offset, content in pieces:
                _write_at(descriptor, offset, content)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def rename(self, path: str, other: str) -> None:
        """Give a file or folder another name; descriptors stay with it."""
        self._inner(path).rename(self._inner(other))

    def remove(self, path: str) -> None:
        """Remove a file; harmless when there is none."""
        self._place(path).unlink(missing_ok=True)

    def mode(self, path: str) -> int:
        """Return its permission bits."""
        return self._place(path).stat().st_mode & 0o7777

    def set_mode(self, path: str, mode: int) -> None:
        """Set its permission bits."""
        self._place(path).chmod(mode)

    def make_folder(self, path: str) -> None:
        """Make a folder that only the root's owner enters; raises FileExistsError when it is there."""
        place = self._place(path)
        place.mkdir(mode=0o700)
        self._own(place)

    def remove_folder(self, path: str) -> None:
        """Remove an empty folder; harmless when there is none."""
        place = self._inner(path)
        if place.exists():
            place.rmdir()

    def remove_tree(self, path: str) -> None:
        """Remove a folder with all in it; harmless when there is none, refused where a file system is mounted."""
        place = self._inner(path)
        if self.mounted(path):
            raise FaultError(f"{place} is not removed, since a file system is mounted there; unmount it first.")
        if place.exists():
            shutil.rmtree(place)

    def copy_tree(self, source: str, target: str) -> None:
        """Copy all that is in one folder into another that exists, owners and modes as they are."""
        place = self._place(source)
        program = shutil.which("cp") or "cp"
        complaint = _complaint([program, "-a", f"{place}/.", f"{self._place(target)}/"])
        if complaint:
            raise OSError(f"{place} could not be copied: {complaint}")

    def tree_bytes(self, path: str) -> int:
        """Return how much room the files below a folder take on disk pages."""
        sizes = (place.stat().st_size for place in self._place(path).rglob("*") if place.is_file())
        return sum(-(-size // _DISK_PAGE_BYTES) * _DISK_PAGE_BYTES for size in sizes)

    def mounted(self, path: str) -> bool:
        """Tell whether a file system is mounted at the folder, as the kernel lists it."""
        if not _MOUNTS.exists():
            return False
        wanted = os.fspath(self._place(path).resolve())
        return wanted in {line.split()[4].replace("\\040", " ") for line in _MOUNTS.read_text().splitlines()}

    def mount_small(self, path: str, size_bytes: int) -> None:
        """Mount a tmpfs at the folder; raises :class:`FaultError` without the right to."""
        place, owner, program = os.fspath(self._inner(path)), self.root.stat(), shutil.which("mount")
        if os.geteuid() != 0 or program is None:
            raise FaultError(
                "A full disk needs a small file system of its own, and mounting one needs root and the mount program. "
                "Run the harness as root (PostgreSQL is then run as an unprivileged user), or leave this scenario out."
            )
        options = f"size={size_bytes},mode=0700,uid={owner.st_uid},gid={owner.st_gid}"
        complaint = _complaint([program, "-t", "tmpfs", "-o", options, "harness-small", place])
        if complaint:
            raise FaultError(
                f"Could not mount a small file system: {complaint}. In a container that needs the capability "
                "SYS_ADMIN; leave this scenario out where it cannot be given."
            )

    def unmount(self, path: str) -> None:
        """Unmount what is mounted at the folder; harmless when nothing is."""
        place, program = self._inner(path), shutil.which("umount") or "umount"
        complaint = _complaint([program, os.fspath(place)]) if self.mounted(path) else ""
        if complaint:
            raise OSError(f"{place} could not be unmounted: {complaint}")

    def fill(self, path: str) -> int:
        """Write zeros to the end of a file until its file system takes no byte more; return how many."""
        written, place = 0, self._place(path)
        if not self.mounted(os.fspath(place.parent)):
            raise FaultError(f"{place} is not filled, since no file system is mounted at its folder for that.")
        with place.open("ab", buffering=0) as file:
            self._own(file.fileno())
            for chunk in (bytes(_CHUNK_BYTES), bytes(_DISK_PAGE_BYTES), bytes(1)):
                try:
                    while True:
                        written += file.write(chunk)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
        return written

    def _own(self, place: int | Path) -> None:
        """Give what was made the owner of the root, where the caller may."""
        if os.geteuid() == 0:
            owner = self.root.stat()
            os.chown(place, owner.st_uid, owner.st_gid)

    @property
    def _top(self) -> Path:
        return Path(os.path.normpath(self.root.absolute()))

    def _place(self, path: str) -> Path:
        """Return where a path leads, by its words alone: a root that is a symbolic link has its neighbours there."""
        root = self._top
        place = Path(os.path.normpath(root / path))
        beside = place.relative_to(root.parent).parts if place.is_relative_to(root.parent) else ()
        if not place.is_relative_to(root) and not (beside and beside[0].startswith(HARNESS_PREFIX)):
            raise FaultError(
                f"{place} is neither below {root} nor a {HARNESS_PREFIX}… beside it, so it is not touched."
            )
        return place

    def _inner(self, path: str) -> Path:
        """Return where a path leads that must not be the root."""
        place = self._place(path)
        if place == self._top:
            raise FaultError(f"{place} is the root of all its files and stays where it is.")
        return place


def _write_at(descriptor: int, offset: int, content: bytes) -> None:
    written = 0
    while written < len(content):
        written += os.pwrite(descriptor, content[written : written + _CHUNK_BYTES], offset + written)


def _complaint(command: Sequence[str]) -> str:
    """Run a program and return what it complains of, "" when it did as told."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_TOOL_SECONDS)
    except subprocess.TimeoutExpired:
        return f"{command[0]} took more than {_TOOL_SECONDS} s"
    return done.stderr.strip() or f"it ended with {done.returncode}" if done.returncode else ""
