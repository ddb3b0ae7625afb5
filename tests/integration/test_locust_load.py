"""Locust as the load: what it began it ends."""

from __future__ import annotations

import asyncio
from pathlib import Path

from harness import events as ev
from harness.history import Clock, History, read_history
from harness.load.locust_driver import LocustLoad
from harness.scenario import Load
from harness.values import Month

ANSWER = b'HTTP/1.1 201 Created\r\ncontent-length: 20\r\n\r\n{"status":"created"}'
STOPS = 4


async def answer_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
            await reader.readexactly(int(length.partition(b":")[2]))
            writer.write(ANSWER)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def run_and_stop(folder: Path) -> list[ev.Record]:
    server = await asyncio.start_server(answer_at_once, "127.0.0.1", 0)
    folder.mkdir()
    load = Load(months=(Month(2025, 12), Month(2026, 1)), locust_users=50)
    history = History(folder, Clock())
    locust = LocustLoad(load, 1, "run", history, folder, folder / "locust.log", timeout_seconds=5)
    try:
        await locust.start(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        await locust.stop()
    finally:
        await locust.abort()
        history.close()
        server.close()
    return read_history(folder)


def test_a_stop_lets_every_request_end(tmp_path: Path) -> None:
    # With answers at once most users are between two tasks, which is when a stop would kill them.
    for number in range(STOPS):
        records = asyncio.run(run_and_stop(tmp_path / str(number)))
        begun = {record.op for record in records if isinstance(record, ev.Invoke)}
        ended = {record.op for record in records if isinstance(record, ev.Complete) and record.status == 201}
        assert begun
        assert begun == ended
