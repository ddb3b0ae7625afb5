"""Page: a matrix as lines, as Markdown, as HTML and as JSON; nothing is judged here."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..report import summary as text
from ..report.html import document
from ..report.markup import Content, badge, items, joined, section, table, tag
from ..report.summary import Headline
from ..values import Promise
from .matrix import Matrix, Row, Sight
from .records import Record
from .store import FORMAT, Header

if TYPE_CHECKING:
    from rich.table import Table

SCORE_MARK = "<!-- selftest:score -->"
MATRIX_MARK = "<!-- selftest:matrix -->"
END_MARK = "<!-- selftest:end -->"
_MARKED = re.compile(f"({SCORE_MARK}|{MATRIX_MARK})\n.*?({END_MARK})", re.DOTALL)
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_FINDING_CHARACTERS = 110

_HEADS = {
    Sight.CAUGHT: text.PASS,
    Sight.OTHER: Headline("OTHER", "~", "unknown"),
    Sight.UNSEEN: text.FAIL,
    Sight.UNJUDGED: text.UNKNOWN,
    Sight.PENDING: Headline("PENDING", "·", "unknown"),
    Sight.SKIPPED: Headline("SKIPPED", "–", "unknown"),
}
_STYLES = {"pass": "green", "fail": "bold red", "unknown": "yellow"}
TITLES = ("defect", "promise", "outcome", "scenario", "checker", "finding")


@dataclass(frozen=True, kw_only=True)
class Doubt:
    """Why control runs could not be judged, with those of which it is true, ``round 3 (run …)`` each."""

    reason: str
    runs: tuple[str, ...]


@dataclass(frozen=True)
class _Cells:
    """One row of the matrix as text."""

    defect: str
    promise: str
    outcome: str
    scenario: str
    checker: str
    finding: str

    def all(self) -> tuple[str, ...]:
        return self.defect, self.promise, self.outcome, self.scenario, self.checker, self.finding


def _cells(row: Row) -> _Cells:
    finding = "; ".join(row.reasons)
    if row.caught is not None:
        ids = f" ({row.caught.event_count} events)" if row.caught.event_count else ""
        finding = f"{row.caught.summary}{ids}"
    elif row.sight is Sight.UNSEEN and row.record is not None:
        finding = f"nothing was found; repeat: {row.record.repeat_command}"
    promise = str(row.defect.promise)
    if row.caught is not None and row.caught.promise != row.defect.promise:
        promise = f"{row.defect.promise}, found as {row.caught.promise}"
    return _Cells(
        defect=row.defect.name,
        promise=promise,
        outcome=row.sight.value,
        scenario=row.record.task.scenario if row.record is not None else ", ".join(row.defect.scenarios),
        checker=row.caught.checker if row.caught is not None else "",
        finding=finding,
    )


def rich_table(matrix: Matrix) -> Table:
    """Return the matrix to be drawn on a terminal, findings cut to a line."""
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, header_style="dim")
    for title in TITLES:
        drawn.add_column(title, no_wrap=title != "finding", overflow="ellipsis" if title == "finding" else "fold")
    for row in matrix.rows:
        head, cells = _HEADS[row.sight], _cells(row)
        finding = cells.finding
        if row.sight not in (Sight.UNSEEN, Sight.UNJUDGED) and len(finding) > _FINDING_CHARACTERS:
            finding = f"{finding[:_FINDING_CHARACTERS]}…"
        parts = [Text(cell) for cell in (*cells.all()[:-1], finding)]
        parts[2] = Text(f"{head.symbol} {cells.outcome}", style=_STYLES[head.css])
        drawn.add_row(*parts)
    return drawn


def control_lines(matrix: Matrix) -> list[str]:
    """Say what the control's runs came to, where they did not pass: each alarm, and each UNKNOWN with its reasons."""
    lines = []
    for alarm in matrix.control.alarms:
        lines.append(f"false alarm: {alarm.task} (run {alarm.run})")
        lines += [f"  {one.checker}, promise {one.promise}: {one.summary}" for one in alarm.caught]
        lines.append(f"  repeat: {alarm.repeat_command}")
    for doubt in doubts(matrix.control.unknowns):
        lines.append(f"control unknown, {len(doubt.runs)} times: {doubt.reason}")
        lines.append(f"  in {', '.join(doubt.runs)}")
    if matrix.control.left:
        lines.append(f"control: {matrix.control.left} of {matrix.control.planned} planned runs are not played yet")
    return lines


def doubts(records: Iterable[Record]) -> list[Doubt]:
    """Gather UNKNOWN runs by scenario and reasons, the most frequent first.

    Figures that differ do not tell two of them apart: the first run's are shown.
    """
    found: dict[str, Doubt] = {}
    for record in records:
        reason = f"{record.task.scenario}: {'; '.join(record.unknowns) or 'no reason was given'}"
        general = _NUMBER.sub("0", reason)
        known = found.get(general, Doubt(reason=reason, runs=()))
        found[general] = replace(known, runs=(*known.runs, f"round {record.task.round} (run {record.run})"))
    return sorted(found.values(), key=lambda doubt: -len(doubt.runs))


def score_markdown(header: Header, matrix: Matrix) -> str:
    """Return the score with a line a promise, and what the control's runs that did not pass came to, for a README."""
    lines = [f"> {matrix.score}", "", "| promise | defects | detected |", "|---|---:|---:|"]
    for promise in Promise:
        rows = [row for row in matrix.rows if row.defect.promise == promise]
        seen = sum(row.sight in (Sight.CAUGHT, Sight.OTHER) for row in rows)
        if rows:
            lines.append(f"| {text.promise_title(promise)} | {len(rows)} | {seen} |")
    lines += [*_control_markdown(matrix), "", f"Measured by `{header.name}`, seed {header.seed}."]
    return "\n".join([*lines, *_mixed(header)]) + "\n"


def matrix_markdown(header: Header, matrix: Matrix) -> str:
    """Return everything: the score, the matrix, false alarms and the reasons for UNKNOWN."""
    lines = [f"> {matrix.score}", "", f"`{header.name}`, begun {header.created_at}, seed {header.seed}."]
    lines += _mixed(header)
    lines += ["", f"| {' | '.join(TITLES)} |", "|" + "---|" * len(TITLES)]
    lines += [f"| {' | '.join(_pipe(cell) for cell in _cells(row).all())} |" for row in matrix.rows]
    return "\n".join([*lines, *_control_markdown(matrix)]) + "\n"


def _mixed(header: Header) -> list[str]:
    return [f"Mixed by --force at {mark}." for mark in header.mixed]


def _control_markdown(matrix: Matrix) -> list[str]:
    lines = [f"- {_pipe(line.strip())}" for line in control_lines(matrix)]
    return ["", "The control:", "", *lines] if lines else []


def matrix_page(header: Header, matrix: Matrix) -> str:
    """Return the matrix as a page in the style of the other reports, with links to the runs that were kept."""
    rows = [_html_row(row) for row in matrix.rows]
    body = joined(
        [
            tag("h1", "Selftest"),
            tag("p", matrix.score, class_="claim"),
            tag("p", f"{header.name} · begun {header.created_at} · seed {header.seed}", class_="muted"),
            *(tag("p", f"Mixed by --force at {mark}", class_="muted") for mark in header.mixed),
            section("defects", "Planted defects", table(TITLES, rows)),
            section("control", "The control", items(control_lines(matrix))),
        ]
    )
    return document(f"Selftest · {matrix.score}", tag("main", body))


def matrix_json(header: Header, matrix: Matrix) -> dict[str, Any]:
    """Return the matrix for programs."""
    control = matrix.control
    return {
        "format": FORMAT,
        "selftest": header.name,
        "created_at": header.created_at,
        "seed": header.seed,
        "mixed": list(header.mixed),
        "score": matrix.score,
        "exit_code": int(matrix.exit),
        "defects": [
            {
                "name": row.defect.name,
                "promise": row.defect.promise,
                "description": row.defect.description,
                "outcome": row.sight.name,
                "caught": {**row.caught.__dict__, "event_ids": list(row.caught.event_ids)} if row.caught else None,
                "seen_in": list(row.seen_in),
                "reasons": list(row.reasons),
                "run": row.record.to_json() if row.record else None,
            }
            for row in matrix.rows
        ],
        "control": {
            "runs": control.runs,
            "planned": control.planned,
            "left": control.left,
            "alarms": [record.to_json() for record in control.alarms],
            "unknowns": [
                {"reason": doubt.reason, "count": len(doubt.runs), "runs": list(doubt.runs)}
                for doubt in doubts(control.unknowns)
            ],
        },
    }


def marks_of(path: Path) -> str:
    """Return the text of a document that has a place for the score; raises :class:`UsageError` for any other."""
    try:
        document_text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read, so no score can be published in it: {error}") from error
    if not _MARKED.search(document_text):
        raise UsageError(
            f"{path} has no place for the score: put a line {SCORE_MARK} or {MATRIX_MARK} and a later line {END_MARK} "
            "where it is to go."
        )
    return document_text


def published(document_text: str, header: Header, matrix: Matrix) -> str:
    """Put score or matrix between the marks of a document, in place of what is there.

    A finding may quote a command or a file of the machine that played it, which no reader of the document has: the
    interpreter, the working folder and the home are told by their usual names.
    """

    def fill(match: re.Match[str]) -> str:
        made = score_markdown if match[1] == SCORE_MARK else matrix_markdown
        return f"{match[1]}\n{_for_all_machines(made(header, matrix))}{match[2]}"

    return _MARKED.sub(fill, document_text)


def _for_all_machines(made: str) -> str:
    places = {sys.executable: "python", str(Path.cwd()): ".", str(Path.home()): "~"}
    for place in sorted(places, key=len, reverse=True):
        if len(place) > 1:
            made = re.sub(re.escape(place) + r"(?![\w.-])", places[place], made)
    return made


def _html_row(row: Row) -> Sequence[Content]:
    cells = _cells(row)
    scenario: Content = cells.scenario
    if row.record is not None and row.record.folder:
        scenario = tag("a", cells.scenario, href=f"runs/{row.record.folder}/report.html")
    name = tag("span", cells.defect, title=row.defect.description)
    outcome = joined([badge(_HEADS[row.sight], small=True), f" {cells.outcome}"])
    return [name, cells.promise, outcome, scenario, cells.checker, cells.finding]


def _pipe(cell: str) -> str:
    return cell.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
