"""Protocol: what is said between a command and the daemon of its lab, one JSON object a line over a Unix socket.

::

    command                                   daemon
    {"do": "inject", "arguments": {…}} ──►
                                    ◄──   {"say": "…"}            any number of them: progress
                                    ◄──   {"done": {…}}           or {"error": {"message": "…", "exit_code": 3}}

A connection carries one request.  Both ends read with :mod:`.codec`, so that what comes in is either one of these
dataclasses or refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import HarnessError, LabError
from ..values import Month
from .codec import encode, parse, read

MAX_LINE_BYTES = 16 * 1024 * 1024
"""A line beyond it is none of ours."""


@dataclass(frozen=True, kw_only=True)
class AskStatus:
    """What is on, and how the parts are."""


@dataclass(frozen=True, kw_only=True)
class AskAccess:
    """How to reach the database."""


@dataclass(frozen=True, kw_only=True)
class PlayLoad:
    """Have a load on, instead of one that may be: ``rate_per_month`` events a second into each month, 0 unpaced.

    No months means those of the target; ``seconds`` None, until it is told to stop.
    """

    rate_per_month: float
    writers_per_month: int
    months: tuple[Month, ...] = ()
    seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class StopLoad:
    """Send nothing more."""


@dataclass(frozen=True, kw_only=True)
class Inject:
    """Inject a fault, given as :func:`harness.fault.fault_to_json` writes it."""

    fault: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Heal:
    """Heal the faults of a name or a number; "" is the only one that is on; ``everything`` all of them."""

    which: str = ""
    everything: bool = False


@dataclass(frozen=True, kw_only=True)
class MakeSnapshot:
    """Store the history so far with a last reading, as a run to be judged; ``wait`` until there is enough to judge."""

    wait: bool = True


@dataclass(frozen=True, kw_only=True)
class AskRecording:
    """What was done so far, as a scenario; no pause longer than ``longest_gap_seconds``, if that is given."""

    name: str
    longest_gap_seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class Down:
    """End the lab."""


Request = AskStatus | AskAccess | PlayLoad | StopLoad | Inject | Heal | MakeSnapshot | AskRecording | Down

_KINDS: Mapping[str, type[Request]] = {
    "status": AskStatus,
    "access": AskAccess,
    "load": PlayLoad,
    "stop-load": StopLoad,
    "inject": Inject,
    "heal": Heal,
    "snapshot": MakeSnapshot,
    "record": AskRecording,
    "down": Down,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}


@dataclass(frozen=True, kw_only=True)
class Told:
    """The usual answer: lines for a human."""

    lines: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Access:
    """How to reach the database of a lab.  The connection strings are without the password, which is beside them."""

    conninfo: str
    proxied_conninfo: str
    password: str
    psql: str


@dataclass(frozen=True, kw_only=True)
class Welcome:
    """What a lab says as soon as it is up."""

    name: str
    folder: str
    how_to_look: tuple[str, ...]
    ends_in_seconds: float


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A history that can be judged, in a run folder of its own; ``seconds`` is how long the lab has been up."""

    folder: str
    seconds: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Recording:
    """What was done, as the JSON of a scenario, and what of it could not be recorded."""

    scenario: dict[str, Any]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """A request as it is on the wire."""

    do: str
    arguments: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class _Failure:
    message: str
    exit_code: int


def name_of(request: Request) -> str:
    """Return the word that a request has on the wire, which is also good for a message."""
    return _NAMES[type(request)]


def request_line(request: Request) -> str:
    """Return a request as one line, without the newline."""
    return encode({"do": name_of(request), "arguments": request})


def parse_request(line: str | bytes) -> Request:
    """Read a request; raise :class:`LabError` for what is none."""
    asked = read(_Asked, parse(line), "the request")
    if asked.do not in _KINDS:
        raise LabError(
            f"This lab does not know {asked.do!r}, but {', '.join(_KINDS)}. It was started by another version of the "
            "harness; end it (harness lab down) and start it anew."
        )
    return read(_KINDS[asked.do], asked.arguments, asked.do)


def say_line(text: str) -> str:
    """Return a line of progress."""
    return encode({"say": text})


def done_line(answer: object) -> str:
    """Return the answer to a request that was carried out."""
    return encode({"done": answer})


def error_line(error: HarnessError) -> str:
    """Return the answer to a request that failed."""
    return encode({"error": {"message": str(error), "exit_code": error.exit_code}})


def parse_answer(line: str | bytes) -> tuple[str, Any]:
    """Read an answer: ("say", text) or ("done", data); raises :class:`LabError` for an error, and for no answer."""
    data = parse(line)
    if not isinstance(data, dict) or len(data) != 1:
        raise LabError(f"The lab gave no answer that this version understands: {line[:120]!r}.")
    ((kind, value),) = data.items()
    if kind == "error":
        failure = read(_Failure, value, "error")
        raise LabError(failure.message, failure.exit_code)
    if kind not in ("say", "done") or (kind == "say" and not isinstance(value, str)):
        raise LabError(f"The lab gave no answer that this version understands: {line[:120]!r}.")
    return kind, value
