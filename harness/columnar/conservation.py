"""Promise 1 alone, twice: in one SQL statement over the columns, and with plain Python sets and dictionaries.

Both are pure functions of the same columns and find the same.  They say how many events went wrong and which, not the
whole story that the checker `conservation` tells: `bench.checkers` measures all checkers against them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from .store import Store

_SHOWN = 20
_BATCH = 100_000


@dataclass(frozen=True)
class Balance:
    """What an acknowledged event owes: one row, in its month, with its content; and no row that nobody sent.

    ``examples`` are some event ids of each kind of trouble.
    """

    acknowledged: int
    lost: int = 0
    doubled: int = 0
    changed: int = 0
    misplaced: int = 0
    unexpected: int = 0
    examples: dict[str, tuple[str, ...]] = field(default_factory=dict, compare=False)

    @property
    def kept(self) -> bool:
        """Tell whether every event is where it has to be."""
        return not (self.lost or self.doubled or self.changed or self.misplaced or self.unexpected)


_TROUBLES = ("lost", "doubled", "changed", "misplaced", "unexpected")
_MONTH = "format('{:04}_{:02}', sent.month // 12, sent.month % 12 + 1)"
_CONSERVATION = f"""
    WITH sent AS (
        SELECT lower(event_id) AS id, day, any_value(month) AS month, bool_or(status IN (201, 202)) AS acknowledged,
            count(*) FILTER (status NOT IN (400, 409, 413)) AS possible,
            min(content) FILTER (status NOT IN (400, 409, 413)) AS least,
            max(content) FILTER (status NOT IN (400, 409, 413)) AS most
        FROM ops GROUP BY ALL
    ), kept AS (
        SELECT lower(event_id) AS id, day, count(*) AS copies, any_value(month) AS month, any_value(content) AS content
        FROM stored GROUP BY ALL
    ), judged AS (
        SELECT coalesce(sent.id, kept.id) AS id,
            coalesce(acknowledged, false) AS acknowledged,
            coalesce(acknowledged, false) AND kept.id IS NULL AS lost,
            coalesce(copies, 0) > 1 AS doubled,
            coalesce(content NOT IN (least, most) AND (possible <= 2 OR least = most), false) AS changed,
            coalesce(kept.month <> {_MONTH}, false) AS misplaced,
            kept.id IS NOT NULL AND coalesce(possible, 0) = 0 AS unexpected
        FROM sent FULL JOIN kept ON sent.id = kept.id AND sent.day = kept.day
    )
    SELECT count(*) FILTER (acknowledged), {", ".join(f"count(*) FILTER ({each})" for each in _TROUBLES)},
        {", ".join(f"arg_min(id, id, {_SHOWN}) FILTER ({each})" for each in _TROUBLES)}
    FROM judged
"""
"""An identity that was accepted more than twice, with different contents, is held to none of them: that is left to the
checker."""


def in_duckdb(store: Store) -> Balance:
    """Balance the columns in one statement."""
    acknowledged, *found = store.one(_CONSERVATION)
    counts, examples = found[: len(_TROUBLES)], found[len(_TROUBLES) :]
    shown = {name: tuple(ids) for name, ids in zip(_TROUBLES, examples, strict=True) if ids}
    return _balance(acknowledged, counts, shown)


def in_sets(store: Store) -> Balance:
    """Balance the same columns by Python's dictionaries, all of them in memory."""
    contents: dict[tuple[str, int], tuple[int, ...]] = {}
    acknowledged: set[tuple[str, int]] = set()
    for event_id, day, status, content in _each(store, "SELECT event_id, day, status, content FROM ops"):
        identity = (event_id.lower(), day)
        earlier = contents.get(identity, ())
        contents[identity] = earlier if status in (400, 409, 413) else (*earlier, content)
        if status in (201, 202):
            acknowledged.add(identity)
    troubles: dict[str, set[tuple[str, int]]] = {name: set() for name in _TROUBLES}
    rows: Counter[tuple[str, int]] = Counter()
    placed = "SELECT event_id, day, content, month <> strftime(DATE '0001-01-01' + (day - 1), '%Y_%m') FROM stored"
    for event_id, day, content, misplaced in _each(store, placed):
        identity = (event_id.lower(), day)
        rows[identity] += 1
        possible = contents.get(identity, ())
        judged = 0 < len(possible) <= 2 or len(set(possible)) == 1
        troubles["unexpected"].update({identity} if not possible else ())
        troubles["changed"].update({identity} if judged and content not in possible else ())
        troubles["misplaced"].update({identity} if misplaced and identity in contents else ())
    troubles["lost"] = acknowledged - rows.keys()
    troubles["doubled"] = {identity for identity, count in rows.items() if count > 1}
    shown = {
        name: tuple(sorted(event_id for event_id, _ in found)[:_SHOWN]) for name, found in troubles.items() if found
    }
    return _balance(len(acknowledged), [len(troubles[name]) for name in _TROUBLES], shown)


def _balance(acknowledged: int, counts: Sequence[int], examples: dict[str, tuple[str, ...]]) -> Balance:
    lost, doubled, changed, misplaced, unexpected = counts
    return Balance(acknowledged, lost, doubled, changed, misplaced, unexpected, examples)


def _each(store: Store, query: str) -> Iterable[tuple[str, int, int, int]]:
    cursor = store.connection.execute(query)
    while batch := cursor.fetchmany(_BATCH):
        yield from batch
