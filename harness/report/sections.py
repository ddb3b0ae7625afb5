"""The lower half of the page: figures by month and phase, checks, environment, waits and notes."""

from __future__ import annotations

import json
import math
import re
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence

from .. import events as ev
from ..checkers import strictness
from ..checking import CheckResult
from ..noise import nearest_rank
from ..oracle import Oracle
from ..results import RunResult
from ..rundata import Operation, Run
from ..scenario import retold
from ..values import Month, Phase
from . import summary as text
from .gauges import GAUGE_TITLES, gauge_rows
from .markup import Markup, badge, folded, items, joined, pairs, section, table, tag

_NOTES_SHOWN = 50
_SCENARIO_CHARACTERS = 50_000
_STRICT = "judged strictly"
_STRICT_FACT = re.compile(r"strict_(?P<phase>before|during|after)_(?P<month>\d{4}_\d{2})\Z")


def answers_section(result: RunResult, run: Run) -> Markup:
    """Count answers, latencies and what was judged strictly by month and phase: the timeline as a table."""
    oracle = Oracle(run)
    cells: dict[tuple[Month, Phase], list[tuple[Operation, int]]] = defaultdict(list)
    for operation, count in run.weighed:
        cells[operation.month, oracle.phase_of(operation)].append((operation, count))
    met = {text.answer_of(each) for each, _ in run.weighed}
    seen = [answer for answer in text.Answer if answer in met]
    timed = run.condensed is None
    titles = ("month", "phase", *(answer.value for answer in seen), *(("median", "p99") if timed else ()), _STRICT)
    strict = _strict(result.checks)
    rows = [
        (*_answers_row(month, phase, cells[month, phase], seen, timed=timed), strict.get((month, phase), text.NONE))
        for month in run.months
        for phase in Phase
        if (month, phase) in cells
    ]
    if not rows:
        return Markup("")
    said = (
        "Judged strictly are first sends of the load that no edge of a fault touches; of each month a phase owes "
        f"{result.scenario.min_strict_events} of them."
    )
    if not timed:
        said += " Latencies of so long a run are in the timeline only."
    body = table(titles, rows, frozenset(range(2, len(titles))), caption="Answers by month and phase", heads=True)
    return section("answers", "Answers by month and phase", body, tag("p", said, class_="muted"))


def gauges_section(run: Run) -> Markup:
    """Say how long the queue and how busy the pool was by phase: the lower lanes of the timeline as a table."""
    rows = gauge_rows(run)
    if not rows:
        return Markup("")
    title, numbers = "Queue and pool by phase", frozenset(range(1, len(GAUGE_TITLES)))
    return section("gauges", title, table(GAUGE_TITLES, rows, numbers, caption=title, heads=True))


def _strict(checks: Sequence[CheckResult]) -> dict[tuple[Month, Phase], str]:
    """By month and phase, how many first sends were judged strictly, of how many: as the checker counted them."""
    facts = next((check.facts for check in checks if check.checker == strictness.NAME), {})
    found: dict[tuple[Month, Phase], str] = {}
    for name, value in facts.items():
        match = _STRICT_FACT.match(name)
        if match is not None:
            sent = facts.get(f"sent_{match['phase']}_{match['month']}", math.nan)
            key = Month.parse(match["month"]), Phase(match["phase"])
            found[key] = f"{text.figure_text(value)} of {text.figure_text(sent)}"
    return found


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
    p99 = text.latency_text(nearest_rank(times, 0.99)) if times else text.NONE
    return (*said, median, p99)


def details_sections(result: RunResult, run: Run | None) -> Iterable[Markup]:
    """Everything below the answers but the logs."""
    yield section("checks", "Checks", *_checks(result.checks))
    rows = [(checker, needs) for checker, needs in text.not_checked(result)]
    missing = table(("checker", "why"), rows, caption="What was not checked, and why", heads=True) if rows else ""
    yield section("not-checked", "Not checked", missing)
    if run is not None:
        yield section("environment", "Environment and versions", _environment(run))
    yield section("times", "Times and waits", _times(result))
    if run is not None:
        yield section("notes", "Notes", *_notes(run))


def _checks(checks: Sequence[CheckResult]) -> Iterable[Markup]:
    if checks:
        rows = [_check_row(check) for check in checks]
        yield table(("checker", "verdict", "facts"), rows, caption="What each checker says", heads=True)


def _check_row(check: CheckResult) -> tuple[str, Markup, str]:
    facts = " · ".join(f"{name.replace('_', ' ')}: {text.figure_text(value)}" for name, value in check.facts.items())
    if check.not_checked:
        return check.checker, tag("span", "not checked", class_="muted"), check.not_checked
    return check.checker, badge(text.verdict_headline(check.verdict), small=True), facts


def _environment(run: Run) -> Markup:
    rows = [("target", run.started.target), *sorted(map(text.version_text, run.started.versions.items()))]
    values = run.limits.__dict__.items()
    limits = ((name.replace("_", " "), text.figure_text(value)) for name, value in values)
    limited = "Limits this target wants to be judged by"
    parts = [pairs("Target and versions", rows), folded(limited, pairs(limited, limits))]
    played = run.started.scenario_json
    if len(played) <= _SCENARIO_CHARACTERS:
        parts.append(folded("The scenario as it was played", tag("pre", _indented(played), tabindex="0")))
    return joined(parts)


def _indented(data: str) -> str:
    try:
        return json.dumps(retold(data), indent=1, ensure_ascii=False)
    except ValueError:  # A history of a killed runner may hold anything.
        return data


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
    return pairs("Times and waits", [*rows, *steps])


def _notes(run: Run) -> Iterable[Markup]:
    notes = run.of_kind(ev.Note)
    yield items(f"{note.t:.3f} s · {note.topic}: {text.masked(note.text)}" for note in notes[:_NOTES_SHOWN])
    if len(notes) > _NOTES_SHOWN:
        yield tag("p", f"{len(notes) - _NOTES_SHOWN} more are in the logs below.", class_="muted")
