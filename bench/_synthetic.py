"""A valid history of any length, as lines: what an honest run with one detached month leaves.

    python -m bench._synthetic OPERATIONS

writes it to standard output.  Five months are written at a steady rate; December is detached for a twentieth of the
time, so that one event in a hundred is queued, and drains.  Of a hundred requests two are re-sends, one contradicts,
two are invalid and two leave their id to the service, as in the load of a scenario.  Samples come at the intervals of
the harness's own samplers.
"""

from __future__ import annotations

import bisect
import functools
import json
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from harness import events as ev
from harness.blast import BlastRadius, Write
from harness.fault import radius_to_json
from harness.faults.partition import DetachPartition
from harness.jsonlines import encode
from harness.scenario import Load, Scenario
from harness.schedule import Schedule
from harness.values import Month, utc_timestamp

RATE = 4500.0
"""Operations a second where there are enough of them: about what one process of load can send."""
SHORTEST_SECONDS = 60.0
MONTHS = tuple(Month(2025, 11).plus(number) for number in range(5))
DETACHED = 1
STARTED_AT = datetime(2026, 2, 1, tzinfo=UTC)
_LEAD_SECONDS = 1.0
_TAIL_SECONDS = 8.0
_TICK_SECONDS = 0.25
_SHARE = 0.05
"""Of the time, December is detached: a fifth of the events of that time are a hundredth of all."""
_WAIT = "datastorage_db_connection_wait_duration_seconds"
_REQUESTS = "datastorage_request_duration_seconds"
_CAPACITY = 1_000_000
_QUERY_LIMIT = 10
_DRAINED_SECONDS = 1.0
"""After the heal, all of the queue is stored at once."""


@dataclass(frozen=True)
class Synthetic:
    """The plan of one history."""

    operations: int

    @property
    def load_seconds(self) -> float:
        """How long the load goes on."""
        return max(SHORTEST_SECONDS, self.operations / RATE)

    @property
    def detached(self) -> tuple[float, float]:
        """From when to when December is detached."""
        begin = _LEAD_SECONDS + 0.4 * self.load_seconds
        return begin, begin + _SHARE * self.load_seconds

    @property
    def end(self) -> float:
        """When the run ends."""
        return _LEAD_SECONDS + self.load_seconds + _TAIL_SECONDS

    def invoked(self, op: int) -> float:
        """When an operation begins."""
        return round(_LEAD_SECONDS + op * self.load_seconds / self.operations, 6)

    def took(self, op: int) -> float:
        """Its latency: 4 to 12 ms, by no pattern that anything else has."""
        return 0.004 + (op * 2654435761 % 8192) / 1024_000

    def queued(self, op: int) -> bool:
        """Tell whether it is an event of December that no partition takes."""
        begin, end = self.detached
        return op % len(MONTHS) == DETACHED and begin <= self.invoked(op) <= end + 0.5

    @functools.cached_property
    def queued_at(self) -> list[float]:
        """When the events that were queued were answered, in order."""
        found = (op for op in _december(self) if self.queued(op) and self.earlier(op) is None and not _invalid(op))
        return sorted(self.invoked(op) + self.took(op) for op in found)

    def waiting(self, t: float) -> int:
        """How many events wait in the queue."""
        return bisect.bisect_right(self.queued_at, t) if t < self.detached[1] + _DRAINED_SECONDS else 0

    def earlier(self, op: int) -> int | None:
        """The write that this request sends again or contradicts; None for a write of its own."""
        hundred, place = divmod(op, 100)
        if place not in (50, 51, 52) or hundred < 4:
            return None
        of = (hundred - 4) * 100 + hundred % 5
        return None if self.queued(of) or of % len(MONTHS) == DETACHED else of

    def lines(self) -> Iterator[str]:
        """The records of the run, one line each."""
        yield from (_line(record) for record in self._opening())
        marks = iter(sorted(self._marks(), key=lambda record: getattr(record, "t", 0.0)))
        pending = next(marks, None)
        op = 0
        for tick in range(int(self.end / _TICK_SECONDS) + 1):
            t = tick * _TICK_SECONDS
            while pending is not None and getattr(pending, "t", 0.0) <= t:
                yield _line(pending)
                pending = next(marks, None)
            yield from (_line(record) for record in self._samples(tick, t))
            while op < self.operations and self.invoked(op) < t + _TICK_SECONDS:
                yield from self._operation(op)
                op += 1
        yield from self._rows()
        yield _line(ev.FinalRead(self.end, True, True))

    def _opening(self) -> Iterator[ev.Record]:
        scenario = Scenario(
            name="synthetic",
            claim="Every event is kept although December is detached for a while.",
            requirements=(),
            load=Load(months=MONTHS),
            schedule=Schedule.of(DetachPartition(months=(MONTHS[DETACHED],))),
            min_strict_events=20,
        )
        text, reads = json.dumps(scenario.to_json()), '{"query": true}'
        began = STARTED_AT.isoformat()
        yield ev.RunStarted(0.0, "synthetic", "synthetic", 1, began, text, "synthetic", {}, "{}", reads)
        yield ev.ServiceMark(-1.0, "started", 7)
        yield ev.PhaseMark(0.0, "before")
        for month in MONTHS:
            bounds = f"FOR VALUES FROM ('{month.first_day}') TO ('{month.end}')"
            yield ev.PartitionRow(f"audit_events_{month}", month.label, bounds)

    def _marks(self) -> Iterator[ev.Record]:
        begin, end = self.detached
        month = MONTHS[DETACHED]
        radius = radius_to_json(BlastRadius(months=frozenset({month}), write=Write.NO))
        steps = {"injecting": begin - 0.02, "injected": begin - 0.01, "confirmed": begin + 0.2}
        steps |= {"healing": end, "healed": end + 0.02, "probed": end + 0.2}
        for step, t in steps.items():
            declared = radius if step == "injecting" else ""
            yield ev.FaultMark(t, 0, "detach-partition", ev.FaultStep(step), "", declared)
        yield from (ev.PhaseMark(begin - 0.02, "during"), ev.PhaseMark(end, "after"), ev.PhaseMark(self.end, "done"))
        yield ev.LogLine(0.0, "INFO", "Listening")
        failed = f"Failed to write to partition audit_events_{month}"
        yield ev.LogLine(begin + 0.01, "INFO", f"DLQ fallback activated for partition {month}")
        for t, suppressed in ((begin + 0.01, 0), (begin + 1.01, 1)):
            yield ev.LogLine(t, "ERROR", failed, suppressed, "23514")
        yield ev.LogLine(end + 0.6, "INFO", f"DLQ fallback ended for partition {month}")

    def _operation(self, op: int) -> Iterator[str]:
        t, of = self.invoked(op), self.earlier(op)
        place = op % 100
        kind, status = ev.OpKind.WRITE, 202 if self.queued(op) else 201
        if of is not None:
            kind, status = (ev.OpKind.CONFLICT, 409) if place == 52 else (ev.OpKind.RESEND, 201)
        elif place in (53, 54):
            kind, status = ev.OpKind.INVALID, 400
        number = op if of is None else of
        text, event_id = _content(number).replace("success", _OUTCOMES.get(kind, "success")), _event_id(number)
        anonymous = _anonymous(op) and kind is ev.OpKind.WRITE
        if anonymous:
            text = text.replace(f'"event_id":"{event_id}",', "")
        month = MONTHS[number % len(MONTHS)]
        yield (
            f'{{"record":"Invoke","t":{t},"op":{op},"writer":{op % 40},"kind":"{kind}",'
            f'"event_id":"{"" if anonymous else event_id}","event_date":"{_day(number)}","content":{json.dumps(text)},'
            f'"of":{"null" if of is None else of}}}\n'
        )
        ended, outcome = ("fail", "") if status >= 400 else ("ok", "queued" if status == 202 else "created")
        where = month.label if status < 400 else ""
        yield (
            f'{{"record":"Complete","t":{t + self.took(op)},"op":{op},"type":"{ended}","status":{status},'
            f'"outcome":"{outcome}","partition":"{where}","answered_id":"{event_id if anonymous else ""}"}}\n'
        )

    def _samples(self, tick: int, t: float) -> Iterator[ev.Record]:
        begin, end = self.detached
        out = begin + 0.4 < t < end + 0.5
        yield ev.MetricsSample(t, self._series(t, unavailable=out), "", 0.004)
        for step in range(3 if tick % 2 else 2):
            yield ev.ConnectionSample(t + step * 0.1, 20, 20)
            for number, month in enumerate(MONTHS):
                if number != DETACHED or not begin - 0.1 < t + step * 0.1 < end + 0.1:
                    yield ev.CanarySample(t + step * 0.1, month.label, 0.002)
        depth = self.waiting(t)
        yield ev.DlqSample(t, depth, 0, {MONTHS[DETACHED].label: depth} if depth else {}, _CAPACITY, 0.003)
        if tick % 2 == 0:
            yield ev.ReadySample(t, 200, (f"partition {MONTHS[DETACHED]}",) if out else (), 0.002)
        if tick % 4 == 0:
            yield ev.ProcessSample(t, 7, 80_000_000, 60, 40)
            yield ev.PartitionsSample(t, self._children(t), "", 0.002)
            yield from self._queries(t)

    def _children(self, t: float) -> tuple[ev.AttachedTable, ...]:
        """What is attached: the months written, and those due ahead."""
        begin, end = self.detached
        months = enumerate((*MONTHS, MONTHS[-1].plus(1)))
        gone = MONTHS[DETACHED] if begin - 0.02 < t < end + 0.01 else None
        return tuple(ev.AttachedTable(at, f"audit_events_{one}", one.label) for at, one in months if one != gone)

    def _queries(self, t: float) -> Iterator[ev.Record]:
        """A reader asks for one new event and for one month, as the harness does each second."""
        begin, end = self.detached
        number = int(t) % len(MONTHS)
        if t < _LEAD_SECONDS + 2.0 or (number == DETACHED and begin - 5.0 < t < end + 10.0):
            return
        first = [op for op in range(number, 100, len(MONTHS)) if self.earlier(op) is None and not _invalid(op)]
        shown = tuple(_event_id(op) for op in first[:_QUERY_LIMIT])
        yield ev.QuerySample(t, 0.004, 200, "", MONTHS[number].label, _QUERY_LIMIT, shown, (), True)
        last = int((t - 0.5 - _LEAD_SECONDS) * self.operations / self.load_seconds) // 100 * 100 + number
        last = min(last, self.operations - 100 + number)
        yield ev.QuerySample(t, 0.003, 200, _event_id(last), found=(_event_id(last),), content=_content(last))

    def _series(self, t: float, *, unavailable: bool) -> dict[str, float]:
        """What an honest service shows; exact where the run begins and ends, near it between."""
        begun = min(self.operations, max(0, int((t - _LEAD_SECONDS) * self.operations / self.load_seconds) - 1))
        done = self.operations if t > _LEAD_SECONDS + self.load_seconds + 1.0 else begun
        begin, end = self.detached
        counted = self._counted(done)
        values: dict[str, float] = {
            "datastorage_db_connections_open": 20,
            "datastorage_db_connections_in_use": 8,
            "datastorage_db_connections_idle": 12,
            "datastorage_db_max_open_connections": 25,
            "datastorage_db_connection_errors_total": 0,
            "datastorage_dlq_oldest_age_seconds": t - self.queued_at[0] if self.waiting(t) else 0.0,
            "datastorage_dlq_capacity": _CAPACITY,
            f"{_WAIT}_count": done,
            f"{_WAIT}_sum": done * 0.001,
            **{f'{_WAIT}_bucket{{le="{bound}"}}': done for bound in ("0.001", "0.01", "0.1", "1.0", "2.5", "+Inf")},
            **{f'datastorage_events_total{{outcome="{name}"}}': counted[name] for name in _COUNTERS},
        }
        for number, month in enumerate(MONTHS):
            state = "unavailable" if number == DETACHED and unavailable else "healthy"
            written = (
                begin if number == DETACHED and begin <= t <= end + 0.5 else min(t, _LEAD_SECONDS + self.load_seconds)
            )
            failed = 3.0 if number == DETACHED and t > begin + 1.0 else 0.0
            label = f'partition="{month}"'
            values[f"datastorage_partition_write_failures_total{{{label}}}"] = failed
            values[f"datastorage_partition_last_write_timestamp{{{label}}}"] = STARTED_AT.timestamp() + written
            waiting = self.waiting(t) if number == DETACHED else 0
            drained = len(self.queued_at) if number == DETACHED and t > end + _DRAINED_SECONDS else 0
            values[f"datastorage_dlq_depth{{{label}}}"] = waiting
            values[f"datastorage_dlq_drained_total{{{label}}}"] = drained
            values[f"datastorage_dlq_drain_failures_total{{{label}}}"] = 0.0
            for each in ("healthy", "degraded", "unavailable"):
                values[f'datastorage_partition_status{{{label},status="{each}"}}'] = float(each == state)
        return values | self._requests(t, counted)

    def _requests(self, t: float, counted: dict[str, float]) -> dict[str, float]:
        """Requests by route and status, of 5 ms each."""
        invalid = counted["invalid"]
        asked = 4.0 * t + 1.0
        values: dict[str, float] = {}
        for route, status, count in (
            ("/api/v1/audit/events", 201, counted["created"] + counted["duplicate"]),
            ("/api/v1/audit/events", 202, counted["queued"]),
            ("/api/v1/audit/events", 400, invalid),
            ("/api/v1/audit/events", 409, counted["rejected"] - invalid),
            *((route, 200, asked) for route in ("/health/ready", "/api/v1/dlq", "/metrics")),
        ):
            labels = f'route="{route}",status="{status}"'
            values[f"{_REQUESTS}_count{{{labels}}}"] = count
            values[f"{_REQUESTS}_sum{{{labels}}}"] = 0.004 * count
            for bound, below in (("0.001", 0.0), ("0.01", count), ("0.1", count), ("1.0", count), ("+Inf", count)):
                values[f'{_REQUESTS}_bucket{{le="{bound}",{labels}}}'] = below
        return values

    def _counted(self, done: int) -> dict[str, float]:
        """Answers by outcome among the first operations; exact for none and for all of them."""
        if done < self.operations:
            counts = (done * 0.9, done * 0.005, done * 0.01, done * 0.02, 0.0)
            return dict(zip(_COUNTERS, counts, strict=True)) | {"invalid": done * 0.015}
        return self._total

    @property
    def _total(self) -> dict[str, float]:
        counts = _TOTALS.get(self.operations)
        if counts is None:
            queued = len(self.queued_at)
            again = [op for op in _second_requests(self.operations) if self.earlier(op) is not None]
            conflicts = sum(op % 100 == 52 for op in again)
            invalid = sum(_invalid(op) for op in range(self.operations % 100)) + 2 * (self.operations // 100)
            created = self.operations - queued - len(again) - invalid
            duplicates = len(again) - conflicts
            found = (float(created), float(queued), float(duplicates), float(conflicts + invalid), 0.0)
            counts = dict(zip(_COUNTERS, found, strict=True)) | {"invalid": float(invalid)}
            _TOTALS[self.operations] = counts
        return counts

    def _rows(self) -> Iterator[str]:
        """Rows of the final read, month by month as the catalog lists them, spelt as jsonb prints."""
        _, end = self.detached
        for number, month in enumerate(MONTHS):
            for op in range(number, self.operations, len(MONTHS)):
                if self.earlier(op) is not None or _invalid(op):
                    continue
                t = end + _DRAINED_SECONDS if self.queued(op) else self.invoked(op) + self.took(op) / 2
                recorded = utc_timestamp(STARTED_AT + timedelta(seconds=t))
                text = json.dumps(json.dumps(dict(sorted(json.loads(_content(op)).items())), ensure_ascii=False))
                yield (
                    f'{{"record":"TableRow","event_id":"{_event_id(op)}","event_date":"{_day(op)}","month":"{month}",'
                    f'"content":{text},"correlation_id":"synthetic/{op}","recorded_at":"{recorded}"}}\n'
                )


def _invalid(op: int) -> bool:
    return op % 100 in (53, 54)


def _anonymous(op: int) -> bool:
    return op % 100 in (70, 71)


_OUTCOMES = {ev.OpKind.CONFLICT: "failure", ev.OpKind.INVALID: "perhaps"}
_COUNTERS = ("created", "queued", "duplicate", "rejected", "unavailable")
_TOTALS: dict[int, dict[str, float]] = {}


def _december(plan: Synthetic) -> Iterator[int]:
    begin, end = (int((t - _LEAD_SECONDS) * plan.operations / plan.load_seconds) for t in plan.detached)
    spare = int(plan.operations / plan.load_seconds) + 10
    yield from range(max(0, begin - spare), min(plan.operations, end + spare))


def _second_requests(operations: int) -> Iterator[int]:
    for hundred in range(0, operations, 100):
        yield from (op for op in (hundred + 50, hundred + 51, hundred + 52) if op < operations)


def _event_id(op: int) -> str:
    """A random-looking UUID of version 4, always the same for one number."""
    bits = (op + 1) * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128
    return str(uuid.UUID(int=bits, version=4))


def _day(op: int) -> str:
    month = MONTHS[op % len(MONTHS)]
    return f"{month.year:04}-{month.month:02}-{1 + op // 5 % 28:02}"


def _content(op: int) -> str:
    """An event as the workload of a scenario makes it."""
    return (
        f'{{"event_id":"{_event_id(op)}",'
        f'"event_timestamp":"{_day(op)}T12:{op // 60 % 60:02}:{op % 60:02}.{op % 10**6:06}Z",'
        f'"version":"1.0","event_type":"user.login","event_category":"authentication","event_action":"create",'
        f'"event_outcome":"success","correlation_id":"synthetic/{op}","event_data":{{"actor":"user-{op % 10000}",'
        f'"amount":{op * 7919 % 10**9 / 100},"large":{10**17 + op},"tags":["ä","日本","{op % 100}"],'
        f'"nested":{{"null":null,"flag":{"true" if op % 2 else "false"}}}}}}}'
    )


def _line(record: ev.Record) -> str:
    return f"{encode(record)}\n"


def main() -> None:
    """Write the history that the command line asks for."""
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    for line in Synthetic(int(sys.argv[1])).lines():
        sys.stdout.write(line)


if __name__ == "__main__":
    main()
