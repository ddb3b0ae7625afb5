"""Between which two of some times each of millions of values lies, by a hash join instead of a sort."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb

_MOST_BUCKETS = 2_000_000
_numbers = itertools.count()


def stepped(
    connection: duckdb.DuckDBPyConnection, source: str, value: str, times: Sequence[float], *, inclusive: bool
) -> str:
    """A query for rows of ``source`` with a column ``step``: how many of the rising ``times`` come before the value.

    A time equal to the value comes before it unless ``inclusive``.  Makes a table of buckets so narrow that each holds
    one time at most; values join them by a division.  Times that lie too close together for that are joined by a sort.
    """
    table = f"steps_{next(_numbers)}"
    apart = min((two - one for one, two in itertools.pairwise(times)), default=1.0)
    width = max(apart / 2, (times[-1] - times[0]) / _MOST_BUCKETS)
    if width > apart:
        return _sorted(connection, table, source, value, times, inclusive=inclusive)
    edges = {math.floor(t / width): (step, t) for step, t in enumerate(times)}
    first, last = min(edges), max(edges)
    connection.execute(f"CREATE TEMP TABLE {table} (bucket BIGINT, step BIGINT, edge DOUBLE)")
    columns = [list(column) for column in zip(*_filled(edges, first, last), strict=True)]
    connection.execute(
        f"INSERT INTO {table} SELECT unnest($1::BIGINT[]), unnest($2::BIGINT[]), unnest($3::DOUBLE[])", columns
    )
    before = ">" if inclusive else ">="
    bucket = f"CAST(floor({value} / {width!r}) AS BIGINT)"
    return (
        f"SELECT s.*, coalesce({table}.step + (s.{value} {before} {table}.edge)::INT, "
        f"if(s.{value} < {times[0]!r}, 0, {len(times)})) AS step "
        f"FROM (SELECT *, {bucket} AS bucket FROM {source} WHERE isfinite({value})) s LEFT JOIN {table} USING (bucket)"
    )


def _sorted(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    source: str,
    value: str,
    times: Sequence[float],
    *,
    inclusive: bool,
) -> str:
    connection.execute(f"CREATE TEMP TABLE {table} (step BIGINT, edge DOUBLE)")
    columns = [list(range(1, len(times) + 1)), list(times)]
    connection.execute(f"INSERT INTO {table} SELECT unnest($1::BIGINT[]), unnest($2::DOUBLE[])", columns)
    after = ">" if inclusive else ">="
    return (
        f"SELECT s.*, coalesce({table}.step, 0) AS step FROM (SELECT * FROM {source} WHERE isfinite({value})) s "
        f"ASOF LEFT JOIN {table} ON s.{value} {after} {table}.edge"
    )


def _filled(edges: dict[int, tuple[int, float]], first: int, last: int) -> Sequence[tuple[int, int, float]]:
    """Every bucket from the first to the last; one without a time has an edge that nothing reaches."""
    rows: list[tuple[int, int, float]] = []
    step = 0
    for bucket in range(first, last + 1):
        if bucket in edges:
            step, edge = edges[bucket]
            rows.append((bucket, step, edge))
            step += 1
        else:
            rows.append((bucket, step, math.inf))
    return rows
