"""Faults of the store under the dead-letter queue: full, out of disk, read-only, locked, deleted.

Alone they hurt nobody: a service writes to the table.  Together with a month or a database that takes no write they
leave nowhere to go.  The service is expected to answer 503 then and never to acknowledge what it could not keep, to
go on storing the events of months that work, and to use the queue again within 5 s of its being usable, a deleted
file made anew by itself.  No event of the harness is sent to prove an effect: the proof is the file as the service
has it open, and the readiness page is evidence beside it, since a service that has not noticed yet is to be judged
by its answers.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

from .._wait import wait_until
from ..blast import BlastRadius, Dlq, Edge, Write
from ..errors import DeadlineExceeded, FaultError, FaultNotConfirmed, HealFailed, UsageError
from ..fault import FAULTS, DestroyedRows, Scene
from ..stacks.base import Capability, Environment
from ..stacks.reaper import set_immutable
from ..values import Month
from . import _dlq_file, _dlq_locker
from ._dlq_file import dlq_file, open_in
from ._service import Life, ask, begin, life_of, readiness, saved_life
from ._sql import healthy, uninterrupted
from .partition import DetachPartition

FULL_SECONDS = 35.0
_FILLER = "harness-filler"
_LOCKERS: dict[Path, subprocess.Popen[str]] = {}
"""Lockers of this process by ledger folder, to be waited for; heal needs none of them."""


def _without_queue(dlq: Dlq = Dlq.NO) -> BlastRadius:
    return BlastRadius(months=None, dlq=dlq, edge=Edge.MONTHS)


def _held_open(scene: Scene, suffixes: tuple[str, ...] = _dlq_file.SUFFIXES) -> tuple[Life, list[int]]:
    """The service's life and the descriptors by which it has the queue open; raises FaultNotConfirmed for none."""
    life, path = saved_life(scene), dlq_file(scene)
    if life is None or not life.state:
        raise FaultNotConfirmed("The service that had the queue open is gone, so nothing is known of its queue.")
    descriptors = open_in(life, path, suffixes)
    if not descriptors:
        raise FaultNotConfirmed(f"Process {life.pid} does not have {path} open: this is not its queue.")
    return life, descriptors


def _undo(files: Sequence[str], undo: Callable[[Path], None], failure: str) -> None:
    """Undo what was done to each of the files that is still there; raises HealFailed with ``failure``."""
    for file in files:
        try:
            undo(Path(file))
        except FileNotFoundError:
            continue
        except OSError as error:
            raise HealFailed(failure.format(file=file, error=error)) from error


@FAULTS.register("dlq-full")
@dataclass(frozen=True, kw_only=True)
class DlqFull:
    """Detaches ``months`` (every attached month for none) and waits until the load has filled the queue.

    No event of the harness: the capacity must be small (``DLQ_MAX_EVENTS`` in the scenario), so that the load itself
    fills it.  Without ``detach`` another fault must keep the table from taking writes, an outage say.  Effect: 23514,
    and the queue holds as many events as it may.  Versions: 15 to 18.  Radius: write no, read no, dlq no for the
    months; while it fills, 202 and 503 are honest.  Without ``detach``: every month, dlq no.
    """

    name: ClassVar[str] = "dlq-full"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.SQL, Capability.DLQ})
    momentary: ClassVar[bool] = False
    months: tuple[Month, ...] = ()
    detach: bool = True

    def __post_init__(self) -> None:
        """Raise :class:`UsageError` for months that are not to be detached."""
        if self.months and not self.detach:
            raise UsageError("dlq-full with detach=false leaves the months alone; name none.")

    @property
    def _detach(self) -> DetachPartition:
        return DetachPartition(months=self.months)

    def radius(self, environment: Environment) -> BlastRadius:
        """Declare the months; filling is the edge, so the load fills the queue at the pace of edges."""
        if not self.detach:
            return _without_queue()
        return BlastRadius(
            months=frozenset(self.months) or None, write=Write.NO, read=False, dlq=Dlq.NO, edge=Edge.RESTART
        )

    async def inject(self, scene: Scene) -> None:
        """Detach, then wait until the service itself says that its queue is full."""
        if self.detach:
            await self._detach.inject(scene)
        seen = (-1, -1)

        async def full() -> bool:
            nonlocal seen
            seen = await _depth(scene)
            return 0 < seen[1] <= seen[0]

        try:
            await wait_until(full, what="a full queue", deadline_seconds=FULL_SECONDS, interval_seconds=0.05)
        except DeadlineExceeded as error:
            raise FaultError(
                f"The load filled {seen[0]} of the {seen[1]} places of the queue in {FULL_SECONDS:g} s. Give the "
                "scenario a small DLQ_MAX_EVENTS, or more load."
            ) from error

    async def confirm(self, scene: Scene) -> str:
        """The months refuse inserts, and the queue is full as the service says."""
        seen = f"{await self._detach.confirm(scene)}; " if self.detach else ""
        held, capacity = await _depth(scene)
        if not 0 < capacity <= held:
            raise FaultNotConfirmed(f"The queue holds {held} of {capacity} events, so it is not full.")
        return f"{seen}the queue holds {held} of {capacity} events; {await readiness(scene)}"

    async def heal(self, scene: Scene) -> None:
        """Attach again; the service drains its queue by itself."""
        if self.detach:
            await self._detach.heal(scene)

    async def probe(self, scene: Scene) -> bool:
        """The months take inserts and can be read: all that the target lists where none was detached.

        Not that the queue has room: to drain it is the service's part of the recovery, which begins here.
        """
        if self.detach:
            return await self._detach.probe(scene)
        return await healthy(scene, scene.environment.target.months)


async def _depth(scene: Scene) -> tuple[int, int]:
    """Events in the queue, dead ones too, and its capacity; (-1, -1) when it does not say."""
    status, text = await ask(scene, "/api/v1/dlq")
    try:
        data = json.loads(text.partition("\r\n\r\n")[2])
        return (int(data["depth"]) + int(data["dead_letters"]), int(data["capacity"])) if status == 200 else (-1, -1)
    except (ValueError, KeyError, TypeError):
        return -1, -1


@FAULTS.register("dlq-disk-full")
@dataclass(frozen=True, kw_only=True)
class DlqDiskFull:
    """Fills the file system of the queue, which must be the scenario's small disk, with a filler file.

    Effect: ENOSPC (SQLITE_FULL) for every commit that needs a page more.  SQLSTATE: none.  Versions: 15 to 18.
    Radius: every month, dlq partial: pages that the store had before it may still be written.  Heal deletes the
    filler.
    """

    name: ClassVar[str] = "dlq-disk-full"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.DLQ_FILE, Capability.SMALL_DISK})
    momentary: ClassVar[bool] = False

    def radius(self, environment: Environment) -> BlastRadius:
        """Declare every month."""
        return _without_queue(Dlq.PARTIAL)

    async def inject(self, scene: Scene) -> None:
        """Note the filler, then write it until nothing is left."""
        begin(scene)
        filler = dlq_file(scene).parent / _FILLER
        scene.ledger.save("filler", str(filler))
        try:
            scene.ledger.save("bytes", await uninterrupted(asyncio.to_thread(_dlq_file.fill, filler)))
        except OSError as error:
            raise FaultError(f"The disk of the queue could not be filled: {error}.") from error

    async def confirm(self, scene: Scene) -> str:
        """The service has its queue open on a disk that takes no page more."""
        _held_open(scene)
        folder = dlq_file(scene).parent
        left, refusal = _dlq_file.free_bytes(folder), _dlq_file.write_refused(folder)
        if left or not refusal:
            raise FaultNotConfirmed(f"The disk of the queue has {left} bytes left; a page more: {refusal or 'taken'}.")
        return f"filler of {scene.ledger.load('bytes')} bytes; a page more: {refusal}; {await readiness(scene)}"

    async def heal(self, scene: Scene) -> None:
        """Delete the filler."""
        filler, failure = scene.ledger.load("filler"), "The filler {file} could not be deleted: {error}."
        _undo([filler] if filler else [], Path.unlink, f"{failure} Delete it by hand.")

    async def probe(self, scene: Scene) -> bool:
        """The disk takes a page again."""
        return not _dlq_file.write_refused(dlq_file(scene).parent)


@FAULTS.register("dlq-read-only")
@dataclass(frozen=True, kw_only=True)
class DlqReadOnly:
    """Makes the queue's files immutable, which stops writes by the descriptors that the service already has.

    File modes would not: they are asked on opening only, and never of root.  Needs root and a file system with the
    immutable flag (ext4, xfs, btrfs).  Effect: EPERM for each write (SQLITE_IOERR or SQLITE_READONLY).  SQLSTATE:
    none.  Versions: 15 to 18.  Radius: every month, dlq no.
    """

    name: ClassVar[str] = "dlq-read-only"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.DLQ_FILE, Capability.IMMUTABLE})
    momentary: ClassVar[bool] = False

    def radius(self, environment: Environment) -> BlastRadius:
        """Declare every month."""
        return _without_queue()

    async def inject(self, scene: Scene) -> None:
        """Note the files, then set their flags."""
        begin(scene)
        files = _dlq_file.present(dlq_file(scene), _dlq_file.WRITTEN)
        scene.ledger.save("files", [str(file) for file in files])
        try:
            for file in files:
                set_immutable(file, immutable=True)
        except OSError as error:
            raise FaultError(
                f"The queue cannot be made read-only: {error}. It needs root (CAP_LINUX_IMMUTABLE) and a file system "
                "with the immutable flag, such as ext4; the modes of a file that is open stop nobody."
            ) from error

    async def confirm(self, scene: Scene) -> str:
        """None of the descriptors by which the service has the files open takes a write."""
        life, descriptors = _held_open(scene, _dlq_file.WRITTEN)
        try:
            taking = _dlq_file.writable_by(life, descriptors)
        except OSError as error:
            raise FaultNotConfirmed(f"The service's descriptors cannot be tried: {error}.") from error
        if taking:
            raise FaultNotConfirmed(
                f"{len(taking)} of {len(descriptors)} descriptors of the queue still take writes: its file system "
                "heeds the immutable flag on opening only."
            )
        return f"{len(descriptors)} descriptors of the queue take no write; {await readiness(scene)}"

    async def heal(self, scene: Scene) -> None:
        """Clear the flags of the files that are still there."""
        clear = partial(set_immutable, immutable=False)
        _undo(scene.ledger.load("files") or [], clear, "{file} is still immutable: {error}. Clear it with chattr -i.")

    async def probe(self, scene: Scene) -> bool:
        """Every file can be opened for writing."""
        return all(_dlq_file.takes_writes(Path(file)) for file in scene.ledger.load("files") or [])


@FAULTS.register("dlq-locked")
@dataclass(frozen=True, kw_only=True)
class DlqLocked:
    """Holds SQLite's write lock on the queue (BEGIN EXCLUSIVE) from a process of its own, which dies with the runner.

    Effect: SQLITE_BUSY (``database is locked``) for each write; reads go on in WAL mode.  SQLSTATE: none.  Versions:
    15 to 18.  Radius: every month, dlq no.
    """

    name: ClassVar[str] = "dlq-locked"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.DLQ_FILE})
    momentary: ClassVar[bool] = False

    def radius(self, environment: Environment) -> BlastRadius:
        """Declare every month."""
        return _without_queue()

    async def inject(self, scene: Scene) -> None:
        """Start the locker, save its life, and tell it to lock."""
        begin(scene)
        try:
            await uninterrupted(asyncio.to_thread(self._lock, scene, dlq_file(scene)))
        except OSError as error:
            raise FaultError(f"The queue could not be locked: {error}.") from error

    def _lock(self, scene: Scene, path: Path) -> None:
        locker = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_dlq_locker.__file__), str(path)],
            cwd=path.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        _LOCKERS[scene.ledger.folder] = locker
        scene.ledger.save("locker", life_of(locker.pid).to_json())
        assert locker.stdin is not None
        assert locker.stdout is not None
        locker.stdin.write("lock\n")
        locker.stdin.flush()
        said = locker.stdout.readline().strip()
        if said != "locked":
            raise OSError(f"the locker said {said or 'nothing'}")

    async def confirm(self, scene: Scene) -> str:
        """The service has the file open, and a writer that does not wait is told that it is locked."""
        _held_open(scene)
        locker = saved_life(scene, "locker")
        refusal = await asyncio.to_thread(_dlq_file.write_lock, dlq_file(scene), 0.0)
        if locker is None or not locker.state or not refusal:
            raise FaultNotConfirmed(f"The queue is not locked: another writer got {refusal or 'the lock'}.")
        return f"process {locker.pid} holds the lock: {refusal}; {await readiness(scene)}"

    async def heal(self, scene: Scene) -> None:
        """Kill the locker, with which its lock goes."""
        locker = saved_life(scene, "locker")
        if locker is not None:
            locker.signal(signal.SIGKILL)
        mine = _LOCKERS.pop(scene.ledger.folder, None)
        if mine is not None:
            await uninterrupted(asyncio.to_thread(_ended, mine))
        if locker is not None:
            await self._gone(locker)

    async def _gone(self, locker: Life) -> None:
        async def gone() -> bool:
            return not locker.state

        try:
            await wait_until(gone, what=f"the end of the locker {locker.pid}", deadline_seconds=5.0)
        except DeadlineExceeded as error:
            raise HealFailed(f"The queue is still locked: {error}.") from error

    async def probe(self, scene: Scene) -> bool:
        """The lock can be had."""
        path = dlq_file(scene)
        return not path.exists() or not await asyncio.to_thread(_dlq_file.write_lock, path, 0.5)


def _ended(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


@FAULTS.register("dlq-deleted")
@dataclass(frozen=True, kw_only=True)
class DlqDeleted:
    """Deletes the queue's files under the service, all of SQLite's, and reports the events in them as destroyed.

    Commits are locked out while the ids are read and the names deleted, so that no acknowledgement escapes between.
    Momentary: the service owes a file made anew, at once.  Effect: what is queued is gone unless the service drains
    it by its open descriptor.  SQLSTATE: none.  Versions: 15 to 18.  Radius: every month, dlq destroyed, for its edge
    alone; an acknowledgement after it is due.
    """

    name: ClassVar[str] = "dlq-deleted"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.DLQ_FILE})
    momentary: ClassVar[bool] = True

    def radius(self, environment: Environment) -> BlastRadius:
        """Declare every month."""
        return _without_queue(Dlq.DESTROYED)

    async def inject(self, scene: Scene) -> None:
        """Lock, read the ids, delete, report."""
        begin(scene)
        _held_open(scene)
        await uninterrupted(self._delete(scene, dlq_file(scene)))

    async def _delete(self, scene: Scene, path: Path) -> None:
        try:
            ids = await asyncio.to_thread(_dlq_file.delete_under_lock, path)
        except (sqlite3.Error, OSError) as error:
            raise FaultError(f"The queue file {path} could not be deleted: {error}.") from error
        scene.ledger.save("ids", list(ids))
        await scene.destroyed(DestroyedRows(ids, restored=False))

    async def confirm(self, scene: Scene) -> str:
        """The file that the service had is gone from its name."""
        path, ids = dlq_file(scene), scene.ledger.load("ids")
        if ids is None:
            raise FaultNotConfirmed(f"{path} was not deleted; inject did not come to it.")
        made = "made anew" if path.exists() else "not there yet"
        return f"{len(ids)} events were in it; the file is {made}"

    async def heal(self, scene: Scene) -> None:
        """Nothing to undo: what was in it is destroyed, the service makes it anew."""

    async def probe(self, scene: Scene) -> bool:
        """Nothing stands in the way of a new file."""
        return _dlq_file.takes_writes(dlq_file(scene))
