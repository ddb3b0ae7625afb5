"""Reading back: ``GET /api/v1/audit/events`` asked for events that were answered lately, and for whole months.

Never judges: it writes down what was asked and what was said.  That nobody answered is a sample like any other.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import aiohttp

from ..events import QuerySample
from ..history import History
from ..load.closed import EVENTS_PATH
from ..stacks.base import Environment
from ..values import Month, spelt
from .http import NO_ANSWER, parse_object

LIMIT = 10
"""Events asked for of a month: few, since the months hold many, and what is left out must be said."""
_SLACK_SECONDS = 2.0


class ReadBack:
    """Asks in turns: the newest event that was created, an older one, the newest that was queued; and each month."""

    def __init__(self, environment: Environment, history: History, months: tuple[Month, ...]) -> None:
        """Prepare; each :meth:`ask` has a client of its own, so that no connection grows old."""
        self._environment = environment
        self._history = history
        self._months = itertools.cycle(months)
        self._turns = itertools.cycle((self._newest_created, self._older_created, self._newest_queued))
        self._random = random.Random("read-back")
        deadline = environment.target.limits.request_deadline_seconds
        self._timeout = aiohttp.ClientTimeout(total=deadline + _SLACK_SECONDS)

    async def ask(self) -> None:
        """Ask for one event, if there is one to ask for, and for one month."""
        async with aiohttp.ClientSession(timeout=self._timeout) as client:
            event_id = next(self._turns)()
            if event_id:
                await self._ask(client, {"event_id": event_id}, event_id=event_id)
            month = next(self._months)
            first, end = (f"{day}T00:00:00Z" for day in (month.first_day, month.end))
            query = {"from": first, "to": end, "limit": str(LIMIT)}
            await self._ask(client, query, month=month.label, limit=LIMIT)

    def _newest_created(self) -> str:
        return self._history.created[-1] if self._history.created else ""

    def _older_created(self) -> str:
        return self._random.choice(self._history.created) if self._history.created else ""

    def _newest_queued(self) -> str:
        return self._history.queued[-1] if self._history.queued else self._older_created()

    async def _ask(self, client: aiohttp.ClientSession, query: Mapping[str, str], **asked: Any) -> None:
        now = self._history.clock.now
        started = now()
        try:
            url = self._environment.service.base_url + EVENTS_PATH
            async with client.get(url, params=query, allow_redirects=False) as answer:
                status, body = answer.status, await answer.read()
        except NO_ANSWER:
            status, body = 0, b""
        seconds = now() - started
        answered = read_answer(body, by_id="event_id" in asked) if status == 200 else {}
        self._history.add(QuerySample(started, seconds, status, **asked, **answered))


def read_answer(body: bytes, *, by_id: bool) -> dict[str, Any]:
    """The fields of a sample that a 200's body gives; of a wrong form, the flaw and what can be read."""
    data = parse_object(body)
    events, unavailable = data.get("events"), data.get("unavailable_partitions")
    flaw = next(_flaws(data), "")
    events = [event for event in events if isinstance(event, dict)] if isinstance(events, list) else []
    return {
        "found": tuple(str(event.get("event_id", "")).lower() for event in events),
        "unavailable": tuple(map(str, unavailable)) if isinstance(unavailable, list) else (),
        "truncated": data.get("truncated") is True,
        "content": spelt(events[0]) if by_id and len(events) == 1 else "",
        "flaw": flaw,
    }


def _flaws(data: Mapping[str, Any]) -> Iterator[str]:
    events, unavailable = data.get("events"), data.get("unavailable_partitions")
    if not isinstance(events, list) or not all(isinstance(event, dict) for event in events):
        yield "events is no array of objects"
        return
    if not isinstance(data.get("truncated"), bool):
        yield "truncated is neither true nor false"
    if not isinstance(unavailable, list) or not all(isinstance(name, str) for name in unavailable):
        yield "unavailable_partitions is no array of names"
    keys = [_place(event) for event in events]
    if None in keys:
        yield "an event has no event_id, or no event_timestamp"
    elif keys != sorted(key for key in keys if key is not None):
        yield "events are not in the order of timestamp and id"


def _place(event: Mapping[str, Any]) -> tuple[datetime, str] | None:
    """What orders an event, None when it does not say."""
    try:
        moment = datetime.fromisoformat(str(event["event_timestamp"]).upper()).astimezone(UTC)
        return moment, str(event["event_id"]).lower()
    except (KeyError, ValueError, OverflowError):
        return None
