"""Which operations of a run may be folded, in the tables of DuckDB: see :mod:`harness.columnar.condense`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date

from .. import events as ev
from ..checkers._common import epoch
from ..checkers._content import correlation_of, fingerprint, hashed
from ..checkers._stored import LATE_SECONDS
from ..oracle import Oracle
from ..rundata import Operation, Run
from ..values import Month
from .convert import ANSWERS, identity_hash, month_number, month_of
from .store import Store

_ROUNDING_SECONDS = 0.001
"""More than two ways of adding the same times can differ by."""


@dataclass(frozen=True)
class Folding:
    """The tables of DuckDB that come of a run: ``suspects`` (identities), and what is asked of its operations."""

    store: Store
    bare: Run
    slots: Sequence[tuple[float, float]]

    @property
    def by_day(self) -> bool:
        """Whether days of one month may meet different things."""
        return any(window.radius.dates is not None for window in self.bare.windows)

    @property
    def key(self) -> str:
        """In SQL, what is one to the oracle: the month or day, and the class."""
        return f"({'day' if self.by_day else 'month'} * 8 + class)"

    def _into_suspects(self, query: str, values: Sequence[object] = ()) -> None:
        self.store.connection.execute(f"INSERT INTO suspects {query}", list(values))

    def suspect_answers(self) -> None:
        """Step 1: whatever the oracle does not allow to be folded."""
        self.store.connection.execute("CREATE TEMP TABLE suspects (ident BIGINT)")
        oracle = Oracle(self.bare)
        days = self._days()
        deadline = self.bare.limits.request_deadline_seconds
        for begin, end in self.slots:
            allowed = ", ".join(str(key) for key in self._allowed(oracle, days, _middle(begin, end))) or "NULL"
            self._into_suspects(
                f"SELECT ident FROM ops WHERE invoked > ? AND completed < ? "
                f"AND NOT coalesce(completed - invoked <= {deadline} AND {self.key} IN ({allowed}), false)",
                [begin, end],
            )
            if end != math.inf:
                self._into_suspects("SELECT ident FROM ops WHERE invoked <= ? AND completed >= ?", [end, end])
        # Strictly less than infinity: no slot has what nobody answered.
        self._into_suspects("SELECT ident FROM ops WHERE isinf(completed) OR op IN (SELECT op FROM odd)")

    def _days(self) -> list[date]:
        if self.by_day:
            return [date.fromordinal(day) for day in self.store.column("SELECT DISTINCT day FROM ops")]
        return [month_of(number).first_day for number in self.store.column("SELECT DISTINCT month FROM ops")]

    def _allowed(self, oracle: Oracle, days: Iterable[date], t: float) -> Iterator[int]:
        """Keys of the answers that the oracle allows at ``t``.

        A re-send may always be answered 201, and a contradiction 409, by a service that speaks at all: it does not
        matter what they refer to.
        """
        for day in days:
            for found, (kind, status) in ANSWERS.items():
                like = Operation(-1, kind, 0, "", day, "", t, t, ev.Completion.OK, status)
                if status in oracle.expect(like).allowed:
                    number = day.toordinal() if self.by_day else month_number(Month.of(day))
                    yield number * 8 + int(found)

    def suspect_identities(self) -> None:
        """Step 2: identities of which the operations and rows are not what one stored write leaves."""
        self._touched()
        began = epoch(self.bare)
        self.store.connection.execute(_PAIRS, [began])
        suspects = "SELECT ident FROM pairs WHERE NOT clean"
        skew = self.store.one("SELECT min(after) FROM pairs WHERE clean")[0]
        if skew is not None:
            # Where the database's clock is ahead of every answer, what is late is late beyond that; and the operations
            # that say how far it is ahead are kept, for the checkers work it out again.
            nearest, late = skew + _ROUNDING_SECONDS / 100, max(0.0, skew) + LATE_SECONDS - _ROUNDING_SECONDS
            suspects += f" OR after > {repr_sql(late)}"
            if skew > 0:
                suspects += f" OR after <= {repr_sql(nearest)}"
            else:
                self._into_suspects("SELECT arg_min(ident, after) FROM pairs WHERE clean AND after IS NOT NULL")
        self._into_suspects(suspects)
        self._into_suspects(
            "SELECT ident FROM ops WHERE corr IN (SELECT corr FROM ops GROUP BY corr HAVING min(ident) <> max(ident))"
        )
        self._into_suspects(
            "SELECT ident FROM ops WHERE id_hash IN (SELECT id_hash FROM ops "
            "WHERE id_hash IN (SELECT id_hash FROM ops WHERE anonymous) "
            "GROUP BY id_hash HAVING min(ident) <> max(ident))"
        )
        flawed = [end.batch for end in self.bare.of_kind(ev.BatchEnd) if end.flaw]
        if flawed:
            self._into_suspects("SELECT ident FROM ops WHERE batch IN (SELECT unnest(?::BIGINT[]))", [flawed])
        self._suspect_queried(0.0 if skew is None else max(0.0, skew))

    def _suspect_queried(self, skew: float) -> None:
        """Events that a query showed with another content, or earlier than they can have been stored.

        Those that it asked for, and showed as they were sent or not at all, are in the table ``asked``, to be seen.
        """
        samples = self.bare.of_kind(ev.QuerySample)
        asked = [
            (hashed(one.event_id.lower()), fingerprint(one.content, one.event_id)[0] if one.content else None)
            for one in samples
            if one.event_id
        ]
        columns = [[each for each, _ in asked], [digest for _, digest in asked]]
        self.store.connection.execute(
            "CREATE TEMP TABLE asked AS SELECT unnest($1::BIGINT[]) AS id_hash, unnest($2::BIGINT[]) AS content",
            columns,
        )
        self._into_suspects("SELECT ident FROM ops JOIN asked USING (id_hash) WHERE ops.content <> asked.content")
        shown: dict[str, float] = {}
        for sample in samples:
            for event_id in sample.found:
                shown.setdefault(event_id, sample.t + sample.seconds)
        began = epoch(self.bare)
        if shown and began is not None:
            self._into_suspects(
                "SELECT ident FROM stored "
                "JOIN (SELECT unnest(?::BIGINT[]) AS id_hash, unnest(?::DOUBLE[]) AS answered) "
                "USING (id_hash) WHERE (recorded - ?) - answered > ?",
                [
                    [hashed(event_id) for event_id in shown],
                    list(shown.values()),
                    began,
                    skew + LATE_SECONDS - _ROUNDING_SECONDS,
                ],
            )

    def _touched(self) -> None:
        """Identities that a fault destroyed or the queue holds."""
        destroyed = {each.lower() for record in self.bare.of_kind(ev.Destroyed) for each in record.event_ids}
        queued = [identity_hash(row.event_id, row.event_date) for row in self.bare.of_kind(ev.DlqRow)]
        self.store.connection.execute("CREATE TEMP TABLE touched (ident BIGINT)")
        self.store.connection.execute("INSERT INTO touched SELECT unnest(?::BIGINT[])", [queued])
        if destroyed:
            for table in ("ops", "stored"):
                self.store.connection.execute(
                    f"INSERT INTO touched SELECT ident FROM {table} WHERE lower(event_id) IN (SELECT unnest(?))",
                    [list(destroyed)],
                )
        self._into_suspects("SELECT ident FROM touched")

    def suspect_relatives(self) -> None:
        """Step 3: what shares a correlation id with a suspect, or is what one refers to, until nothing is added."""
        run, connection = self.bare, self.store.connection
        queued = [hashed(correlation_of(row.content)) for row in run.of_kind(ev.DlqRow)]
        while True:
            connection.execute(
                "CREATE OR REPLACE TEMP TABLE corrs AS SELECT unnest(?::BIGINT[]) AS corr "
                "UNION SELECT corr FROM ops WHERE ident IN (SELECT ident FROM suspects) "
                "UNION SELECT corr FROM stored WHERE ident IN (SELECT ident FROM suspects)",
                [queued],
            )
            connection.execute(
                "CREATE OR REPLACE TEMP TABLE ofs AS SELECT DISTINCT of_op AS op FROM ops "
                "WHERE of_op IS NOT NULL AND ident IN (SELECT ident FROM suspects)"
            )
            connection.execute(
                "CREATE OR REPLACE TEMP TABLE relatives AS SELECT DISTINCT ident FROM ("
                "SELECT ident FROM ops WHERE corr IN (SELECT corr FROM corrs) "
                "OR op IN (SELECT op FROM ofs) OR of_op IN (SELECT op FROM ofs) "
                "UNION ALL SELECT ident FROM stored WHERE corr IN (SELECT corr FROM corrs)) "
                "WHERE ident NOT IN (SELECT ident FROM suspects)"
            )
            if not self.store.one("SELECT count(*) FROM relatives")[0]:
                return
            self._into_suspects("SELECT ident FROM relatives")


_PAIRS = """
    CREATE TEMP TABLE pairs AS SELECT ident,
        CASE WHEN ident IN (SELECT ident FROM touched) THEN false
             WHEN sum(weight) = 0 THEN true
             ELSE sum(weight) >> 16 = 65537 AND min(mark) = max(mark) END AS clean,
        CASE WHEN count(recorded) = 1 AND count(answered) = 1 THEN sum(recorded) - sum(answered) END AS after
    FROM (
        SELECT ident,
            CASE class WHEN 0 THEN 1099511627776 WHEN 1 THEN 65536 WHEN 2 THEN 65536 WHEN 3 THEN 1 ELSE 0 END AS weight,
            CASE WHEN class < 4 THEN mark END AS mark,
            CASE class WHEN 1 THEN completed END AS answered,
            NULL::DOUBLE AS recorded
        FROM ops
        UNION ALL
        SELECT ident, 4294967296, mark, NULL, recorded - ?::DOUBLE FROM stored
    )
    GROUP BY ident
"""
"""Identities, whether each is what one stored write leaves, and how long after its 201 it was stored (seconds).

Weights add up to a number that only one row and one write have, with any re-sends."""


def repr_sql(number: float) -> str:
    """A DOUBLE in SQL."""
    return f"'{number!r}'::DOUBLE"


def _middle(begin: float, end: float) -> float:
    if begin == -math.inf:
        return end - 1.0 if end != math.inf else 0.0
    return (begin + end) / 2 if end != math.inf else begin + 1.0
