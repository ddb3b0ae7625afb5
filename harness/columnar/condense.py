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
from ..checkers._content import correlation_of, fingerprint, hashed
from ..checkers._stored import LATE_SECONDS
from ..checking import CONDENSABLE, Needs
from ..jsonlines import decode
from ..oracle import Oracle, cut_times
from ..rundata import Condensed, Folded, Operation, Run, build_run
from ..values import Month
from .archive import StoredArchive
from .convert import ANSWERS, Class, identity_hash, month_number, month_of
from .steps import stepped
from .store import Store

_ROUNDING_SECONDS = 0.001
"""More than two ways of adding the same times can differ by."""


def condense(store: Store, names: Iterable[str]) -> Run:
    """Build the condensed run for the checkers of these names; those that are not condensable get nothing from it."""
    bare = build_run(store.rest_records())
    last = store.one("SELECT max(greatest(invoked, if(isinf(completed), invoked, completed))) FROM ops")[0]
    end = max(bare.end, last if last is not None else bare.end)
    writers, began = _writers(store)
    bare = dataclasses.replace(bare, condensed=Condensed(end=end, writers=writers, began=began))
    needs = _needs(bare, names)
    slots = _slots((*cut_times(bare), *(cut for need in needs for cut in need.cuts)))
    folding = _Folding(store, bare, slots)
    folding.suspect_answers()
    folding.suspect_identities()
    folding.suspect_relatives()
    return _Result(folding, needs).run()


def _writers(store: Store) -> tuple[dict[Month, int], dict[int, float]]:
    """See ``writers`` and ``began`` of :class:`harness.rundata.Run`."""
    at_once = store.all(_AT_ONCE)
    began = store.all("SELECT writer, min(invoked) FROM ops GROUP BY writer ORDER BY writer")
    return {month_of(month): int(most) for month, most in at_once}, dict(began)


_AT_ONCE = """
    SELECT month, sum(most) FROM (
        SELECT month, writer, max(items) AS most FROM (
            SELECT month, writer, if(batch = 0, 1, count(*)) AS items FROM ops WHERE writer >= 0
            GROUP BY month, writer, batch
        ) GROUP BY month, writer
    ) GROUP BY month
"""


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


@dataclass(frozen=True)
class _Group:
    """One group as DuckDB counts it; ``first`` is the line of its first operation."""

    first: int
    count: int
    waited_seconds: float
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
        kept = ((seq, decode(line)) for seq, line in lines)
        run = build_run([record for _, record in sorted([*self._store.rest, *kept], key=lambda pair: pair[0])])
        groups = self._groups()
        self._moments()
        self._stalls()
        self._queued()
        witnesses = self._witnesses()
        seen = sorted([*zip(begun, run.operations, strict=True), *witnesses.items()], key=lambda pair: pair[0])
        folded = tuple(
            Folded(like=witnesses[one.first], count=one.count, seconds=one.seconds, waited_seconds=one.waited_seconds)
            for one in groups
        )
        bare = self._folding.bare
        condensed = Condensed(
            groups=folded,
            seen=tuple(operation for _, operation in seen),
            stored=self._stored(),
            writers=bare.writers,
            began=bare.began,
            rows=sum(group.count for group in folded if group.like.kind is ev.OpKind.WRITE),
            end=bare.end,
            archive=StoredArchive(self._store),
        )
        return dataclasses.replace(run, condensed=condensed)

    def _queued(self) -> None:
        """Every 202 with all other requests of its event, every 409, and what queries asked for: rules look at each."""
        queued = f"SELECT ident FROM clean WHERE class = {int(Class.QUEUED)}"
        self._seen.update(self._store.column(f"SELECT seq FROM ops WHERE ident IN ({queued})"))
        self._seen.update(self._store.column(f"SELECT seq FROM clean WHERE class = {int(Class.CONTRADICTED)}"))
        self._seen.update(self._store.column("SELECT seq FROM clean WHERE id_hash IN (SELECT id_hash FROM asked)"))

    def _stored(self) -> dict[int, float]:
        query = (
            f"SELECT clean.op, stored.recorded FROM clean JOIN stored USING (ident) WHERE class = {int(Class.QUEUED)}"
        )
        return {op: math.nan if recorded is None else recorded for op, recorded in self._store.all(query)}

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
            f"SELECT count(*), sum(completed - invoked), {seconds}, min(seq), max(seq), arg_min(seq, invoked), "
            "arg_max(seq, invoked), arg_min(seq, completed), arg_max(seq, completed), "
            "arg_max(seq, completed - invoked) FROM clean WHERE invoked > ? AND completed < ? "
            f"GROUP BY {self._folding.key}, batch > 0, anonymous ORDER BY min(seq)"
        )
        groups: list[_Group] = []
        for begin, end in self._folding.slots:
            for count, waited, latencies, first, *others in self._store.all(query, [begin, end]):
                self._seen.update((first, *others))
                groups.append(_Group(first, count, waited, tuple(sorted(latencies or ()))))
        return groups

    def _moments(self) -> None:
        """The last direct write of each month before each moment, and the last 201 of those sent by then."""
        for times, column, inclusive, classes in (
            (sorted({t for need in self._needs for t in need.moments}), "completed", False, (Class.CREATED,)),
            (sorted({t for need in self._needs for t in need.asked}), "invoked", True, (Class.CREATED, Class.RESENT)),
        ):
            if not times:
                continue
            among = ", ".join(str(int(one)) for one in classes)
            source = f"(SELECT seq, month, invoked, completed FROM clean WHERE class IN ({among}))"
            steps = stepped(self._store.connection, source, column, times, inclusive=inclusive)
            last = f"SELECT month, max(completed) AS completed FROM ({steps}) GROUP BY month, step"
            query = f"SELECT seq FROM {source} SEMI JOIN ({last}) USING (month, completed)"
            self._seen.update(self._store.column(query))

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


def _merged(spans: Iterable[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """The same times in spans that do not overlap."""
    merged: list[tuple[float, float]] = []
    for begin, end in sorted(spans):
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((begin, end))
    return iter(merged)
