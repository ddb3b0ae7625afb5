"""The closed loop and the reader against a server on the loopback that answers as the contract says."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from aiohttp import web

from harness import events as ev
from harness._wait import wait_until
from harness.history import Clock, History, read_history
from harness.load.closed import ClosedLoop
from harness.probes.readback import LIMIT, ReadBack
from harness.rundata import Run, build_run
from harness.scenario import Load
from harness.targets.model import Limits
from harness.values import Month, utc_timestamp

MONTHS = (Month(2025, 12), Month(2026, 1))
LOAD = Load(
    months=MONTHS[:1], late_months=MONTHS[1:], batch_writers=2, batch_size=5, rate_per_writer=0.0, anonymous_share=0.2
)
PROBLEM = {"type": "about:blank", "title": "Bad Request", "detail": "no", "errors": []}


class Store:
    """A service in memory: events by id, and the answers that the contract gives for them."""

    def __init__(self) -> None:
        self.events: dict[str, dict[str, Any]] = {}

    def take(self, event: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        known = {"event_type", "event_outcome", "event_action"} <= event.keys() and "unknown_field" not in event
        if not known or event["event_outcome"] == "perhaps" or len(event["event_action"]) > 50:
            return 400, {"status": "rejected", "errors": []}
        moment = utc_timestamp(datetime.fromisoformat(event["event_timestamp"]))
        event = {"event_id": str(uuid.uuid4()), **event, "event_timestamp": moment}
        if self.events.setdefault(event["event_id"], event) != event:
            return 409, {"status": "conflict", "errors": []}
        partition = f"{moment[:4]}_{moment[5:7]}"
        accepted = {"event_id": event["event_id"], "event_timestamp": moment, "partition": partition}
        return 201, {**accepted, "status": "created"}

    async def one(self, request: web.Request) -> web.Response:
        status, item = self.take(await request.json())
        if status == 201:
            return web.json_response(item, status=status)
        return web.json_response({**PROBLEM, "status": status}, status=status, content_type="application/problem+json")

    async def batch(self, request: web.Request) -> web.Response:
        taken = [self.take(event) for event in await request.json()]
        codes = {status for status, _ in taken}
        status = 201 if codes == {201} else 207 if 201 in codes else 400
        return web.json_response({"results": [item for _, item in taken]}, status=status)

    async def query(self, request: web.Request) -> web.Response:
        asked = request.query
        found = [event for event in self.events.values() if event["event_id"] == asked.get("event_id")]
        if "from" in asked:
            found = [each for each in self.events.values() if asked["from"] <= each["event_timestamp"] < asked["to"]]
            found.sort(key=lambda event: (event["event_timestamp"], event["event_id"]))
        limit = int(asked.get("limit", 100))
        answer = {"events": found[:limit], "truncated": len(found) > limit, "unavailable_partitions": []}
        return web.json_response(answer)


async def serving(play: Callable[[str], Awaitable[None]]) -> None:
    store, app = Store(), web.Application()
    app.add_routes(
        [
            web.post("/api/v1/audit/events", store.one),
            web.get("/api/v1/audit/events", store.query),
            web.post("/api/v1/audit/events/batch", store.batch),
        ]
    )
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        await play(f"http://127.0.0.1:{runner.addresses[0][1]}")
    finally:
        await runner.cleanup()


def played(folder: Path, *, cut: bool = False) -> Run:
    """Some hundred events of singles and batches, and a few queries, as they are in the history afterwards."""
    history = History(folder, Clock())
    history.add(ev.RunStarted(0.0, "run", "s", 1, "", "{}", "t", {}))

    async def play(url: str) -> None:
        base = "http://127.0.0.1:9" if cut else url
        load = ClosedLoop(LOAD, 1, "run", history, lambda: base, client_timeout_seconds=5)
        await load.start()
        load.join(MONTHS[1])

        async def enough() -> bool:
            return load.tally.events > 300

        await wait_until(enough, what="300 events", deadline_seconds=60)
        target = SimpleNamespace(limits=Limits())
        environment: Any = SimpleNamespace(service=SimpleNamespace(base_url=base), target=target)
        reader = ReadBack(environment, history, MONTHS)
        for _ in range(4):
            await reader.ask()
        await load.stop()

    asyncio.run(serving(play))
    history.close()
    return build_run(read_history(folder))


def test_singles_and_batches_of_an_honest_server_have_no_flaw(tmp_path: Path) -> None:
    run = played(tmp_path)
    assert {operation.flaw for operation in run.operations} == {""}
    assert {operation.status for operation in run.operations} == {201, 400, 409}
    ends = run.of_kind(ev.BatchEnd)
    assert {end.flaw for end in ends} == {""}
    items = {end.batch: [op for op in run.operations if op.batch == end.batch] for end in ends}
    assert {len(found) for found in items.values()} == {LOAD.batch_size}
    assert {op.month for found in items.values() for op in found} == set(MONTHS)
    assert len({op.completed for found in items.values() for op in found}) <= len(ends)


def test_anonymous_events_are_known_by_the_ids_that_the_server_gave(tmp_path: Path) -> None:
    anonymous = [op for op in played(tmp_path).operations if op.anonymous]
    assert {bool(op.batch) for op in anonymous} == {True, False}
    assert len({op.event_id for op in anonymous if op.status == 201}) == len(anonymous)
    assert all(str(uuid.UUID(op.event_id)) == op.event_id for op in anonymous)


def test_queries_ask_for_what_was_created_and_for_each_month(tmp_path: Path) -> None:
    run = played(tmp_path)
    samples = run.of_kind(ev.QuerySample)
    by_id = [sample for sample in samples if sample.event_id]
    assert [sample.found for sample in by_id] == [(sample.event_id,) for sample in by_id]
    assert len(by_id) == 4
    sent = {op.event_id: op for op in run.operations}
    for sample in by_id:
        content = json.loads(sent[sample.event_id].content)
        assert json.loads(sample.content) == {"event_id": sample.event_id, **content}
    ranges = [sample for sample in samples if not sample.event_id]
    assert {sample.month for sample in ranges} == {month.label for month in MONTHS}
    assert {(len(sample.found), sample.truncated, sample.flaw) for sample in ranges} == {(LIMIT, True, "")}


def test_a_server_that_is_gone_answers_nothing_and_has_no_flaw(tmp_path: Path) -> None:
    run = played(tmp_path, cut=True)
    assert {(op.status, op.flaw, op.error) for op in run.operations} == {(0, "", "ClientConnectorError")}
    assert {(end.status, end.flaw) for end in run.of_kind(ev.BatchEnd)} == {(0, "")}
    assert {sample.status for sample in run.of_kind(ev.QuerySample)} == {0}
