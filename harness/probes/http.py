"""The service's own pages, read through aiohttp: readiness, DLQ depth and content, metrics.

They are read a dozen times a second in each of several environments, where httpx cost three times as much.

Every reader answers with a record or a value also when the service does not answer: a probe never raises for a
target that is broken, since that is what it is there to see.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

import aiohttp

from ..events import DlqRow, DlqSample, MetricsSample, ReadySample
from ..stacks.base import Environment
from ..values import Spelt, spelt

_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=2.0, sock_read=2.0)
NO_ANSWER = (aiohttp.ClientError, TimeoutError, OSError)
"""What a client raises when no whole answer came."""
_PAGE = 1000
_SKIPPED_PREFIXES = ("#", "python_", "process_")


class HttpProbe:
    """One client for the control pages of one environment."""

    def __init__(self, environment: Environment) -> None:
        """Prepare, within a running loop; :meth:`close` it afterwards."""
        self._environment = environment
        tokens = environment.target.tokens
        self._admin = {"authorization": f"Bearer {tokens.admin}"} if tokens.admin else {}
        self._metrics = {"authorization": f"Bearer {tokens.metrics}"} if tokens.metrics else {}
        self._client = aiohttp.ClientSession(timeout=_TIMEOUT)

    async def close(self) -> None:
        """Close the client."""
        await self._client.close()

    async def ready(self, t: float) -> ReadySample:
        """``GET /health/ready``; status 0 when nobody answered."""
        started = time.monotonic()
        try:
            status, body = await self._get(f"{self._environment.service.base_url}/health/ready")
            degraded = _object(body).get("degraded") or []
            return ReadySample(t, status, tuple(str(item) for item in degraded), time.monotonic() - started)
        except (*NO_ANSWER, TypeError):
            return ReadySample(t, 0, (), time.monotonic() - started)

    async def dlq(self, t: float) -> DlqSample:
        """``GET /api/v1/dlq``; depth -1 when it cannot be known."""
        started = time.monotonic()
        try:
            _, body = await self._get(f"{self._environment.service.base_url}/api/v1/dlq", self._admin)
            data = _object(body)
            partitions = {str(key): int(value) for key, value in dict(data["partitions"]).items()}
            capacity = int(data.get("capacity", -1))
            depth, dead = int(data["depth"]), int(data["dead_letters"])
            return DlqSample(t, depth, dead, partitions, capacity, time.monotonic() - started)
        except (*NO_ANSWER, KeyError, TypeError, ValueError):
            return DlqSample(t, -1)

    async def metrics(self, t: float) -> MetricsSample:
        """Scrape ``/metrics``.

        The lines are split behind the labels and kept as text: a history needs the series exactly as exported,
        and a full parser costs ten times as much a scrape.
        """
        started = time.monotonic()
        try:
            status, body = await self._get(self._environment.service.metrics_url, self._metrics)
        except NO_ANSWER as error:
            return MetricsSample(t, {}, type(error).__name__, time.monotonic() - started)
        seconds = time.monotonic() - started
        if status != 200:
            return MetricsSample(t, {}, f"HTTP {status}", seconds)
        return MetricsSample(t, parse_exposition(body.decode("utf-8", "replace")), "", seconds)

    async def dlq_rows(self) -> list[DlqRow] | None:
        """Read every event of the DLQ, pending and dead; None when it could not be read to the end."""
        rows: list[DlqRow] = []
        for state in ("pending", "dead"):
            cursor: str | None = None
            while True:
                page = await self._dlq_page(state, cursor)
                if page is None:
                    return None
                try:
                    found, cursor = parse_dlq_page(page)
                except (KeyError, TypeError, ValueError, AttributeError):
                    return None
                rows += found
                if not cursor:
                    break
        return rows

    async def _dlq_page(self, state: str, cursor: str | None) -> bytes | None:
        query = {"state": state, "limit": str(_PAGE), "include": "event"}
        if cursor:
            query["cursor"] = cursor
        try:
            url = f"{self._environment.service.base_url}/api/v1/dlq/events"
            status, body = await self._get(url, self._admin, query)
            return body if status == 200 else None
        except NO_ANSWER:
            return None

    async def _get(
        self, url: str, headers: Mapping[str, str] | None = None, query: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        """One GET, its status and its whole body."""
        async with self._client.get(url, headers=headers, params=query, allow_redirects=False) as answer:
            return answer.status, await answer.read()


def _object(body: bytes, parse_float: Callable[[str], object] = float) -> dict[str, Any]:
    try:
        data = json.loads(body, parse_float=parse_float)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}


def parse_object(body: bytes) -> dict[str, Any]:
    """The JSON object of a body, empty when it is none; :func:`spelt` writes its numbers as they were."""
    return _object(body, parse_float=Spelt)


def parse_dlq_page(body: bytes) -> tuple[list[DlqRow], str | None]:
    """The events of a page of ``GET /api/v1/dlq/events``, and the cursor of the next; raises for what is no page."""
    page = parse_object(body)
    return [_dlq_row(item) for item in page["events"]], page.get("next_cursor")


def _dlq_row(item: dict[str, Any]) -> DlqRow:
    error = item.get("last_error") or {}
    state, sqlstate, message = str(item["state"]), error.get("sqlstate") or "", error.get("message") or ""
    return DlqRow(
        event_id=str(item["event_id"]),
        event_date=date.fromisoformat(str(item["event_date"])),
        state=state,
        reason=str(item.get("reason") or _reason(state, str(sqlstate))),
        content=spelt(item.get("event")),
        error=f"{sqlstate} {message}".strip(),
    )


def _reason(state: str, sqlstate: str) -> str:
    """Why an event is dead, which the page tells only by its last error.

    One that PostgreSQL had nothing against, or whose key was taken, lost its identity to another content; class 22 is
    an error of the values.
    """
    if state != "dead":
        return sqlstate
    if sqlstate in ("", "23505"):
        return "conflict"
    return "poison" if sqlstate.startswith("22") else sqlstate


def parse_exposition(text: str) -> dict[str, float]:
    """Map each series of a Prometheus text page, as written, to its value."""
    series: dict[str, float] = {}
    for line in text.splitlines():
        if line and not line.startswith(_SKIPPED_PREFIXES):
            labelled, brace, rest = line.rpartition("}")
            # What may follow the value is the time at which it was taken.
            parts = [labelled + brace, *rest.split()] if brace else rest.split()
            try:
                series[parts[0]] = float(parts[1])
            except (ValueError, IndexError):
                continue
    return series
