"""Promise 8, what watches: every alert and panel of the target's own files names series that it really exports."""

from __future__ import annotations

from collections.abc import Iterator

from .. import events as ev
from ..checking import CHECKERS, CONDENSABLE, CheckResult, Finding, nothing_more
from ..lint.exported import Exported, Labels
from ..lint.files import Dashboard, RulesFile, read_dashboard, read_rules
from ..lint.lint import lint
from ..lint.problems import Level, Problem, Unreadable
from ..rundata import Run
from ..values import Promise
from ._common import nothing_sent
from ._series import parse_series

NAME = "observability"
UNSEEN = ("python_", "process_")
"""Series of the process that scrapes leave out of the history, so that nothing is known of them."""


@CHECKERS.register(NAME)
def observability(run: Run) -> CheckResult:
    """Lint the rules and dashboards that the target names against all series that were scraped in the run."""
    empty = nothing_sent(NAME, run)
    if empty is not None:
        return empty
    read = run.of_kind(ev.RulesRead)
    if not read:
        return CheckResult(NAME, not_checked="rules and dashboards ([observability] of the target file)")
    if not run.reads.metrics:
        return CheckResult(NAME, not_checked="metrics")
    samples = [sample for sample in run.of_kind(ev.MetricsSample) if not sample.error]
    answered = min((op.completed for op in run.seen if op.writer >= 0 and op.status), default=float("inf"))
    if all(sample.t < answered for sample in samples):
        said = "No scrape succeeded after the first answer, so it is not known what the target exports."
        return CheckResult(NAME, unknowns=(said,))
    exported = Exported(
        _series(samples),
        scrape_labels=[label for one in read for label in one.labels],
        foreign=[*UNSEEN, *(prefix for one in read for prefix in one.foreign)],
    )
    rules, boards, unreadable = _files(read)
    problems = lint(exported, rules, boards)
    errors = [problem for problem in problems if problem.level is Level.ERROR]
    facts = {
        "rules": float(sum(len(file.rules) for file in rules)),
        "queries": float(sum(len(board.queries) for board in boards)),
        "warnings": float(len(problems) - len(errors)),
    }
    findings = [Finding(Promise.TRUTH, said) for said in unreadable]
    return CheckResult(NAME, (*findings, *_findings(errors)), facts=facts)


CONDENSABLE.register(NAME)(nothing_more)


def _series(samples: list[ev.MetricsSample]) -> Iterator[tuple[str, Labels, float]]:
    """Each series with the value it was first seen with and its last: the least and the greatest of a counter."""
    seen: set[str] = set()
    for sample in samples:
        for text in sample.series.keys() - seen:
            yield (*parse_series(text), sample.series[text])
        seen |= sample.series.keys()
    for text, value in samples[-1].series.items():
        yield (*parse_series(text), value)


def _files(read: list[ev.RulesRead]) -> tuple[list[RulesFile], list[Dashboard], list[str]]:
    rules, boards, unreadable = list[RulesFile](), list[Dashboard](), list[str]()
    for one in read:
        try:
            if one.kind == "dashboard":
                boards.append(read_dashboard(one.path, one.text))
            else:
                rules.append(read_rules(one.path, one.text))
        except Unreadable as error:
            unreadable.append(str(error))
    return rules, boards, unreadable


def _findings(errors: list[Problem]) -> Iterator[Finding]:
    """One finding for all places that suffer the same."""
    places: dict[str, list[Problem]] = {}
    for problem in errors:
        places.setdefault(problem.said, []).append(problem)
    for said, found in places.items():
        where = ", ".join(dict.fromkeys(f"{problem.path}: {problem.place}" for problem in found))
        yield Finding(Promise.TRUTH, f"{said[0].upper()}{said[1:]} ({where}). {found[0].remedy}")
