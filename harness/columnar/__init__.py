"""Histories of millions of operations: columns in Parquet, condensed by DuckDB to what checkers must see themselves.

``convert`` writes the columns, ``store`` reads them, ``condense`` folds clean operations into groups, ``conservation``
is promise 1 alone in one SQL statement (docs/decisions/history.md).  DuckDB is imported late: it costs 0.3 s.
"""

from __future__ import annotations

FOLDER = "columns"
"""The folder, within a run's, of its columns."""
