"""The lower half of the page: figures by month and phase, checks, environment, waits, notes and log."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence

from .. import events as ev
from ..checking import CheckResult
from ..oracle import Oracle
from ..results import RunResult
from ..rundata import Operation, Run
from ..values import Month, Phase
from . import summary as text
from .markup import Markup, badge, folded, items, joined, pairs, section, table, tag

LOG_LINES_SHOWN = 200
"""Lines of the service's log at the end of the page; the whole log lies beside it."""


def answers_section(run: Run) -> Markup:
    """Count answers and latencies by month and phase: the timeline for those who cannot see it."""
    oracle = Oracle(run)
    cells: dict[tuple[Month, Phase], list[tuple[Operation, int]]] = defaultdict(list)
    for operation, count in run.weighed:
        cells[operation.month, oracle.phase_of(operation)].append((operation, count))
    met = {text.answer_of(each) for each, _ in run.weighed}
    seen = [answer for answer in text.Answer if answer in met]
    timed = run.condensed is None
    titles = ("month", "phase", *(answer.value for answer in seen), *(("median", "p99") if timed else ()))
    rows = [
        _answers_row(month, phase, cells[month, phase], seen, timed=timed)
        for month in run.months
        for phase in Phase
        if (month, phase) in cells
    ]
    if not rows:
        return Markup("")
    numbers = frozenset(range(2, len(titles)))
    return section("answers", "Answers by month and phase", table(titles, rows, numbers))


def _answers_row(
    month: Month,
    phase: Phase,
    weighed: Sequence[tuple[Operation, int]],
    seen: Sequence[text.Answer],
    *,
    timed: bool,
) -> Sequence[str]:
    counts = [sum(count for each, count in weighed if text.answer_of(each) is answer) for answer in seen]
    said = (month.label, phase.value, *(str(count) if count else text.NONE for count in counts))
    if not timed:  # Of what was folded the latencies are not at hand.
        return said
    times = sorted(each.seconds for each, _ in weighed if math.isfinite(each.seconds))
    median = text.latency_text(statistics.median(times)) if times else text.NONE
    p99 = text.latency_text(times[math.ceil(len(times) * 0.99) - 1]) if times else text.NONE
    return (*said, median, p99)


def details_sections(result: RunResult, run: Run | None) -> Iterable[Markup]:
    """Everything below the answers."""
    yield section("checks", "Checks", *_checks(result.checks))
    rows = [(checker, needs) for checker, needs in text.not_checked(result)]
    yield section("not-checked", "Not checked", table(("checker", "why"), rows) if rows else "")
    if run is not None:
        yield section("environment", "Environment and versions", _environment(run))
    yield section("times", "Times and waits", _times(result))
    if run is not None:
        yield section("notes", "Notes", items(_notes(run)))
        yield section("log", "End of the service's log", _log(run))


def _checks(checks: Sequence[CheckResult]) -> Iterable[Markup]:
    if checks:
        yield table(("checker", "verdict", "facts"), [_check_row(check) for check in checks])


def _check_row(check: CheckResult) -> tuple[str, Markup, str]:
    facts = " · ".join(f"{name.replace('_', ' ')}: {text.figure_text(value)}" for name, value in check.facts.items())
    if check.not_checked:
        return check.checker, tag("span", "not checked", class_="muted"), check.not_checked
    return check.checker, badge(text.verdict_headline(check.verdict), small=True), facts


def _environment(run: Run) -> Markup:
    rows = [("target", run.started.target), *sorted(map(text.version_text, run.started.versions.items()))]
    values = run.limits.__dict__.items()
    limits = ((name.replace("_", " "), text.figure_text(value)) for name, value in values)
    return joined([pairs(rows), folded("Limits this target wants to be judged by", pairs(limits))])


def _times(result: RunResult) -> Markup:
    waits = result.waits
    rows = [
        ("run", text.duration_text(result)),
        ("irreducible waits", text.seconds_text(waits.total_seconds)),
        ("… recovery edges", text.seconds_text(waits.edge_seconds)),
        ("… time-outs of the target", text.seconds_text(waits.timeout_seconds)),
        ("… paced phases", text.seconds_text(waits.sampling_seconds)),
    ]
    steps = ((name.replace("_", " "), text.seconds_text(value)) for name, value in result.timings.items())
    return pairs([*rows, *steps])


def _notes(run: Run) -> Iterable[str]:
    for mark in run.of_kind(ev.ServiceMark):
        yield f"{mark.t:.3f} s · service {mark.what}"
    for note in run.of_kind(ev.Note):
        yield f"{note.t:.3f} s · {note.topic}: {note.text}"


def _log(run: Run) -> Markup:
    lines = run.of_kind(ev.LogLine)
    if not lines:
        return tag("p", "No log line was read.", class_="muted")
    shown = [_log_line(line) for line in lines[-LOG_LINES_SHOWN:]]
    count = f"The last {len(shown)} of {len(lines)} lines; times are seconds of the run."
    return joined([tag("p", count, class_="muted"), tag("pre", "\n".join(shown), tabindex="0")])


def _log_line(line: ev.LogLine) -> str:
    more = f" (+{line.suppressed} suppressed)" if line.suppressed else ""
    return f"{line.t:9.3f} {line.level:<7} {line.message}{more}"
