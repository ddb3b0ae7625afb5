"""Console: live progress while a suite runs, and its end in a few lines.

On a terminal rich draws one line per running scenario; elsewhere (a pipe, a CI log) only the start and the
end of each scenario are lines, and rich is not even imported.
"""

from __future__ import annotations

import os
import re
import textwrap
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

from ..events import FaultMark, PhaseMark
from ..results import RunResult, SuiteBegun, SuiteResult
from ..scenario import Scenario
from . import summary as text
from .faultnames import fault_name
from .jsonfile import changes_in

if TYPE_CHECKING:
    from rich.console import Console as RichConsole
    from rich.live import Live
    from rich.table import Table

IDS_SHOWN = 10
"""Event ids a finding shows on the console; the report has all."""

CHANGES_SHOWN = 3
"""Events of a finding whose changed content is shown, a line each."""

_STYLES = {"pass": "green", "fail": "bold red", "unknown": "yellow", "setup": "magenta", "dim": "dim", "": ""}
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_ASCII = str.maketrans({"✓": "+", "✗": "x", "–": "-", "…": "~", "·": "|", "→": ">"})


@dataclass(frozen=True)
class Line:
    """One line of output: a part that carries the style, and the rest."""

    styled: str
    rest: str = ""
    style: str = ""


@dataclass
class _Running:
    """What the progress line of one scenario shows; changes while it runs."""

    scenario: str
    began: float
    faults: int = 1
    step_number: int = 0
    step: str = "starting"
    events: int = 0
    fault: str = ""


class Console:
    """Prints progress and the end of a suite to ``stream``; ``live`` when that is a terminal to draw on.

    ``cores`` (default: those of this machine) is what the bound of the irreducible waits is divided by.  A
    context manager, so that the terminal is given back on every path.
    """

    def __init__(self, stream: TextIO, live: bool, *, cores: int | None = None) -> None:
        """Print nothing yet."""
        self._stream = stream
        self._cores = cores or os.cpu_count() or 1
        self._running: dict[str, _Running] = {}
        self._rich: RichConsole | None = None
        self._live: Live | None = None
        if live:
            from rich.console import Console as RichConsole

            self._rich = RichConsole(file=stream, highlight=False, markup=False, emoji=False)

    def __enter__(self) -> Self:
        """Begin to draw."""
        if self._rich is not None:
            from rich.live import Live

            self._live = Live(console=self._rich, get_renderable=self._table, refresh_per_second=4, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the terminal back."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def suite_started(self, begun: SuiteBegun) -> None:
        """Say nothing: each run is announced by itself."""

    def scenario_started(self, run: str, scenario: Scenario) -> None:
        """Announce a run."""
        self._running[run] = _Running(scenario.name, time.monotonic(), len(scenario.schedule.steps))
        if self._rich is None:
            self._print([Line(f"> {scenario.name}: {scenario.claim}")])

    def step(self, run: str, step_number: int, text: str, events: int) -> None:
        """Note the lifecycle step (1 to 13) that a run has reached, and its events so far."""
        running = self._running.get(run)
        if running is not None:
            running.step_number, running.step, running.events = step_number, text, events

    def marked(self, run: str, mark: FaultMark | PhaseMark) -> None:
        """Note what a fault of the run has come to last."""
        running = self._running.get(run)
        if running is not None and isinstance(mark, FaultMark):
            running.fault = f"{fault_name(mark.name, mark.fault, running.faults)} {mark.step}"

    def scenario_finished(self, result: RunResult) -> None:
        """Print the end of a run; its details come with the suite's end."""
        self._running.pop(result.run, None)
        self._print([finished_line(result)])

    def details(self, result: RunResult) -> None:
        """Print what a run that did not pass has to say; nothing for one that passed."""
        self._print(detail_lines(result))

    def suite_finished(self, suite: SuiteResult) -> None:
        """Print the table of scenarios, what failed and how to repeat it, the totals and the time's bound."""
        self.__exit__(None, None, None)
        width = self._rich.width if self._rich is not None else 0
        self._print(suite_lines(suite, self._cores, width))

    def show(self, lines: Iterable[Line]) -> None:
        """Print lines that somebody else made."""
        self._print(lines)

    def _print(self, lines: Iterable[Line]) -> None:
        if self._rich is None:
            for line in lines:
                self._stream.write(self._safe(line.styled + line.rest) + "\n")
            self._stream.flush()
            return
        from rich.text import Text

        for line in lines:
            styled = (self._safe(line.styled), _STYLES[line.style])
            self._rich.print(Text.assemble(styled, self._safe(line.rest)), soft_wrap=True)

    def _safe(self, line: str) -> str:
        """Keep hostile text from steering the terminal, and another encoding from ending the suite."""
        line = _CONTROL.sub("\ufffd", line)
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        try:
            line.encode(encoding)
        except UnicodeEncodeError:
            return line.translate(_ASCII).encode(encoding, "replace").decode(encoding)
        return line

    def _table(self) -> Table:
        from rich.table import Table

        table = Table.grid(padding=(0, 2))
        for _ in range(5):
            table.add_column(no_wrap=True)  # A wrapped line would make the table jump while it is drawn.
        now = time.monotonic()
        for running in list(self._running.values()):
            table.add_row(
                running.scenario,
                f"step {running.step_number}/13",
                self._safe(f"{running.step} · {running.fault}" if running.fault else running.step),
                f"{running.events} events",
                f"{now - running.began:.0f} s",
            )
        return table


def finished_line(result: RunResult) -> Line:
    """Return the end of one run: verdict, name, time, and how much was found."""
    head = text.headline(result)
    count = len(result.findings)
    found = f" · {count} finding{'s' if count != 1 else ''}" if count else ""
    rest = f" {result.scenario.name} ({text.duration_text(result)}){found}"
    return Line(f"{head.symbol} {head.word}", rest, head.css)


def suite_lines(suite: SuiteResult, cores: int, width: int = 0) -> list[Line]:
    """Return everything printed at the end; ``width`` in columns folds claims, 0 none."""
    lines = [Line(""), *_table_lines(suite.runs, width)]
    for result in suite.runs:
        alike = text.failed_alike(result, suite.runs)
        if alike and alike[0] is not result:
            continue
        lines += detail_lines(result)
        if len(alike) > 1:
            others = ", ".join(other.scenario.name for other in alike[1:])
            lines.append(Line("  the same for: ", f"{others} ({len(alike)} scenarios in all)"))
    return [*lines, Line(""), *_total_lines(suite, cores)]


def _table_lines(runs: Sequence[RunResult], width: int) -> Iterable[Line]:
    titles = ("scenario", *text.CLOCK_NAMES, "time")
    rows = [
        (result.scenario.name, *text.clock_cells(result.clocks), text.seconds_text(result.seconds)) for result in runs
    ]
    widths = [max(len(cell) for cell in column) for column in zip(titles, *rows, strict=True)]
    yield Line(f"{'verdict':<9}  {_cells(titles, widths)}  claim", style="dim")
    for result, row in zip(runs, rows, strict=True):
        head = text.headline(result)
        cells, claim = _cells(row, widths), result.scenario.claim
        styled = f"{head.symbol} {head.word:<7}"
        if not width or len(styled) + len(cells) + len(claim) + 4 <= width:
            yield Line(styled, f"  {cells}  {claim}", head.css)
            continue
        yield Line(styled, f"  {cells}", head.css)
        for part in textwrap.wrap(claim, max(20, width - 11)):
            yield Line(f"{'':<11}{part}", style="dim")


def _cells(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = (
        f"{cell:<{size}}" if index == 0 else f"{cell:>{size}}"
        for index, (cell, size) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join([first, *others])


def detail_lines(result: RunResult) -> Iterable[Line]:
    """Yield what a run that did not pass has to say: findings by event id, reasons, the report, how to repeat it."""
    head = text.headline(result)
    reasons = text.unknown_reasons(result)
    if head is text.PASS:
        return
    yield Line("")
    yield Line(f"{head.symbol} {head.word}", f"  {result.scenario.name}", head.css)
    if result.setup_error:
        yield Line("  ", text.masked(result.setup_error))
    report = text.shown_path(result.folder / "report.html")
    changed = changes_in(result.folder) if result.findings else {}
    for promise, findings in text.by_promise(result.findings):
        yield Line(f"  {text.promise_title(promise)}")
        for finding in findings:
            yield Line(f"    {finding.summary}")
            if finding.event_ids:
                yield Line(f"      events: {text.ids_text(finding.event_ids, IDS_SHOWN, report)}")
                yield Line(f"      explain: {text.explain_command(result.folder, finding.event_ids[0])}")
            for event_id in [each for each in finding.event_ids if each in changed][:CHANGES_SHOWN]:
                yield Line(f"      {event_id}: {'; '.join(changed[event_id])}")
    for reason in reasons:
        yield Line("  unknown: ", reason, "unknown")
    if result.begun:
        yield Line(f"  report: {report}")
    if result.repeat_command:
        yield Line(f"  repeat: {result.repeat_command}")


def _total_lines(suite: SuiteResult, cores: int) -> Iterable[Line]:
    heads = [text.headline(result) for result in suite.runs]
    counts = [(head, heads.count(head)) for head in (text.PASS, text.FAIL, text.UNKNOWN, text.SETUP)]
    total = ", ".join(f"{count} {head.word}" for head, count in counts if count) or "no scenario was run"
    worst = text.suite_headline(suite)
    yield Line(f"{worst.symbol} {worst.word}", f"  {total}", worst.css)
    skipped = sum(1 for result in suite.runs for _ in text.not_checked(result))
    if skipped:
        plural = "s were" if skipped > 1 else " was"
        why = "the target lacks what they need; the reports list them"
        yield Line(f"  {skipped} check{plural} not made: {why}")
    for skip in suite.skipped:
        yield Line(f"  skipped: {skip.scenario.name} {skip.reason}", "", "unknown")
    # What a part of the suite did not reach is on its page: here it would bury what was asked for.
    for said, owed in text.reached_lines(suite):
        if owed:
            yield Line("  unknown: ", said, "unknown")
    waits = text.irreducible_seconds(suite.runs, cores)
    ratio = f", {suite.seconds / waits:.2f} times the waits" if waits > 0 else ""
    yield Line(
        f"  suite {text.seconds_text(suite.seconds)} with {suite.jobs} at a time{ratio}; "
        f"irreducible waits {text.seconds_text(waits)} on {cores} core{'s' if cores != 1 else ''}"
    )
    yield Line(f"  reports: {text.shown_path(suite.folder)}")
