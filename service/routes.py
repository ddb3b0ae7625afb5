"""HTTP: bodies in, problem details out, nothing decided here."""

import asyncio
import base64
import json
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from http import HTTPStatus

from prometheus_client import generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .dlq import DlqError, Entry
from .metrics import Metrics
from .models import Event, FieldError, InvalidError, check_age, format_timestamp, parse_event, parse_json
from .writer import Outcome, Status, Writer

BODY_MAX_BYTES = 5 * 1024 * 1024
PAGE_DEFAULT, PAGE_MAX = 100, 1000
RETRY = {"retry-after": "1"}
_CODES = {Status.CREATED: 201, Status.QUEUED: 202, Status.REJECTED: 400, Status.CONFLICT: 409, Status.UNAVAILABLE: 503}


def answer(status: int, body: object, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer."""
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return Response(text.encode("utf-8", "replace"), status, {"content-type": "application/json", **(headers or {})})


def problem(
    status: int, detail: str, errors: list[FieldError] | None = None, headers: dict[str, str] | None = None, **more: str
) -> Response:
    """An RFC 9457 answer."""
    listed = [{"field": error.field, "message": error.message} for error in errors or []]
    title = HTTPStatus(status).phrase
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail, "errors": listed, **more}
    return answer(status, body, {**(headers or {}), "content-type": "application/problem+json"})


def check_token(request: Request, token: str | None) -> None:
    """Raises HTTPException, a 401, unless the request carries the token that is set."""
    given = request.headers.get("authorization", "").encode()
    if token is not None and not secrets.compare_digest(given, f"Bearer {token}".encode()):
        raise HTTPException(401, "a bearer token is required", {"www-authenticate": "Bearer"})


async def read_body(request: Request, timeout_seconds: float) -> bytes:
    """The body; one too large is read to its end, so that the client reads the answer. Raises HTTPException."""
    body = bytearray()
    size = 0
    try:
        async with asyncio.timeout(timeout_seconds):
            async for chunk in request.stream():
                size += len(chunk)
                body += chunk if size <= BODY_MAX_BYTES else b""
    except (TimeoutError, ClientDisconnect):
        raise HTTPException(400, "the body did not arrive in time", {"connection": "close"}) from None
    if size > BODY_MAX_BYTES:
        raise HTTPException(413, f"the body is larger than {BODY_MAX_BYTES} bytes")
    return bytes(body)


class Api:
    """The handlers."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._config = writer.config
        self.stopping = False

    async def write_event(self, request: Request) -> Response:
        """POST /api/v1/audit/events."""
        deadline = time.monotonic() + self._config.request_deadline_seconds
        count = self._writer.metrics.events.labels
        try:
            event = parse_event(parse_json(await read_body(request, self._config.request_deadline_seconds / 2)))
            window = self._config.event_max_age_days, self._config.event_max_ahead_days
            check_age(event.event_timestamp, *window, datetime.now(UTC))
        except (InvalidError, HTTPException):
            count("rejected").inc()
            raise
        outcome = await self._writer.write(event, deadline)
        count(outcome.counted_as).inc()
        return self._answer(event, outcome)

    def _answer(self, event: Event, outcome: Outcome) -> Response:
        code = _CODES[outcome.status]
        if outcome.status is Status.UNAVAILABLE:
            return problem(code, outcome.detail, headers=RETRY, outcome=outcome.stored)
        if code >= 400:
            field = "event_id" if outcome.status is Status.CONFLICT else "event_data"
            return problem(code, outcome.detail, [FieldError(field, outcome.detail)])
        body = {
            "event_id": event.event_id,
            "event_timestamp": format_timestamp(event.event_timestamp),
            "partition": event.month,
            "status": outcome.status.value,
        }
        return answer(code, body)

    async def queue_summary(self, request: Request) -> Response:
        """GET /api/v1/dlq."""
        check_token(request, self._config.admin_token)
        queue = self._writer.queue
        pending = queue.pending
        body = {
            "depth": sum(pending.values()),
            "dead_letters": sum(queue.dead.values()),
            "capacity": queue.capacity,
            "oldest_age_seconds": round(queue.oldest_age_seconds, 3),
            "partitions": pending,
        }
        return answer(200, body)

    async def queue_events(self, request: Request) -> Response:
        """GET /api/v1/dlq/events."""
        check_token(request, self._config.admin_token)
        state, after, limit, whole = _page_of(request)
        entries = await self._writer.queue.page(state, after, limit + 1)
        more = _cursor(entries[limit - 1].seq) if len(entries) > limit else None
        rows = ",".join(_entry_json(entry, whole) for entry in entries[:limit])
        text = f'{{"events":[{rows}],"next_cursor":{json.dumps(more)}}}'
        return Response(text.encode(), 200, media_type="application/json")

    async def live(self, request: Request) -> Response:
        """GET /health/live."""
        return answer(200, {"status": "ok"})

    async def ready(self, request: Request) -> Response:
        """GET /health/ready."""
        unwell = {month.name: month.status for month in self._writer.months if month.status != "healthy"}
        table_works, queue_works = self._writer.database.available, self._writer.queue.available
        queue_works = queue_works and not self._writer.queue.full
        degraded = [f"partition {name}" for name in unwell]
        degraded += ["database"] * (not table_works) + ["dlq"] * (not queue_works)
        if self.stopping:
            return answer(503, {"status": "stopping", "degraded": degraded})
        some_month = any(month.status != "unavailable" for month in self._writer.months)
        code = 200 if queue_works or (table_works and some_month) else 503
        return answer(code, {"status": "degraded" if degraded else "ok", "degraded": degraded})

    async def metrics(self, request: Request) -> Response:
        """GET /metrics."""
        check_token(request, self._config.metrics_token)
        return Response(generate_latest(self._writer.metrics.registry), media_type="text/plain; version=0.0.4")


def _cursor(seq: int) -> str:
    return base64.urlsafe_b64encode(str(seq).encode()).decode().rstrip("=")


def _page_of(request: Request) -> tuple[str | None, int, int, bool]:
    """State, start, size and whether whole events are wanted. Raises InvalidError."""
    query = dict(request.query_params)
    state, include, cursor = query.pop("state", None), query.pop("include", None), query.pop("cursor", _cursor(0))
    after, limit = -1, 0
    with suppress(ValueError):
        limit = int(query.pop("limit", PAGE_DEFAULT))
    with suppress(ValueError):
        after = int(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    checks = {
        "state": (state in (None, "pending", "dead"), "must be pending or dead"),
        "include": (include in (None, "event"), "must be event"),
        "limit": (1 <= limit <= PAGE_MAX, f"must be 1 to {PAGE_MAX}"),
        "cursor": (after >= 0, "was not made by this service"),
        **dict.fromkeys(query, (False, "is not a parameter")),
    }
    errors = [FieldError(name, message) for name, (right, message) in checks.items() if not right]
    if errors:
        raise InvalidError(errors)
    return state, after, limit, include == "event"


def _entry_json(entry: Entry, whole: bool) -> str:
    queued_at = datetime.fromtimestamp(entry.queued_at, UTC).isoformat(timespec="milliseconds")
    listed = {
        "event_id": entry.event_id,
        "event_date": entry.event_date,
        "partition": entry.partition,
        "state": entry.state,
        "attempts": entry.attempts,
        "last_error": {"sqlstate": entry.sqlstate, "message": entry.message},
        "queued_at": queued_at.replace("+00:00", "Z"),
    }
    text = json.dumps(listed)
    # The event is spliced in as the text that was stored, so that its numbers stay exact.
    return f'{text[:-1]},"event":{entry.event}}}' if whole else text


def make_app(routes: list[Route], metrics: Metrics, report: Callable[[Exception], None]) -> ASGIApp:
    """An application that measures each request and answers every error as a problem."""

    async def on_error(request: Request, error: Exception) -> Response:
        if isinstance(error, InvalidError):
            return problem(400, "the request is not valid", error.errors)
        if isinstance(error, HTTPException):
            return problem(error.status_code, error.detail, headers=dict(error.headers or {}))
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
