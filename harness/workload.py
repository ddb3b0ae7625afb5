"""Workload: a seeded stream of audit events over months, as requests to be sent.

Pure: what is sent depends on the seed, the writer and the load alone, so a replay with the same seed sends the
same events in the same order to each month.
"""

from __future__ import annotations

import json
import random
import uuid
from collections import deque
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

from .events import OpKind
from .scenario import Load
from .values import Month, utc_timestamp

PROBE_WRITER = -1
_TYPES = ("user.login", "invoice.paid", "document.shared", "rôle.changed", "策略.updated")
_CATEGORIES = ("authentication", "billing", "documents", "administration")
_ACTIONS = ("create", "read", "update", "delete")
_OUTCOMES = ("success", "failure", "pending")
_RECENT = 50
_EDGE_SHARE = 0.02
"""So many events lie in the first or the last microsecond of their month, where an off-by-one would move them."""
_ABROAD_SHARE = 0.05
"""So many name their instant with the offset of another zone, whose calendar may be in another month."""
_OFFSETS_MINUTES = (330, -480, 840, -720)
_POISON_MARK = "a number that only the database refuses"
_POISONS = ("1e200000", "-1e200000", "7.5e150000")
"""Valid JSON, and beyond what jsonb's numbers hold: PostgreSQL answers 22003, value overflows numeric format."""


@dataclass(frozen=True)
class Planned:
    """One request to be: what it means, the identity it carries, and the body as sent.

    ``event_id`` is empty when the service is to make one.
    """

    kind: OpKind
    event_id: str
    event_date: date
    content: str
    of: int | None = None
    timestamp: str = ""
    """``event_timestamp`` in UTC, however it was spelt."""


@dataclass
class Stream:
    """The endless stream of one writer, which keeps to one month.

    ``remember`` is told of each operation, so that later requests can repeat or contradict its identity.
    """

    seed: int
    writer: int
    month: Month
    load: Load
    run: str

    def __post_init__(self) -> None:
        """Derive this writer's own generator from the run's seed."""
        self._random = random.Random(f"{self.seed}/{self.writer}/{self.month.label}")
        self._sent: deque[tuple[int, Planned]] = deque(maxlen=_RECENT)

    def next(self, op: int) -> Planned:
        """Plan the request of operation ``op``."""
        roll = self._random.random()
        load = self.load
        if self._sent and roll < load.resend_share:
            number, earlier = self._random.choice(self._sent)
            return again(number, earlier)
        roll -= load.resend_share
        if self._sent and 0 <= roll < load.conflict_share:
            number, earlier = self._random.choice(self._sent)
            return self._contradict(number, earlier)
        roll -= load.conflict_share
        body = self._event(op)
        if 0 <= roll < load.invalid_share:
            self._spoil(body)
            return self._planned(OpKind.INVALID, body)
        roll -= load.invalid_share
        if 0 <= roll < load.poison_share:
            return self._poisoned(body)
        roll -= load.poison_share
        if 0 <= roll < load.anonymous_share:
            del body["event_id"]
        return self._planned(OpKind.WRITE, body)

    def remember(self, op: int, planned: Planned) -> None:
        """Tell that a first send was invoked.  One without an id is another event each time, and is not repeated."""
        if planned.kind is OpKind.WRITE and planned.event_id:
            self._sent.append((op, planned))

    def _event(self, op: int) -> dict[str, Any]:
        rng = self._random
        return {
            "event_id": str(uuid.UUID(int=rng.getrandbits(128), version=4)),
            "event_timestamp": self._moment(),
            "version": rng.choice(("1.0", "1.1", "2.0")),
            "event_type": rng.choice(_TYPES),
            "event_category": rng.choice(_CATEGORIES),
            "event_action": rng.choice(_ACTIONS),
            "event_outcome": rng.choice(_OUTCOMES),
            "correlation_id": f"{self.run}/{op}",
            "event_data": {
                "actor": f"user-{rng.randrange(10_000)}",
                "amount": rng.randrange(10**9) / 100,
                "large": rng.randrange(10**17, 10**18),
                "tags": ["ä", "日本", str(rng.randrange(100))],
                "nested": {"null": None, "flag": rng.random() < 0.5},
            },
        }

    def _moment(self) -> str:
        """Spell an instant of the month, mostly in UTC."""
        rng = self._random
        first = datetime.combine(self.month.first_day, datetime.min.time(), UTC)
        span = datetime.combine(self.month.end, datetime.min.time(), UTC) - first
        last = int(span.total_seconds() * 1_000_000) - 1
        edge = rng.random() < _EDGE_SHARE
        moment = first + timedelta(microseconds=rng.choice((0, last)) if edge else rng.randint(0, last))
        if rng.random() >= _ABROAD_SHARE:
            return utc_timestamp(moment)
        zone = timezone(timedelta(minutes=rng.choice(_OFFSETS_MINUTES)))
        return moment.astimezone(zone).isoformat(timespec="microseconds")

    def _spoil(self, body: dict[str, Any]) -> None:
        """Break one rule of the contract that no state of any store can excuse."""
        match self._random.randrange(4):
            case 0:
                del body["event_type"]
            case 1:
                body["event_outcome"] = "perhaps"
            case 2:
                body["unknown_field"] = 1
            case _:
                body["event_action"] = "x" * 51

    def _contradict(self, number: int, earlier: Planned) -> Planned:
        body = json.loads(earlier.content)
        body["event_action"] = "contradicted"
        return replace(earlier, kind=OpKind.CONFLICT, content=_compact(body), of=number)

    def _poisoned(self, body: dict[str, Any]) -> Planned:
        """Exact by text: a float would be infinite."""
        body["event_data"]["amount"] = _POISON_MARK
        planned = self._planned(OpKind.POISON, body)
        number = self._random.choice(_POISONS)
        return replace(planned, content=planned.content.replace(f'"{_POISON_MARK}"', number))

    def _planned(self, kind: OpKind, body: dict[str, Any]) -> Planned:
        moment = datetime.fromisoformat(str(body["event_timestamp"])).astimezone(UTC)
        event_id = str(body.get("event_id", ""))
        return Planned(kind, event_id, moment.date(), _compact(body), timestamp=utc_timestamp(moment))


def again(op: int, earlier: Planned) -> Planned:
    """The re-send of what operation ``op`` sent."""
    return replace(earlier, kind=OpKind.RESEND, of=op)


def _compact(body: dict[str, Any]) -> str:
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False)
