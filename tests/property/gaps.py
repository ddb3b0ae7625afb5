"""Gaps: what a harness on a busy machine misses of a run, by chance.  An honest service is honest through them.

Each way takes samples out of the records of a run and leaves everything else; ``random.Random`` decides, so that a seed
repeats it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from harness import events as ev

Sample: TypeAlias = (
    ev.CanarySample
    | ev.ConnectionSample
    | ev.DlqSample
    | ev.MetricsSample
    | ev.PartitionsSample
    | ev.ProcessSample
    | ev.QuerySample
    | ev.ReadySample
)
KINDS: tuple[type[Sample], ...] = (
    ev.CanarySample,
    ev.ConnectionSample,
    ev.DlqSample,
    ev.MetricsSample,
    ev.PartitionsSample,
    ev.ProcessSample,
    ev.QuerySample,
    ev.ReadySample,
)
"""Everything that a sampler takes again and again."""

MOST_HOLE_SECONDS = 3.5
MOST_EDGE_SECONDS = 2.5
Records: TypeAlias = Sequence[ev.Record]


def thinned(records: Records, chance: random.Random) -> list[ev.Record]:
    """Of each kind none, some or most samples are missing, here and there."""
    share = {kind: chance.choice((0.0, 0.2, 0.5, 0.7)) for kind in KINDS}
    return [one for one in records if not isinstance(one, KINDS) or chance.random() >= share[type(one)]]


def holed(records: Records, chance: random.Random) -> list[ev.Record]:
    """Some kinds have no sample for up to some seconds."""
    begin = chance.uniform(0.0, _end(records))
    end = begin + chance.uniform(0.5, MOST_HOLE_SECONDS)
    kinds = _some(chance)
    return [one for one in records if not (isinstance(one, kinds) and begin <= one.t <= end)]


def late(records: Records, chance: random.Random) -> list[ev.Record]:
    """Each kind begins late."""
    since = {kind: chance.uniform(0.0, MOST_EDGE_SECONDS) for kind in KINDS}
    return [one for one in records if not isinstance(one, KINDS) or one.t >= since[type(one)]]


def early(records: Records, chance: random.Random) -> list[ev.Record]:
    """Each kind ends early, the last scrape before the last event was stored as well."""
    until = {kind: _end(records) - chance.uniform(0.0, MOST_EDGE_SECONDS) for kind in KINDS}
    return [one for one in records if not isinstance(one, KINDS) or one.t <= until[type(one)]]


def unmarked(records: Records, chance: random.Random) -> list[ev.Record]:
    """Some kinds have no sample just before or after what matters: marks of faults and phases, and the last look."""
    marks = [one.t for one in records if isinstance(one, ev.FaultMark | ev.PhaseMark | ev.FinalRead)]
    seconds = chance.choice((0.2, 0.5, 1.0, 2.0))
    before, after = chance.choice(((seconds, 0.0), (0.0, seconds), (seconds, seconds)))
    kinds = _some(chance)

    def near(t: float) -> bool:
        return any(mark - before <= t <= mark + after for mark in marks)

    return [one for one in records if not (isinstance(one, kinds) and near(one.t))]


WAYS: Mapping[str, Callable[[Records, random.Random], list[ev.Record]]] = {
    way.__name__: way for way in (thinned, holed, late, early, unmarked)
}
"""All ways by name."""


def _some(chance: random.Random) -> tuple[type[Sample], ...]:
    return tuple(chance.sample(KINDS, chance.randint(1, len(KINDS))))


def _end(records: Records) -> float:
    return max((one.t for one in records if isinstance(one, KINDS)), default=0.0)
