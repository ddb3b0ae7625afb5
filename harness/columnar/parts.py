"""The Parquet files of a folder of columns, written part by part and opened again as one table each."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import duckdb

MEMORY_LIMIT = "1200MB"
"""What DuckDB may take before it spills to a folder beside the columns; Python needs its share as well."""
_BUFFERED = 50_000
"""Records that wait in Python's memory."""


@dataclass(frozen=True)
class Table:
    """One table: its columns with their types, how many rows a file takes, and how many a row group.

    Small row groups are for what is looked up by ``seq``; large ones for what is read as a whole.
    """

    name: str
    columns: tuple[tuple[str, str], ...]
    file_rows: int
    group_rows: int

    @property
    def pattern(self) -> str:
        """The names of its files."""
        return f"{self.name}-*.parquet"


OPERATIONS = Table(
    "operations",
    (
        ("seq", "BIGINT"),
        ("end_seq", "BIGINT"),
        ("op", "BIGINT"),
        ("of_op", "BIGINT"),
        ("kind", "VARCHAR"),
        ("writer", "INTEGER"),
        ("batch", "INTEGER"),
        ("anonymous", "BOOLEAN"),
        ("event_id", "VARCHAR"),
        ("id_hash", "BIGINT"),
        ("day", "INTEGER"),
        ("month", "INTEGER"),
        ("class", "TINYINT"),
        ("ident", "BIGINT"),
        ("corr", "BIGINT"),
        ("content", "BIGINT"),
        ("mark", "BIGINT"),
        ("invoked", "DOUBLE"),
        ("completed", "DOUBLE"),
        ("type", "VARCHAR"),
        ("status", "INTEGER"),
        ("outcome", "VARCHAR"),
        ("partition", "VARCHAR"),
        ("error", "VARCHAR"),
    ),
    1_000_000,
    122_880,
)
ROWS = Table(
    "rows",
    (
        ("seq", "BIGINT"),
        ("event_id", "VARCHAR"),
        ("id_hash", "BIGINT"),
        ("day", "INTEGER"),
        ("month", "VARCHAR"),
        ("ident", "BIGINT"),
        ("corr", "BIGINT"),
        ("content", "BIGINT"),
        ("mark", "BIGINT"),
        ("recorded", "DOUBLE"),
    ),
    1_000_000,
    122_880,
)
LINES = Table("lines", (("seq", "BIGINT"), ("line", "VARCHAR")), 250_000, 8_192)
REST = Table("rest", (("seq", "BIGINT"), ("line", "VARCHAR")), 250_000, 122_880)
ODD = Table("odd", (("op", "BIGINT"),), 1_000_000, 122_880)
"""Numbers of operations that were given twice, or completed twice or before they began."""
_TABLES = (OPERATIONS, ROWS, LINES, REST, ODD)
_TEXTS = {table.name: [at for at, (_, kind) in enumerate(table.columns) if kind == "VARCHAR"] for table in _TABLES}

Values = tuple[Any, ...]
"""One row, in the order of the table's columns."""


def connect(spill: Path) -> duckdb.DuckDBPyConnection:
    """A database in memory that spills into a folder, made when it is first needed."""
    import duckdb

    connection = duckdb.connect()
    connection.execute(f"SET memory_limit = '{MEMORY_LIMIT}'")
    connection.execute(f"SET threads = {os.cpu_count() or 1}")
    connection.execute(f"SET temp_directory = {quoted(str(spill))}")
    return connection


def quoted(text: str) -> str:
    """An SQL string."""
    return "'" + text.replace("'", "''") + "'"


def source(table: Table, folder: Path) -> str:
    """What to select a table from, in SQL."""
    return f"read_parquet({quoted(str(folder / table.pattern))})"


class Parts:
    """Writer of all tables of a folder."""

    def __init__(self, folder: Path) -> None:
        """Make the folder; raises FileExistsError rather than mixing two histories."""
        folder.mkdir(parents=True)
        self._folder = folder
        self._connection = connect(folder / "spill")
        self._buffers: dict[str, list[Values]] = {table.name: [] for table in _TABLES}
        self._staged = {table.name: 0 for table in _TABLES}
        self._files = {table.name: 0 for table in _TABLES}
        for table in _TABLES:
            columns = ", ".join(f'"{name}" {kind}' for name, kind in table.columns)
            self._connection.execute(f'CREATE TEMP TABLE "{table.name}" ({columns})')

    def operation(self, values: Values) -> None:
        """Add an operation."""
        self._add(OPERATIONS, values)

    def row(self, values: Values) -> None:
        """Add a row of the final read."""
        self._add(ROWS, values)

    def line(self, seq: int, line: str) -> None:
        """Add the line of an invocation, a completion or a row."""
        self._add(LINES, (seq, line))

    def rest(self, seq: int, line: str) -> None:
        """Add the line of any other record."""
        self._add(REST, (seq, line))

    def odd(self, op: int) -> None:
        """Add the number of an operation that must not be folded."""
        self._add(ODD, (op,))

    def close(self) -> None:
        """Write what is buffered, with a file of each table even if it is empty."""
        for table in _TABLES[:-1]:
            self._finish(table)
        # Numbers given twice, long after each other: nobody sees that who keeps only what is under way.
        again = f"SELECT op FROM {source(OPERATIONS, self._folder)} GROUP BY op HAVING count(*) > 1"
        self._connection.execute(f'INSERT INTO "{ODD.name}" {again}')
        self._finish(ODD)
        self._connection.close()

    def _add(self, table: Table, values: Values) -> None:
        buffer = self._buffers[table.name]
        buffer.append(values)
        if len(buffer) >= min(_BUFFERED, table.file_rows):
            self._stage(table)
            if self._staged[table.name] >= table.file_rows:
                self._write(table)

    def _finish(self, table: Table) -> None:
        self._stage(table)
        if self._staged[table.name] or table is ODD or not self._files[table.name]:
            self._write(table)

    def _stage(self, table: Table) -> None:
        rows = self._buffers[table.name]
        if not rows:
            return
        values = ", ".join(f"unnest(${at}::{kind}[])" for at, (_, kind) in enumerate(table.columns, 1))
        statement = f'INSERT INTO "{table.name}" SELECT {values}'
        try:
            self._connection.execute(statement, [list(column) for column in zip(*rows, strict=True)])
        except UnicodeEncodeError:
            speakable = [_speakable(row, _TEXTS[table.name]) for row in rows]
            self._connection.execute(statement, [list(column) for column in zip(*speakable, strict=True)])
        self._staged[table.name] += len(rows)
        rows.clear()

    def _write(self, table: Table) -> None:
        path = self._folder / f"{table.name}-{self._files[table.name]:05}.parquet"
        options = f"FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {table.group_rows}"
        self._connection.execute(f'COPY "{table.name}" TO {quoted(str(path))} ({options})')
        self._connection.execute(f'TRUNCATE "{table.name}"')
        self._files[table.name] += 1
        self._staged[table.name] = 0


def _speakable(values: Values, texts: Sequence[int]) -> Values:
    """The same row without lone surrogates, which Parquet cannot hold: escaped as JSON escapes them."""
    changed = list(values)
    for at in texts:
        text = changed[at]
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            changed[at] = json.dumps(json.loads(text)) if text.startswith("{") else ascii(text)[1:-1]
    return tuple(changed)
