"""HTTP: bodies in, problem details out, nothing decided here."""

import asyncio
import base64
import json
import secrets
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .dlq.base import DlqError, Entry
from .metrics import Metrics
from .models import Event, FieldError, InvalidError, Window, format_timestamp, parse_event, parse_json
from .parts import Parts
from .writer import Outcome, Result, Writer

BODY_MAX_BYTES = 5 * 1024 * 1024
PAGE_DEFAULT, PAGE_MAX = 100, 1000
RETRY_AFTER_SECONDS = 1
_METRIC = {
    Result.DUPLICATE_STORED: "duplicate",
    Result.DUPLICATE_QUEUED: "duplicate",
    Result.CONFLICT: "rejected",
}


def answer(status: int, body: object, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer."""
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return Response(text.encode("utf-8", "replace"), status, headers, "application/json")


def problem(
    status: int,
    detail: str,
    errors: list[FieldError] | None = None,
    headers: dict[str, str] | None = None,
    **more: str,
) -> Response:
    """An RFC 9457 answer."""
    listed = [{"field": error.field, "message": error.message} for error in errors or []]
    title = HTTPStatus(status).phrase
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail, "errors": listed, **more}
    response = answer(status, body, headers)
    response.headers["content-type"] = "application/problem+json"
    return response


async def read_body(request: Request) -> bytes | None:
    """The body, or None when it is too large; it is read to its end, so that the client reads the answer."""
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= BODY_MAX_BYTES:
            chunks.append(chunk)
    return b"".join(chunks) if size <= BODY_MAX_BYTES else None


class Api:
    """The handlers."""

    def __init__(self, parts: Parts, writer: Writer) -> None:
        self._parts = parts
        self._config = parts.config
        self._writer = writer
        self._window = Window(parts.config.event_max_age_days, parts.config.event_max_ahead_days)
        self.stopping = False

    async def write_event(self, request: Request) -> Response:
        """POST /api/v1/audit/events."""
        deadline = time.monotonic() + self._config.request_deadline_seconds
        count = self._parts.metrics.events.labels
        try:
            body = await asyncio.wait_for(read_body(request), self._config.request_deadline_seconds / 2)
            if body is None:
                count("rejected").inc()
                return problem(413, f"the body is larger than {BODY_MAX_BYTES} bytes")
            event = parse_event(parse_json(body), self._window)
        except InvalidError as invalid:
            count("rejected").inc()
            return problem(400, "the event can never be stored", invalid.errors)
        except (TimeoutError, ClientDisconnect):
            count("rejected").inc()
            return problem(400, "the body did not arrive in time", headers={"connection": "close"})
        outcome = await self._writer.write(event, deadline)
        count(_METRIC.get(outcome.result, outcome.result.value)).inc()
        return self._answer(event, outcome)

    def _answer(self, event: Event, outcome: Outcome) -> Response:
        result = outcome.result
        if result is Result.REJECTED:
            return problem(400, outcome.detail, [FieldError("event_data", outcome.detail)])
        if result is Result.CONFLICT:
            return problem(409, outcome.detail, [FieldError("event_id", outcome.detail)])
        if result is Result.UNAVAILABLE:
            headers = {"retry-after": str(RETRY_AFTER_SECONDS)}
            word = "not_stored" if outcome.not_stored else "unknown"
            return problem(503, outcome.detail, headers=headers, outcome=word)
        created = result in (Result.CREATED, Result.DUPLICATE_STORED)
        body = {
            "event_id": event.event_id,
            "event_timestamp": format_timestamp(event.event_timestamp),
            "partition": event.month,
            "status": "created" if created else "queued",
        }
        return answer(201 if created else 202, body)

    def _refused(self, request: Request, token: str | None) -> Response | None:
        if token is None:
            return None
        given = request.headers.get("authorization", "").encode()
        if secrets.compare_digest(given, b"Bearer " + token.encode()):
            return None
        return problem(401, "a bearer token is required", headers={"www-authenticate": "Bearer"})

    async def queue_summary(self, request: Request) -> Response:
        """GET /api/v1/dlq."""
        refused = self._refused(request, self._config.admin_token)
        if refused is not None:
            return refused
        queue = self._parts.queue
        pending = queue.pending_by_partition()
        return answer(
            200,
            {
                "depth": sum(pending.values()),
                "dead_letters": sum(queue.dead_by_reason().values()),
                "capacity": queue.capacity,
                "oldest_age_seconds": round(queue.oldest_age_seconds(), 3),
                "partitions": pending,
            },
        )

    async def queue_events(self, request: Request) -> Response:
        """GET /api/v1/dlq/events."""
        refused = self._refused(request, self._config.admin_token)
        if refused is not None:
            return refused
        try:
            state, after, limit, whole = _page_of(request)
            entries = await self._parts.queue.page(state, after, limit + 1)
        except InvalidError as invalid:
            return problem(400, "the query is not valid", invalid.errors)
        except DlqError as error:
            return problem(503, str(error), headers={"retry-after": str(RETRY_AFTER_SECONDS)})
        more = _cursor(entries[limit - 1].seq) if len(entries) > limit else None
        rows = ",".join(_entry_json(entry, whole) for entry in entries[:limit])
        text = f'{{"events":[{rows}],"next_cursor":{json.dumps(more)}}}'
        return Response(text.encode(), 200, media_type="application/json")

    async def live(self, request: Request) -> Response:
        """GET /health/live."""
        return answer(200, {"status": "ok"})

    async def ready(self, request: Request) -> Response:
        """GET /health/ready."""
        parts = self._parts
        degraded = [f"partition {month.name}" for month in parts.months if month.status != "healthy"]
        queue_works = parts.queue.available and not parts.queue.full
        if not parts.database.available:
            degraded.append("database")
        if not queue_works:
            degraded.append("dlq")
        if self.stopping:
            return answer(503, {"status": "stopping", "degraded": degraded})
        some_write = queue_works or (
            parts.database.available and any(month.status != "unavailable" for month in parts.months)
        )
        status = "degraded" if degraded else "ok"
        return answer(200 if some_write else 503, {"status": status, "degraded": degraded})

    async def metrics(self, request: Request) -> Response:
        """GET /metrics."""
        refused = self._refused(request, self._config.metrics_token)
        if refused is not None:
            return refused
        text = self._parts.metrics.text()
        return Response(text, 200, media_type="text/plain; version=0.0.4; charset=utf-8")


def _cursor(seq: int) -> str:
    return base64.urlsafe_b64encode(str(seq).encode()).decode().rstrip("=")


def _page_of(request: Request) -> tuple[str | None, int, int, bool]:
    """State, start, size and whether whole events are wanted. Raises InvalidError."""
    query = dict(request.query_params)
    errors = [
        FieldError(name, "is not a parameter") for name in query if name not in ("state", "limit", "cursor", "include")
    ]
    state, after = query.get("state"), 0
    if state not in (None, "pending", "dead"):
        errors.append(FieldError("state", "must be pending or dead"))
    if query.get("include") not in (None, "event"):
        errors.append(FieldError("include", "must be event"))
    try:
        limit = int(query.get("limit", PAGE_DEFAULT))
    except ValueError:
        limit = 0
    if not 1 <= limit <= PAGE_MAX:
        errors.append(FieldError("limit", f"must be 1 to {PAGE_MAX}"))
    try:
        cursor = query.get("cursor", _cursor(0))
        after = int(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except ValueError:
        errors.append(FieldError("cursor", "was not made by this service"))
    if errors:
        raise InvalidError(errors)
    return state, after, limit, query.get("include") == "event"


def _entry_json(entry: Entry, whole: bool) -> str:
    listed = {
        "event_id": entry.event_id,
        "event_date": entry.event_date,
        "partition": entry.partition,
        "state": entry.state,
        "attempts": entry.attempts,
        "last_error": {"sqlstate": entry.sqlstate, "message": entry.message},
        "queued_at": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(entry.queued_at))
        + f".{int(entry.queued_at % 1 * 1000):03d}Z",
    }
    text = json.dumps(listed)
    # The event is spliced in as the text that was stored, so that its numbers stay exact.
    return f'{text[:-1]},"event":{entry.event}}}' if whole else text


Routes = dict[str, tuple[str, Callable[[Request], Awaitable[Response]]]]


class Guard:
    """Around everything: measures each request, and turns what nobody foresaw into a 503."""

    def __init__(
        self, app: ASGIApp, metrics: Metrics, report: Callable[[BaseException], None], routes: list[str]
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._report = report
        self._routes = frozenset(routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        started = time.monotonic()
        status = 0

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watch)
        except Exception as error:  # noqa: BLE001 - never a 500
            self._report(error)
            if status == 0:
                headers = {"retry-after": str(RETRY_AFTER_SECONDS)}
                detail = "an unforeseen error; the log has it"
                await problem(503, detail, headers=headers, outcome="unknown")(scope, receive, watch)
        route = scope["path"] if scope["path"] in self._routes else "other"
        self._metrics.requests.labels(route, str(status)).observe(time.monotonic() - started)


async def _http_error(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 503
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    return problem(status, f"{request.method} {request.url.path} is not served here", headers=headers)


def make_app(routes: Routes, metrics: Metrics, report: Callable[[BaseException], None]) -> ASGIApp:
    """An application from path -> (method, handler)."""
    table = [Route(path, handler, methods=[method]) for path, (method, handler) in routes.items()]
    app = Starlette(routes=table, exception_handlers={HTTPException: _http_error})
    return Guard(app, metrics, report, list(routes))
