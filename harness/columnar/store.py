"""The columns of one run, opened: records by line, operations to be named, rows by month."""

from __future__ import annotations

import bisect
import functools
import math
import os
import secrets
import shutil
import tempfile
import weakref
from collections.abc import Collection, Iterable, Sequence
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import events as ev
from ..checkers._content import hashed
from ..jsonlines import decode
from ..rundata import Operation, operations_of
from ..stacks.external_parts import living
from ..values import Month
from .convert import month_number
from .parts import LINES, ODD, OPERATIONS, REST, ROWS, connect, quoted, source

if TYPE_CHECKING:
    import duckdb

NARROW = (
    "seq, op, kind, writer, event_id, day, invoked, completed, type, status, outcome, partition, error, of_op, batch, "
    "anonymous"
)
"""What an operation without its content is made of."""
_GAP = 8_192
"""Lines that lie closer together than this are read in one piece."""
_SPILL = "harness-spill-"
_PIECES = 12
"""Of so many pieces and more of one file, lines are picked by their numbers."""


class Store:
    """One folder of columns.  ``ops`` and ``stored`` are its operations and rows, as views of a DuckDB in memory."""

    def __init__(self, folder: Path) -> None:
        """Open it; what does not fit into memory goes to a temporary folder that ends with this object."""
        spill = _spill_folder()
        self.connection = connect(spill)
        self.close = weakref.finalize(self, _let_go, self.connection, spill)
        """Let go of everything; harmless twice, and done at the latest when nobody has this object any more."""
        self._folder = folder
        views = {"ops": OPERATIONS, "stored": ROWS, "odd": ODD, "rest": REST}
        for name, table in views.items():
            self.connection.execute(f"CREATE VIEW {name} AS SELECT * FROM {source(table, folder)}")
        self._line_files = sorted(folder.glob(LINES.pattern))
        firsts = (self.one(f"SELECT min(seq) FROM read_parquet({quoted(str(path))})") for path in self._line_files)
        # Only an empty table has a file without a first line.
        self._first_lines: list[int] = [first[0] if first[0] is not None else 0 for first in firsts]

    def one(self, statement: str, values: Sequence[object] = ()) -> tuple[Any, ...]:
        """The only row of a query."""
        row = self.connection.execute(statement, list(values)).fetchone()
        assert row is not None, statement
        return row

    def all(self, statement: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        return self.connection.execute(statement, list(values)).fetchall()

    def column(self, statement: str, values: Sequence[object] = ()) -> list[Any]:
        """The first column of a query."""
        return [row[0] for row in self.all(statement, values)]

    @cached_property
    def rest(self) -> tuple[tuple[int, ev.Record], ...]:
        """All records but invocations, completions and rows, each with the number of its line."""
        return tuple((seq, decode(line)) for seq, line in self.all("SELECT seq, line FROM rest ORDER BY seq"))

    def rest_records(self) -> list[ev.Record]:
        """The same without their numbers."""
        return [record for _, record in self.rest]

    def every_record(self) -> list[ev.Record]:
        """The whole history, whatever memory that takes."""
        lines = self.all(f"SELECT seq, line FROM {source(LINES, self._folder)}")
        rest = self.all("SELECT seq, line FROM rest")
        return [decode(line) for _, line in sorted([*lines, *rest])]

    def lines(self, numbers: Iterable[int]) -> list[tuple[int, str]]:
        """The lines of these numbers, in their order."""
        wanted = sorted(numbers)
        found: list[tuple[int, str]] = []
        begin = 0
        for path, end in zip(self._line_files, [*self._first_lines[1:], math.inf], strict=True):
            stop = bisect.bisect_left(wanted, end)
            if stop > begin:
                found += self._lines_of(path, wanted[begin:stop])
            begin = stop
        return found

    def _lines_of(self, path: Path, wanted: list[int]) -> list[tuple[int, str]]:
        pieces = _pieces(wanted)
        if len(pieces) > _PIECES:
            among = "SELECT seq, line FROM read_parquet({}) WHERE seq IN (SELECT unnest(?::BIGINT[])) ORDER BY seq"
            return self.all(among.format(quoted(str(path))), [wanted])
        keep = set(wanted)
        statement = f"SELECT seq, line FROM read_parquet({quoted(str(path))}) WHERE seq BETWEEN ? AND ? ORDER BY seq"
        rows = (row for piece in pieces for row in self.all(statement, piece))
        return [(seq, line) for seq, line in rows if seq in keep]

    def narrow(self, where: str, values: Sequence[object] = ()) -> list[tuple[int, Operation]]:
        """Operations without their contents, with the numbers of their lines, in the order of the history."""
        rows = self.all(f"SELECT {NARROW} FROM ops WHERE {where} ORDER BY seq", values)
        return [(row[0], operation_of(row)) for row in rows]

    def operations(
        self, months: Collection[Month] | None, statuses: Collection[int] | None, since: float, until: float
    ) -> tuple[Operation, ...]:
        """See :class:`harness.rundata.Archive`."""
        where, values = ["invoked <= ?", "completed >= ?"], [until, since]
        if months is not None:
            where.append(f"month IN ({_numbers(month_number(month) for month in months)})")
        if statuses is not None:
            where.append(f"status IN ({_numbers(statuses)})")
        plain = self.narrow(f"{' AND '.join(where)} AND op NOT IN (SELECT op FROM odd)", values)
        odd = [
            (seq, operation)
            for seq, operation in self.odd_operations
            if operation.invoked <= until
            and operation.completed >= since
            and (months is None or operation.month in months)
            and (statuses is None or operation.status in statuses)
        ]
        return tuple(operation for _, operation in sorted([*plain, *odd], key=lambda pair: pair[0]))

    @cached_property
    def odd_operations(self) -> list[tuple[int, Operation]]:
        """Operations whose numbers were given twice, or completed twice, joined from the records themselves."""
        pairs = self.all("SELECT seq, end_seq FROM ops WHERE op IN (SELECT op FROM odd) ORDER BY seq")
        if not pairs:
            return []
        kept = [(seq, decode(line)) for seq, line in self.lines({each for pair in pairs for each in pair} - {-1})]
        strays = [(seq, record) for seq, record in self.rest if isinstance(record, ev.Complete)]
        joined = operations_of([record for _, record in sorted([*kept, *strays], key=lambda pair: pair[0])])
        return list(zip((seq for seq, _ in pairs), joined, strict=True))

    def row_ids(self, month: str) -> tuple[str, ...]:
        """See :class:`harness.rundata.Archive`."""
        return tuple(self.column("SELECT event_id FROM stored WHERE month = ? ORDER BY seq", [month]))

    def records_of(self, event_ids: Collection[str]) -> Sequence[ev.Record]:
        """See :class:`harness.rundata.Archive`."""
        hashes = [[hashed(event_id) for event_id in event_ids]]
        among = "id_hash IN (SELECT unnest(?::BIGINT[]))"
        numbers: set[int] = set(self.column(f"SELECT seq FROM stored WHERE {among}", hashes))
        for pair in self.all(f"SELECT seq, end_seq FROM ops WHERE {among}", hashes):
            numbers.update(number for number in pair if number >= 0)
        return [decode(line) for _, line in self.lines(numbers)]


def _spill_folder() -> Path:
    """Name a folder, which DuckDB makes when it first needs it; those of processes that were killed are removed."""
    beside = Path(tempfile.gettempdir())
    for left in beside.glob(f"{_SPILL}*"):
        owner = left.name.removeprefix(_SPILL).partition("-")[0]
        if not (owner.isdigit() and living(int(owner))):
            shutil.rmtree(left, ignore_errors=True)
    return beside / f"{_SPILL}{os.getpid()}-{secrets.token_hex(8)}"


def _let_go(connection: duckdb.DuckDBPyConnection, spill: Path) -> None:
    connection.close()
    shutil.rmtree(spill, ignore_errors=True)


def _numbers(numbers: Iterable[int]) -> str:
    # An empty list is no SQL.
    return ", ".join(str(int(number)) for number in numbers) or "NULL"


def _pieces(wanted: list[int]) -> list[tuple[int, int]]:
    """Spans that hold all the numbers, cut where nothing is wanted for long."""
    pieces = [(wanted[0], wanted[0])]
    for number in wanted[1:]:
        begin, end = pieces[-1]
        if number - end > _GAP:
            pieces.append((number, number))
        else:
            pieces[-1] = (begin, number)
    return pieces


_KINDS = {kind.value: kind for kind in ev.OpKind}
_ENDS = {end.value: end for end in ev.Completion}
_day = functools.lru_cache(maxsize=4096)(date.fromordinal)


def operation_of(row: tuple[Any, ...]) -> Operation:
    """Make an operation of the columns of :data:`NARROW`."""
    _, op, kind, writer, event_id, day, invoked, completed, ended, *answer = row
    status, outcome, partition, error, of, batch, anonymous = answer
    sent = (op, _KINDS[kind], writer, event_id, _day(day), "", invoked, completed)
    return Operation(*sent, _ENDS[ended], status, outcome, partition, error, of, batch, "", anonymous)
