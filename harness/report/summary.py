"""Words and figures that several reports share: verdicts, clocks, answers, and the story of one event.

Pure: reads run and result, prints nothing.
"""

from __future__ import annotations

import enum
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from .. import events as ev
from ..checking import Finding
from ..results import Clocks, RunResult, SuiteResult
from ..rundata import Operation, Run
from ..values import Promise, Verdict

NONE = "–"
"""What stands where a clock or a figure has no value."""

_PASSWORD_IN_URL = re.compile(r"(://[^/\s:@]*:)[^@\s/]+@")
_PASSWORD_WORD = re.compile(r"(?i)\b(password|passwd|token|secret)(\s*[=:]\s*)([^\s'\",;]+)")


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


def answer_of(operation: Operation) -> Answer:
    """Classify one operation by its status."""
    return _ANSWERS.get(operation.status, Answer.OTHER)


def seconds_text(seconds: float | None) -> str:
    """``0.21 s``, ``12.3 s``, ``140 s``; a dash for None and for a time that never ended."""
    if seconds is None or not math.isfinite(seconds):
        return NONE
    digits = 2 if abs(seconds) < 10 else 1 if abs(seconds) < 100 else 0
    return f"{seconds:.{digits}f} s"


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
    """Return the four clocks as text; those of several faults joined by ``/``, so that none is hidden."""
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


def masked(text: str) -> str:
    """Hide passwords of URLs and ``password=…`` in free text that did not pass through the history."""
    return _PASSWORD_WORD.sub(r"\1\2***", _PASSWORD_IN_URL.sub(r"\1***@", text))


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


class Stories:
    """Index of a run by event id, built once and asked for each concerned event."""

    def __init__(self, run: Run) -> None:
        """Index operations, final rows and destroyed rows."""
        self._final = run.final
        self._operations: dict[str, list[Operation]] = defaultdict(list)
        self._rows: dict[str, list[ev.TableRow]] = defaultdict(list)
        self._queued: dict[str, list[ev.DlqRow]] = defaultdict(list)
        self._destroyed: dict[str, list[ev.Destroyed]] = defaultdict(list)
        for operation in run.operations:
            self._operations[operation.event_id].append(operation)
        for row in run.of_kind(ev.TableRow):
            self._rows[row.event_id].append(row)
        for entry in run.of_kind(ev.DlqRow):
            self._queued[entry.event_id].append(entry)
        for destroyed in run.of_kind(ev.Destroyed):
            for event_id in destroyed.event_ids:
                self._destroyed[event_id].append(destroyed)

    def of(self, event_id: str) -> Story:
        """Tell the story of one event; an unknown id has an empty one."""
        rows = tuple(self._rows.get(event_id, ()))
        queued = tuple(self._queued.get(event_id, ()))
        destroyed = tuple(self._destroyed.get(event_id, ()))
        return Story(
            event_id=event_id,
            operations=tuple(self._operations.get(event_id, ())),
            rows=rows,
            queued=queued,
            destroyed=destroyed,
            ending=self._ending(rows, queued, destroyed),
        )

    def _ending(
        self, rows: Sequence[ev.TableRow], queued: Sequence[ev.DlqRow], destroyed: Sequence[ev.Destroyed]
    ) -> str:
        parts = [_table_text(self._final, rows), _dlq_text(self._final, queued)]
        if destroyed:
            last = destroyed[-1]
            restored = "and restored by its heal" if last.restored else "and not restored"
            parts.append(f"destroyed by fault {last.fault} {restored}")
        return "; ".join(parts)


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
    return (
        f"{operation.invoked:.3f} s · op {operation.op} · writer {operation.writer} · {operation.kind}{of} → "
        f"{answer}{error} after {latency_text(operation.seconds)}"
    )
