"""Every log line of the contract by itself: level, cause, SQLSTATE, how often it comes, what it must not say."""

from __future__ import annotations

import bisect
import json
import math
import re
from collections.abc import Iterator

from .. import events as ev
from ..checking import Finding
from ..oracle import CREATED, REJECTED
from ..rundata import Operation, over_at
from ..values import Promise
from ._common import LOG_SLACK_SECONDS, between_lives, event_ids, life_of, recovery_edge
from ._pool_series import BACKGROUND_JOBS, months_of_query
from ._scraped import Scraped
from ._secrets import credential_in, event_ids_in, payload_in

FLUSH_SECONDS = 2.0
"""Within this the closing line of a storm, with its suppressed count, must have come."""
REPEAT_SECONDS = 0.9
"""A little less than the second in which a line may come once; a storm may end with one more."""
QUEUED_LINE = "Request queued, waiting for available connection"
FAILED_LINE = "Failed to write to partition audit_events_"
ACTIVATED_LINE = "DLQ fallback activated for partition "
ENDED_LINE = "DLQ fallback ended for partition "
EXHAUSTED_LINE = "Connection pool exhausted ("
_LEVELS = {
    FAILED_LINE: "ERROR",
    ACTIVATED_LINE: "INFO",
    ENDED_LINE: "INFO",
    EXHAUSTED_LINE: "ERROR",
    QUEUED_LINE: "INFO",
}
_SHARE = re.compile(r"Connection pool exhausted \((\d+)/(\d+) in use\)\Z")
_SQLSTATE = re.compile(r"[0-9A-Z]{5}\Z|null\Z")
_TELLING_CHARACTERS = 6
"""A value of an event shorter than this may stand in a line for another reason."""


def line_findings(scraped: Scraped) -> list[Finding]:
    """Judge every line by what the contract says of its kind."""
    lines = sorted(scraped.run.of_kind(ev.LogLine), key=lambda line: line.t)
    contract = [line for line in lines if _kind(line.message) and line.level != "RAW"]
    return [
        *_levels(contract),
        *_sqlstates(contract),
        *_pool(scraped, contract),
        *_uncaused(scraped, contract),
        *_too_fast(scraped, contract),
        *_not_json(lines),
        *_told_too_much(scraped, lines),
    ]


def _kind(message: str) -> str:
    return next((kind for kind in _LEVELS if message.startswith(kind)), "")


def _finding(said: str, lines: list[ev.LogLine], ids: tuple[str, ...] = ()) -> Finding:
    return Finding(Promise.TRUTH, f"{said} ({len(lines)} x, first: {lines[0].message!r}).", ids, lines[0].t)


def _levels(lines: list[ev.LogLine]) -> Iterator[Finding]:
    """ERROR for failed writes and an exhausted pool, INFO for the others."""
    for kind, level in _LEVELS.items():
        wrong = [line for line in lines if _kind(line.message) == kind and line.level.upper() != level]
        if wrong:
            yield _finding(f"A line of level {wrong[0].level}, where the contract says {level}", wrong)


def _sqlstates(lines: list[ev.LogLine]) -> Iterator[Finding]:
    """A failed write tells its SQLSTATE; null for one that no error stopped, as a trigger may do.

    Honest: a history of before the field was recorded, in which it is empty.
    """
    failed = [line for line in lines if line.message.startswith(FAILED_LINE) and line.sqlstate]
    wrong = [line for line in failed if not _SQLSTATE.match(line.sqlstate)]
    if wrong:
        yield _finding(f"A failed write without an SQLSTATE (sqlstate is {wrong[0].sqlstate!r})", wrong)


def _pool(scraped: Scraped, lines: list[ev.LogLine]) -> Iterator[Finding]:
    """An exhausted pool is told with its own maximum, twice; it and a request that queues have a cause.

    Honest: as many requests at a time as, with the background jobs, fill the pool; a query that reads every month on a
    connection of its own; writes that stall; whatever happens about a fault or while a process begins.
    """
    limit = scraped.run.limits.db_pool_max
    exhausted = [line for line in lines if line.message.startswith(EXHAUSTED_LINE)]
    shares = [(line, _SHARE.match(line.message)) for line in exhausted]
    wrong = [line for line, share in shares if share is None or {int(share[1]), int(share[2])} != {limit}]
    if wrong:
        yield _finding(f"A line about the pool that is not '({limit}/{limit} in use)'", wrong)
    queued = [line for line in lines if line.message == QUEUED_LINE]
    for told in (exhausted, queued):
        calm = [line for line in told if scraped.clock_was_true(line.t) and _calm(scraped, line.t)]
        often = sum(1 + line.suppressed for line in calm)
        if calm and often > _by_queries(scraped, calm):
            most = max(_at_once(scraped, line.t) for line in calm)
            yield _finding(f"Nobody had to wait: at most {most} requests at a time, {limit} connections", calm)


def _by_queries(scraped: Scraped, calm: list[ev.LogLine]) -> int:
    """How often the queries before these lines may have filled the pool: each may hold a connection for each month."""
    run = scraped.run
    months = months_of_query(run)
    if months + BACKGROUND_JOBS + max(_at_once(scraped, line.t) for line in calm) < run.limits.db_pool_max:
        return 0
    asked = [query.t for query in run.of_kind(ev.QuerySample)]
    before = LOG_SLACK_SECONDS + FLUSH_SECONDS + run.limits.request_deadline_seconds
    near = {t for t in asked if any(line.t - before <= t <= line.t + LOG_SLACK_SECONDS for line in calm)}
    return len(near) * (months + run.limits.db_pool_max)


def _calm(scraped: Scraped, t: float) -> bool:
    """Tell whether nothing near the line can have kept anybody waiting for a connection."""
    run = scraped.run
    start = t - LOG_SLACK_SECONDS - FLUSH_SECONDS
    first = min((begun for writer, begun in run.began.items() if writer >= 0), default=math.inf)
    near = any(w.injecting - LOG_SLACK_SECONDS <= t and start <= recovery_edge(w, run) for w in run.windows)
    begun = any(start - run.limits.recovery_seconds <= seen <= t + LOG_SLACK_SECONDS for seen in scraped.boundaries)
    if near or begun or start < first or between_lives(run, t):
        return False
    if any(
        scraped.stalled(month, t) or scraped.stall_within(month, start, t + LOG_SLACK_SECONDS) for month in run.months
    ):
        return False
    return _at_once(scraped, t) + BACKGROUND_JOBS < run.limits.db_pool_max


def _at_once(scraped: Scraped, t: float) -> int:
    """The most requests that were under way at some moment shortly before the line."""
    run, patience = scraped.run, scraped.run.limits.request_deadline_seconds
    start, end = t - LOG_SLACK_SECONDS - FLUSH_SECONDS, t + LOG_SLACK_SECONDS
    near = [(op.invoked, over_at(op, run.end, patience)) for op in run.under_way(start - patience, end)]
    asked, done = sorted(asked for asked, _ in near), sorted(over for _, over in near)
    moments = [start, *asked[bisect.bisect_left(asked, start) :]]
    return max(bisect.bisect_right(asked, at) - bisect.bisect_left(done, at) for at in moments)


def _uncaused(scraped: Scraped, lines: list[ev.LogLine]) -> Iterator[Finding]:
    """A failed write and an activated fallback belong to an event of the month that was not simply stored.

    Honest: events that nobody heard answered, re-sends and conflicts, and the closing line of a storm.
    """
    for month in scraped.run.months:
        troubled = [op for op in scraped.run.seen_in(month) if op.status not in (CREATED, REJECTED)]
        spans = _merged([(op.invoked, _over(scraped, op)) for op in troubled])
        for message in (f"{FAILED_LINE}{month}", f"{ACTIVATED_LINE}{month}"):
            wrong = [line for line in lines if line.message == message and not _touches(spans, line.t)]
            if wrong:
                yield _finding(f"No event of {month} near the line was anything but stored", wrong)


def _over(scraped: Scraped, operation: Operation) -> float:
    if operation.type is not ev.Completion.INFO:
        return operation.completed
    return min(operation.completed, scraped.run.end) + scraped.run.limits.request_deadline_seconds


def _merged(spans: list[tuple[float, float]]) -> tuple[list[float], list[float]]:
    """Starts and ends of spans without overlap, both rising."""
    starts: list[float] = []
    ends: list[float] = []
    for start, end in sorted(spans):
        if ends and start <= ends[-1]:
            ends[-1] = max(ends[-1], end)
        else:
            starts.append(start)
            ends.append(end)
    return starts, ends


def _touches(spans: tuple[list[float], list[float]], t: float) -> bool:
    starts, ends = spans
    index = bisect.bisect_right(starts, t + LOG_SLACK_SECONDS) - 1
    return index >= 0 and ends[index] >= t - LOG_SLACK_SECONDS - FLUSH_SECONDS


def _too_fast(scraped: Scraped, lines: list[ev.LogLine]) -> Iterator[Finding]:
    """A repeated line comes once a second, and once more when its storm ends; the others are its suppressed count.

    Honest: a new process, which knows nothing of the last line of the old one; a clock that a fault shifts.
    """
    times: dict[tuple[str, int], list[ev.LogLine]] = {}
    for line in lines:
        if scraped.clock_was_true(line.t):
            times.setdefault((line.message, life_of(scraped.boundaries, line.t)), []).append(line)
    for row in times.values():
        fast = [
            first
            for first, last in zip(row, row[2:], strict=False)
            if last.t - first.t < REPEAT_SECONDS and not between_lives(scraped.run, first.t)
        ]
        if fast:
            yield _finding("A line came three times within a second instead of being counted", fast)


def _not_json(lines: list[ev.LogLine]) -> Iterator[Finding]:
    """The contract's lines are JSON objects with a timestamp, level and message.

    Honest: other text, as a library writes to standard error, or the half line of a killed process.
    """
    raw = [line for line in lines if line.level == "RAW" and any(kind in line.message for kind in _LEVELS)]
    whole = [line for line in raw if not line.message.lstrip().startswith("{") or line.message.rstrip().endswith("}")]
    if whole:
        shown = whole[0].message[:160]
        said = (
            f"{len(whole)} lines that the contract names are no JSON object with timestamp, level and message: {shown}"
        )
        yield Finding(Promise.TRUTH, said, (), whole[0].t)


def _told_too_much(scraped: Scraped, lines: list[ev.LogLine]) -> Iterator[Finding]:
    """No line holds a credential or an event's payload.

    Honest: the id of an event, by which it can be traced; a connection string without a password.
    """
    leaking = [line for line in lines if credential_in(f"{line.message} {line.fields}")]
    if leaking:
        yield Finding(Promise.TRUTH, f"{len(leaking)} log lines hold a credential.", (), leaking[0].t)
    found: list[tuple[ev.LogLine, tuple[str, ...]]] = []
    texts = [f"{line.message} {line.fields}" for line in lines]
    named_in = [{each.lower() for each in event_ids_in(scraped.run, text)} for text in texts]
    every = frozenset().union(*named_in)
    by_id = scraped.run.sent_as(every) if every else {}
    for line, text, ids in zip(lines, texts, named_in, strict=True):
        named = [op for each in sorted(ids) if (op := by_id.get(each)) is not None]
        holding = [op for op in named if _holds(text, op)]
        if holding or payload_in(text):
            found.append((line, event_ids(holding)))
    if found:
        ids_held = tuple(dict.fromkeys(each for _, held in found for each in held))
        said = f"{len(found)} log lines hold an event's payload, the first says {found[0][0].message[:80]!r}."
        yield Finding(Promise.TRUTH, said, ids_held, found[0][0].t)


def _holds(text: str, operation: Operation) -> bool:
    """Tell whether a line that names the event also has a telling value of its data."""
    try:
        data = json.loads(operation.content)["event_data"]
    except (ValueError, KeyError, TypeError):
        return False
    return any(value in text for value in _leaves(data) if len(value) >= _TELLING_CHARACTERS)


def _leaves(data: object) -> Iterator[str]:
    if isinstance(data, dict):
        for value in data.values():
            yield from _leaves(value)
    elif isinstance(data, list):
        for value in data:
            yield from _leaves(value)
    elif isinstance(data, str | int | float) and not isinstance(data, bool):
        yield str(data)
