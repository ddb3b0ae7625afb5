"""Batches: many events in one request, mixed of all months of the load.

Each item is an operation of its own, so that the oracle, conservation and the counters see events; what the answer says
of the batch as a whole is one record more.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from ..events import Invoke, OpKind
from ..scenario import Load
from ..values import Month
from ..workload import Planned, Stream, again

BATCH_PATH = "/api/v1/audit/events/batch"
_TWICE_SHARE = 0.25
"""Of the batches, those that hold the same event twice."""


@dataclass(frozen=True)
class Batch:
    """One request to be: its items by their operations' numbers, in the order of the array."""

    number: int
    items: tuple[tuple[int, Planned], ...]

    @property
    def body(self) -> bytes:
        """The array as sent."""
        return f"[{','.join(planned.content for _, planned in self.items)}]".encode()

    def invokes(self, t: float, writer: int) -> Iterator[Invoke]:
        """The records of its items."""
        for op, each in self.items:
            yield Invoke(
                t, op, writer, each.kind, each.event_id, each.event_date, each.content, each.of, batch=self.number
            )


class BatchStream:
    """The endless stream of one writer of batches; what :meth:`join` adds is mixed in from then on."""

    def __init__(self, seed: int, writer: int, load: Load, run: str) -> None:
        """Derive this writer's own generator, and a stream a month, from the run's seed."""
        self._seed, self._writer, self._load, self._run = seed, writer, load, run
        self._random = random.Random(f"{seed}/{writer}/batches")
        self._streams: list[Stream] = []
        for month in load.months:
            self.join(month)

    def join(self, month: Month) -> None:
        """Add a month."""
        self._streams.append(Stream(self._seed, self._writer, month, self._load, self._run))

    def next(self, ops: Iterator[int]) -> Batch:
        """Plan the next batch; ``ops`` numbers its items, and the first of them the batch."""
        items: list[tuple[int, Planned]] = []
        size = max(1, self._load.batch_size)
        twice = self._random.random() < _TWICE_SHARE
        while len(items) < size:
            op = next(ops)
            first = items[0] if items else None
            if twice and len(items) == size - 1 and first is not None and _repeatable(first[1]):
                items.append((op, again(*first)))
                continue
            stream = self._random.choice(self._streams)
            planned = stream.next(op)
            stream.remember(op, planned)
            items.append((op, planned))
        return Batch(items[0][0], tuple(items))


def _repeatable(planned: Planned) -> bool:
    """Only what has an identity and a first send can come again; a contradiction's owner may be either."""
    return bool(planned.event_id) and planned.of is None and planned.kind is OpKind.WRITE
