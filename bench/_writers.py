"""Closed-loop writers that remember every answer: single events and batches, re-sends, and contradictions.

What they send is the harness's own seeded workload; what they remember is enough to judge afterwards, from the table
alone, whether each answer was kept (``bench/_verdict.py``).
"""

from __future__ import annotations

import asyncio
import enum
import itertools
import json
import math
import random
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from harness._wait import pause
from harness.events import OpKind
from harness.scenario import Load
from harness.values import Month
from harness.workload import Stream

from ._wire import REFUSED, Answer, Client

EVENTS_PATH = "/api/v1/audit/events"
BATCH_PATH = "/api/v1/audit/events/batch"
MONTHS = (Month(2025, 11), Month(2025, 12), Month(2026, 1), Month(2026, 2))
WRITERS = 50
_RECENT = 200
_REFUSED_PAUSE_SECONDS = 0.02
_UNAVAILABLE_PAUSE_SECONDS = 0.1


class Said(enum.StrEnum):
    """What an answer says of one event."""

    CREATED = "201"
    QUEUED = "202"
    REJECTED = "400"
    CONFLICT = "409"
    NOT_STORED = "503 not_stored"
    UNKNOWN = "503 unknown"
    NOTHING = "no answer"
    STRANGE = "an answer that the contract does not know"


ACKNOWLEDGED = frozenset({Said.CREATED, Said.QUEUED})
REFUSED_ALWAYS = frozenset({Said.REJECTED, Said.CONFLICT, Said.NOT_STORED})
_LOST = frozenset({Said.NOTHING, Said.UNKNOWN, Said.NOT_STORED})
_ITEMS = {
    "created": Said.CREATED,
    "queued": Said.QUEUED,
    "rejected": Said.REJECTED,
    "conflict": Said.CONFLICT,
}
_SINGLES = {201: Said.CREATED, 202: Said.QUEUED, 400: Said.REJECTED, 409: Said.CONFLICT, 0: Said.NOTHING}


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer to one event; ``began`` is the monotonic time of the request."""

    said: Said
    began: float
    seconds: float
    batch: bool = False

    def __str__(self) -> str:
        """One phrase for evidence."""
        return f"{self.said}{' in a batch' if self.batch else ''} at {self.began:.3f} after {self.seconds:.3f} s"


@dataclass(slots=True)
class Sent:
    """One event and everything that was ever answered to it; ``rival`` is other content under its identity."""

    event_id: str
    event_date: date
    content: str
    spoiled: bool = False
    replies: list[Reply] = field(default_factory=list)
    rival: str = ""
    rival_replies: list[Reply] = field(default_factory=list)

    @property
    def acknowledged(self) -> bool:
        """Whether the service ever took it."""
        return any(reply.said in ACKNOWLEDGED for reply in self.replies)


@dataclass(frozen=True, slots=True)
class Item:
    """One event of a request: ``sent``, or the content that contradicts it."""

    sent: Sent
    contradicts: bool = False

    @property
    def body(self) -> str:
        """The JSON of the event."""
        return self.sent.rival if self.contradicts else self.sent.content

    def note(self, reply: Reply) -> None:
        """Remember an answer."""
        (self.sent.rival_replies if self.contradicts else self.sent.replies).append(reply)


@dataclass(frozen=True)
class Mix:
    """What is sent: shares of all requests, but ``again_share`` of the events whose answer was lost."""

    batch_share: float = 0.0
    batch_max: int = 40
    again_share: float = 0.7
    resend_share: float = 0.0
    rival_share: float = 0.0
    spoiled_share: float = 0.0
    rate_per_writer: float = 0.0
    """Requests a second of each writer; 0: as fast as answers come."""


def read_single(answer: Answer, event_id: str) -> Said:
    """What the answer to a single event says; success must name the event."""
    if answer.status == 503:
        return _unavailable(_object(answer.body))
    said = _SINGLES.get(answer.status, Said.STRANGE)
    if said in ACKNOWLEDGED and _object(answer.body).get("event_id") != event_id:
        return Said.STRANGE
    return said


def read_batch(answer: Answer, event_ids: Sequence[str]) -> list[Said]:
    """What the answer to a batch says of each event, in order."""
    if answer.status == 0:
        return [Said.NOTHING] * len(event_ids)
    data = _object(answer.body)
    results = data.get("results")
    if not isinstance(results, list) or len(results) != len(event_ids):
        whole = _unavailable(data) if answer.status == 503 else Said.STRANGE
        return [whole] * len(event_ids)
    return [_read_item(item, event_id) for item, event_id in zip(results, event_ids, strict=True)]


def _read_item(item: Any, event_id: str) -> Said:
    if not isinstance(item, dict):
        return Said.STRANGE
    if item.get("status") == "unavailable":
        return _unavailable(item)
    said = _ITEMS.get(str(item.get("status")), Said.STRANGE)
    return Said.STRANGE if said in ACKNOWLEDGED and item.get("event_id") != event_id else said


def _unavailable(data: dict[str, Any]) -> Said:
    return {"not_stored": Said.NOT_STORED, "unknown": Said.UNKNOWN}.get(str(data.get("outcome")), Said.STRANGE)


def _object(body: bytes) -> dict[str, Any]:
    try:
        data = json.loads(body)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}


def stream_of(seed: int, writer: int, month: Month, run: str, spoiled_share: float = 0.0) -> Stream:
    """The seeded events of one writer in one month, without re-sends."""
    load = Load(months=MONTHS, resend_share=0.0, conflict_share=0.0, invalid_share=spoiled_share)
    return Stream(seed, writer, month, load, run)


def next_event(stream: Stream, op: int) -> Sent:
    """One new event."""
    planned = stream.next(op)
    return Sent(planned.event_id, planned.event_date, planned.content, planned.kind is OpKind.INVALID)


@dataclass
class Fleet:
    """All writers, and what they remember.  ``port`` is asked before each request."""

    port: Callable[[], int]
    mix: Mix
    seed: int
    run: str
    client_timeout_seconds: float = 10.0
    sent: list[Sent] = field(default_factory=list)
    acknowledged: int = 0
    """Events acknowledged at least once; contradictions do not count."""
    counted: Counter[Said] = field(default_factory=Counter)
    """Every answer, event by event."""
    refused: int = 0
    """Requests that never left, because nobody listened."""

    def __post_init__(self) -> None:
        """Prepare; nothing is sent before :meth:`start`."""
        self._ops = itertools.count(1)
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, homes: Sequence[Sequence[Month]]) -> None:
        """Start one writer for each entry of ``homes``, the months that it writes into."""
        for number, months in enumerate(homes, 1):
            streams = [stream_of(self.seed, number, month, self.run, self.mix.spoiled_share) for month in months]
            writer = _Writer(self, number, streams, Client(self.port, self.client_timeout_seconds))
            self._tasks.append(asyncio.create_task(writer.write(self._stop)))

    async def stop(self) -> None:
        """Let requests in flight end; raises what a writer raised."""
        self._stop.set()
        await asyncio.gather(*self._tasks)

    def check(self) -> None:
        """Raise what a writer raised, while the others go on."""
        for task in self._tasks:
            if task.done():
                task.result()

    def number(self) -> int:
        """The next operation's number."""
        return next(self._ops)


class _Writer:
    """One closed loop."""

    def __init__(self, fleet: Fleet, number: int, streams: Sequence[Stream], client: Client) -> None:
        self._fleet, self._mix, self._streams, self._client = fleet, fleet.mix, streams, client
        self._random = random.Random(f"{fleet.seed}/writer/{number}")
        self._recent: deque[Sent] = deque(maxlen=_RECENT)
        self._again: deque[Sent] = deque()
        self._phase = number / WRITERS

    async def write(self, stop: asyncio.Event) -> None:
        """Send one request after the other until told to stop."""
        loop = asyncio.get_running_loop()
        interval = 1.0 / self._mix.rate_per_writer if self._mix.rate_per_writer else 0.0
        due = loop.time() + interval * self._phase
        while not stop.is_set():
            if interval and due > loop.time():
                await pause(due - loop.time())
                continue
            # After a hang each writer goes back to its own beat: released together, they would go on as one burst.
            due += interval * max(1.0, math.ceil((loop.time() - due) / interval)) if interval else 0.0
            batch = self._random.random() < self._mix.batch_share
            items = [self._pick() for _ in range(self._random.randint(2, self._mix.batch_max) if batch else 1)]
            while not await self._send(items, batch=batch) and not stop.is_set():
                await pause(_REFUSED_PAUSE_SECONDS)
        self._client.close()

    def _pick(self) -> Item:
        roll, mix = self._random.random(), self._mix
        if self._again:
            return Item(self._again.popleft())
        if self._recent and roll < mix.resend_share:
            return Item(self._random.choice(self._recent))
        if self._recent and roll < mix.resend_share + mix.rival_share:
            # Taken away: after an answer to the contradiction nothing more is sent under this identity.
            sent = self._recent.popleft()
            body = json.loads(sent.content)
            body["event_action"] = "contradicted"
            sent.rival = json.dumps(body, ensure_ascii=False)
            return Item(sent, contradicts=True)
        sent = next_event(self._random.choice(self._streams), self._fleet.number())
        return Item(sent)

    async def _send(self, items: Sequence[Item], *, batch: bool) -> bool:
        """Send and remember; False when nobody listens, so that nothing was sent."""
        bodies = [item.body for item in items]
        if batch:
            answer = await self._client.post(BATCH_PATH, f"[{','.join(bodies)}]".encode())
            said = read_batch(answer, [item.sent.event_id for item in items])
        else:
            answer = await self._client.post(EVENTS_PATH, bodies[0].encode())
            said = [read_single(answer, items[0].sent.event_id)]
        if answer.error == REFUSED:
            self._fleet.refused += 1
            return False
        for item, word in zip(items, said, strict=True):
            self._remember(item, Reply(word, answer.began, answer.seconds, batch))
        if answer.status == 503:
            await pause(_UNAVAILABLE_PAUSE_SECONDS)
        return True

    def _remember(self, item: Item, reply: Reply) -> None:
        sent, fleet = item.sent, self._fleet
        fleet.counted[reply.said] += 1
        if not item.contradicts:
            if not sent.replies:
                fleet.sent.append(sent)
            if reply.said in ACKNOWLEDGED and not sent.acknowledged:
                fleet.acknowledged += 1
                self._recent.append(sent)
            elif self._may_send_again(sent, reply) and self._random.random() < self._mix.again_share:
                self._again.append(sent)
        item.note(reply)

    @staticmethod
    def _may_send_again(sent: Sent, reply: Reply) -> bool:
        return reply.said in _LOST and not sent.spoiled and not sent.acknowledged
