"""Client: how a command reaches the daemon of its lab, and how a daemon is started."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, TypeVar

from ..errors import LabError, UsageError
from .codec import encode, read
from .order import LabOrder
from .protocol import AskAccess, AskStatus, Down, Request, Welcome, name_of, parse_answer, request_line
from .state import Claim, LabFolder, LabRecord, Say, claim, clear, find

T = TypeVar("T")

_CONNECT_SECONDS = 5.0
_PATIENCE_SECONDS: Mapping[type[Request], float] = {AskStatus: 30.0, AskAccess: 30.0, Down: 30.0}
"""How long a living lab takes at most for what it only has to tell.

Whatever else is asked for takes its time: a fault has 45 seconds to bite, and a queue is waited for.
"""
_LAST_LINES = 12
_DAEMON = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from harness.lab.daemon import main; main(sys.stdin.read())"
)


def ask(name: str | None, request: Request, kind: type[T], say: Say) -> T:
    """Ask the lab of a name (None: the only one) and return its answer; progress goes to ``say``.

    Raises :class:`UsageError` for a lab that is not there, and :class:`LabError` for what it refuses or cannot do.
    """
    return ask_folder(find(name), request, kind, say)


def ask_folder(folder: LabFolder, request: Request, kind: type[T], say: Say) -> T:
    """Ask the lab at a place; see :func:`ask`."""
    record = folder.record()
    if record is None or not record.socket:
        raise LabError(f"The lab {folder.name} is still starting, or ending; try again in a moment.")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_CONNECT_SECONDS)
        try:
            connection.connect(record.socket)
            connection.sendall(f"{request_line(request)}\n".encode())
        except (FileNotFoundError, ConnectionRefusedError) as error:
            # A lab that ends removes its socket first; a daemon that hangs still has its own.
            raise LabError(
                f"The lab {folder.name} is ending (its socket is gone); `harness lab down --name {folder.name}` waits "
                "until it has."
            ) from error
        except OSError as error:
            raise _silent(folder, record, error) from error
        connection.settimeout(_PATIENCE_SECONDS.get(type(request)))
        try:
            with connection.makefile("rb") as answers:
                data = _last_answer(answers, say)
        except TimeoutError as error:
            # The kernel takes connections for a process that is stopped as well.
            raise _silent(folder, record, error) from error
    if data is None:
        raise LabError(
            f"The lab {folder.name} ended before it answered `{name_of(request)}`. Its log is {folder.log}; "
            f"its history is in {record.folder}."
        )
    return read(kind, data)


def _silent(folder: LabFolder, record: LabRecord, error: OSError) -> LabError:
    return LabError(
        f"The lab {folder.name} (process {record.pid}) does not answer at {record.socket} ({error}). Its log is "
        f"{folder.log}; `harness lab down --name {folder.name} --kill` ends it."
    )


def _last_answer(answers: BinaryIO, say: Say) -> object | None:
    """Read to the answer that is the last one, saying the others; None where the other side ended without one."""
    with suppress(ConnectionError):
        for line in answers:
            kind, value = parse_answer(line)
            if kind == "done":
                done: object = value
                return done
            say(str(value))
    return None


def start(order: LabOrder, say: Say) -> Welcome:
    """Start the daemon of a lab and wait until it is up.

    Raises :class:`UsageError` when the name is taken, and whatever keeps the lab from coming up as :class:`LabError`.
    Ctrl-C ends the daemon as well.
    """
    taken = _taken(order.name, say)
    try:
        return _spawned(order, taken, say)
    except BaseException:
        # A daemon that has not come up forgets its place itself; one that never was, or was killed, cannot.
        taken.forget()
        raise
    finally:
        taken.close()


def _taken(name: str, say: Say) -> Claim:
    """Take the name of the lab, from a dead one if need be."""
    for _ in range(2):
        taken = claim(name)
        if taken is None:
            break
        if taken.folder.record() is None:
            return taken
        # Its daemon died: what it left is cleared first, by whoever holds its lock anew.
        taken.close()
        if not clear(taken.folder, say):
            raise LabError(f"What is left of the dead lab {name} could not be cleared away; see the lines above.")
        say(f"the lab {name} had died; what was left of it is gone")
    raise UsageError(
        f"A lab named {name} is up already. `harness lab status --name {name}` shows it, "
        f"`harness lab down --name {name}` ends it, and `harness lab up --name OTHER` starts another."
    )


def _spawned(order: LabOrder, taken: Claim, say: Say) -> Welcome:
    reading, writing = os.pipe()
    told = replace(order, state=taken.folder.path, lock_descriptor=taken.descriptor, pipe_descriptor=writing)
    path = [str(Path(entry or ".").resolve()) for entry in sys.path]
    command = [sys.executable, "-c", _DAEMON, json.dumps(path)]
    log = os.open(taken.folder.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        process = subprocess.Popen(
            command,
            # Not by an argument, which everybody on the machine reads: the service's variables may hold a secret.
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            # A session of its own: it outlives the terminal, and the terminal's Ctrl-C is not its own.
            start_new_session=True,
            pass_fds=(taken.descriptor, writing),
        )
    finally:
        os.close(writing)
        os.close(log)
    with os.fdopen(reading, "rb") as answers:
        try:
            _give(process, encode(told))
            data = _last_answer(answers, say)
        except BaseException:
            end_process(process.pid, signal.SIGTERM)
            process.wait()
            raise
    if data is None:
        code = process.wait()
        raise LabError(f"The daemon of the lab ended with {code} while it started. {_last_words(taken.folder.log)}")
    # It lives on; nobody here waits for it any more, and nobody has to be warned of that.
    process.returncode = 0
    return read(Welcome, data)


def _give(process: subprocess.Popen[bytes], order: str) -> None:
    """Write the order to a daemon; one that is dead already is told by what it does not answer."""
    if process.stdin is not None:
        with suppress(BrokenPipeError), process.stdin as pipe:
            pipe.write(order.encode())


def _last_words(log: Path) -> str:
    try:
        lines = log.read_text(errors="replace").strip().splitlines()[-_LAST_LINES:]
    except OSError:
        lines = []
    return "Its last words: " + "\n".join(lines) if lines else "It said nothing."


def end_process(pid: int, how: signal.Signals) -> None:
    """Send a signal to the daemon of a living lab; harmless when it is gone."""
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, how)
