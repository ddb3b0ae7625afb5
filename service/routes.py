"""HTTP: bodies in, problem details out, nothing decided here."""

import asyncio
import json
import re
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus

from prometheus_client import generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .dlq import DlqError, Entry
from .metrics import Metrics
from .models import Event, InvalidError, Outcome, Status, check_age, format_timestamp, parse_event, parse_json
from .writer import Writer

BODY_MAX_BYTES = 5 * 1024 * 1024
_PAGE = {"state": "pending|dead", "include": "event", "limit": "[1-9][0-9]{0,2}|1000", "cursor": "[0-9]{1,18}"}
Errors = Mapping[str, str]
RETRY = {"retry-after": "1"}
_CODES = {Status.CREATED: 201, Status.QUEUED: 202, Status.REJECTED: 400, Status.CONFLICT: 409, Status.UNAVAILABLE: 503}


def problem(
    status: int, detail: str, errors: Errors | None = None, headers: Errors | None = None, **more: str
) -> Response:
    """An RFC 9457 answer."""
    listed = [{"field": field, "message": message} for field, message in (errors or {}).items()]
    title = HTTPStatus(status).phrase
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail, "errors": listed, **more}
    return JSONResponse(body, status, headers, "application/problem+json")


def check_token(request: Request, token: str | None) -> None:
    """Raises HTTPException, a 401, unless the request carries the token that is set."""
    given = request.headers.get("authorization", "").encode()
    if token is not None and not secrets.compare_digest(given, f"Bearer {token}".encode()):
        raise HTTPException(401, "a bearer token is required", {"www-authenticate": "Bearer"})


async def read_body(request: Request, timeout_seconds: float) -> bytes:
    """The body; one too large is read to its end, so that the client reads the answer. Raises HTTPException."""
    body = bytearray()
    try:
        async with asyncio.timeout(timeout_seconds):
            async for chunk in request.stream():
                body += chunk[: BODY_MAX_BYTES + 1 - len(body)]
    except (TimeoutError, ClientDisconnect):
        raise HTTPException(400, "the body did not arrive in time", {"connection": "close"}) from None
    if len(body) > BODY_MAX_BYTES:
        raise HTTPException(413, f"the body is larger than {BODY_MAX_BYTES} bytes")
    return bytes(body)


@dataclass
class Api:
    """The handlers."""

    parts: Writer
    stopping: bool = False

    async def write_event(self, request: Request) -> Response:
        """POST /api/v1/audit/events."""
        deadline = time.monotonic() + self.parts.config.request_deadline_seconds
        count = self.parts.metrics.events.labels
        try:
            event = parse_event(parse_json(await read_body(request, self.parts.config.request_deadline_seconds / 2)))
            window = self.parts.config.event_max_age_days, self.parts.config.event_max_ahead_days
            check_age(event.event_timestamp, *window, datetime.now(UTC))
        except (InvalidError, HTTPException):
            count("rejected").inc()
            raise
        outcome = await self.parts.write(event, deadline)
        conflict = outcome.status is Status.CONFLICT
        count("duplicate" if outcome.duplicate else "rejected" if conflict else outcome.status.value).inc()
        return self._answer(event, outcome)

    def _answer(self, event: Event, outcome: Outcome) -> Response:
        code = _CODES[outcome.status]
        if outcome.status is Status.UNAVAILABLE:
            return problem(code, outcome.detail, headers=RETRY, outcome=outcome.stored)
        if code >= 400:
            field = "event_id" if outcome.status is Status.CONFLICT else "event_data"
            return problem(code, outcome.detail, {field: outcome.detail})
        made = {"event_id": event.event_id, "event_timestamp": format_timestamp(event.event_timestamp)}
        return JSONResponse({**made, "partition": event.month, "status": outcome.status.value}, code)

    async def queue_summary(self, request: Request) -> Response:
        """GET /api/v1/dlq."""
        check_token(request, self.parts.config.admin_token)
        queue, pending = self.parts.queue, self.parts.queue.pending
        counts = {"depth": sum(pending.values()), "dead_letters": sum(queue.dead.values()), "capacity": queue.capacity}
        age = round(queue.oldest_age_seconds, 3)
        return JSONResponse({**counts, "oldest_age_seconds": age, "partitions": pending})

    async def queue_events(self, request: Request) -> Response:
        """GET /api/v1/dlq/events."""
        check_token(request, self.parts.config.admin_token)
        query = read_query(request, _PAGE)
        limit, whole = int(query.get("limit", 100)), "include" in query
        entries = await self.parts.queue.page(query.get("state"), int(query.get("cursor", 0)), limit + 1)
        more = f'"{entries[limit - 1].seq}"' if len(entries) > limit else "null"
        rows = ",".join(_entry_json(entry, whole) for entry in entries[:limit])
        return Response(f'{{"events":[{rows}],"next_cursor":{more}}}', media_type="application/json")

    async def live(self, request: Request) -> Response:
        """GET /health/live."""
        return JSONResponse({"status": "ok"})

    async def ready(self, request: Request) -> Response:
        """GET /health/ready."""
        months, queue, table_works = list(self.parts.months), self.parts.queue, self.parts.database.available
        queue_works = queue.available and not queue.full
        degraded = [f"partition {month.name}" for month in months if month.status != "healthy"]
        degraded += ["database"] * (not table_works) + ["dlq"] * (not queue_works)
        takes = queue_works or (table_works and any(month.status != "unavailable" for month in months))
        status = "stopping" if self.stopping else "degraded" if degraded else "ok"
        return JSONResponse({"status": status, "degraded": degraded}, 200 if takes and not self.stopping else 503)

    async def metrics(self, request: Request) -> Response:
        """GET /metrics."""
        check_token(request, self.parts.config.metrics_token)
        return Response(generate_latest(self.parts.metrics.registry), media_type="text/plain; version=0.0.4")


def read_query(request: Request, patterns: Mapping[str, str]) -> dict[str, str]:
    """The parameters of the query. Raises InvalidError for one that is not known or does not match its pattern."""
    query = dict(request.query_params)
    wrong = [name for name, text in query.items() if re.fullmatch(patterns.get(name, "(?!)"), text) is None]
    errors = {name: f"must match {patterns[name]}" if name in patterns else "is not a parameter" for name in wrong}
    if errors:
        raise InvalidError(errors)
    return query


def _entry_json(entry: Entry, whole: bool) -> str:
    listed = {name: getattr(entry, name) for name in ("event_id", "event_date", "partition", "state", "attempts")}
    error = {"sqlstate": entry.sqlstate, "message": entry.message}
    queued_at = format_timestamp(datetime.fromtimestamp(entry.queued_at, UTC))
    text = json.dumps({**listed, "last_error": error, "queued_at": queued_at})
    # The event is spliced in as the text that was stored, so that its numbers stay exact.
    return f'{text[:-1]},"event":{entry.event}}}' if whole else text


def make_app(routes: list[Route], metrics: Metrics, report: Callable[[Exception], None]) -> ASGIApp:
    """An application that measures each request and answers every error as a problem."""

    async def on_error(request: Request, error: Exception) -> Response:
        if isinstance(error, InvalidError):
            return problem(400, "the request is not valid", error.errors)
        if isinstance(error, HTTPException):
            return problem(error.status_code, error.detail, headers=error.headers)
        if isinstance(error, DlqError):
            return problem(503, str(error), headers=RETRY)
        report(error)
        return problem(503, "an unforeseen error; the log has it", headers=RETRY, outcome="unknown")

    handlers = dict.fromkeys((InvalidError, HTTPException, DlqError, Exception), on_error)
    app = Starlette(routes=routes, exception_handlers=handlers)
    known = {route.path for route in routes}

    async def measured(scope: Scope, receive: Receive, send: Send) -> None:
        started, status = time.monotonic(), 0

        async def watch(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        with suppress(Exception):  # Starlette raises again what its handler has answered.
            await app(scope, receive, watch)
        route = scope["path"] if scope["path"] in known else "other"
        metrics.requests.labels(route, str(status)).observe(time.monotonic() - started)

    return measured
