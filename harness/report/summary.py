"""Words and figures that several reports share: verdicts, clocks, answers, and the story of one event.

Pure: reads run and result, prints nothing.
"""

from __future__ import annotations

import enum
import math
import re
import shlex
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import groupby
from pathlib import Path

from .. import events as ev
from ..checkers._stored import Stored
from ..checking import Finding
from ..redaction import masked as masked
from ..results import Clocks, RunResult, SuiteResult
from ..rundata import Archive, Operation, Run, Tally, operations_of
from ..values import Promise, Verdict
from .changes import Change, changes

NONE = "–"
"""What stands where a clock or a figure has no value."""

UNFINISHED = "unfinished"
"""Stands for the duration of a run that nobody saw end."""

_OWN = re.compile(r"ph-\w+|\b[0-9a-f]{6,}\b|[0-9]+")
_NUMBERED = re.compile(r"operation \d+\Z")


@dataclass(frozen=True)
class Headline:
    """A verdict as reports show it: never by colour alone, so each has a word and a symbol."""

    word: str
    symbol: str
    css: str


PASS = Headline("PASS", "✓", "pass")
FAIL = Headline("FAIL", "✗", "fail")
UNKNOWN = Headline("UNKNOWN", "?", "unknown")
SETUP = Headline("SETUP", "!", "setup")

_HEADLINES = {Verdict.PASS: PASS, Verdict.FAIL: FAIL, Verdict.UNKNOWN: UNKNOWN}


def headline(result: RunResult) -> Headline:
    """Return word and symbol of a run; a set-up that failed has its own, since its remedy is another."""
    return SETUP if result.setup_error else _HEADLINES[result.verdict]


def verdict_headline(verdict: Verdict) -> Headline:
    """Return word and symbol of a bare verdict."""
    return _HEADLINES[verdict]


def suite_headline(suite: SuiteResult) -> Headline:
    """Return word and symbol of a suite; SETUP outranks UNKNOWN, as in the exit code (``harness.gate``)."""
    if suite.verdict is Verdict.UNKNOWN and any(run.setup_error for run in suite.runs):
        return SETUP
    return _HEADLINES[suite.verdict]


def reached_lines(suite: SuiteResult) -> Sequence[tuple[str, bool]]:
    """Say which states no run reached, and whether the suite owes them; nothing to say where all were."""
    owed = suite.owed
    return [
        (f"none of {one.of} runs reached {one.name}: {one.sentence}", one in owed)
        for one in suite.reached
        if one.missing
    ]


class Answer(enum.StrEnum):
    """What the client saw of one request, by status code: the colour and symbol of the timeline."""

    CREATED = "201 created"
    QUEUED = "202 queued"
    REJECTED = "400/413 rejected"
    CONFLICT = "409 conflict"
    UNAVAILABLE = "503 unavailable"
    OTHER = "other status"
    NONE = "no answer"


_ANSWERS = {
    201: Answer.CREATED,
    202: Answer.QUEUED,
    400: Answer.REJECTED,
    413: Answer.REJECTED,
    409: Answer.CONFLICT,
    503: Answer.UNAVAILABLE,
    0: Answer.NONE,
}


_REFUSED = (Answer.REJECTED, Answer.CONFLICT)


def answer_of(answered: Operation | Tally) -> Answer:
    """Classify one operation, or several of one status, by that."""
    return _ANSWERS.get(answered.status, Answer.OTHER)


def seconds_text(seconds: float | None) -> str:
    """``0.21 s``, ``12.3 s``, ``140 s``; a dash for None and for a time that never ended."""
    if seconds is None or not math.isfinite(seconds):
        return NONE
    digits = 2 if abs(seconds) < 10 else 1 if abs(seconds) < 100 else 0
    return f"{seconds:.{digits}f} s"


def duration_text(result: RunResult) -> str:
    """How long a run took; one whose runner was killed, which left no figure, is unfinished."""
    if not result.begun:
        return "not begun"
    if result.seconds > 0 or result.setup_error:
        return seconds_text(result.seconds)
    return UNFINISHED


def took_text(result: RunResult, run: Run | None) -> str:
    """``took 13.2 s``; of an unfinished run when it was last heard of."""
    shown = duration_text(result)
    if shown != UNFINISHED:
        return f"took {shown}"
    return UNFINISHED if run is None else f"{UNFINISHED}, last record at t={seconds_text(run.end)}"


def moment_text(moment: str) -> str:
    """Show an RFC 3339 time to the second in UTC; what is none as it is."""
    try:
        when = datetime.fromisoformat(moment).astimezone(UTC)
    except ValueError:
        return moment
    return f"{when:%Y-%m-%d %H:%M:%S} UTC"


def version_text(version: tuple[str, str]) -> tuple[str, str]:
    """Show PostgreSQL's version number as people write it, ``180006`` as ``18.6``; others as they are."""
    name, said = version
    if name == "postgresql" and said.isdecimal() and len(said) == 6:
        return name, f"{int(said) // 10_000}.{int(said) % 10_000}"
    return version


def latency_text(seconds: float) -> str:
    """``4.2 ms`` below a second, else as :func:`seconds_text`."""
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else seconds_text(seconds)


def figure_text(value: float) -> str:
    """Show a measured figure: integers without a point, others with four significant digits."""
    if not math.isfinite(value):
        return NONE
    return f"{int(value)}" if value == int(value) else f"{value:.4g}"


CLOCK_NAMES = ("detect", "fallback", "recover", "drain")


def clock_values(clocks: Clocks) -> tuple[float | None, ...]:
    """Return the four clocks in the order of :data:`CLOCK_NAMES`, in seconds."""
    return (clocks.detect_seconds, clocks.fallback_seconds, clocks.recover_seconds, clocks.drain_seconds)


def clock_cells(clocks: Sequence[Clocks]) -> tuple[str, ...]:
    """Return the four clocks as text; those of several faults joined by ``/`` in their order: none is hidden."""
    if not clocks:
        return (NONE,) * len(CLOCK_NAMES)
    return tuple(
        " / ".join(seconds_text(value) for value in column)
        for column in zip(*(clock_values(each) for each in clocks), strict=True)
    )


def promise_title(promise: Promise) -> str:
    """``promise 1 (conservation)``."""
    return f"promise {promise.value} ({promise.name.lower().replace('_', ' ')})"


def by_promise(findings: Iterable[Finding]) -> list[tuple[Promise, list[Finding]]]:
    """Group findings by promise, in the order of the promises."""
    groups = groupby(sorted(findings, key=_promise_of), key=_promise_of)
    return [(promise, list(group)) for promise, group in groups]


def _promise_of(finding: Finding) -> Promise:
    return finding.promise


def unknown_reasons(result: RunResult) -> tuple[str, ...]:
    """Say why a run cannot be judged, with the checker that says so; never empty for an UNKNOWN run."""
    reasons = tuple(f"{check.checker}: {reason}" for check in result.checks for reason in check.unknowns)
    if not reasons and not result.setup_error and result.verdict is Verdict.UNKNOWN:
        return ("No checker could be applied, so nothing was judged.",)
    return reasons


def not_checked(result: RunResult) -> tuple[tuple[str, str], ...]:
    """Return (checker, what it needs and the target lacks)."""
    return tuple((check.checker, check.not_checked) for check in result.checks if check.not_checked)


def ids_text(event_ids: Sequence[str], limit: int, where: str) -> str:
    """Return the first ``limit`` ids, and how many more there are and where to see them."""
    shown = ", ".join(event_ids[:limit])
    more = len(event_ids) - limit
    return f"{shown} (+{more} more, all in {where})" if more > 0 else shown


def shown_path(path: Path) -> str:
    """Show a path relative to the working directory where it lies below it, since that is what one types."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def explain_command(folder: Path, event_id: str) -> str:
    """Return the command that tells the whole story of one event, ready for a shell."""
    known = event_id if _NUMBERED.match(event_id) else shlex.quote(event_id)
    return f"harness explain {shlex.quote(shown_path(folder))} {known}"


def failed_alike(result: RunResult, runs: Sequence[RunResult]) -> list[RunResult]:
    """Return those of ``runs`` whose set-up failed as that of ``result``, itself included; none if it did not fail.

    Alike are errors that differ only in what is each run's own: its name, ports, process numbers, times.
    """
    return [run for run in runs if run.setup_error and _general(run) == _general(result)]


def _general(run: RunResult) -> str:
    """Return the error of a set-up without what is the run's own."""
    return _OWN.sub("0", run.setup_error.replace(run.run, "").replace(run.scenario.name, ""))


def irreducible_seconds(runs: Sequence[RunResult], cores: int) -> float:
    """Return the waits of a suite that no faster machine would shorten, in seconds.

    Exclusive scenarios add up; the others share the cores, but no more of them than there are scenarios.
    """
    exclusive = sum(run.waits.total_seconds for run in runs if run.scenario.exclusive)
    others = [run.waits.total_seconds for run in runs if not run.scenario.exclusive]
    return exclusive + sum(others) / max(1, min(cores, len(others)))


@dataclass(frozen=True)
class Story:
    """Everything the run knows of one event id: its requests, and where it was at the end."""

    event_id: str
    operations: tuple[Operation, ...]
    rows: tuple[ev.TableRow, ...]
    queued: tuple[ev.DlqRow, ...]
    destroyed: tuple[ev.Destroyed, ...]
    ending: str
    changes: tuple[Change, ...] = ()
    """How the stored content differs from the sent one; empty when it is equal or nothing was stored."""

    @property
    def dates(self) -> tuple[date, ...]:
        """Every date that the id was sent or is stored for: each is another event."""
        sent = {operation.event_date for operation in self.operations}
        kept = {row.event_date for row in self.rows} | {entry.event_date for entry in self.queued}
        return tuple(sorted(sent | kept))


STORIES_SHOWN = 20
"""Events of one finding whose story is told; all ids are listed."""


class Stories:
    """Index of a run by event id, built once and asked for each concerned event; ids in any case are the same."""

    def __init__(self, run: Run) -> None:
        """Index operations, final rows and destroyed rows."""
        self._final = run.final
        self._archive = run.condensed.archive if run.condensed is not None else None
        self._operations: dict[str, list[Operation]] = defaultdict(list)
        self._rows: dict[str, list[ev.TableRow]] = defaultdict(list)
        self._queued: dict[str, list[ev.DlqRow]] = defaultdict(list)
        self._destroyed: dict[str, list[ev.Destroyed]] = defaultdict(list)
        self._numbered: dict[str, str] = {}
        stored = Stored(run)
        for operation in run.operations:
            key = stored.identity(operation)[0]
            self._operations[key].append(operation)
            self._numbered[f"operation {operation.op}"] = key
        for row in run.of_kind(ev.TableRow):
            self._rows[row.event_id.lower()].append(row)
        for entry in run.of_kind(ev.DlqRow):
            self._queued[entry.event_id.lower()].append(entry)
        for destroyed in run.of_kind(ev.Destroyed):
            for event_id in destroyed.event_ids:
                self._destroyed[event_id.lower()].append(destroyed)

    @property
    def ids(self) -> frozenset[str]:
        """Every id that the run knows of; an event whose id nobody ever saw is ``operation 12``."""
        return frozenset().union(self._operations, self._rows, self._queued, self._destroyed)

    def key_of(self, event_id: str) -> str:
        """Return the id under which an event is known: in lower case, and for ``operation 12`` that of its event."""
        asked = event_id.lower()
        return self._numbered.get(asked, asked)

    def of(self, event_id: str) -> Story:
        """Tell the story of one event; an unknown id has an empty one."""
        key = self.key_of(event_id)
        if self._archive is not None and not self._operations.get(key):
            self._look_up(key, self._archive)
        rows = tuple(self._rows.get(key, ()))
        queued = tuple(self._queued.get(key, ()))
        destroyed = tuple(self._destroyed.get(key, ()))
        operations = tuple(self._operations.get(key, ()))
        return Story(
            event_id=event_id,
            operations=operations,
            rows=rows,
            queued=queued,
            destroyed=destroyed,
            ending=self._ending(rows, queued, destroyed),
            changes=changes_of(operations, rows),
        )

    def _look_up(self, event_id: str, archive: Archive) -> None:
        records = archive.records_of((event_id,))  # A folded event, which a finding names for what happened beside it.
        self._operations[event_id] = list(operations_of(records))
        self._rows[event_id] = [record for record in records if isinstance(record, ev.TableRow)]

    def _ending(
        self, rows: Sequence[ev.TableRow], queued: Sequence[ev.DlqRow], destroyed: Sequence[ev.Destroyed]
    ) -> str:
        parts = [_table_text(self._final, rows), _dlq_text(self._final, queued)]
        if destroyed:
            last = destroyed[-1]
            restored = "and restored by its heal" if last.restored else "and not restored"
            parts.append(f"destroyed by fault {last.fault} {restored}")
        return "; ".join(parts)


def changes_of(operations: Sequence[Operation], rows: Sequence[ev.TableRow | ev.DlqRow]) -> tuple[Change, ...]:
    """Compare each stored row with the request it owes its content to: one answered 201, else any not refused."""
    created = [operation for operation in operations if operation.status == 201]
    owners = created or [operation for operation in operations if answer_of(operation) not in _REFUSED]
    found: list[Change] = []
    for row in rows:
        differences = [changes(operation.content, row.content) for operation in owners]
        if differences:
            nearest = min(differences, key=len)
            found += nearest
    return tuple(dict.fromkeys(found))


def _table_text(final: ev.FinalRead | None, rows: Sequence[ev.TableRow]) -> str:
    if final is None or not final.table:
        return "the table was not read at the end"
    if not rows:
        return "not in the table"
    places = (f"{row.month or 'the default partition'} (event_date {row.event_date})" for row in rows)
    return f"in the table {'once' if len(rows) == 1 else f'{len(rows)} times'}: {', '.join(places)}"


def _dlq_text(final: ev.FinalRead | None, queued: Sequence[ev.DlqRow]) -> str:
    if final is None or not final.dlq:
        return "the DLQ was not read at the end"
    if not queued:
        return "not in the DLQ"
    states = (f"{row.state} ({row.reason})" if row.reason else row.state for row in queued)
    return f"in the DLQ: {', '.join(states)}"


def operation_text(operation: Operation) -> str:
    """Tell one request of a story in one line: when, what, and what came back after how long."""
    answer = f"{operation.status} {operation.outcome}".strip() if operation.status else "no answer"
    error = f" ({operation.error})" if operation.error else ""
    of = f" of op {operation.of}" if operation.of is not None else ""
    anonymous = " without an id" if operation.anonymous else ""
    batch = f" in batch {operation.batch}" if operation.batch else ""
    flaw = f" [{operation.flaw}]" if operation.flaw else ""
    return (
        f"{operation.invoked:.3f} s · op {operation.op} · writer {operation.writer} · "
        f"{operation.kind}{anonymous}{of}{batch} → {answer}{flaw}{error} after {latency_text(operation.seconds)}"
    )
