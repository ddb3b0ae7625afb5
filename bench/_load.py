"""Equal events in every form that a bench needs, and a generator of requests cheap enough not to be the limit.

    python -m bench._load ORDER

runs as a process of its own: raw HTTP/1.1 on kept connections, each body one random id between two prepared texts.
The order is the JSON of :class:`Order`; the result is printed as the JSON of :class:`Result`.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import cast

import uvloop

MONTHS = ("2025-11", "2025-12", "2026-01", "2026-02")
SINGLE_PATH = "/api/v1/audit/events"
BATCH_PATH = "/api/v1/audit/events/batch"
COLUMNS = (
    "event_id, event_date, event_timestamp, version, event_type, event_category, event_action, event_outcome, "
    "correlation_id, event_data"
)
WARM_UP_SECONDS = 1.0
# Answers that are still out when the time is over are waited for this long.
_LAST_ANSWERS_SECONDS = 10.0
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *([0-9]+)")
_DAYS = 28


@dataclass(frozen=True)
class Shape:
    """An event but for its id: its day, its month as a partition is named, its JSON and its columns."""

    day: str
    month: str
    json_rest: str
    copy_rest: str

    def json(self, event_id: str) -> str:
        """The whole event, members in the order and form of a canonical text."""
        return f'{{"event_id":"{event_id}",{self.json_rest}'

    def copy_line(self, event_id: str) -> str:
        """A line of COPY in text format, in the order of ``COLUMNS``."""
        return f"{event_id}\t{self.copy_rest}"


def _shape(month: str, number: int) -> Shape:
    day = f"{month}-{number % _DAYS + 1:02d}"
    stamp = f"{day}T{number % 24:02d}:30:{number % 60:02d}.{number:06d}Z"
    texts = {
        "version": "1.0",
        "event_type": "document.shared",
        "event_category": "documents",
        "event_action": "create",
        "event_outcome": "success",
        "correlation_id": f"request-{number:08d}",
    }
    data = (
        f'{{"actor":"user-{number:05d}","amount":{number + 1}.25,"nested":{{"flag":true,"null":null}},'
        f'"origin":"10.0.{number % 256}.17","tags":["first","second","third"],"target":"folder/{number:05d}/report"}}'
    )
    members = ",".join(f'"{name}":"{text}"' for name, text in texts.items())
    return Shape(
        day=day,
        month=month.replace("-", "_"),
        json_rest=f'{members},"event_timestamp":"{stamp}","event_data":{data}}}',
        copy_rest="\t".join([day, stamp, *texts.values(), data]) + "\n",
    )


SHAPES = tuple(_shape(month, number) for number in range(_DAYS) for month in MONTHS)


def events(seed: int) -> Iterator[tuple[Shape, str]]:
    """Endless events of one seed: their ids are random, their months take turns."""
    bits = random.Random(seed).getrandbits
    while True:
        for shape in SHAPES:
            raw = f"{bits(128):032x}"
            yield shape, f"{raw[:8]}-{raw[8:12]}-4{raw[13:16]}-a{raw[17:20]}-{raw[20:]}"


@dataclass(frozen=True)
class Order:
    """What to send; ``events_per_request`` above 1 means batches, ``events_per_second`` 0 means as fast as answered."""

    port: int
    connections: int
    seconds: float
    seed: int
    events_per_request: int = 1
    events_per_second: float = 0.0


@dataclass(frozen=True)
class Result:
    """What came back: rate and latencies of the time after warm-up, statuses and CPU of the whole.

    ``statuses`` counts events by status code; 0 stands for a connection that ended or never answered.
    """

    events_per_second: float
    p50_seconds: float
    p99_seconds: float
    requests: int
    statuses: dict[str, int]
    cpu_seconds: float

    @property
    def accepted(self) -> int:
        """Events answered 201 or 202."""
        return self.statuses.get("201", 0) + self.statuses.get("202", 0)

    @property
    def created_only(self) -> bool:
        """Whether every event was answered 201."""
        return set(self.statuses) == {"201"}


@dataclass
class _Run:
    """What all connections of one run share."""

    order: Order
    begins: float
    ends: float
    stream: Iterator[tuple[Shape, str]]
    finished: asyncio.Future[None]
    statuses: Counter[int] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    open_connections: int = 0

    def body(self) -> bytes:
        if self.order.events_per_request == 1:
            shape, event_id = next(self.stream)
            return shape.json(event_id).encode()
        made = (next(self.stream) for _ in range(self.order.events_per_request))
        return f"[{','.join([shape.json(event_id) for shape, event_id in made])}]".encode()

    def closed(self) -> None:
        self.open_connections -= 1
        if self.open_connections == 0 and not self.finished.done():
            self.finished.set_result(None)


class _Connection(asyncio.Protocol):
    """One writer: the next request goes out when the last is answered, and not before its turn."""

    def __init__(self, run: _Run, number: int) -> None:
        order = run.order
        self._run = run
        path = SINGLE_PATH if order.events_per_request == 1 else BATCH_PATH
        host = f"Host: 127.0.0.1:{order.port}\r\n"
        self._head = f"POST {path} HTTP/1.1\r\n{host}Content-Type: application/json\r\nContent-Length: "
        turn = order.events_per_request / order.events_per_second if order.events_per_second else 0.0
        self._interval_seconds = turn * order.connections
        self._due = run.begins + turn * number
        self._received = b""
        self._sent_at = 0.0
        self._waiting = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's own class is none of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self._next()

    def _next(self) -> None:
        now = time.monotonic()
        if now >= self._run.ends:
            self._transport.close()
        elif now < self._due:
            asyncio.get_running_loop().call_later(min(self._due, self._run.ends) - now, self._next)
        else:
            # A turn that was missed is not made up for: that would be a burst.
            self._due = max(self._due, now - self._interval_seconds) + self._interval_seconds
            body = self._run.body()
            self._waiting, self._sent_at = True, time.monotonic()
            self._transport.write(f"{self._head}{len(body)}\r\n\r\n".encode() + body)

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n") + 4
        length = _LENGTH.search(self._received, 0, end) if end >= 4 else None
        if length is None or len(self._received) < end + int(length[1]):
            return
        now = time.monotonic()
        self._run.statuses[int(self._received[9:12])] += self._run.order.events_per_request
        self._received, self._waiting = b"", False
        if self._run.begins + WARM_UP_SECONDS <= now <= self._run.ends:
            self._run.latencies.append(now - self._sent_at)
        self._next()

    def connection_lost(self, error: Exception | None) -> None:
        if self._waiting or error is not None:
            self._run.statuses[0] += self._run.order.events_per_request
        self._run.closed()


async def generate(order: Order) -> Result:
    """Send until the time is over."""
    loop = asyncio.get_running_loop()
    # Not by the clock of the loop, which counts in whole milliseconds.
    cpu, begins = time.process_time(), time.monotonic()
    ends = begins + WARM_UP_SECONDS + order.seconds
    run = _Run(order, begins, ends, events(order.seed), loop.create_future(), open_connections=order.connections)
    for number in range(order.connections):
        await loop.create_connection(partial(_Connection, run, number), "127.0.0.1", order.port)
    try:
        await asyncio.wait_for(run.finished, ends - time.monotonic() + _LAST_ANSWERS_SECONDS)
    except TimeoutError:
        run.statuses[0] += run.open_connections * order.events_per_request
    ordered = sorted(run.latencies) or [float("inf")]
    return Result(
        events_per_second=len(run.latencies) * order.events_per_request / order.seconds,
        p50_seconds=ordered[len(ordered) // 2],
        p99_seconds=ordered[len(ordered) * 99 // 100],
        requests=len(run.latencies),
        statuses={str(status): count for status, count in sorted(run.statuses.items())},
        cpu_seconds=time.process_time() - cpu,
    )


def main() -> None:
    """Generate what the argument orders."""
    order = Order(**json.loads(sys.argv[1]))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(asdict(runner.run(generate(order)))))


if __name__ == "__main__":
    main()
