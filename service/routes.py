"""HTTP: bodies in, problem details out, nothing decided here."""

import asyncio
import json
import secrets
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any

from prometheus_client import generate_latest
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .dlq import DlqError, Entry
from .models import DOCUMENT, Event, InvalidError, Outcome, Status, parse_event, parse_json, parse_query, rfc3339
from .writer import Writer

BODY_MAX_BYTES, BATCH_MAX = 5 * 1024 * 1024, 500
DEFAULT_AGE = timedelta(days=31)
Errors = Iterable[tuple[str, str]]
Headers = Mapping[str, str]
RETRY = {"retry-after": "1"}
_LABELS = {status: status.value for status in Status} | {Status.CONFLICT: "rejected"}
_CODES = {Status.CREATED: 201, Status.QUEUED: 202, Status.REJECTED: 400, Status.CONFLICT: 409, Status.UNAVAILABLE: 503}


def _listed(errors: Errors) -> list[dict[str, str]]:
    return [{"field": field, "message": message} for field, message in errors]


def problem(status: int, detail: str, errors: Errors = (), headers: Headers | None = None, **more: str) -> Response:
    """An RFC 9457 answer; a 503 says when to come back."""
    title = HTTPStatus(status).phrase
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail, "errors": _listed(errors)}
    headers = RETRY if status == 503 else headers
    return JSONResponse(body | more, status, headers, "application/problem+json")


def check_token(request: Request, token: str | None) -> None:
    """Raises HTTPException, a 401, unless the request carries the token that is set."""
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    carried = f"{scheme.lower()} {given}".encode("latin-1")
    if token is not None and not secrets.compare_digest(carried, f"bearer {token}".encode()):
        raise HTTPException(401, "a bearer token is required", {"www-authenticate": "Bearer"})


@dataclass
class Api:
    """The handlers."""

    parts: Writer
    stopping: Callable[[], bool]

    @property
    def routes(self) -> list[Route]:
        """Everything but the metrics, which may have an address of their own."""
        return [
            Route("/api/v1/audit/events", self._events, methods=["GET", "POST"]),
            Route("/api/v1/audit/events/batch", self._write_batch, methods=["POST"]),
            Route("/api/v1/dlq", self._queue_summary),
            Route("/api/v1/dlq/events", self._queue_events),
            Route("/health/live", JSONResponse({"status": "ok"}), methods=["GET"]),
            Route("/health/ready", self._ready),
            Route("/openapi.json", Response(DOCUMENT, media_type="application/json"), methods=["GET"]),
        ]

    async def _events(self, request: Request) -> Response:
        return await (self._write_event if request.method == "POST" else self._query)(request)

    async def _body(self, request: Request) -> Any:
        """The body, parsed; one too large is read to its end, so that the client reads the answer."""
        body = bytearray()
        error: Exception
        try:
            async with asyncio.timeout(self.parts.config.request_deadline_seconds / 2):
                async for chunk in request.stream():
                    body += chunk[: BODY_MAX_BYTES + 1 - len(body)]
            if len(body) <= BODY_MAX_BYTES:
                return parse_json(bytes(body))
            error = HTTPException(413, f"the body is larger than {BODY_MAX_BYTES} bytes")
        except (TimeoutError, ClientDisconnect):
            error = HTTPException(400, "the body did not arrive in time", {"connection": "close"})
        except InvalidError as invalid:
            error = invalid
        self.parts.metrics.events.labels("rejected").inc()
        raise error

    async def _take(self, values: list[Any], deadline: float) -> list[tuple[Outcome, str]]:
        """Write the events among these values: for each its outcome, and its item in an answer."""
        now, config = datetime.now(UTC), self.parts.config
        window = now - timedelta(config.event_max_age_days), now + timedelta(config.event_max_ahead_days)
        parsed: list[Event | Outcome] = []
        for value in values:
            try:
                parsed.append(parse_event(value, *window))
            except InvalidError as error:
                errors = tuple(error.errors.items())
                parsed.append(Outcome(Status.REJECTED, "the request is not valid", errors=errors))
        written = iter(await self.parts.write([one for one in parsed if isinstance(one, Event)], deadline))
        taken = [(one, next(written)) if isinstance(one, Event) else (None, one) for one in parsed]
        labels = ["duplicate" if one.accepted and one.duplicate else _LABELS[one.status] for _, one in taken]
        for label, count in Counter(labels).items():
            self.parts.metrics.events.labels(label).inc(count)
        return [(outcome, _item(event, outcome)) for event, outcome in taken]

    async def _write_event(self, request: Request) -> Response:
        deadline = time.monotonic() + self.parts.config.request_deadline_seconds
        ((outcome, item),) = await self._take([await self._body(request)], deadline)
        code = _CODES[outcome.status]
        if outcome.accepted:
            return Response(item, code, media_type="application/json")
        more = {"outcome": outcome.stored} if code == 503 else {}
        return problem(code, outcome.detail, outcome.errors, None, **more)

    async def _write_batch(self, request: Request) -> Response:
        deadline = time.monotonic() + self.parts.config.request_deadline_seconds
        values = await self._body(request)
        if not isinstance(values, list) or not 1 <= len(values) <= BATCH_MAX:
            self.parts.metrics.events.labels("rejected").inc(len(values) if isinstance(values, list) else 1)
            raise InvalidError({"": f"must be an array of 1 to {BATCH_MAX} events"})
        taken = await self._take(values, deadline)
        codes = {_CODES[outcome.status] for outcome, _ in taken}
        refused = 400 if codes <= {400, 409} else 503
        code = max(codes) if codes <= {201, 202} else 207 if codes & {201, 202} else refused
        text = f'{{"results":[{",".join([item for _, item in taken])}]}}'
        return Response(text, code, RETRY if code == 503 else None, "application/json")

    async def _query(self, request: Request) -> Response:
        deadline = time.monotonic() + self.parts.config.request_deadline_seconds
        asked = parse_query(request.url.path, request.query_params.multi_items())
        by_id = "event_id" in asked or "correlation_id" in asked
        oldest = datetime.min.replace(tzinfo=UTC) if by_id else datetime.now(UTC) - DEFAULT_AGE
        anything = {"event_id": None, "correlation_id": None, "from": oldest, "to": datetime.max.replace(tzinfo=UTC)}
        events, unavailable = await self.parts.read(anything | asked, deadline)
        if not self.parts.database.available:
            return problem(503, "the database cannot be read")
        listed, truncated = ",".join(events[: asked["limit"]]), len(events) > asked["limit"]
        rest = json.dumps({"truncated": truncated, "unavailable_partitions": unavailable})
        return Response(f'{{"events":[{listed}],{rest[1:]}', media_type="application/json")

    async def _queue_summary(self, request: Request) -> Response:
        check_token(request, self.parts.config.admin_token)
        queue, pending = self.parts.queue, self.parts.queue.pending
        counts = {"depth": sum(pending.values()), "dead_letters": sum(queue.dead.values()), "capacity": queue.capacity}
        return JSONResponse({**counts, "oldest_age_seconds": queue.oldest_age_seconds, "partitions": pending})

    async def _queue_events(self, request: Request) -> Response:
        check_token(request, self.parts.config.admin_token)
        query = parse_query(request.url.path, request.query_params.multi_items())
        limit, whole = query["limit"], "include" in query
        entries = await self.parts.queue.page(query.get("state"), int(query.get("cursor", 0)), limit + 1)
        more = f'"{entries[limit - 1].seq}"' if len(entries) > limit else "null"
        rows = ",".join(_entry_json(entry, whole) for entry in entries[:limit])
        return Response(f'{{"events":[{rows}],"next_cursor":{more}}}', media_type="application/json")

    async def _ready(self, request: Request) -> Response:
        months, queue, table_works = list(self.parts.months.values()), self.parts.queue, self.parts.database.available
        queue_works = queue.available and not queue.full
        evidence = {f"partition {month.name}": month.evidence for month in months if month.status != "healthy"}
        evidence |= {"database": "no connection, or its tables are not there yet"} if not table_works else {}
        evidence |= {"dlq": "full" if queue.full else "cannot be written"} if not queue_works else {}
        takes = queue_works or (table_works and any(month.status != "unavailable" for month in months))
        status = "stopping" if self.stopping() else "degraded" if evidence else "ok"
        body = {"status": status, "degraded": list(evidence), "evidence": evidence}
        return JSONResponse(body, 200 if takes and not self.stopping() else 503)

    async def metrics(self, request: Request) -> Response:
        """GET /metrics."""
        check_token(request, self.parts.config.metrics_token)
        return Response(generate_latest(self.parts.metrics.registry), media_type="text/plain; version=0.0.4")


def _item(event: Event | None, outcome: Outcome) -> str:
    status = outcome.status.value
    if event is not None and outcome.accepted:
        # Its text begins with its id and time, and nothing in the others needs an escape.
        head = event.partition(',"version":')[0]
        return f'{head},"partition":"{event.month}","status":"{status}"}}'
    more = {"outcome": outcome.stored} if outcome.status is Status.UNAVAILABLE else {}
    return json.dumps({"status": status, "errors": _listed(outcome.errors or [("", outcome.detail)]), **more})


def _entry_json(entry: Entry, whole: bool) -> str:
    event = entry.event
    named = {"event_id": event.event_id, "event_date": event.event_date, "partition": entry.partition}
    error = {"sqlstate": entry.sqlstate, "message": entry.message}
    queued_at = rfc3339(datetime.fromtimestamp(entry.queued_at, UTC))
    state = {"state": entry.state, "attempts": entry.attempts, "last_error": error, "queued_at": queued_at}
    # The event is spliced in as the text that was stored, so that its numbers stay exact.
    text = event if event.month == entry.partition else json.dumps(event)
    return json.dumps(named | state)[:-1] + (f',"event":{text}}}' if whole else "}")


def make_app(tables: Mapping[int, list[Route]], parts: Writer) -> ASGIApp:
    """An application with routes by port, which measures each request and answers every error as a problem."""
    routers = {port: Router(routes, redirect_slashes=False) for port, routes in tables.items()}

    async def measured(scope: Scope, receive: Receive, send: Send) -> None:
        started, status = time.monotonic(), 0

        async def watch(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        # With an "app" the router raises what it would else answer as plain text.
        scope["app"] = router = routers[scope["server"][1]]
        answer = None
        try:
            await router(scope, receive, watch)
        except InvalidError as error:
            answer = problem(400, "the request is not valid", error.errors.items())
        except HTTPException as error:
            answer = problem(error.status_code, error.detail, headers=error.headers)
        except DlqError as error:
            answer = problem(503, str(error))
        except Exception as bug:  # noqa: BLE001 - whatever it is, there is an answer
            where = traceback.format_exc(limit=-4)[-2000:]
            parts.log.error("Unforeseen error", error=type(bug).__name__, trace=where)
            answer = problem(503, "an unforeseen error; the log has it", outcome="unknown")
        if answer is not None and not status:
            await answer(scope, receive, watch)
        route = scope["path"] if "endpoint" in scope else "other"
        parts.metrics.requests.labels(route, str(status)).observe(time.monotonic() - started)

    return measured
