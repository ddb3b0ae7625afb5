"""What a condensed run asks of all its operations at once, in SQL (see :class:`harness.rundata.Archive`)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Sequence

from .. import events as ev
from ..rundata import Operation, Tally
from ..values import Month
from .convert import month_number, month_of
from .steps import stepped
from .store import NARROW, Store, operation_of

_CREATED = "kind = 'write' AND status = 201"


class StoredArchive:
    """The archive of one store.  Its operations are those of the view ``every``, also where numbers were given twice.

    ``median_delay`` and ``rows_begun`` need the tables ``kept`` and ``pairs`` of :mod:`harness.columnar.condense`.
    """

    def __init__(self, store: Store) -> None:
        """Make the view; cheap."""
        self._store = store
        connection = store.connection
        columns = f"{NARROW}, month"
        connection.execute(f"CREATE TEMP TABLE odd_ops AS SELECT {columns} FROM ops LIMIT 0")
        for seq, operation in store.odd_operations:
            connection.execute(f"INSERT INTO odd_ops VALUES ({', '.join('?' * 17)})", _values(seq, operation))
        plain = f"SELECT {columns} FROM ops WHERE op NOT IN (SELECT op FROM odd)"
        connection.execute(f"CREATE VIEW every AS {plain} UNION ALL SELECT {columns} FROM odd_ops")

    def operations(
        self, months: Collection[Month] | None, statuses: Collection[int] | None, since: float, until: float
    ) -> tuple[Operation, ...]:
        """Find operations, kept ones too, in the order of the history and without their contents."""
        return self._store.operations(months, statuses, since, until)

    def row_ids(self, month: str) -> tuple[str, ...]:
        """Event ids of all rows that lie in the partition of ``month``, in the order of the history."""
        return self._store.row_ids(month)

    def records_of(self, event_ids: Collection[str]) -> Sequence[ev.Record]:
        """Every invocation, completion and row of some events (ids in lower case), in the order of the history."""
        return self._store.records_of(event_ids)

    def begun_by(self, times: Sequence[float]) -> list[int]:
        """Count, for each time, the operations that had been sent by then."""
        return self._counted("invoked", times, inclusive=True)

    def over_before(self, times: Sequence[float], end: float, patience: float) -> list[int]:
        """Count, for each time, the operations that were over before it; unheard ones after some patience."""
        unheard = f"least(completed, '{end!r}'::DOUBLE) + '{patience!r}'::DOUBLE"
        return self._counted(f"if(type = 'info', {unheard}, completed)", times, inclusive=False)

    def _counted(self, what: str, times: Sequence[float], *, inclusive: bool) -> list[int]:
        ordered = sorted(set(times))
        if not ordered:
            return []
        source = f"(SELECT {what} AS x FROM every)"
        query = stepped(self._store.connection, source, "x", ordered, inclusive=inclusive)
        by_step = dict(self._store.all(f"SELECT step, count(*) FROM ({query}) GROUP BY step"))
        counts = itertools.accumulate(by_step.get(step, 0) for step in range(len(ordered)))
        found = dict(zip(ordered, counts, strict=True))
        return [found[t] for t in times]

    def moved(self, longest: float) -> list[float]:
        """Times of invocations and completions, enough of them to show every gap of ``longest`` and more."""
        both = "SELECT invoked AS t FROM every UNION ALL SELECT completed FROM every WHERE isfinite(completed)"
        return self._ends_of_gaps(both, (), longest)

    def created_times(self, month: Month, since: float, until: float, longest: float) -> list[float]:
        """Completions of the load's direct writes of a month, both ends of each gap that is longer."""
        query = (
            f"SELECT completed AS t FROM every WHERE {_CREATED} AND writer >= 0 AND month = ? "
            "AND completed > ? AND completed < ?"
        )
        return self._ends_of_gaps(query, (month_number(month), since, until), longest)

    def _ends_of_gaps(self, times: str, values: Sequence[object], longest: float) -> list[float]:
        query = f"SELECT min(t), max(t) FROM ({times}) GROUP BY floor(t / {longest / 2!r})"
        return sorted(itertools.chain.from_iterable(self._store.all(query, values)))

    def first_created(self, month: Month, count: int) -> list[Operation]:
        """The first direct writes of a month that were answered 201, so many at most, by completion."""
        where = f"{_CREATED} AND month = ? AND event_id <> ''"
        query = f"SELECT {NARROW} FROM every WHERE {where} ORDER BY completed, seq LIMIT ?"
        return [operation_of(row) for row in self._store.all(query, (month_number(month), count))]

    def slow_spans(self, seconds: float) -> list[tuple[Month, float, float]]:
        """Spans of the operations that took so long, by month and beginning; what overlaps is one span."""
        return [(month_of(month), start, end) for month, start, end in self._store.all(_SLOW, [seconds])]

    def usual_201(self, until: float) -> tuple[int, float]:
        """How many first sends with a request of their own were answered 201 before a time, and their median."""
        took = f"SELECT completed - invoked AS took FROM every WHERE {_CREATED} AND batch = 0 AND completed < ?"
        count = self._store.one(f"SELECT count(*) FROM ({took})", [until])[0]
        return count, self._nearest(took, [until], "took", count, count // 2) if count else 0.0

    def busiest_writer(self, since: float, until: float) -> tuple[int, int] | None:
        """The writer with the most direct writes, by requests of their own, between two times; and how many."""
        where = f"{_CREATED} AND batch = 0 AND invoked >= ? AND completed <= ?"
        query = (
            f"SELECT writer, count(*) AS times FROM every WHERE {where} GROUP BY writer "
            "ORDER BY times DESC, min(seq) LIMIT 1"
        )
        found = self._store.all(query, [since, until])
        return (found[0][0], found[0][1]) if found else None

    def tallied(self, begins: Sequence[float], end: float) -> list[Tally]:
        """Count all operations by month, status, and the span that they began in."""
        until = f"least(completed, '{end!r}'::DOUBLE) - invoked"
        source = f"(SELECT month, status, invoked, {until} AS took FROM every)"
        spans = stepped(self._store.connection, source, "invoked", begins, inclusive=False)
        return [
            Tally(
                month=month_of(month),
                status=status,
                span=span,
                count=count,
                median_seconds=median,
                p99_seconds=p99,
                slowest_seconds=slowest,
            )
            for month, status, span, count, median, p99, slowest in self._store.all(_TALLIED.format(spans))
        ]

    def slowest(self, count: int, end: float) -> list[Operation]:
        """The slowest operations of each month and status, in the order of the history."""
        order = "least(completed, ?) - invoked DESC, seq"
        query = (
            f"SELECT {NARROW} FROM every QUALIFY row_number() OVER (PARTITION BY month, status ORDER BY {order}) <= ? "
            "ORDER BY seq"
        )
        return [operation_of(row) for row in self._store.all(query, [end, count])]

    def median_delay(self, began: float, kept: Sequence[float]) -> float | None:
        """The median of these figures and, of each folded direct write, the time of its row less that of its answer."""
        # The pairs were made with the same beginning of the run, or without any.
        assert math.isfinite(began)
        every = (
            "SELECT after FROM pairs WHERE clean AND after IS NOT NULL AND ident NOT IN (SELECT ident FROM kept) "
            "UNION ALL SELECT unnest(?::DOUBLE[])"
        )
        values = [list(kept)]
        count = self._store.one(f"SELECT count(*) FROM ({every})", values)[0]
        if not count:
            return None
        middle = [self._nearest(every, values, "after", count, index) for index in {(count - 1) // 2, count // 2}]
        return sum(middle) / len(middle)

    def _nearest(self, source: str, values: Sequence[object], column: str, count: int, index: int) -> float:
        """The value of a rank, from 0 on."""
        found: float = self._store.one(
            f"SELECT quantile_disc({column}, {(index + 0.5) / count!r}) FROM ({source})", values
        )[0]
        return found

    def rows_begun(self, month: Month, since: float, until: float, *, began: float, skew: float) -> bool:
        """Tell whether a folded event of the month, sent before ``until``, was stored between the two."""
        at = "(stored.recorded - $began) - $skew"
        query = (
            "SELECT count(*) FROM stored JOIN ops USING (ident) "
            f"WHERE stored.recorded BETWEEN $first AND $last AND {at} > $since AND {at} < $until "
            "AND ops.month = $month AND ops.invoked < $until AND ident NOT IN (SELECT ident FROM kept)"
        )
        values = {"began": began, "skew": skew, "since": since, "until": until, "month": month_number(month)}
        values |= {"first": since + began + skew - 1.0, "last": until + began + skew + 1.0}
        row = self._store.connection.execute(query, values).fetchone()
        return row is not None and row[0] > 0


_TALLIED = """
    SELECT month, status, span, count(*), quantile_disc(took, 0.5), quantile_disc(took, 0.99), max(took)
    FROM (SELECT month, status, took, greatest(step - 1, 0) AS span FROM ({}))
    GROUP BY month, status, span ORDER BY month, status, span
"""

_SLOW = """
    WITH slow AS (
        SELECT month, invoked, completed FROM every WHERE completed - invoked >= ?
    ), reached AS (
        SELECT *, max(completed) OVER (
            PARTITION BY month ORDER BY invoked ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS before FROM slow
    ), spans AS (
        SELECT *, sum(if(before IS NULL OR invoked > before, 1, 0)) OVER (
            PARTITION BY month ORDER BY invoked ROWS UNBOUNDED PRECEDING
        ) AS span FROM reached
    )
    SELECT month, min(invoked), max(completed) FROM spans GROUP BY month, span ORDER BY month, min(invoked)
"""


def _values(seq: int, operation: Operation) -> list[object]:
    """A row of ``odd_ops``."""
    narrow = (operation.op, operation.kind.value, operation.writer, operation.event_id)
    times = (operation.event_date.toordinal(), operation.invoked, operation.completed)
    ended = (operation.type.value, operation.status, operation.outcome, operation.partition, operation.error)
    return [seq, *narrow, *times, *ended, operation.of, operation.batch, operation.anonymous, _month(operation)]


def _month(operation: Operation) -> int:
    return month_number(operation.month)
