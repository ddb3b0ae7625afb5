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
from itertools import pairwise

from .. import events as ev
from ..checkers._common import wishes
from ..checking import CONDENSABLE, Needs
from ..jsonlines import decode
from ..oracle import cut_times
from ..rundata import Condensed, Folded, Operation, Run, build_run
from ..values import Month
from .archive import StoredArchive
from .convert import Class, month_of
from .folding import Folding
from .steps import stepped
from .store import Store


def condense(store: Store, names: Iterable[str]) -> Run:
    """Build the condensed run for the checkers of these names; those that are not condensable get nothing from it."""
    bare = build_run(store.rest_records())
    last = store.one("SELECT max(greatest(invoked, if(isinf(completed), invoked, completed))) FROM ops")[0]
    end = max(bare.end, last if last is not None else bare.end)
    writers, began = _writers(store)
    archive, condensed = StoredArchive(store), Condensed(end=end, writers=writers, began=began)
    bare = dataclasses.replace(bare, condensed=condensed)
    needs = _needs(dataclasses.replace(bare, condensed=dataclasses.replace(condensed, archive=archive)), names)
    slots = _slots((*cut_times(bare), *(cut for need in needs for cut in need.cuts)))
    folding = Folding(store, bare, slots)
    folding.suspect_answers()
    folding.suspect_identities()
    folding.suspect_relatives()
    return _Result(folding, needs, archive).run()


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
class _Group:
    """One group as DuckDB counts it; ``first`` is the line of its first operation."""

    first: int
    count: int
    waited_seconds: float
    seconds: tuple[float, ...]


class _Result:
    """Puts the condensed run together: kept records, groups, and operations to be seen."""

    def __init__(self, folding: Folding, needs: Sequence[Needs], archive: StoredArchive) -> None:
        self._folding = folding
        self._archive = archive
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
            archive=self._archive,
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
