"""From a history's JSON lines to columns in Parquet, in one pass and bounded memory.

A folder ``columns`` holds, each in parts and in the order of the history: ``operations`` (an invocation with its
completion) and ``rows`` (the final read of the table), both without contents; ``lines``, the records of both as they
were written; and ``rest``, every other record.  ``seq`` is the number of a record's line, by which they belong
together.  Contents are compared by their digests, so that DuckDB needs only numbers.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from .. import events as ev
from ..checkers._content import fingerprint, hashed
from ..errors import HistoryError, UsageError
from ..history import FILE_NAME, history_lines
from ..jsonlines import decode
from ..values import Month
from . import FOLDER
from .parts import Parts

FORMAT = 2
_META = "columns.json"
_PROGRESS_LINES = 1_000_000


class Class(enum.IntEnum):
    """What an honest service answers most: operations of one class may be folded.  0 is anything else."""

    OTHER = 0
    CREATED = 1
    QUEUED = 2
    RESENT = 3
    CONTRADICTED = 4
    REFUSED = 5


_CLASSES = {
    (ev.OpKind.WRITE, 201, ev.Completion.OK): Class.CREATED,
    (ev.OpKind.WRITE, 202, ev.Completion.OK): Class.QUEUED,
    (ev.OpKind.RESEND, 201, ev.Completion.OK): Class.RESENT,
    (ev.OpKind.CONFLICT, 409, ev.Completion.FAIL): Class.CONTRADICTED,
    (ev.OpKind.INVALID, 400, ev.Completion.FAIL): Class.REFUSED,
}
ANSWERS = {found: (kind, status) for (kind, status, _), found in _CLASSES.items()}
"""Kind and status of each class but OTHER."""
_OUTCOMES = {Class.CREATED: "created", Class.QUEUED: "queued", Class.RESENT: "created"}
_KNOWN_OF_INVOKE = frozenset({"t", "op", "writer", "kind", "event_id", "event_date", "content", "of", "batch"})
_KNOWN_OF_COMPLETE = frozenset({"t", "op", "type", "status", "outcome", "partition", "error", "answered_id"})


def _others(kind: type[ev.Invoke] | type[ev.Complete], known: frozenset[str]) -> tuple[tuple[str, object], ...]:
    return tuple((field.name, field.default) for field in dataclasses.fields(kind) if field.name not in known)


_OTHERS_OF_INVOKE = _others(ev.Invoke, _KNOWN_OF_INVOKE)
_OTHERS_OF_COMPLETE = _others(ev.Complete, _KNOWN_OF_COMPLETE)


def convert(lines: Iterable[str], folder: Path, progress: Callable[[str], None] = lambda said: None) -> None:
    """Write the columns of a history's lines into a folder that must not exist.

    Raises :class:`HistoryError` with the number of the first line that is no record.  A last line without its
    newline, as a killed runner leaves it, counts only when it is whole.
    """
    converter = _Converter(folder)
    for number, line in enumerate(lines, 1):
        try:
            converter.add(number, line.removesuffix("\n"))
        except HistoryError as error:
            if not line.endswith("\n"):
                break
            raise HistoryError(f"{folder.parent / FILE_NAME}, line {number}: {error}") from error
        if number % _PROGRESS_LINES == 0:
            progress(f"{number:,} lines of the history converted")
    converter.close()


def columns_of(folder: Path, progress: Callable[[str], None] = lambda said: None) -> Path:
    """The columns of a stored run; made first if they are missing, of another format, or older than its history.

    Raises :class:`HistoryError` when the history cannot be read, and when there are only columns of another format.
    """
    history, columns = folder / FILE_NAME, folder / FOLDER
    meta = columns / _META
    known = json.loads(meta.read_text(encoding="utf-8")) if meta.exists() else None
    try:
        of = history.stat()
    except OSError as error:
        if not columns.is_dir():
            raise HistoryError(f"The run {folder} has no readable history ({error.strerror}).") from error
        if known is not None and known["format"] != FORMAT:
            raise HistoryError(
                f"{columns} is of format {known['format']}, and this version reads format {FORMAT}; put {FILE_NAME} "
                "back beside it, of which the columns are made anew."
            ) from error
        return columns
    wanted = {"format": FORMAT, "bytes": of.st_size, "modified_ns": of.st_mtime_ns}
    if known == wanted:
        return columns
    fresh = folder / f"{FOLDER}.new"
    for stale in (columns, fresh):
        shutil.rmtree(stale, ignore_errors=True)
    convert(history_lines(history), fresh, progress)
    (fresh / _META).write_text(json.dumps(wanted), encoding="utf-8")
    fresh.rename(columns)
    return columns


def identity_hash(event_id: str, day: date) -> int:
    """64 bits for an event's identity; two that collide are only looked at more closely."""
    return hash((hashed(event_id.lower()), day.toordinal()))


def month_number(month: Month) -> int:
    """Months in a row, as one small number."""
    return month.year * 12 + month.month - 1


def month_of(number: int) -> Month:
    """The month of :func:`month_number`."""
    return Month(number // 12, number % 12 + 1)


@dataclass(frozen=True)
class _Sent:
    """An invocation that has no completion yet."""

    seq: int
    invoke: ev.Invoke
    correlation: str
    content: int


class _Converter:
    """Joins invocations with completions as they come; only what is under way is kept."""

    def __init__(self, folder: Path) -> None:
        self._parts = Parts(folder)
        self._under_way: dict[int, _Sent] = {}
        self._add: dict[type[ev.Record], Callable[[int, str, ev.Record], None]] = {
            ev.Invoke: self._invoke,
            ev.Complete: self._complete,
            ev.TableRow: self._row,
        }

    def add(self, seq: int, line: str) -> None:
        """Take one line; raises :class:`HistoryError` for what is no record."""
        record = decode(line)
        self._add.get(type(record), self._rest)(seq, line, record)

    def close(self) -> None:
        """Write what nobody answered, and what is still in memory."""
        for sent in self._under_way.values():
            self._operation(sent, -1, None)
        self._parts.close()

    def _invoke(self, seq: int, line: str, record: ev.Record) -> None:
        assert isinstance(record, ev.Invoke)
        earlier = self._under_way.pop(record.op, None)
        if earlier is not None:  # A number given twice: its completion belongs to both.
            self._parts.odd(record.op)
            self._operation(earlier, -1, None)
        content, correlation = fingerprint(record.content, record.event_id)
        self._under_way[record.op] = _Sent(seq, record, correlation, content)
        self._parts.line(seq, line)

    def _complete(self, seq: int, line: str, record: ev.Record) -> None:
        assert isinstance(record, ev.Complete)
        sent = self._under_way.pop(record.op, None)
        if sent is None:  # A second completion, or one before its invocation.
            self._parts.odd(record.op)
            self._parts.rest(seq, line)
            return
        self._operation(sent, seq, record)
        self._parts.line(seq, line)

    def _operation(self, sent: _Sent, end_seq: int, end: ev.Complete | None) -> None:
        invoke = sent.invoke
        month = month_number(Month.of(invoke.event_date))
        anonymous = not invoke.event_id
        event_id = end.answered_id if anonymous and end is not None else invoke.event_id
        id_hash, day = hashed(event_id.lower() or f"operation {invoke.op}/{sent.seq}"), invoke.event_date.toordinal()
        correlation = hashed(sent.correlation)
        self._parts.operation(
            (
                sent.seq,
                end_seq,
                invoke.op,
                invoke.of,
                invoke.kind.value,
                invoke.writer,
                invoke.batch,
                anonymous,
                event_id,
                id_hash,
                day,
                month,
                int(_class_of(sent, end)),
                hash((id_hash, day)),
                correlation,
                sent.content,
                _mark(sent.content, correlation, month),
                invoke.t,
                float("inf") if end is None else end.t,
                ev.Completion.INFO.value if end is None else end.type.value,
                0 if end is None else end.status,
                "" if end is None else end.outcome,
                "" if end is None else end.partition,
                "" if end is None else end.error,
            )
        )

    def _row(self, seq: int, line: str, record: ev.Record) -> None:
        assert isinstance(record, ev.TableRow)
        content, _ = fingerprint(record.content, record.event_id)
        correlation, id_hash = hashed(record.correlation_id), hashed(record.event_id.lower())
        day = record.event_date.toordinal()
        self._parts.row(
            (
                seq,
                record.event_id,
                id_hash,
                day,
                record.month,
                hash((id_hash, day)),
                correlation,
                content,
                _mark(content, correlation, _labelled(record.month)),
                _unix_seconds(record.recorded_at),
            )
        )
        self._parts.line(seq, line)

    def _rest(self, seq: int, line: str, _: ev.Record) -> None:
        self._parts.rest(seq, line)


def _class_of(sent: _Sent, end: ev.Complete | None) -> Class:
    """The class of an operation, OTHER also for one with a field that nobody here knows."""
    invoke = sent.invoke
    if (
        end is None
        or not (invoke.event_id or end.answered_id)
        or invoke.writer < 0
        or not sent.correlation
        or not invoke.t <= end.t
    ):
        return Class.OTHER
    if end.error or end.partition not in ("", Month.of(invoke.event_date).label):
        return Class.OTHER
    if any(getattr(invoke, name) != default for name, default in _OTHERS_OF_INVOKE):
        return Class.OTHER
    if any(getattr(end, name) != default for name, default in _OTHERS_OF_COMPLETE):
        return Class.OTHER
    found = _CLASSES.get((invoke.kind, end.status, end.type), Class.OTHER)
    return found if end.outcome in ("", _OUTCOMES.get(found)) else Class.OTHER


def _mark(content: int, correlation: int, month: int) -> int:
    """One number for all in which a row must equal what was sent; hashes of integers are the same in each process."""
    return hash((content, correlation, month))


def _labelled(label: str) -> int:
    """The number of a row's month; -1 for a default partition, which is no month's."""
    try:
        return month_number(Month.parse(label))
    except UsageError:
        return -1


def _unix_seconds(text: str) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp() if text else None
    except ValueError:
        return None
