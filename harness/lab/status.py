"""Status: how a lab is at one moment, as values, and as lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ..probes.tables import TableLook

_NONE = "–"


@dataclass(frozen=True, kw_only=True)
class ServiceState:
    """The service as ``/health/ready`` tells of it; status 0 when nobody answered."""

    url: str
    pid: int | None
    status: int
    degraded: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class QueueState:
    """The dead-letter queue; depth -1 when it cannot be known, capacity -1 when the service does not say."""

    depth: int
    dead: int = 0
    capacity: int = -1
    by_month: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class PoolState:
    """The service's pool, by its metrics; None where they could not be read.

    ``acquisitions`` and ``mean_wait_seconds`` are those of the last ``over_seconds``; ``waiting_for_locks`` counts
    backends of the service that wait in PostgreSQL.
    """

    in_use: int | None = None
    idle: int | None = None
    maximum: int | None = None
    acquisitions: int | None = None
    mean_wait_seconds: float | None = None
    over_seconds: float = 0.0
    waiting_for_locks: int = 0


@dataclass(frozen=True, kw_only=True)
class FaultState:
    """One fault that is on: its number, what it was injected with, since when, and the proof that it bites."""

    number: int
    name: str
    parameters: str
    since_seconds: float
    evidence: str
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class LoadState:
    """The load that is on; ``slowed`` at the edge of a fault, where it goes at the pace of edges."""

    months: tuple[str, ...]
    writers_per_month: int
    rate_per_month: float
    since_seconds: float
    left_seconds: float | None
    slowed: bool


@dataclass(frozen=True, kw_only=True)
class Status:
    """Everything at one moment; ``answers`` counts those to all events of the lab by status, "0" for none."""

    name: str
    target: str
    up_seconds: float
    ends_in_seconds: float
    folder: str
    service: ServiceState
    queue: QueueState
    pool: PoolState
    tables: tuple[TableLook, ...]
    faults: tuple[FaultState, ...]
    load: LoadState | None
    answers: dict[str, int]
    database_problem: str = ""
    busy: str = ""


def lines_of(status: Status) -> list[str]:
    """Return the status as lines."""
    service = status.service
    said = f"{service.status or 'no answer'}{', degraded: ' + ', '.join(service.degraded) if service.degraded else ''}"
    process = f"process {service.pid}" if service.pid else "no process of the harness's"
    up, left = duration_text(status.up_seconds), duration_text(status.ends_in_seconds)
    return [
        f"lab {status.name}: {status.target}, up {up}, ends itself in {left} unless it is used",
        *([f"busy      {status.busy}"] if status.busy else []),
        f"service   {service.url} ({process}); ready: {said}",
        f"queue     {_queue(status.queue)}",
        f"pool      {_pool(status.pool)}",
        *_loads(status),
        *_faults(status.faults),
        *_tables(status),
    ]


def duration_text(seconds: float) -> str:
    """``7 s``, ``4 min``, ``1 h 58 min``: to the unit that matters."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes = whole // 60
    if minutes < 60:
        return f"{minutes} min {whole % 60} s" if minutes < 5 else f"{minutes} min"
    hours = minutes // 60
    return f"{hours} h {minutes % 60} min" if minutes % 60 else f"{hours} h"


def pace_text(rate_per_month: float, writers_per_month: int, months: Sequence[str]) -> str:
    """How a load is said: its pace, its months, its writers."""
    pace = f"{rate_per_month:g} events a second" if rate_per_month > 0 else "as fast as answers come"
    each = "into each of " if len(months) > 1 else "into "
    return f"{pace} {each}{', '.join(months)}, {writers_per_month} writer{'s' * (writers_per_month > 1)} a month"


def answers_text(answers: Mapping[str, int]) -> str:
    """How many answers of each status there were, the accepted first."""
    if not answers:
        return "nothing was sent yet"
    order = sorted(answers, key=lambda status: (status == "0", status))
    return ", ".join(f"{answers[status]} x {'no answer' if status == '0' else status}" for status in order)


def _queue(queue: QueueState) -> str:
    if queue.depth < 0:
        return "cannot be read"
    capacity = f" of {queue.capacity}" if queue.capacity >= 0 else ""
    months = ", ".join(f"{month} {count}" for month, count in sorted(queue.by_month.items()) if count)
    return f"{queue.depth}{capacity} pending{f' ({months})' if months else ''}, {queue.dead} dead"


def _pool(pool: PoolState) -> str:
    locks = f"; {pool.waiting_for_locks} backends wait for a lock"
    if pool.in_use is None:
        return f"its metrics cannot be read{locks}"
    size = f"{pool.in_use} in use, {_known(pool.idle)} idle, at most {_known(pool.maximum)}"
    if pool.acquisitions is None:
        return f"{size}{locks}"
    mean = f", {1000 * pool.mean_wait_seconds:.1f} ms waited on average" if pool.mean_wait_seconds is not None else ""
    return f"{size}; {pool.acquisitions} acquisitions in the last {pool.over_seconds:.1f} s{mean}{locks}"


def _known(value: int | None) -> str:
    return _NONE if value is None else str(value)


def _loads(status: Status) -> Iterator[str]:
    load = status.load
    if load is None:
        yield f"load      none; so far {answers_text(status.answers)}"
        return
    left = "" if load.left_seconds is None else f", {duration_text(load.left_seconds)} left"
    slowed = "; slow at the edge of a fault" if load.slowed else ""
    yield f"load      {pace_text(load.rate_per_month, load.writers_per_month, load.months)}{left}{slowed}"
    yield f"          so far {answers_text(status.answers)}"


def _faults(faults: Sequence[FaultState]) -> Iterator[str]:
    if not faults:
        yield "faults    none is on"
    for fault in faults:
        shown = f" {fault.parameters}" if fault.parameters else ""
        yield f"fault {fault.number:<4}{fault.name}{shown}, on for {duration_text(fault.since_seconds)}"
        if fault.evidence:
            yield f"          proof: {fault.evidence}"
        if fault.problem:
            yield f"          NOT HEALED: {fault.problem}"


def _tables(status: Status) -> Iterator[str]:
    if status.database_problem:
        yield f"tables    cannot be read: {status.database_problem}"
        return
    rows = [("table", "attached", "rows", "queued", "bounds")]
    for table in status.tables:
        queued = status.queue.by_month.get(table.month, 0) if table.month else 0
        count = table.problem or (_NONE if table.rows is None else str(table.rows))
        bounds = table.bounds or _NONE
        rows.append((table.name, "yes" if table.attached else "NO", count, str(queued), bounds))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        yield "  ".join([*(f"{row[column]:<{widths[column]}}" for column in range(4)), row[4]]).rstrip()
