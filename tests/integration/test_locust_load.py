"""Locust as the load: what it began it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from harness import events as ev
from harness._wait import wait_until
from harness.history import Clock, History, read_history
from harness.load.locust_driver import LocustLoad
from harness.scenario import Load
from harness.values import Month

ANSWER = b'HTTP/1.1 201 Created\r\ncontent-length: 20\r\n\r\n{"status":"created"}'
STOPS = 4
USERS = 50
LOAD = Load(months=(Month(2025, 12), Month(2026, 1)), locust_users=USERS)


async def answer_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
            await reader.readexactly(int(length.partition(b":")[2]))
            writer.write(ANSWER)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


@asynccontextmanager
async def running(folder: Path, load: Load = LOAD, *, edge: bool = False) -> AsyncIterator[LocustLoad]:
    """Locust on a service that answers at once; what is left of it afterwards is its history."""
    server = await asyncio.start_server(answer_at_once, "127.0.0.1", 0)
    folder.mkdir()
    history = History(folder, Clock())
    locust = LocustLoad(load, 1, "run", history, folder, folder / "locust.log", timeout_seconds=5)
    locust.set_edge(edge)
    try:
        await locust.start(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        yield locust
        await locust.stop()
    finally:
        await locust.abort()
        history.close()
        server.close()


async def run_and_stop(folder: Path) -> list[ev.Record]:
    async with running(folder):
        pass
    return read_history(folder)


async def until_events(locust: LocustLoad, count: int) -> None:
    async def enough() -> bool:
        return locust.tally.events >= count

    await wait_until(enough, what=f"{count} answers", deadline_seconds=30)


def test_a_stop_lets_every_request_end(tmp_path: Path) -> None:
    # With answers at once most users are between two tasks, which is when a stop would kill them.
    for number in range(STOPS):
        records = asyncio.run(run_and_stop(tmp_path / str(number)))
        begun = {record.op for record in records if isinstance(record, ev.Invoke)}
        ended = {record.op for record in records if isinstance(record, ev.Complete) and record.status == 201}
        assert begun
        assert begun == ended


def test_users_pause_at_an_edge_and_never_else(tmp_path: Path) -> None:
    # So long a pause that a user who takes one never comes back.
    load = replace(LOAD, edge_rate_per_writer=0.001)

    async def play() -> None:
        async with running(tmp_path / "edge", load, edge=True) as locust:
            await until_events(locust, USERS)
        async with running(tmp_path / "none", load) as locust:
            await until_events(locust, 4 * USERS)

    asyncio.run(play())
    sent = [record for record in read_history(tmp_path / "edge") if isinstance(record, ev.Invoke)]
    assert len(sent) == USERS, "one event each"
