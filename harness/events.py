"""The typed records of a run's history.

Nouns after Jepsen: an operation is *invoked*, then completes *ok* (the answer says accepted), *fail* (the answer
says refused) or *info* (nobody answered: the outcome is unknown).  All times are seconds on the run's monotonic
clock.  ``harness.jsonlines`` writes and reads them.
"""

from __future__ import annotations

import dataclasses
import enum
from dataclasses import dataclass
from datetime import date

HIDDEN = "***hidden***"
"""What a history has where a secret of the run stood; a service that hides its own with asterisks writes another."""


class OpKind(enum.StrEnum):
    """What the client meant by a request."""

    WRITE = "write"
    RESEND = "resend"
    CONFLICT = "conflict"
    INVALID = "invalid"
    POISON = "poison"


class Completion(enum.StrEnum):
    """How an operation ended, in Jepsen's terms."""

    OK = "ok"
    FAIL = "fail"
    INFO = "info"


class FaultStep(enum.StrEnum):
    """The marks of one fault on the clock, in their order."""

    INJECTING = "injecting"
    INJECTED = "injected"
    CONFIRMED = "confirmed"
    NOT_CONFIRMED = "not-confirmed"
    HEALING = "healing"
    HEALED = "healed"
    PROBED = "probed"
    HEAL_FAILED = "heal-failed"


@dataclass(frozen=True)
class RunStarted:
    """First record: what was run, with everything a replay needs (scenario and schedule as JSON).

    ``started_at`` is the wall-clock time, RFC 3339, of the run's 0.
    """

    t: float
    run: str
    scenario: str
    seed: int
    started_at: str
    scenario_json: str
    target: str
    versions: dict[str, str]
    limits_json: str = "{}"
    reads_json: str = "{}"
    """What the target declares that can be looked into: sql, dlq, metrics, logs, query, each true unless it says false.

    A history without a word of ``query`` is from before it was asked.
    """
    target_path: str = ""
    pg_bindir: str = ""


@dataclass(frozen=True)
class Invoke:
    """A request about to be sent.  ``content`` is the event's JSON as sent, ``of`` the op that is re-sent.

    ``event_id`` is empty when the service is to make one; ``batch`` numbers the request that several events shared, 0
    for one that carried this event alone.
    """

    t: float
    op: int
    writer: int
    kind: OpKind
    event_id: str
    event_date: date
    content: str
    of: int | None = None
    batch: int = 0


@dataclass(frozen=True)
class Complete:
    """The end of an operation.  ``status`` is 0 when nobody answered; ``error`` then names the exception.

    ``flaw`` is the first thing wrong with the answer's form, empty when nothing is; ``answered_id`` the id, in lower
    case, by which the service accepted an event that was sent without one.
    """

    t: float
    op: int
    type: Completion
    status: int
    outcome: str = ""
    partition: str = ""
    error: str = ""
    flaw: str = ""
    answered_id: str = ""


@dataclass(frozen=True)
class BatchEnd:
    """The answer to a batch as a whole: its code, 0 when nobody answered, and the first thing wrong with its form."""

    t: float
    batch: int
    status: int
    flaw: str = ""


@dataclass(frozen=True)
class FaultMark:
    """A step of a fault.  ``fault`` numbers it in the schedule; ``radius_json`` is declared at INJECTING."""

    t: float
    fault: int
    name: str
    step: FaultStep
    detail: str = ""
    radius_json: str = ""


@dataclass(frozen=True)
class Destroyed:
    """Rows that a fault itself destroyed, by id; ``restored`` once its heal brought them back."""

    t: float
    fault: int
    event_ids: tuple[str, ...]
    restored: bool


@dataclass(frozen=True)
class PhaseMark:
    """The workload enters a phase (before, during, after) or ends (done)."""

    t: float
    phase: str


@dataclass(frozen=True)
class MetricsSample:
    """One scrape; ``series`` maps the full series text, e.g. ``name{a="b"}``, to its value.

    It was asked for at ``t`` and answered ``seconds`` later: the values are those of some moment between.
    """

    t: float
    series: dict[str, float]
    error: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class ConnectionSample:
    """Connections of the service's role: as ``pg_stat_activity`` lists them, and as sockets of its process.

    -1 means that it could not be read at that moment.  ``locking_parent``: one of them holds the table itself, or waits
    for it, in ACCESS EXCLUSIVE mode, which stops every month.
    """

    t: float
    backends: int
    sockets: int = -1
    locking_parent: bool = False


@dataclass(frozen=True)
class ProcessSample:
    """The service's process as its operating system lists it: what it holds.

    ``memory_bytes`` is resident anonymous memory, without what files are mapped.  -1 means that it could not be read.
    """

    t: float
    pid: int
    memory_bytes: int = -1
    descriptors: int = -1
    threads: int = -1


@dataclass(frozen=True)
class CanarySample:
    """A direct insert of the harness into the month: how long it took, or the SQLSTATE it got."""

    t: float
    month: str
    seconds: float
    sqlstate: str = ""


@dataclass(frozen=True)
class DlqSample:
    """What ``GET /api/v1/dlq`` said; depth -1 when it did not answer, capacity -1 when it did not say.

    It was asked for at ``t`` and answered ``seconds`` later: the figures are those of some moment between.
    """

    t: float
    depth: int
    dead: int = 0
    partitions: dict[str, int] = dataclasses.field(default_factory=dict)
    capacity: int = -1
    seconds: float = 0.0


@dataclass(frozen=True)
class ReadySample:
    """What ``GET /health/ready`` said, asked at ``t`` and answered ``seconds`` later; status 0: no answer."""

    t: float
    status: int
    degraded: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True)
class QuerySample:
    """What ``GET /api/v1/audit/events``, asked at ``t``, said ``seconds`` later; status 0 when it did not answer.

    Asked was for ``event_id``, or else for a whole ``month`` with a ``limit``.  ``found`` are the ids of the events in
    their order, ``content`` is the JSON of the one asked for by its id, ``flaw`` the first thing wrong with the form.
    """

    t: float
    seconds: float
    status: int
    event_id: str = ""
    month: str = ""
    limit: int = 0
    found: tuple[str, ...] = ()
    unavailable: tuple[str, ...] = ()
    truncated: bool = False
    content: str = ""
    flaw: str = ""


@dataclass(frozen=True)
class ServiceMark:
    """The service process: ``started``, ``restarted`` (a new life: its counters begin anew), ``down``, or ``ended``.

    It is down when a fault ended it; it has ended when it did so by itself, at its start.
    """

    t: float
    what: str
    pid: int = 0


@dataclass(frozen=True)
class LogLine:
    """One structured log line of the service, its own time mapped to the run's clock; level RAW for one that is none.

    ``sqlstate`` is "-" for a line without that field, its JSON text (null) where that is no string, and "" in a history
    that did not record it.  ``fields`` are the line's other fields as JSON, cut short.
    """

    t: float
    level: str
    message: str
    suppressed: int = 0
    sqlstate: str = ""
    fields: str = ""


@dataclass(frozen=True)
class TableRow:
    """Final read of the table: one row, in the month that its partition's bounds say ("" for a default)."""

    event_id: str
    event_date: date
    month: str
    content: str
    correlation_id: str
    recorded_at: str = ""
    """RFC 3339 in UTC: when the transaction that stored it began, by the database's clock; "" when not known."""


@dataclass(frozen=True)
class DlqRow:
    """Final read of the DLQ: one event that is pending or dead.

    ``reason`` of a dead one is ``conflict``, ``poison``, or the SQLSTATE of another error; ``error`` is its last error
    as the queue tells it.
    """

    event_id: str
    event_date: date
    state: str
    reason: str
    content: str
    error: str = ""


@dataclass(frozen=True)
class PartitionRow:
    """Final read of the catalog: one child of the table; ``bounds`` as PostgreSQL prints them."""

    name: str
    month: str
    bounds: str


@dataclass(frozen=True)
class AttachedTable:
    """One child of the table at some moment; ``month`` as its bounds say, "" for none, "default" for the rest."""

    oid: int
    name: str
    month: str


@dataclass(frozen=True)
class PartitionsSample:
    """The children of the table while the run goes on; ``error`` says why they could not be read.

    The catalog was asked at ``t`` and answered ``seconds`` later.
    """

    t: float
    children: tuple[AttachedTable, ...] = ()
    error: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class FinalRead:
    """Whether the final reads happened: without them nothing about conservation can be said."""

    t: float
    table: bool
    dlq: bool
    detail: str = ""


@dataclass(frozen=True)
class RulesRead:
    """A file by which the target is watched: ``kind`` is ``rules`` (Prometheus) or ``dashboard`` (Grafana).

    ``labels`` are those that its scrape adds besides job and instance; series whose names begin with one of ``foreign``
    are exported by others.
    """

    t: float
    path: str
    kind: str
    text: str
    labels: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()


@dataclass(frozen=True)
class Note:
    """Anything else worth a line in the report: a deadline missed, an error of a probe, an abort."""

    t: float
    topic: str
    text: str


Record = (
    RunStarted
    | Invoke
    | Complete
    | BatchEnd
    | FaultMark
    | Destroyed
    | PhaseMark
    | MetricsSample
    | ConnectionSample
    | ProcessSample
    | CanarySample
    | DlqSample
    | ReadySample
    | QuerySample
    | ServiceMark
    | LogLine
    | TableRow
    | DlqRow
    | PartitionRow
    | PartitionsSample
    | FinalRead
    | RulesRead
    | Note
)
