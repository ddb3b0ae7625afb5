"""From the columns of a run to a run that is small, and of which every checker says the same as of the whole.

An operation is *folded* when nothing about it can matter by itself.  That is judged in three steps.

1. Between two *cuts* (all times with which some rule compares operations) the oracle is asked once for each month and
   class of answer.  What answered otherwise, was slower than the deadline, or spans a cut is *suspect*.
2. All operations and rows of one identity are looked at together: one write, one row that equals it, and re-sends or
   contradictions that were answered as they have to be.  All other identities are suspect, as are those that share a
   correlation id with another, that the queue holds, or that a fault destroyed.
3. What a suspect refers to, or shares an id with, is suspect as well.

Suspects are kept whole, with their rows.  The others are counted by cut, month and class; of each such group, the
operations that are the first, the last or the slowest are *seen*, which rules about times need.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise

from .. import events as ev
from ..checkers._common import epoch, wishes
from ..checkers._content import correlation_of, hashed
from ..checkers._stored import LATE_SECONDS
from ..checking import CONDENSABLE, Needs
from ..oracle import Oracle, cut_times
from ..rundata import Condensed, Folded, Operation, Run, build_run
from ..values import Month
from .convert import ANSWERS, Class, identity_hash, month_number, month_of
from .store import Store

_ROUNDING_SECONDS = 0.001
"""More than two ways of adding the same times can differ by."""
_OPENING_ANSWERS = 5
"""Rules about breakers ask for the fifth 202 of a month."""


def condense(store: Store, names: Iterable[str]) -> Run:
    """Build the condensed run for the checkers of these names; those that are not condensable get nothing from it."""
    bare = build_run(store.rest_records())
    last = store.one("SELECT max(greatest(invoked, if(isinf(completed), invoked, completed))) FROM ops")[0]
    end = max(bare.end, last if last is not None else bare.end)
    bare = dataclasses.replace(bare, condensed=Condensed(end=end))
    needs = _needs(bare, names)
    slots = _slots((*cut_times(bare), *(cut for need in needs for cut in need.cuts)))
    folding = _Folding(store, bare, slots)
    folding.suspect_answers()
    folding.suspect_identities()
    folding.suspect_relatives()
    return _Result(folding, needs).run()


def _needs(bare: Run, names: Iterable[str]) -> list[Needs]:
    return [CONDENSABLE.get(name)(bare) for name in dict.fromkeys(names) if name in CONDENSABLE]


def _slots(cuts: Iterable[float]) -> list[tuple[float, float]]:
    finite = sorted({cut for cut in cuts if math.isfinite(cut)})
    return list(pairwise([-math.inf, *finite, math.inf]))


@dataclass(frozen=True)
class _Folding:
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
        query = _VERDICT.format(late="late_from")
        began = epoch(self.bare)
        late_from = math.inf if began is None else began + LATE_SECONDS - _ROUNDING_SECONDS
        unclean, late, earliest, earliest_ident = self.store.one(query.replace("late_from", repr_sql(late_from)))
        skew = earliest - began if began is not None and earliest is not None else -math.inf
        if skew > 0:
            # The database's clock is ahead of every answer: what is late is late beyond that, and the operations
            # that say how far it is ahead are kept, for the checker works it out again.
            bound = repr_sql(late_from + skew)
            unclean, late, _, _ = self.store.one(query.replace("late_from", bound))
            nearest = _NEAREST.format(bound=repr_sql((began or 0.0) + skew + _ROUNDING_SECONDS / 100))
            self._into_suspects(f"SELECT ident FROM ({nearest})")
        for idents in (unclean, late, [earliest_ident] if earliest_ident is not None else []):
            self._into_suspects("SELECT unnest(?::BIGINT[])", [idents or []])
        self._into_suspects(
            "SELECT ident FROM ops WHERE corr IN (SELECT corr FROM ops GROUP BY corr HAVING min(ident) <> max(ident))"
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
    SELECT ident,
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
        SELECT ident, 4294967296, mark, NULL, recorded FROM stored
    )
    GROUP BY ident
"""
"""Identities, whether each is what one stored write leaves, and how long after its 201 it was stored (Unix seconds
less seconds of the run).  Weights add up to a number that only one row and one write have, with any re-sends."""

_VERDICT = f"""
    SELECT list(ident) FILTER (NOT clean), list(ident) FILTER (clean AND after > {{late}}),
        min(after) FILTER (clean), arg_min(ident, after) FILTER (clean)
    FROM ({_PAIRS})
"""
_NEAREST = f"SELECT ident FROM ({_PAIRS}) WHERE clean AND after <= {{bound}}"


def repr_sql(number: float) -> str:
    """A DOUBLE in SQL."""
    return f"'{number!r}'::DOUBLE"


def _middle(begin: float, end: float) -> float:
    if begin == -math.inf:
        return end - 1.0 if end != math.inf else 0.0
    return (begin + end) / 2 if end != math.inf else begin + 1.0


@dataclass(frozen=True)
class _Group:
    """One group as DuckDB counts it; ``first`` is the line of its first operation."""

    first: int
    count: int
    seconds: tuple[float, ...]


class _Result:
    """Puts the condensed run together: kept records, groups, and operations to be seen."""

    def __init__(self, folding: _Folding, needs: Sequence[Needs]) -> None:
        self._folding = folding
        self._store = folding.store
        self._needs = needs
        self._seen: set[int] = set()
        connection = self._store.connection
        connection.execute("CREATE TEMP TABLE kept AS SELECT DISTINCT ident FROM suspects")
        connection.execute("CREATE VIEW clean AS SELECT * FROM ops WHERE ident NOT IN (SELECT ident FROM kept)")

    def run(self) -> Run:
        """Fetch all that is kept, and index it."""
        begun, lines = self._kept_lines()
        kept = ((seq, ev.decode(line)) for seq, line in lines)
        run = build_run([record for _, record in sorted([*self._store.rest, *kept], key=lambda pair: pair[0])])
        groups = self._groups()
        self._moments()
        self._stalls()
        witnesses = self._witnesses()
        seen = sorted([*zip(begun, run.operations, strict=True), *witnesses.items()], key=lambda pair: pair[0])
        folded = tuple(
            Folded(like=witnesses[group.first], count=group.count, seconds=group.seconds) for group in groups
        )
        writers = self._store.all(
            "SELECT month, count(DISTINCT writer) FROM ops WHERE writer >= 0 GROUP BY month ORDER BY month"
        )
        condensed = Condensed(
            groups=folded,
            seen=tuple(operation for _, operation in seen),
            writers={month_of(month): count for month, count in writers},
            rows=sum(group.count for group in folded if group.like.kind is ev.OpKind.WRITE),
            end=self._folding.bare.end,
            archive=self._store,
        )
        return dataclasses.replace(run, condensed=condensed)

    def _kept_lines(self) -> tuple[list[int], list[tuple[int, str]]]:
        """Numbers of the kept invocations' lines, and the lines of all that is kept but the rest."""
        pairs = self._store.all("SELECT seq, end_seq FROM ops WHERE ident IN (SELECT ident FROM kept) ORDER BY seq")
        rows = self._store.column("SELECT seq FROM stored WHERE ident IN (SELECT ident FROM kept)")
        numbers = [number for pair in pairs for number in pair if number >= 0]
        return [seq for seq, _ in pairs], self._store.lines([*numbers, *rows])

    def _groups(self) -> list[_Group]:
        """Count what is folded, slot by slot, and note who is to be seen of it."""
        judged = wishes(self._folding.bare).judge_latency
        seconds = "list(completed - invoked) FILTER (class = 1)" if judged else "NULL"
        query = (
            f"SELECT count(*), min(seq), max(seq), arg_min(seq, invoked), arg_max(seq, invoked), "
            f"arg_min(seq, completed), arg_max(seq, completed), arg_max(seq, completed - invoked), "
            f"arg_min(seq, completed, {_OPENING_ANSWERS}) FILTER (class = {int(Class.QUEUED)}), {seconds} "
            f"FROM clean WHERE invoked > ? AND completed < ? GROUP BY {self._folding.key} ORDER BY min(seq)"
        )
        groups: list[_Group] = []
        for begin, end in self._folding.slots:
            for count, first, *others, opening, latencies in self._store.all(query, [begin, end]):
                self._seen.update((first, *others, *(opening or ())))
                groups.append(_Group(first, count, tuple(sorted(latencies or ()))))
        return groups

    def _moments(self) -> None:
        """The last direct write of each month before each moment, in the slot of both; all that ended at once."""
        moments = sorted({moment for need in self._needs for moment in need.moments})
        if not moments:
            return
        for begin, end in self._folding.slots:
            inside = [moment for moment in moments if begin < moment <= end]
            asked = [*inside, end if end != math.inf else max(moments[-1], begin) + 1e9]
            self._seen.update(self._store.column(_LAST_BEFORE, [begin, end, asked]))

    def _stalls(self) -> None:
        for need in self._needs:
            for begin, end in _merged(need.stalls):
                self._seen.update(
                    self._store.column(
                        "SELECT seq FROM clean WHERE invoked <= ? AND completed >= ? AND completed - invoked >= ?",
                        [end, begin, need.stall_seconds],
                    )
                )

    def _witnesses(self) -> dict[int, Operation]:
        self._store.connection.execute(
            "CREATE TEMP TABLE seen AS SELECT unnest(?::BIGINT[]) AS seq", [list(self._seen)]
        )
        return dict(self._store.narrow("seq IN (SELECT seq FROM seen)"))


_LAST_BEFORE = f"""
    WITH created AS (
        SELECT seq, month, completed FROM clean WHERE invoked > $1 AND completed < $2 AND class = {int(Class.CREATED)}
    ), asked AS (
        SELECT month, moment FROM (SELECT DISTINCT month FROM created), (SELECT unnest($3::DOUBLE[]) AS moment)
    ), last AS (
        SELECT DISTINCT created.month, created.completed
        FROM asked ASOF JOIN created ON asked.month = created.month AND asked.moment > created.completed
    )
    SELECT seq FROM created SEMI JOIN last USING (month, completed)
"""


def _merged(spans: Iterable[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """The same times in spans that do not overlap."""
    merged: list[tuple[float, float]] = []
    for begin, end in sorted(spans):
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((begin, end))
    return iter(merged)
