"""The service's own pages, read through httpx: readiness, DLQ depth and content, metrics.

Every reader answers with a record or a value also when the service does not answer: a probe never raises for a
target that is broken, since that is what it is there to see.
"""

from __future__ import annotations

import json
import time
from datetime import date
from typing import Any

import httpx

from ..events import DlqRow, DlqSample, MetricsSample, ReadySample
from ..stacks.base import Environment

_TIMEOUT_SECONDS = 2.0
_PAGE = 1000
_SKIPPED_PREFIXES = ("#", "python_", "process_")


class HttpProbe:
    """One httpx client for the control pages of one environment."""

    def __init__(self, environment: Environment) -> None:
        """Open the client; :meth:`close` it afterwards."""
        self._environment = environment
        tokens = environment.target.tokens
        self._admin = {"authorization": f"Bearer {tokens.admin}"} if tokens.admin else {}
        self._metrics = {"authorization": f"Bearer {tokens.metrics}"} if tokens.metrics else {}
        self._client = httpx.AsyncClient(timeout=_TIMEOUT_SECONDS, trust_env=False)

    async def close(self) -> None:
        """Close the client."""
        await self._client.aclose()

    async def ready(self, t: float) -> ReadySample:
        """``GET /health/ready``; status 0 when nobody answered."""
        try:
            answer = await self._client.get(f"{self._environment.service.base_url}/health/ready")
            data = _object(answer)
            degraded = data.get("degraded") or []
            return ReadySample(t, answer.status_code, tuple(str(item) for item in degraded))
        except (httpx.HTTPError, OSError, TypeError):
            return ReadySample(t, 0)

    async def dlq(self, t: float) -> DlqSample:
        """``GET /api/v1/dlq``; depth -1 when it cannot be known."""
        try:
            answer = await self._client.get(f"{self._environment.service.base_url}/api/v1/dlq", headers=self._admin)
            data = _object(answer)
            partitions = {str(key): int(value) for key, value in dict(data["partitions"]).items()}
            return DlqSample(t, int(data["depth"]), int(data["dead_letters"]), partitions)
        except (httpx.HTTPError, OSError, KeyError, TypeError, ValueError):
            return DlqSample(t, -1)

    async def metrics(self, t: float) -> MetricsSample:
        """Scrape ``/metrics``.

        The lines are split at the last blank and kept as text: a history needs the series exactly as exported,
        and a full parser costs ten times as much a scrape.
        """
        started = time.monotonic()
        try:
            answer = await self._client.get(self._environment.service.metrics_url, headers=self._metrics)
        except (httpx.HTTPError, OSError) as error:
            return MetricsSample(t, {}, type(error).__name__, time.monotonic() - started)
        seconds = time.monotonic() - started
        if answer.status_code != 200:
            return MetricsSample(t, {}, f"HTTP {answer.status_code}", seconds)
        return MetricsSample(t, parse_exposition(answer.text), "", seconds)

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
                    rows += [_dlq_row(item) for item in page["events"]]
                except (KeyError, TypeError, ValueError, AttributeError):
                    return None
                cursor = page.get("next_cursor")
                if not cursor:
                    break
        return rows

    async def _dlq_page(self, state: str, cursor: str | None) -> dict[str, Any] | None:
        query = {"state": state, "limit": str(_PAGE), "include": "event"}
        if cursor:
            query["cursor"] = cursor
        try:
            answer = await self._client.get(
                f"{self._environment.service.base_url}/api/v1/dlq/events", params=query, headers=self._admin
            )
            return _object(answer) if answer.status_code == 200 else None
        except (httpx.HTTPError, OSError):
            return None


def _object(answer: httpx.Response) -> dict[str, Any]:
    try:
        data = answer.json()
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}


def _dlq_row(item: dict[str, Any]) -> DlqRow:
    error = item.get("last_error") or {}
    return DlqRow(
        event_id=str(item["event_id"]),
        event_date=date.fromisoformat(str(item["event_date"])),
        state=str(item["state"]),
        reason=str(item.get("reason") or error.get("sqlstate") or error.get("message") or ""),
        content=json.dumps(item.get("event"), ensure_ascii=False, separators=(",", ":")),
    )


def parse_exposition(text: str) -> dict[str, float]:
    """Map each series of a Prometheus text page, as written, to its value."""
    series: dict[str, float] = {}
    for line in text.splitlines():
        if line and not line.startswith(_SKIPPED_PREFIXES):
            name, _, value = line.rpartition(" ")
            try:
                series[name] = float(value)
            except ValueError:
                continue
    return series
