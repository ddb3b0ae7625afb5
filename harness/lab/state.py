"""State: which labs there are, for every terminal of the same user.

::

    $XDG_STATE_HOME/partition-harness/labs/     (~/.local/state/… without it), its owner's alone
        NAME/
            lock         held by the daemon for as long as it lives: by this, and not by a pid, a dead one is told
            lab.json     whose it is and how to reach it; no password is ever written here
            daemon.log   what the daemon has to say when nobody listens

Not in XDG_RUNTIME_DIR, although a lab is a thing of the run time: that directory goes with the last session of its
user, and a lab that was started over ssh would be out of reach while it lives on.  The socket lies in the lab's
temporary root, so that the reaper of a killed daemon removes it as well; where that path is too long for a socket, it
lies in XDG_RUNTIME_DIR.
"""

from __future__ import annotations

import difflib
import fcntl
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from .._wait import wait_until_sync
from ..errors import DeadlineExceeded, LabError, SetupError, UsageError
from ..ledger import Ledger
from .codec import decode, encode

Say = Callable[[str], None]

USUAL_NAME = "lab"
"""What a lab is called unless another name is given."""
LOG_FILE = "daemon.log"
_PLACE = ("partition-harness", "labs")
_RECORD, _LOCK = "lab.json", "lock"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}\Z")
_REAPER_SECONDS = 10.0
_LOCK_PATIENCE_SECONDS = 1.0
"""Whoever looks whether a lab lives holds its lock for an instant."""
_SOCKET_BYTES = 100
"""What the path of a Unix socket may take everywhere (104 bytes on macOS, 108 on Linux, its end included)."""


@dataclass(frozen=True, kw_only=True)
class LabRecord:
    """What a lab has written of itself; ``socket`` is empty while it starts."""

    name: str
    pid: int
    started_at: str
    target: str
    folder: Path
    """The run folder: history and logs."""
    ledger: Path
    """That of the lab is in its run folder, that of a kept run where the run left it."""
    harness: str
    root: str = ""
    socket: str = ""


@dataclass(frozen=True)
class LabFolder:
    """The place of one lab below the state directory."""

    path: Path

    @property
    def name(self) -> str:
        """The lab's name."""
        return self.path.name

    @property
    def log(self) -> Path:
        """What its daemon printed."""
        return self.path / LOG_FILE

    def record(self) -> LabRecord | None:
        """Return what it has written of itself; None for nothing, and for what cannot be read."""
        try:
            return decode(LabRecord, (self.path / _RECORD).read_bytes())
        except (OSError, LabError):
            return None

    def write(self, record: LabRecord) -> None:
        """Write it, so that nobody ever reads a half of it."""
        part = self.path / f".{_RECORD}.part"
        part.touch(mode=0o600)
        part.write_text(encode(record), encoding="utf-8")
        part.replace(self.path / _RECORD)

    def holder(self) -> int | None:
        """Return the process that holds the lock, or held it last; None while its daemon has still to say so."""
        try:
            return int((self.path / _LOCK).read_text())
        except (OSError, ValueError):
            return None

    def alive(self) -> bool:
        """Tell whether its daemon lives, or its start is under way."""
        try:
            descriptor = os.open(self.path / _LOCK, os.O_RDWR)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def wait_gone(self, deadline_seconds: float) -> bool:
        """Wait until its daemon is gone; False when it is not within the deadline."""
        try:
            wait_until_sync(
                lambda: not self.alive(),
                what="the lab to end",
                deadline_seconds=deadline_seconds,
                interval_seconds=0.05,
            )
        except DeadlineExceeded:
            return False
        return True

    def wait_holder(self, deadline_seconds: float) -> int | None:
        """Wait until a starting daemon has said which process it is; None when nobody is to be ended any more."""
        with suppress(DeadlineExceeded):
            wait_until_sync(
                lambda: self.holder() is not None or not self.alive(),
                what="the daemon's process",
                deadline_seconds=deadline_seconds,
                interval_seconds=0.05,
            )
        return self.holder() if self.alive() else None

    def remove(self) -> None:
        """Forget the lab; for whoever holds its lock, or knows that nobody does."""
        record = self.record()
        if record is not None and record.socket:
            with suppress(OSError):
                Path(record.socket).unlink(missing_ok=True)
        shutil.rmtree(self.path, ignore_errors=True)


def write_holder(descriptor: int) -> None:
    """Write into a locked file that this process holds it."""
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)


@dataclass(frozen=True)
class Claim:
    """A lab's name taken: its folder, and the locked descriptor, which a child process may inherit."""

    folder: LabFolder
    descriptor: int

    def close(self) -> None:
        """Give this process's hold of the lock back; a child that inherited it holds it on."""
        os.close(self.descriptor)

    def forget(self) -> None:
        """Remove the place of a lab that never came up, unless its daemon has done so and the name is another's now."""
        if _same(self.descriptor, self.folder.path / _LOCK) and self.folder.record() is None:
            self.folder.remove()


def home() -> Path:
    """The folder of all labs of this user, made if it is missing; raises :class:`SetupError`."""
    configured = Path(os.environ.get("XDG_STATE_HOME", ""))
    try:
        base = configured if configured.is_absolute() else Path.home() / ".local" / "state"
        place = base.joinpath(*_PLACE)
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        place.chmod(0o700)
    except (OSError, RuntimeError) as error:
        raise SetupError(
            f"There is no place to remember labs in ({error}). Set XDG_STATE_HOME to an absolute path that can be "
            "written."
        ) from error
    return place


def known() -> list[LabFolder]:
    """Every lab that was started and not ended in good order, living or dead, by name."""
    return [LabFolder(path) for path in sorted(home().iterdir()) if path.is_dir() and not path.name.startswith(".")]


def valid_name(name: str) -> str:
    """Return a name that a lab may have; raise :class:`UsageError` for another."""
    if not _NAME.match(name):
        raise UsageError(
            f"{name!r} is no name for a lab: use up to 40 small letters, digits, dots, dashes and underscores, such as "
            "december."
        )
    return name


def name_option(name: str) -> str:
    """Return what a command needs to mean the lab of a name, where one is told of; "" for the usual name."""
    return "" if name == USUAL_NAME else f" --name {name}"


def find(name: str | None) -> LabFolder:
    """Return the living lab of a name, or the only one; raise :class:`UsageError` that says which there are."""
    labs = known()
    living = [lab for lab in labs if lab.alive()]
    names = ", ".join(lab.name for lab in living)
    if name is None:
        if len(living) == 1:
            return living[0]
        if living:
            raise UsageError(f"Several labs are up: {names}. Say which one with --name.")
        dead = [lab.name for lab in labs if lab not in living]
        told = f" What is left of {', '.join(dead)}, whose daemon died, goes by `harness lab down`." if dead else ""
        raise UsageError(f"No lab is up; `harness lab up` starts one.{told}")
    found = next((lab for lab in labs if lab.name == name), None)
    if found is not None and found in living:
        return found
    if found is not None:
        raise UsageError(_death(found))
    near = difflib.get_close_matches(name, [lab.name for lab in living], n=1)
    hint = f"did you mean {near[0]}?" if near else _living_text(names)
    raise UsageError(f"There is no lab named {name!r}; {hint}")


def _living_text(names: str) -> str:
    return f"up: {names}." if names else "none is up; `harness lab up` starts one."


def _death(lab: LabFolder) -> str:
    """Say of a dead lab that it is one, and what is left to look at."""
    record = lab.record()
    history = f" Its history is in {record.folder}." if record is not None else ""
    return (
        f"The daemon of the lab {lab.name} has died, and its environment with it.{history} Its last words may be in "
        f"{lab.log}; `harness lab down --name {lab.name}` clears it away."
    )


def claim(name: str) -> Claim | None:
    """Take a name, or None when a living lab has it; what a dead one left is still there."""
    place = home() / valid_name(name)
    while True:
        place.mkdir(mode=0o700, exist_ok=True)
        try:
            descriptor = os.open(place / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            continue  # Forgotten by somebody in between.
        if not _locked(descriptor):
            os.close(descriptor)
            return None
        if _same(descriptor, place / _LOCK):
            os.ftruncate(descriptor, 0)  # Whoever held it last is gone, and its number may be somebody else's.
            return Claim(LabFolder(place), descriptor)
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    def lock() -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    try:
        wait_until_sync(lock, what="the lab's lock", deadline_seconds=_LOCK_PATIENCE_SECONDS, interval_seconds=0.02)
    except DeadlineExceeded:
        return False
    return True


def _same(descriptor: int, path: Path) -> bool:
    """Tell whether the locked file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False


@contextmanager
def claimed(name: str) -> Iterator[Claim | None]:
    """Hold a name for as long as the block lasts."""
    taken = claim(name)
    try:
        yield taken
    finally:
        if taken is not None:
            taken.close()


def clear(lab: LabFolder, say: Say) -> bool:
    """Remove what a dead lab left: the root if its reaper died as well, its open ledger, its place here.

    Its logs are redacted, since its daemon has not lived to do so.
    False when the lab lives, or something of it could not be removed; what, is said.
    """
    with claimed(lab.name) as taken:
        if taken is None:
            return False
        record = taken.folder.record()
        gone = True
        if record is not None:
            ledger = Ledger(record.ledger)
            if ledger.record is not None:
                from ..healing import heal_all  # Drivers and stacks: most commands need none of them.

                if record.root:
                    _reaped(Path(record.root))
                gone = heal_all((ledger,), say, dry_run=False, wait_seconds=_REAPER_SECONDS)
        if gone:
            if record is not None:
                _redact(record, say)
            taken.folder.remove()
        return gone


def _redact(record: LabRecord, say: Say) -> None:
    """Redact the logs of its own folder, and those of a kept run, which its parts went on writing to."""
    from ..concealing import conceal

    for folder in dict.fromkeys((record.folder, record.ledger.parent)):
        try:
            conceal(folder)
        except OSError as error:
            say(f"the logs in {folder} are not redacted ({error}); `harness check {folder.name}` tries it again")


def _reaped(root: Path) -> None:
    """Wait for the reaper, who is at work since the daemon died; one that died as well is waited for in vain."""
    with suppress(DeadlineExceeded):
        wait_until_sync(
            lambda: not root.exists(), what="the reaper", deadline_seconds=_REAPER_SECONDS, interval_seconds=0.05
        )


def socket_place(root: Path) -> Path:
    """Where the socket of a lab with this temporary root goes; raises :class:`SetupError` when all paths are too long.

    The folder is made, for its owner alone.
    """
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR", ""))
    places = [root / "lab" / "socket"]
    if runtime.is_absolute() and runtime.is_dir():
        places.append(runtime.joinpath(*_PLACE) / f"{root.name}.socket")
    for place in places:
        if len(os.fsencode(place)) <= _SOCKET_BYTES:
            place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            place.parent.chmod(0o700)
            return place
    raise SetupError(
        f"The path {places[0]} is too long for a Unix socket. Set TMPDIR to a shorter one, such as /tmp, or "
        "XDG_RUNTIME_DIR to a folder of yours."
    )
