"""Sides: what a user names on either side of a comparison, as runs by scenario."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import UsageError
from ..report.judged import Judged, SuiteEntry, find_stored, read_judged, read_suite
from ..report.stored import SUITE_FILE
from ..report.summary import shown_path

_SEVERITY = {"PASS": 0, "FAIL": 2}
"""Of a verdict; all others say that nobody knows."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """One side: its runs by scenario.

    ``verdicts`` holds scenarios of a suite that left no run to look at, since it did not begin, with the word that the
    suite has for each.
    """

    folder: Path
    is_suite: bool
    runs: Mapping[str, Judged]
    verdicts: Mapping[str, str]

    @property
    def scenarios(self) -> tuple[str, ...]:
        """Every scenario of the side."""
        return (*self.runs, *self.verdicts)


@dataclass(frozen=True, kw_only=True)
class Pairing:
    """Two sides, their common scenarios in the order of the first, and those that only one of them has."""

    first: Side
    second: Side
    common: tuple[str, ...]
    only_first: tuple[str, ...] = ()
    only_second: tuple[str, ...] = ()


def find_side(reports: Path, name: str) -> Side:
    """Find a run or a suite by what a user typed; raises :class:`UsageError` for one that was never judged."""
    folder = find_stored(reports, name)
    if not (folder / SUITE_FILE).is_file():
        judged = read_judged(folder)
        if judged is None:
            raise UsageError(
                f"The run {folder.name} was never judged, so there is nothing to compare. Judge it first: "
                f"`harness check {shown_path(folder)}`."
            )
        return Side(folder=folder, is_suite=False, runs={judged.scenario: judged}, verdicts={})
    runs: dict[str, Judged] = {}
    verdicts: dict[str, str] = {}
    for entry in _worst_of_each(read_suite(folder).entries):
        judged = read_judged(entry.folder)
        if judged is None:
            verdicts[entry.scenario] = entry.verdict
        else:
            runs[entry.scenario] = judged
    return Side(folder=folder, is_suite=True, runs=runs, verdicts=verdicts)


def _worst_of_each(entries: Iterable[SuiteEntry]) -> Iterable[SuiteEntry]:
    """One run of each scenario: of one that a suite played several times the worst, of equal ones the last."""
    found: dict[str, SuiteEntry] = {}
    for entry in entries:
        known = found.get(entry.scenario)
        if known is None or _SEVERITY.get(entry.verdict, 1) >= _SEVERITY.get(known.verdict, 1):
            found[entry.scenario] = entry
    return found.values()


def paired(first: Side, second: Side) -> Pairing:
    """Pair two sides by scenario; raises :class:`UsageError` where they have none, or no target, in common.

    A single run beside a suite is compared with the suite's run of its scenario.
    """
    if first.folder.resolve() == second.folder.resolve():
        raise UsageError(f"Both names mean {first.folder.name}, which differs in nothing from itself. Name two.")
    common = tuple(name for name in first.scenarios if name in second.scenarios)
    if not common:
        raise UsageError(
            f"{first.folder.name} and {second.folder.name} have no scenario in common ({_few(first)} against "
            f"{_few(second)}), and figures of different scenarios say nothing about each other. Name two runs of one "
            "scenario; `harness list runs` shows what is stored."
        )
    if all(name in first.runs and name in second.runs and _is_one(first, second, name) for name in common):
        raise UsageError(
            f"{first.folder.name} and {second.folder.name} have the same run of {_few(second)}, which differs in "
            "nothing from itself. Name two."
        )
    targets = [{run.target for run in side.runs.values() if run.target} for side in (first, second)]
    if all(targets) and targets[0] != targets[1]:
        raise UsageError(
            f"{first.folder.name} is of the target {', '.join(sorted(targets[0]))}, {second.folder.name} of "
            f"{', '.join(sorted(targets[1]))}: what differs between two services is no regression of either. Name two "
            "runs of one target."
        )
    alone = not (first.is_suite and second.is_suite)
    return Pairing(
        first=first,
        second=second,
        common=common,
        only_first=() if alone else tuple(name for name in first.scenarios if name not in second.scenarios),
        only_second=() if alone else tuple(name for name in second.scenarios if name not in first.scenarios),
    )


def _is_one(first: Side, second: Side, scenario: str) -> bool:
    return first.runs[scenario].folder.resolve() == second.runs[scenario].folder.resolve()


def _few(side: Side) -> str:
    names = side.scenarios
    if not names:
        return "no run at all"
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
