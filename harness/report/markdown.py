"""``summary.md``: a run or a suite in short, for a pull request, a chat, or the summary page of a CI job.

Whole blocks are left out where it would get longer than its bound, and it says how many: half a table is none.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from ..redaction import environment_secrets, masked, redact
from ..results import RunResult, SuiteResult
from ..rundata import Run
from . import summary as text
from .base import REPORTERS, SUITE_REPORTERS, write_text
from .faultnames import clock_names

FILE_NAME = "summary.md"
STEP_SUMMARY = "GITHUB_STEP_SUMMARY"
"""The variable by which GitHub Actions names the file for a step's summary."""
STEP_SUMMARY_BYTES = 1024 * 1024
"""More than this in one step's file, and GitHub shows nothing of it."""
IDS_SHOWN = 5
FINDINGS_SHOWN = 20
_ROOM_FOR_LAST = 400
"""Bytes kept for the line that says what was left out."""
_SPECIAL = re.compile(r"([\\`*\[\]#|<>~&$@]|(?<![^\W_])_|_(?![^\W_]))")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]+")


class MarkdownReporter:
    """Writes ``summary.md`` of one run."""

    name = "markdown"

    def write(self, result: RunResult, run: Run | None, folder: Path) -> Path:
        """Write it; raises OSError."""
        return write_text(folder / FILE_NAME, joined(run_blocks(result), STEP_SUMMARY_BYTES))


class MarkdownSuiteReporter:
    """Writes ``summary.md`` of a suite."""

    name = "markdown"

    def write(self, suite: SuiteResult, folder: Path) -> Path:
        """Write it; raises OSError."""
        return write_text(folder / FILE_NAME, joined(suite_blocks(suite), STEP_SUMMARY_BYTES))


REPORTERS.register(MarkdownReporter.name)(MarkdownReporter())
SUITE_REPORTERS.register(MarkdownSuiteReporter.name)(MarkdownSuiteReporter())


def append_step_summary(suite: SuiteResult, environment: Mapping[str, str] = os.environ) -> str:
    """Add the suite's summary to the step's, as :func:`append_to_step` does."""
    return append_to_step(suite_blocks(suite), f"in {suite.folder / FILE_NAME}", environment)


def append_to_step(blocks: Iterable[str], elsewhere: str, environment: Mapping[str, str] = os.environ) -> str:
    """Add blocks to the summary of a step of GitHub Actions, where there is one; return what went wrong, or nothing.

    What others have written there counts against the bound; with no room left nothing is added, and that is said, with
    where the same is ``elsewhere``.
    """
    name = environment.get(STEP_SUMMARY, "")
    if not name:
        return ""
    path = Path(name)
    try:
        before = path.stat().st_size if path.exists() else 0
        room = STEP_SUMMARY_BYTES - before - 1
        if room <= _ROOM_FOR_LAST:
            return f"{STEP_SUMMARY} has no room left for a summary; it is {elsewhere}."
        text = redact(joined(blocks, room), environment_secrets())
        with path.open("ab") as file:
            file.write(("\n" * bool(before) + text).encode("utf-8", "replace"))
    except OSError as error:
        return f"{STEP_SUMMARY} ({path}) cannot be written ({error.strerror}); the summary is {elsewhere}."
    return ""


def joined(blocks: Iterable[str], most_bytes: int) -> str:
    """Put blocks together, those that fit, and say how many did not."""
    kept: list[str] = []
    size, left_out = 0, 0
    for block in blocks:
        length = len(block.encode("utf-8", "replace")) + 2
        if left_out or size + length > most_bytes - _ROOM_FOR_LAST:
            left_out += 1
            continue
        kept.append(block)
        size += length
    if left_out:
        kept.append(f"*{left_out} more parts did not fit into {most_bytes} bytes; the pages of the runs have all.*")
    return "\n\n".join(kept) + "\n"


def suite_blocks(suite: SuiteResult) -> Iterator[str]:
    """Yield the blocks of a suite: the verdict, what did not pass, then the table of all runs."""
    head = text.suite_headline(suite)
    words = [text.headline(result).word for result in suite.runs]
    counts = ", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words)) or "no scenario was run"
    yield f"## {head.symbol} {head.word}: {counts}"
    yield escaped(f"Suite {suite.suite}, {text.seconds_text(suite.seconds)}, {suite.jobs} at a time.")
    remarks = [f"Unknown: {said}" for said, owed in text.reached_lines(suite) if owed]
    remarks += [f"Skipped: {one.scenario.name} {one.reason}" for one in suite.skipped]
    if remarks:
        yield "\n".join(f"- {escaped(remark)}" for remark in remarks)
    for result in suite.runs:
        if text.headline(result) is not text.PASS:
            yield "\n\n".join(run_blocks(result, level=3))
    yield _table(suite.runs)


def run_blocks(result: RunResult, level: int = 2) -> Iterator[str]:
    """Yield the blocks of a run: verdict, claim, what broke and for whom, the clocks, and how to repeat it."""
    head = text.headline(result)
    yield f"{'#' * level} {head.symbol} {head.word}: {escaped(result.scenario.name)}"
    proves = ", ".join(result.scenario.requirements) or "no requirement"
    yield escaped(f"{result.scenario.claim} (A PASS proves: {proves}.)")
    if result.setup_error:
        yield f"- {escaped(masked(result.setup_error))}"
    findings = list(_findings(result))
    if findings:
        yield "\n".join(findings)
    reasons = text.unknown_reasons(result)
    if reasons:
        yield "\n".join(f"- Unknown: {escaped(reason)}" for reason in reasons)
    skipped = text.not_checked(result)
    if skipped:
        yield "\n".join(f"- Not checked: {escaped(checker)}: {escaped(needs)}" for checker, needs in skipped)
    if result.clocks:
        names = clock_names(result.clocks)
        rows = [(name, *text.clock_cells((one,))) for name, one in zip(names, result.clocks, strict=True)]
        yield table(("fault", *text.CLOCK_NAMES), rows)
    facts = [f"run {code(result.run)}", f"seed {result.seed}", escaped(text.duration_text(result))]
    yield " · ".join(facts)
    if result.repeat_command:
        yield f"Repeat: {code(result.repeat_command)}"


def _findings(result: RunResult) -> Iterator[str]:
    for promise, findings in text.by_promise(result.findings):
        for finding in findings[:FINDINGS_SHOWN]:
            yield f"- **{escaped(text.promise_title(promise))}**: {escaped(finding.summary)}"
            if finding.event_ids:
                shown = ", ".join(code(event_id) for event_id in finding.event_ids[:IDS_SHOWN])
                more = len(finding.event_ids) - IDS_SHOWN
                yield f"  - events: {shown}{f' and {more} more' if more > 0 else ''}"
                yield f"  - {code(text.explain_command(result.folder, finding.event_ids[0]))}"
        if len(findings) > FINDINGS_SHOWN:
            yield f"- {len(findings) - FINDINGS_SHOWN} more of {escaped(text.promise_title(promise))}"


def _table(runs: Sequence[RunResult]) -> str:
    titles = ("verdict", "scenario", *text.CLOCK_NAMES, "time")
    rows = [
        (
            f"{text.headline(result).symbol} {text.headline(result).word}",
            result.scenario.name,
            *text.clock_cells(result.clocks),
            text.duration_text(result),
        )
        for result in runs
    ]
    return table(titles, rows) if rows else "No scenario was run."


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; its cells are any text."""
    lines = [titles, ["---"] * len(titles), *([escaped(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def escaped(said: str) -> str:
    """Return text that stays text: nothing in it is Markdown, HTML or the end of a line or cell."""
    return _SPECIAL.sub(r"\\\1", _CONTROL.sub(" ", said))


def code(said: str) -> str:
    """Return a code span that no backtick in it can end; within a table or a list, so on one line."""
    plain = _CONTROL.sub(" ", said)
    fence = "`" * (max((len(run) for run in re.findall("`+", plain)), default=0) + 1)
    pad = " " if plain.startswith("`") or plain.endswith("`") else ""
    return f"{fence}{pad}{plain}{pad}{fence}"
