"""The OpenAPI document is true: Schemathesis asks what it describes, and the real service answers.

In each situation PostgreSQL, Toxiproxy and the service are started and something is broken; then every operation is
called with its examples, with values at and beyond every bound, with undeclared methods, with and without its token,
and with random data, valid and not.  The same requests are made each time.  For more of them, with their number:

    HARNESS_SCHEMATHESIS_EXAMPLES=1150 python -m pytest -s tests/service/test_openapi.py

That is how many random ones are made for each operation that takes input; 1150 make more than 5,000 a situation.
"""

import asyncio
import json
import os
import re
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import schemathesis
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.engine import StopReason, events, from_schema

import service
from harness.session import REFERENCE_TARGET
from harness.stacks.base import Environment, StopMode
from harness.stacks.embedded import EmbeddedStack
from harness.targets.model import load_target

Case = schemathesis.Case[Any]
DOCUMENT = Path(service.__file__).with_name("openapi.json")
EXAMPLES = int(os.environ.get("HARNESS_SCHEMATHESIS_EXAMPLES", "10"))
OPERATIONS_WITH_INPUT = 4
TOKENS = {"ADMIN_TOKEN": "token-of-the-queue", "METRICS_TOKEN": "token-of-the-metrics"}
MONTHS = ("2025-11", "2025-12", "2026-01", "2026-02", "2026-03")
DETACHED = "2025_12"
DEADLINE_SECONDS = 5
# The clock is the client's, on a machine that does other things as well.
CLIENT_SHARE_SECONDS = 1
STATUSES = {200, 201, 202, 207, 400, 401, 405, 409, 413, 503}
A_ROW, A_WHOLE_EVENT, A_MISSING_MONTH = (
    b'"events":[{',
    b'"event":{',
    f'"unavailable_partitions": ["{DETACHED}"]'.encode(),
)
SHOWN = (A_ROW, A_WHOLE_EVENT, A_MISSING_MONTH)
DATA_MAX_BYTES = 256 * 1024
DATA_MAX_DEPTH = 10
STACK = EmbeddedStack()
UUID = re.compile("[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
TIMESTAMP = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9:.]+([Zz]|[+-][0-9:]{5})")
EVENTS, BATCH, QUEUED = "/api/v1/audit/events", "/api/v1/audit/events/batch", "/api/v1/dlq/events"


async def leave_alone(environment: Environment) -> None:
    assert environment.service.pid is not None


async def detach(environment: Environment) -> None:
    async with await psycopg.AsyncConnection.connect(environment.database.admin_conninfo) as connection:
        await connection.execute(f"ALTER TABLE audit_events DETACH PARTITION audit_events_{DETACHED}".encode())


async def stop_database(environment: Environment) -> None:
    await environment.database.stop(StopMode.FAST)


def shortest_event() -> dict[str, Any]:
    content = json.loads(DOCUMENT.read_bytes())["paths"][EVENTS]["post"]["requestBody"]["content"]["application/json"]
    example: dict[str, Any] = content["examples"]["shortest"]["value"]
    return example


async def stop_database_and_fill_queue(environment: Environment) -> None:
    """Stop the database, and give the queue the one event that it has room for."""
    await stop_database(environment)
    queued = await ask(environment, "POST", EVENTS, json=shortest_event())
    assert queued.status_code == 202


@dataclass(frozen=True)
class Situation:
    """What is broken, and which answers must be among those that the writes and reads of events get."""

    name: str
    bring_about: Callable[[Environment], Awaitable[None]]
    writes: frozenset[int]
    batches: frozenset[int]
    reads: frozenset[int]
    shown: frozenset[tuple[str, bytes]]
    degraded: frozenset[str] = frozenset()
    overrides: tuple[tuple[str, str], ...] = ()


READ, READ_QUEUE = f"GET {EVENTS}", f"GET {QUEUED}"
IN_QUEUE = frozenset({(READ_QUEUE, A_ROW), (READ_QUEUE, A_WHOLE_EVENT)})
SITUATIONS = (
    Situation(
        "healthy",
        leave_alone,
        writes=frozenset({201, 400, 409}),
        batches=frozenset({201, 207, 400}),
        reads=frozenset({200, 400}),
        shown=frozenset({(READ, A_ROW)}),
    ),
    Situation(
        "a partition is detached",
        detach,
        writes=frozenset({201, 202, 400, 409}),
        batches=frozenset({201, 202, 207, 400}),
        reads=frozenset({200, 400}),
        shown=IN_QUEUE | {(READ, A_MISSING_MONTH)},
        degraded=frozenset({f"partition {DETACHED}"}),
    ),
    Situation(
        "the database is down",
        stop_database,
        writes=frozenset({202, 400, 409}),
        batches=frozenset({202, 207, 400}),
        reads=frozenset({400, 503}),
        shown=IN_QUEUE,
        degraded=frozenset({"database"}),
    ),
    Situation(
        "neither store takes an event",
        stop_database_and_fill_queue,
        writes=frozenset({400, 503}),
        batches=frozenset({400, 503}),
        reads=frozenset({400, 503}),
        shown=IN_QUEUE,
        degraded=frozenset({"database", "dlq"}),
        overrides=(("DLQ_MAX_EVENTS", "1"),),
    ),
)


@dataclass
class Findings:
    """What a run saw: answers by operation and status, and what was wrong, each kind once with its first case."""

    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    wrong: dict[str, str] = field(default_factory=dict)
    times: Counter[str] = field(default_factory=Counter)
    shown: set[tuple[str, bytes]] = field(default_factory=set)
    ended: StopReason | None = None

    def add(self, kind: str, case: str) -> None:
        self.wrong.setdefault(kind, case)
        self.times[kind] += 1

    def statuses(self, label: str) -> set[int]:
        return {status for operation, status in self.answers if operation == label}

    def text(self) -> str:
        return "\n\n".join(f"{self.times[kind]} times {kind}\n{case}" for kind, case in self.wrong.items())


class Placing:
    """Moves generated events to where all answers can be reached, and leaves everything that is not valid alone.

    Valid timestamps go into the months that are written.  Three of four ids are replaced by new ones, or hardly
    anything would be stored: most generated events are one example with a single change, and so conflicts.
    """

    def __init__(self) -> None:
        self._ids = 0

    def __call__(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self(item) for item in value]
        return self._placed(value) if isinstance(value, dict) else value

    def _placed(self, event: dict[str, object]) -> dict[str, object]:
        placed, stamp, event_id = dict(event), event.get("event_timestamp"), event.get("event_id")
        if isinstance(stamp, str) and TIMESTAMP.fullmatch(stamp) and stamp[:7] not in MONTHS:
            day = int(stamp[8:10])
            placed["event_timestamp"] = f"{MONTHS[day % len(MONTHS)]}-{max(1, day % 29):02}{stamp[10:]}"
        if isinstance(event_id, str) and UUID.fullmatch(event_id):
            self._ids += 1
            if self._ids % 4:
                placed["event_id"] = str(uuid.UUID(int=self._ids))
        return placed


def configuration(base_url: str) -> schemathesis.Config:
    """The same requests each time: nothing is taken from the answers or from earlier runs."""
    by_scheme = {"adminToken": TOKENS["ADMIN_TOKEN"], "metricsToken": TOKENS["METRICS_TOKEN"]}
    values: dict[str, Any] = {
        "seed": 1,
        "cache": {"enabled": False},
        "base-url": base_url,
        "continue-on-failure": True,
        "request-timeout": 3 * DEADLINE_SECONDS,
        "auth": {"openapi": {name: {"bearer": token} for name, token in by_scheme.items()}},
        "generation": {"deterministic": True, "database": "none", "no-shrink": True, "max-examples": EXAMPLES},
        "phases": {
            "examples": {"extra-data-sources": {"responses": False}},
            "coverage": {"extra-data-sources": {"responses": False}},
            "fuzzing": {"extra-data-sources": {"responses": False}, "error-feedback": {"enabled": False}},
            "stateful": {"enabled": False},
        },
        "checks": {
            "not_a_server_error": {"expected-statuses": ["2xx", "4xx", "503"]},
            "max_response_time": DEADLINE_SECONDS + CLIENT_SHARE_SECONDS,
        },
        "operations": [
            # Nothing to choose but a token that is not theirs.
            {"include-path": ["/api/v1/dlq", "/metrics"], "generation": {"max-examples": max(1, EXAMPLES // 10)}},
            {
                # Its status sums up: 400 if all events conflict, 207 if some are valid and others not.
                "include-path": BATCH,
                "checks": {
                    "positive_data_acceptance": {"expected-statuses": ["2xx", "400", "503"]},
                    "negative_data_rejection": {"expected-statuses": ["207", "400", "405", "503"]},
                },
            },
        ],
    }
    return schemathesis.Config.from_dict(values)


def loaded(base_url: str = "http://127.0.0.1") -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_path(DOCUMENT, config=configuration(base_url))


def is_valid(case: Case) -> bool:
    return case.meta is not None and case.meta.generation.mode is schemathesis.GenerationMode.POSITIVE


def drive(base_url: str) -> Findings:
    """Make all requests and check all answers."""
    schema, found, placing = loaded(base_url), Findings(), Placing()

    @schema.hook("map_case")
    def place(context: schemathesis.HookContext, case: Case) -> Case:
        placed = placing(case.body)
        if placed != case.body:
            case.body = placed
        return case

    @schema.hook("after_call")
    def look(context: schemathesis.HookContext, case: Case, answer: schemathesis.Response) -> None:
        found.answers[case.operation.label, answer.status_code] += 1
        found.shown |= {(case.operation.label, text) for text in SHOWN if text in answer.content}
        # Schemathesis itself looks at the status alone when the method is not declared, and not at the body.
        try:
            case.operation.validate_response(answer)
        except (Failure, FailureGroup) as failure:
            found.add(f"{case.operation.label}: an answer against the document", f"{failure}\n{case.as_curl_command()}")
        if answer.status_code not in STATUSES:
            found.add(f"{case.operation.label}: a status of {answer.status_code}", case.as_curl_command())
        if case.path == BATCH and is_valid(case) and b'"rejected"' in answer.content:
            found.add(f"{case.operation.label}: a valid event is rejected", case.as_curl_command())

    for event in from_schema(schema).execute():
        if isinstance(event, events.ScenarioFinished):
            for node in (node for nodes in event.recorder.checks.values() for node in nodes):
                if node.failure_info is not None:
                    failure = node.failure_info.failure
                    kind = f"{event.label}: {failure.title} ({node.name}, {event.phase})"
                    found.add(kind, f"{failure.message}\n{node.failure_info.code_sample}")
        elif isinstance(event, events.NonFatalError):
            found.add(f"{event.label}: {event.info.title}", str(event.value))
        elif isinstance(event, events.FatalError):
            raise event.exception
        elif isinstance(event, events.EngineFinished):
            found.ended = event.stop_reason
    return found


async def ask(environment: Environment, method: str, path: str, **content: Any) -> httpx.Response:
    async with httpx.AsyncClient(base_url=environment.service.base_url, timeout=30) as client:
        return await client.request(method, path, **content)


def started(artifacts: Path, **overrides: str) -> Any:
    target = load_target(REFERENCE_TARGET)
    return STACK.environment(target, name="openapi", artifacts=artifacts, environment_overrides={**TOKENS, **overrides})


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda situation: situation.name)
def test_every_answer_is_documented_and_in_time(situation: Situation, tmp_path: Path) -> None:
    async def play() -> tuple[Findings, dict[str, Any]]:
        async with started(tmp_path, **dict(situation.overrides)) as environment:
            await situation.bring_about(environment)
            found = await asyncio.to_thread(drive, environment.service.base_url)
            # What is generated may lack a batch with a valid and another event, or one of a single month: it is drawn
            # anew in each process.
            valid = [
                shortest_event() | {"event_timestamp": f"{month}-15T12:00:00Z"} for month in ("2025-12", "2026-01")
            ]
            for batch in ([shortest_event(), {}], valid[:1], valid[1:]):
                answer = await ask(environment, "POST", BATCH, json=batch)
                loaded()[BATCH]["POST"].validate_response(answer)
                found.answers[f"POST {BATCH}", answer.status_code] += 1
            return found, (await ask(environment, "GET", "/health/ready")).json()

    found, ready = asyncio.run(play())
    print(f"{situation.name}: {found.answers.total()} requests, by status", end="")
    for status in sorted({status for _, status in found.answers}):
        print(f" {status}: {sum(found.answers[key] for key in found.answers if key[1] == status)}", end="")
    print()
    assert not found.wrong, found.text()
    assert found.ended is StopReason.COMPLETED
    assert found.answers.total() >= EXAMPLES * OPERATIONS_WITH_INPUT
    assert situation.writes <= found.statuses(f"POST {EVENTS}")
    assert situation.batches <= found.statuses(f"POST {BATCH}")
    assert situation.reads <= found.statuses(READ)
    assert {200, 401} <= found.statuses("GET /metrics")
    assert {200, 400, 401} <= found.statuses(READ_QUEUE)
    assert situation.shown <= found.shown
    degraded = set(ready["degraded"])
    assert situation.degraded <= degraded == set(ready["evidence"])
    # Without the database nothing is known of the partitions, and each may be called anything.
    assert "database" in degraded or situation.degraded == degraded


def resolved(node: dict[str, Any]) -> dict[str, Any]:
    """What a reference into this document stands for."""
    document = json.loads(DOCUMENT.read_bytes())
    while "$ref" in node:
        parts = node["$ref"].removeprefix("#/").split("/")
        node = document
        for part in parts:
            node = node[part]
    return node


def documented_answers() -> Iterator[tuple[str, str, httpx.Response]]:
    """Path, method and answer of each example of an answer."""
    for path, operations in json.loads(DOCUMENT.read_bytes())["paths"].items():
        for method, operation in operations.items():
            for status, response in operation["responses"].items():
                for media_type, content in resolved(response).get("content", {}).items():
                    examples = [one["value"] for one in content.get("examples", {}).values()]
                    for example in examples + [content[key] for key in ("example",) if key in content]:
                        text = example if isinstance(example, str) else json.dumps(example)
                        yield path, method.upper(), an_answer(int(status), media_type, text)


def an_answer(status: int, media_type: str, text: str) -> httpx.Response:
    answer = httpx.Response(
        status, headers={"content-type": media_type}, text=text, request=httpx.Request("GET", "http://127.0.0.1")
    )
    answer.elapsed = timedelta()
    return answer


def test_the_examples_of_answers_are_exact() -> None:
    schema, kinds = loaded(), set()
    for path, method, answer in documented_answers():
        assert schema[path][method].validate_response(answer) is None
        kinds.add((path, method, answer.status_code))
        if answer.headers["content-type"] != "text/plain":
            beyond = an_answer(
                answer.status_code, answer.headers["content-type"], json.dumps({**answer.json(), "surprise": 1})
            )
            assert not schema[path][method].is_valid_response(beyond), (path, method, answer.status_code)
    assert len(kinds) >= 30


def test_the_limits_are_those_of_the_contract() -> None:
    """The service takes them from this document, so that only this test would notice a wrong one."""
    document = json.loads(DOCUMENT.read_bytes())
    event = document["components"]["schemas"]["Event"]
    fields = {name: resolved(node) for name, node in event["properties"].items()}
    bounds = {name: (node["minLength"], node["maxLength"]) for name, node in fields.items() if "maxLength" in node}
    assert bounds == {
        "version": (1, 20),
        "event_type": (1, 100),
        "event_category": (1, 50),
        "event_action": (1, 50),
        "correlation_id": (1, 255),
    }
    assert {*fields} - {*event["required"]} == {"event_id", "version"}
    assert event["additionalProperties"] is False
    assert fields["version"]["default"] == "1.0"
    assert {*fields["event_outcome"]["enum"]} == {"success", "failure", "pending"}
    batch = document["paths"][BATCH]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert (batch["minItems"], batch["maxItems"]) == (1, 500)
    for path, names in (
        (EVENTS, {"event_id", "correlation_id", "from", "to", "limit"}),
        (QUEUED, {"state", "limit", "cursor", "include"}),
    ):
        parameters = {one["name"]: one["schema"] for one in document["paths"][path]["get"]["parameters"]}
        assert {*parameters} == names
        assert parameters["limit"] == {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}


def an_event(data: str) -> str:
    names = ("event_type", "event_category", "event_action", "correlation_id")
    rest = {"event_timestamp": "2025-12-15T00:00:00Z", "event_outcome": "success", **dict.fromkeys(names, "x")}
    return f'{json.dumps(rest)[:-1]}, "event_data": {data}}}'


def nested(depth: int) -> str:
    return '{"a":' * depth + "1" + "}" * depth


def sized(size: int) -> str:
    return '{"a":"' + "é" * ((size - 8) // 2) + "b" * (size % 2) + '"}'


def test_what_random_requests_do_not_reach(tmp_path: Path) -> None:
    """Sizes and depths, values that only the table refuses, paths that are nowhere, the document itself."""
    bodies = [
        (201, nested(DATA_MAX_DEPTH)),
        (400, nested(DATA_MAX_DEPTH + 1)),
        (201, sized(DATA_MAX_BYTES)),
        (400, sized(DATA_MAX_BYTES + 1)),
        (413, " " * (5 * 1024 * 1024)),
        # JSON that PostgreSQL's numbers cannot hold.
        (400, '{"n": 1e200000}'),
    ]

    async def play() -> None:
        schema = loaded()
        async with started(tmp_path, METRICS_PORT="0") as environment:
            for status, data in bodies:
                for path, body in ((EVENTS, an_event(data)), (BATCH, f"[{an_event(data)}]")):
                    answer = await ask(environment, "POST", path, content=body.encode())
                    assert answer.status_code == status, answer.text
                    schema[path]["POST"].validate_response(answer)
            answer = await ask(environment, "GET", "/metrics")
            assert answer.status_code == 404
            schema["/metrics"]["GET"].validate_response(answer)
            for path in ("/api/v2", "/", f"{EVENTS}/"):
                elsewhere = await ask(environment, "GET", path)
                assert (elsewhere.status_code, elsewhere.text) == (404, answer.text)
            served = await ask(environment, "GET", "/openapi.json")
            assert served.content == DOCUMENT.read_bytes()

    asyncio.run(play())
