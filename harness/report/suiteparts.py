"""The parts of a suite's page: its runs, requirement by requirement, what was broken, and what was not checked."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ..results import RunResult, SuiteResult
from ..scenario import Scenario
from . import summary as text
from .filters import Choice, filter_form
from .markup import Content, Markup, address, badge, items, joined, separated, table, tag, unseen
from .summary import Headline

SKIPPED = Headline("SKIPPED", "–", "dim")
"""What a scenario shows that this machine could not play: it proves nothing, and says why."""
_FINDINGS_SHOWN = 5
_NUMBERS = re.compile(r"(\d+)")


def run_parts(suite: SuiteResult, folder: Path) -> Iterable[Markup]:
    """One row a scenario, with its verdict and clocks, and a form that filters them."""
    words = dict.fromkeys(text.headline(result).word for result in suite.runs)
    requirements = requirements_of(suite)
    verdicts = Choice("verdict", "Verdict", [("", "all verdicts"), *((word, word) for word in words)])
    named = Choice("requirements", "Requirement", [("", "all requirements"), *((one, one) for one in requirements)])
    yield filter_form("runs-table", "scenarios", "Filter the scenarios", [verdicts, named])
    titles = ("scenario", "verdict", *text.CLOCK_NAMES, "time", "claim")
    numbers = frozenset(range(2, len(titles) - 1))
    rows = [_run_row(result, folder) for result in suite.runs]
    marks = [
        {
            "data_item": "",
            "data_verdict": text.headline(result).word,
            "data_requirements": " ".join(result.scenario.requirements),
        }
        for result in suite.runs
    ]
    yield table(titles, rows, numbers, caption="Scenarios and their verdicts", heads=True, marks=marks, id="runs-table")


def _run_row(result: RunResult, folder: Path) -> list[Content]:
    cells = (*text.clock_cells(result.clocks), text.duration_text(result), result.scenario.claim)
    return [run_link(result, folder), badge(text.headline(result), small=True), *cells]


def run_link(result: RunResult, folder: Path, part: str = "") -> Content:
    """The name of a scenario as a link to its run's page, or to a part of that; bare for a run that has no page."""
    if not result.begun:
        return result.scenario.name
    return tag("a", result.scenario.name, href=f"{address(result.folder, folder)}/report.html{part}")


def broken_parts(suite: SuiteResult, folder: Path) -> Iterable[Markup]:
    """The broken promises of each run that has some, the first ones."""
    for result in suite.runs:
        if not result.findings:
            continue
        yield tag("h3", run_link(result, folder, "#findings"))
        shown = result.findings[:_FINDINGS_SHOWN]
        yield items(f"{text.promise_title(one.promise).capitalize()}: {one.summary}" for one in shown)
        if len(result.findings) > len(shown):
            yield tag("p", f"{len(result.findings) - len(shown)} more are on its page.", class_="muted")
        if result.repeat_command:
            yield tag("p", joined(["Repeat it with: ", tag("code", result.repeat_command)]))


def requirements_of(suite: SuiteResult) -> list[str]:
    """Every requirement that a scenario of the suite names, numbers by their value."""
    named = {one for scenario in _scenarios(suite) for one in scenario.requirements}
    return sorted(named, key=lambda one: [(part.isdigit(), part.zfill(9)) for part in _NUMBERS.split(one)])


def _scenarios(suite: SuiteResult) -> list[Scenario]:
    return [*(result.scenario for result in suite.runs), *(one.scenario for one in suite.skipped)]


def requirement_parts(suite: SuiteResult, folder: Path) -> Iterable[Markup]:
    """The table of scenarios by requirements; its first row says what all of them came to."""
    requirements = requirements_of(suite)
    if not requirements:
        yield tag("p", "No scenario of this suite names a requirement, so none is shown to hold.", class_="muted")
        return
    rows: list[tuple[Content, Headline, Sequence[str]]] = [
        (run_link(result, folder), text.headline(result), result.scenario.requirements) for result in suite.runs
    ]
    rows += [(one.scenario.name, SKIPPED, one.scenario.requirements) for one in suite.skipped]
    heads: Mapping[str, list[Headline]] = {
        name: [head for _, head, named in rows if name in named] for name in requirements
    }
    yield tag(
        "p",
        "A scenario shows a requirement to hold by its PASS. All of them: ✓ when each passed, ✗ when one failed, "
        "? when one could not be judged or was not played. What has no column is named by no scenario here.",
        class_="muted",
    )
    together = [tag("strong", "all of them"), *(_symbol(_worst(heads[name])) for name in requirements)]
    drawn: list[Sequence[Content]] = [
        together,
        *([name, *(_cell(head, one in named) for one in requirements)] for name, head, named in rows),
    ]
    caption = "Scenarios and the requirements that they show to hold"
    yield table(("scenario", *requirements), drawn, caption=caption, heads=True, class_="matrix")


def _cell(head: Headline, proves: bool) -> Content:
    return _symbol(head) if proves else ""


def _symbol(head: Headline) -> Markup:
    return tag("span", joined([head.symbol, unseen(f" {head.word}")]), class_=head.css, title=head.word)


def _worst(heads: Iterable[Headline]) -> Headline:
    """PASS only when every scenario that names it passed; a set-up that failed and a skip leave it open."""
    found = set(heads)
    if text.FAIL in found:
        return text.FAIL
    return text.PASS if found == {text.PASS} else text.UNKNOWN


def unchecked_parts(suite: SuiteResult, folder: Path) -> Iterable[Markup]:
    """What this suite says nothing about, and why: checkers, verdicts, scenarios, states."""
    missing: dict[tuple[str, str], list[Content]] = defaultdict(list)
    for result in suite.runs:
        for checker, needs in text.not_checked(result):
            missing[checker, needs].append(run_link(result, folder))
    if missing:
        rows = [(checker, needs, separated(names, ", ")) for (checker, needs), names in missing.items()]
        yield table(("checker", "why", "in"), rows, caption="Checks that were not made", heads=True)
    undecided: list[tuple[Content, str, Content]] = []
    for result in suite.runs:
        reasons = [text.masked(result.setup_error)] if result.setup_error else list(text.unknown_reasons(result))
        head = text.headline(result)
        undecided += [(run_link(result, folder), head.word, reason) for reason in reasons]
    undecided += [(one.scenario.name, SKIPPED.word, one.reason) for one in suite.skipped]
    if undecided:
        yield table(("scenario", "verdict", "why"), undecided, caption="What could not be decided", heads=True)
    states = [f"{'Unknown' if owed else 'Not reached'}: {said}" for said, owed in text.reached_lines(suite)]
    yield items(states)
    if not (missing or undecided or states):
        every = "Every check of every scenario was made and decided."
        yield tag("p", every if suite.runs else "No scenario was run, so nothing was checked.", class_="muted")
