"""Defects of what clients are told: the form of answers, validation, re-sends, batches, ids, queries."""

import dataclasses
import json
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import NAMESPACE_URL, uuid4, uuid5

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from service import models, routes, writer
from service.database import Fault
from service.models import FIELDS, Event, JsonValue, Outcome, Status
from service.routes import Api
from service.writer import CREATED, Writer

from .planting import live_results, reitem, without_identity
from .registry import defect

LOCAL = timezone(timedelta(hours=1))
_spare_all: ContextVar[bool] = ContextVar("spare_all", default=False)


@defect("503-without-outcome", promise=2, scenarios=("dlq-full",), checkers=("answers",), names_events=False)
def unavailable_without_outcome() -> None:
    """A 503 does not say whether the event may have been stored."""
    problem = routes.problem

    def silent(*args: Any, outcome: str = "", **more: Any) -> Response:
        return problem(*args, **more)

    vars(routes)["problem"] = silent


@defect(
    "503-without-retry-after", promise=2, scenarios=("dlq-full",), checkers=("answers",), names_events=False, quick=True
)
def unavailable_without_retry_after() -> None:
    """A 503 has no Retry-After."""
    vars(routes)["RETRY"] = None


@defect("202-without-an-id", promise=2, scenarios=("december-detached",), checkers=("answers",), names_events=False)
def queued_without_an_id() -> None:
    """The answer to a queued event does not name it."""

    def nameless(event: Event | None, body: dict[str, Any]) -> None:
        if body["status"] == "queued":
            body.pop("event_id", None)

    reitem(nameless)


@defect(
    "answered-in-local-time", promise=2, scenarios=("baseline",), checkers=("answers",), names_events=False, quick=True
)
def answered_in_local_time() -> None:
    """Answers give the event's time in the server's own zone, not in UTC."""

    def localised(event: Event | None, body: dict[str, Any]) -> None:
        if "event_timestamp" in body:
            body["event_timestamp"] = datetime.fromisoformat(body["event_timestamp"]).astimezone(LOCAL).isoformat()

    reitem(localised)


@defect("partition-named-as-the-table", promise=2, scenarios=("baseline",), checkers=("honest-status",), quick=True)
def partition_named_as_the_table() -> None:
    """Answers name the table, audit_events_2025_12, where the partition's name is due."""

    def named(event: Event | None, body: dict[str, Any]) -> None:
        if "partition" in body:
            body["partition"] = f"audit_events_{body['partition']}"

    reitem(named)


@defect("queued-called-created", promise=2, scenarios=("december-detached",), checkers=("answers",), names_events=False)
def queued_called_created() -> None:
    """The body of every acceptance says created, also that of a 202."""

    def always_created(event: Event | None, body: dict[str, Any]) -> None:
        body["status"] = "created" if body["status"] == "queued" else body["status"]

    reitem(always_created)


@defect(
    "errors-in-a-form-of-their-own",
    promise=2,
    scenarios=("baseline",),
    checkers=("answers",),
    names_events=False,
    quick=True,
)
def errors_in_a_form_of_their_own() -> None:
    """Refusals are plain JSON with an error text, no problem details."""

    def plain(status: int, detail: str, *_: Any, **more: Any) -> Response:
        return JSONResponse({"error": detail}, status, routes.RETRY if status == 503 else None)

    vars(routes)["problem"] = plain


@defect("field-rules-not-checked", promise=2, scenarios=("december-detached",), checkers=("honest-status",))
def field_rules_not_checked() -> None:
    """Lengths and lists of values are left to the database, which knows none: wrong fields are stored."""
    for name in ("event_action", "event_outcome"):
        FIELDS[name]["parse"] = str


@defect("conflict-is-accepted", promise=2, scenarios=("december-detached",), checkers=("honest-status",))
def conflict_is_accepted() -> None:
    """Another content under a stored identity is answered 201: ON CONFLICT DO NOTHING is taken for success."""

    def unaware(event: Event, result: Outcome | Fault) -> Outcome | Fault:
        conflict = isinstance(result, Outcome) and result.status is Status.CONFLICT
        return dataclasses.replace(CREATED, duplicate=True) if conflict else result

    live_results(unaware)


@defect("conflict-is-400", promise=2, scenarios=("december-detached",), checkers=("honest-status",))
def conflict_is_400() -> None:
    """Another content under a stored identity is refused with 400 in place of 409."""
    routes._CODES[Status.CONFLICT] = 400


@defect("equal-event-is-a-conflict", promise=2, scenarios=("december-detached",), checkers=("honest-status",))
def equal_event_is_a_conflict() -> None:
    """Contents are compared as texts, and jsonb gives fields back in an order of its own: a re-send gets 409."""

    canonical = models.canonical

    def unsorted(value: JsonValue, depth: int = 0) -> str:
        # Only the order of the fields is another, none of the rules.
        text = canonical(value, depth)
        if not isinstance(value, dict):
            return text
        return (
            "{"
            + ",".join([f"{json.dumps(key, ensure_ascii=False)}:{unsorted(value[key], depth + 1)}" for key in value])
            + "}"
        )

    vars(models)["canonical"] = vars(writer)["canonical"] = unsorted


@defect("resend-of-stored-is-202", promise=2, scenarios=("december-detached",), checkers=("honest-status",))
def resend_of_stored_is_202() -> None:
    """A re-send of a stored event meets its own row, and is answered 202 as if it were still on its way."""

    def on_its_way(event: Event, result: Outcome | Fault) -> Outcome | Fault:
        stored = isinstance(result, Outcome) and result.duplicate and result.status is Status.CREATED
        return Outcome(Status.QUEUED, duplicate=True) if stored else result

    live_results(on_its_way)


@defect("no-idempotency", promise=6, scenarios=("december-detached",), checkers=("duplicates",), quick=True)
def no_idempotency() -> None:
    """The table has no key, and nobody looks before writing: the same body twice is two rows."""
    without_identity()


@defect(
    "batch-is-all-or-nothing",
    promise=2,
    scenarios=("december-detached-under-batches",),
    checkers=("honest-status",),
    quick=True,
)
def batch_is_all_or_nothing() -> None:
    """One invalid event has its whole batch refused."""
    take = Api._take

    async def together(self: Api, values: list[Any], deadline: float) -> list[tuple[Outcome, str]]:
        now = datetime.now(UTC)
        window = now - timedelta(self.parts.config.event_max_age_days), datetime.max.replace(tzinfo=UTC)
        try:
            for value in values:
                models.parse_event(value, *window)
        except models.InvalidError as error:
            refused = Outcome(Status.REJECTED, "the batch is not valid", errors=tuple(error.errors.items()))
            self.parts.metrics.events.labels("rejected").inc(len(values))
            return [(refused, routes._item(None, refused)) for _ in values]
        return await take(self, values, deadline)

    Api._take = together  # type: ignore[method-assign]


@defect(
    "batch-results-out-of-order",
    promise=2,
    scenarios=("december-detached-under-batches",),
    checkers=("answers", "honest-status"),
)
def batch_results_out_of_order() -> None:
    """The results of a batch come as they are done: those accepted first, those refused last."""
    take = Api._take

    async def as_done(self: Api, values: list[Any], deadline: float) -> list[tuple[Outcome, str]]:
        return sorted(await take(self, values, deadline), key=lambda one: routes._CODES[one[0].status])

    Api._take = as_done  # type: ignore[method-assign]


@defect(
    "batch-is-always-207",
    promise=2,
    scenarios=("december-detached-under-batches",),
    checkers=("answers",),
    names_events=False,
)
def batch_is_always_207() -> None:
    """Every batch is answered 207, whatever became of its events."""
    write_batch = Api._write_batch

    async def mixed(self: Api, request: Request) -> Response:
        answer = await write_batch(self, request)
        answer.status_code = 207
        return answer

    Api._write_batch = mixed  # type: ignore[method-assign]


@defect(
    "batch-follows-its-worst-month",
    promise=3,
    scenarios=("december-detached-under-batches",),
    checkers=("isolation",),
    quick=True,
)
def batch_follows_its_worst_month() -> None:
    """One event of a damaged month drags its whole batch into the queue."""
    write, may_try = Writer.write, Writer._may_try

    async def in_one_piece(self: Writer, events: list[Event], deadline: float) -> list[Outcome]:
        token = _spare_all.set(not all(may_try(self, self.months[event.month]) for event in events))
        try:
            return await write(self, events, deadline)
        finally:
            _spare_all.reset(token)

    Writer.write = in_one_piece  # type: ignore[method-assign]
    Writer._may_try = lambda self, month: not _spare_all.get() and may_try(self, month)  # type: ignore[method-assign]


def _with_id(value: JsonValue, event_id: str) -> JsonValue:
    return {"event_id": event_id, **value} if isinstance(value, dict) and "event_id" not in value else value


@defect(
    "one-anonymous-id-a-day",
    promise=2,
    scenarios=("december-detached-under-batches", "december-detached"),
    checkers=("honest-status",),
)
def one_anonymous_id_a_day() -> None:
    """The id of an event without one is made of its date: the second of a day contradicts the first."""

    def derived(value: JsonValue, earliest: datetime, latest: datetime) -> Event:
        stamp = str(value.get("event_timestamp")) if isinstance(value, dict) else ""
        return models.parse_event(_with_id(value, str(uuid5(NAMESPACE_URL, stamp[:10]))), earliest, latest)

    vars(routes)["parse_event"] = derived


@defect(
    "anonymous-id-made-twice",
    promise=1,
    scenarios=("december-detached-under-batches", "december-detached"),
    checkers=("conservation",),
)
def anonymous_id_made_twice() -> None:
    """The id of an event without one is made once for the row and once for the answer."""
    anonymous: set[str] = set()

    def noted(value: JsonValue, earliest: datetime, latest: datetime) -> Event:
        event = models.parse_event(value, earliest, latest)
        if isinstance(value, dict) and "event_id" not in value:
            anonymous.add(event.event_id)
        return event

    def another(event: Event | None, body: dict[str, Any]) -> None:
        if event is not None and event.event_id in anonymous and "event_id" in body:
            body["event_id"] = str(uuid4())

    vars(routes)["parse_event"] = noted
    reitem(another)


@defect("query-by-id-of-the-last-month", promise=2, scenarios=("baseline",), checkers=("reads-back",))
def query_by_id_of_the_last_month() -> None:
    """A query by id looks at the last 31 days only, as one without an id does."""

    def recent(path: str, given: list[tuple[str, str]]) -> dict[str, Any]:
        asked = models.parse_query(path, given)
        return asked if "limit" not in asked else {"from": datetime.now(UTC) - routes.DEFAULT_AGE} | asked

    vars(routes)["parse_query"] = recent


Found = tuple[list[Event], list[str]]


@defect(
    "query-fails-with-one-month",
    promise=2,
    scenarios=("december-detached",),
    checkers=("reads-back",),
    names_events=False,
)
def query_fails_with_one_month() -> None:
    """A query over a month that cannot be read is an error, in place of what the other months have."""
    read = Writer.read

    async def all_or_nothing(self: Writer, asked: Mapping[str, Any], deadline: float) -> Found:
        events, unavailable = await read(self, asked, deadline)
        if unavailable and self.database.available:
            raise HTTPException(503, f"partition {unavailable[0]} cannot be read")
        return events, unavailable

    Writer.read = all_or_nothing  # type: ignore[method-assign]


@defect(
    "query-hides-a-missing-month",
    promise=2,
    scenarios=("december-detached",),
    checkers=("reads-back",),
    names_events=False,
    quick=True,
)
def query_hides_a_missing_month() -> None:
    """Months that cannot be read are not listed: their events seem never to have been."""
    read = Writer.read

    async def discreet(self: Writer, asked: Mapping[str, Any], deadline: float) -> Found:
        return (await read(self, asked, deadline))[0], []

    Writer.read = discreet  # type: ignore[method-assign]


@defect("query-shows-queued-events", promise=2, scenarios=("december-detached",), checkers=("reads-back",))
def query_shows_queued_events() -> None:
    """Queued events appear in queries beside the stored ones."""
    read = Writer.read

    async def both(self: Writer, asked: Mapping[str, Any], deadline: float) -> Found:
        events, unavailable = await read(self, asked, deadline)
        queued = [entry.event for entry in await self.queue.page("pending", 0, asked["limit"])]
        return [*events, *(event for event in queued if _asked_for(event, asked))][: asked["limit"] + 1], unavailable

    Writer.read = both  # type: ignore[method-assign]


def _asked_for(event: Event, asked: Mapping[str, Any]) -> bool:
    value: Any = models.parse_json(event)
    names = [name for name in ("event_id", "correlation_id") if asked[name] is not None]
    stamp = datetime.fromisoformat(value["event_timestamp"])
    return asked["from"] <= stamp < asked["to"] and all(str(asked[name]) == value[name] for name in names)


@defect("query-never-truncated", promise=2, scenarios=("baseline",), checkers=("reads-back",), names_events=False)
def query_never_truncated() -> None:
    """An answer that was cut off at its limit says that it is whole."""
    query = Api._query

    async def whole(self: Api, request: Request) -> Response:
        answer = await query(self, request)
        body = bytes(answer.body).replace(b'"truncated": true', b'"truncated": false')
        return Response(body, answer.status_code, media_type="application/json")

    Api._query = whole  # type: ignore[method-assign]


@defect("query-rounds-numbers", promise=1, scenarios=("baseline",), checkers=("reads-back",), quick=True)
def query_rounds_numbers() -> None:
    """Numbers go through floating point on their way out of the table: a reader sees long ones rounded."""
    read = Writer.read

    async def floating(self: Writer, asked: Mapping[str, Any], deadline: float) -> Found:
        events, unavailable = await read(self, asked, deadline)
        return [Event(json.dumps(json.loads(event, parse_int=float))) for event in events], unavailable

    Writer.read = floating  # type: ignore[method-assign]
