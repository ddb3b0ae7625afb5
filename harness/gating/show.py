"""The gate as people read it: a table with the reasons below it, and the decision as the last line; and as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..report.console import Line
from ..report.markdown import escaped, table
from ..report.summary import explain_command
from .findings import JudgedFinding, events_in
from .outcome import Outcome
from .rows import Decision, Row, counted_text
from .slo import BROKEN, LOST

IDS_SHOWN = 5
"""Event ids a finding shows; the JSON file has all."""
REASONS_SHOWN = 12
"""Reasons that one metric shows; the JSON file has all."""

_TITLES = ("metric", "from", "value", "bound", "exposure", "decision", "feature")
_SYMBOLS = {Decision.PASS: "✓", Decision.KNOWN: "~", Decision.INSUFFICIENT: "?", Decision.FAIL: "✗"}
_STYLES = {Decision.PASS: "pass", Decision.KNOWN: "unknown", Decision.INSUFFICIENT: "unknown", Decision.FAIL: "fail"}


def lines_of(outcome: Outcome) -> Iterator[Line]:
    """Everything that is printed; the last line is the decision."""
    yield Line(outcome.judged, style="dim")
    yield Line("")
    yield from _table(outcome.rows)
    yield Line("")
    for row in outcome.rows:
        yield from _reasons(row)
    for finding in sorted(outcome.findings, key=lambda one: (one.decision is not Decision.FAIL, one.kind)):
        yield from _finding(finding)
    for note in outcome.notes:
        yield Line("· ", note)
    yield Line("")
    yield Line(
        f"{_SYMBOLS[outcome.decision]} {outcome.decision}", f"  {conclusion(outcome)}", _STYLES[outcome.decision]
    )


def conclusion(outcome: Outcome) -> str:
    """What the decision rests on, in one line."""
    failed = _named(outcome.rows_that(Decision.FAIL))
    lacking = _named(outcome.rows_that(Decision.INSUFFICIENT))
    match outcome.decision:
        case Decision.FAIL:
            first = " and ".join(feature.text for feature in outcome.features)
            return f"failed: {failed}; prioritise {first}" + (f"; insufficient: {lacking}" if lacking else "")
        case Decision.INSUFFICIENT:
            return f"not enough was seen to decide: {lacking}" if lacking else "nothing that was judged passed"
    # A finding has no row of its own, and what counts findings is no failure of its own.
    rates = [row for row in outcome.rows if row.metric not in (LOST, BROKEN)]
    others = [one for one in outcome.findings if not one.is_loss]
    decisions = (*(row.decision for row in rates), *(one.decision for one in others))
    known = decisions.count(Decision.KNOWN)
    passed = sum(row.decision.good for row in outcome.rows)
    left = len(outcome.rows) - passed
    said = f"{counted_text(passed, 'row')} passed"
    said += f"; {left} {'is' if left == 1 else 'are'} insufficient, and not needed" if left else ""
    said += f"; {counted_text(known, 'known failure')} {_was(known)} let through" if known else ""
    lost = events_in(outcome.lost_and_known)
    if not lost:
        return said
    listed = f"{_was(lost)} let through, since gate.toml lists {'it' if lost == 1 else 'them'}"
    return f"{lost:,} LOST EVENT{'' if lost == 1 else 'S'} {listed}; {said}"


def _was(count: int) -> str:
    return "was" if count == 1 else "were"


def _named(rows: Sequence[Row]) -> str:
    return ", ".join(dict.fromkeys(row.metric for row in rows))


def _cells(row: Row) -> tuple[str, ...]:
    feature = ", ".join(one.text for one in row.features) if row.decision is Decision.FAIL else ""
    return (row.metric, row.source.value, row.value, row.bound, row.exposure.text, decision_text(row), feature)


def decision_text(row: Row) -> str:
    """``✓ PASS``; an INSUFFICIENT that keeps nothing from passing says so."""
    spared = " (not needed)" if row.decision is Decision.INSUFFICIENT and not row.needed else ""
    return f"{_SYMBOLS[row.decision]} {row.decision}{spared}"


def _table(rows: Sequence[Row]) -> Iterator[Line]:
    cells = [_TITLES, *(_cells(row) for row in rows)]
    widths = [max(len(cell) for cell in column) for column in zip(*cells, strict=True)]
    for number, line in enumerate(cells):
        text = "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()
        yield Line(text, style="dim" if number == 0 else _STYLES[rows[number - 1].decision])


def _reasons(row: Row) -> Iterator[Line]:
    head = f"{_SYMBOLS[row.decision]} {row.metric} ({row.source}): "
    for reason in row.reasons[:REASONS_SHOWN]:
        yield Line(head, reason, _STYLES[row.decision])
    more = len(row.reasons) - REASONS_SHOWN
    if more > 0:
        yield Line(head, f"and {more} more; --json has all", _STYLES[row.decision])
    if row.hint and row.needed and row.decision is Decision.INSUFFICIENT:
        yield Line(head, row.hint, _STYLES[row.decision])


def _finding(finding: JudgedFinding) -> Iterator[Line]:
    head = f"{_SYMBOLS[finding.decision]} {finding.kind.scenario}, {finding.kind.checker}: "
    yield Line(head, finding.summary, _STYLES[finding.decision])
    if finding.reason:
        yield Line(f"    {finding.reason}")
    yield Line(f"    in {_some(finding.runs)}")
    if finding.event_ids:
        yield Line(f"    events: {_some(finding.event_ids)}")
        yield Line(f"    explain: {explain_command(finding.folder, finding.event_ids[0])}")


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:IDS_SHOWN])
    more = len(names) - IDS_SHOWN
    return f"{shown} (+{more} more)" if more > 0 else shown


def markdown_of(outcome: Outcome) -> str:
    """The same as Markdown, the decision first: a summary of a CI job is read from its top."""
    symbol = {Decision.PASS: "✅", Decision.INSUFFICIENT: "❔", Decision.FAIL: "❌"}[outcome.decision]
    told = [line for row in outcome.rows for line in _reasons(row)]
    told += [line for finding in outcome.findings for line in _finding(finding)]
    told += [Line("· ", note) for note in outcome.notes]
    items = (
        f"{'  ' if line.styled.startswith(' ') else ''}- {escaped(f'{line.styled.strip()} {line.rest}'.strip())}"
        for line in told
    )
    parts = [
        f"## {symbol} Gate: {outcome.decision}",
        f"{escaped(conclusion(outcome))}.",
        table(_TITLES, [_cells(row) for row in outcome.rows]),
        "\n".join(items),
        escaped(outcome.judged),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"
