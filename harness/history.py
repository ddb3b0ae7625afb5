"""History: the append-only record of a run, on disk before anything is judged.

Each record goes to the operating system as it happens (one write a line, no buffer of our own), so a runner that
is killed leaves a readable history up to its last instant.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime
from pathlib import Path

from .errors import HistoryError
from .events import HIDDEN, Complete, FaultMark, Invoke, MetricsSample, OpKind, PhaseMark, Record
from .jsonlines import decode, encode
from .redaction import GUESSED, redact

FILE_NAME = "history.jsonl"
_REMEMBERED = 500


class Clock:
    """The run's monotonic clock: seconds since its start, and the wall time that the start had."""

    def __init__(self) -> None:
        """Start at zero, now."""
        self.origin = time.monotonic()
        self.started_at = datetime.now(UTC)

    def now(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.origin

    def at_wall(self, moment: datetime) -> float:
        """Map a wall-clock time, such as that of a log line, to the run's clock."""
        return (moment - self.started_at).total_seconds()


def _unheard(record: FaultMark | PhaseMark) -> None:
    """Nobody listens."""


class History:
    """Writer of one run's history file; redacts secrets in every line.

    ``heard`` is called with each mark of a fault or phase as it is written, so without secrets.
    """

    def __init__(self, folder: Path, clock: Clock, heard: Callable[[FaultMark | PhaseMark], None] = _unheard) -> None:
        """Create the file; raises FileExistsError rather than mixing two runs."""
        self.path = folder / FILE_NAME
        self.clock = clock
        self._heard = heard
        self.acknowledged: set[tuple[str, date]] = set()
        """Identities answered 201 or 202 so far, as far as they are known: what the final reads must find."""
        self.scrapes = 0
        """Successful scrapes so far."""
        self.created: deque[str] = deque(maxlen=_REMEMBERED)
        """Ids of first sends answered 201 lately, which a query must find from then on."""
        self.queued: deque[str] = deque(maxlen=_REMEMBERED)
        """Ids of first sends answered 202 lately, which no query may find before they are stored."""
        self._invokes: dict[int, tuple[str, date, OpKind]] = {}
        self._secrets: tuple[str, ...] = ()
        self._guessed: tuple[str, ...] = ()
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)

    def hide(self, secrets: Sequence[str], guessed: Sequence[str] = ()) -> None:
        """Redact these strings from every later line: the run's own secrets, and what only looks like one."""
        self._secrets = tuple(secret for secret in secrets if secret)
        self._guessed = tuple(secret for secret in guessed if secret)

    def add(self, record: Record) -> None:
        """Append one record."""
        line = redact(redact(encode(record), self._secrets, HIDDEN), self._guessed, GUESSED)
        os.write(self._descriptor, f"{line}\n".encode("utf-8", "surrogatepass"))
        if isinstance(record, Invoke):
            self._invokes[record.op] = (record.event_id, record.event_date, record.kind)
        elif isinstance(record, Complete) and record.status in (201, 202):
            self._remember(record)
        elif isinstance(record, MetricsSample) and not record.error:
            self.scrapes += 1
        elif isinstance(record, FaultMark | PhaseMark):
            written = decode(line)
            if isinstance(written, FaultMark | PhaseMark):
                self._heard(written)

    def _remember(self, accepted: Complete) -> None:
        sent_id, day, kind = self._invokes[accepted.op]
        event_id = sent_id or accepted.answered_id
        if not event_id:
            return
        self.acknowledged.add((event_id, day))
        if kind is OpKind.WRITE:
            (self.created if accepted.status == 201 else self.queued).append(event_id)

    def mark(self, build: Callable[[float], Record]) -> float:
        """Append the record that ``build`` makes of the present time, and return that time."""
        now = self.clock.now()
        self.add(build(now))
        return now

    def close(self) -> None:
        """Sync and close; harmless twice."""
        if self._descriptor >= 0:
            os.fsync(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1


def history_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a history, each with its newline; a last one that ends within a character is left out.

    Raises :class:`HistoryError` for what is no UTF-8 elsewhere, and OSError.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                yield line.decode("utf-8", "surrogatepass")
            except UnicodeDecodeError as error:
                if not line.endswith(b"\n"):
                    return
                raise HistoryError(f"{path}, line {number}: no UTF-8 ({error.reason}): {line[:120]!r}") from error


def read_history(folder: Path) -> list[Record]:
    """Read a stored history.  A last line that a killed runner left half written is dropped.

    Raises :class:`HistoryError` when the file is missing or broken elsewhere.
    """
    path = folder / FILE_NAME
    records = []
    try:
        for number, line in enumerate(history_lines(path), 1):
            try:
                records.append(decode(line.removesuffix("\n")))
            except HistoryError as error:
                if not line.endswith("\n"):
                    break
                raise HistoryError(f"{path}, line {number}: {error}") from error
    except OSError as error:
        raise HistoryError(
            f"The run {folder} has no readable history ({error.strerror}). "
            f"Name a folder below reports/ that holds {FILE_NAME}."
        ) from error
    return records
