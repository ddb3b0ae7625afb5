"""Promises 1, 3 and 4: one child a month with that month's bounds, no default, none made anew, new ones in time."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from .. import events as ev
from ..checking import CHECKERS, CONDENSABLE, CheckResult, Finding, nothing_more
from ..errors import UsageError
from ..rundata import Run
from ..values import FAULTS_DEFAULT, Month, Promise
from ._attached import attached_findings

NAME = "partition-hygiene"
_DATES = re.compile(r"FROM \('(\d{4}-\d{2}-\d{2})[^']*'\) TO \('(\d{4}-\d{2}-\d{2})[^']*'\)")


@CHECKERS.register(NAME)
def partition_hygiene(run: Run) -> CheckResult:
    """Judge the catalog as it was seen while the run went on, and as it was read at the end."""
    if not run.reads.sql:
        return CheckResult(NAME, not_checked="sql")
    meanwhile = tuple(attached_findings(run))
    looks = {"catalog_looks": float(len(run.of_kind(ev.PartitionsSample)))}
    if run.final is None or not run.final.table:
        return CheckResult(NAME, meanwhile, ("The catalog was not read at the end, so partitions were not judged.",))
    partitions = run.of_kind(ev.PartitionRow)
    if not partitions:
        return CheckResult(NAME, meanwhile, ("The final read lists no partition, so nothing was judged.",))
    wrong = list(_wrong(run, partitions))
    findings = (*meanwhile, *(one.finding for one in wrong if not one.is_excused))
    unknowns = tuple(
        f"{one.finding.summary} A fault that was never seen repaired may have left it so."
        for one in wrong
        if one.is_excused
    )
    return CheckResult(NAME, findings, unknowns, facts={"partitions": float(len(partitions)), **looks})


CONDENSABLE.register(NAME)(nothing_more)


def _whole_month(partition: ev.PartitionRow) -> bool:
    """Compare the printed bounds with first of the month to first of the next; other forms are no month."""
    found = _DATES.search(partition.bounds)
    try:
        month = Month.parse(partition.month)
    except UsageError:
        return False
    return found is not None and found.groups() == (month.first_day.isoformat(), month.end.isoformat())


@dataclass(frozen=True)
class _Wrong:
    """What is wrong with the partitions at the end, and whether it may still be as a fault made it."""

    finding: Finding
    is_excused: bool


def _wrong(run: Run, partitions: list[ev.PartitionRow]) -> Iterator[_Wrong]:
    by_month: dict[str, list[str]] = defaultdict(list)
    for partition in partitions:
        if not partition.month:
            said = f"{partition.name} is a default partition: rows land there instead of in the queue."
            made_by_a_fault = partition.name.endswith(FAULTS_DEFAULT)
            finding = Finding(Promise.CONSERVATION, said, run.rows_in(""))
            yield _Wrong(finding, made_by_a_fault and _unrepaired(run, ""))
            continue
        by_month[partition.month].append(partition.name)
        if not _whole_month(partition):
            said = f"{partition.name} ({partition.month}) has bounds {partition.bounds}, not those of its month."
            finding = Finding(Promise.ISOLATION, said, run.rows_in(partition.month))
            yield _Wrong(finding, _unrepaired(run, partition.month))
    for month, names in by_month.items():
        if len(names) > 1:
            said = f"{month} has more than one partition: {', '.join(sorted(names))}."
            yield _Wrong(Finding(Promise.ISOLATION, said, run.rows_in(month)), _unrepaired(run, month))


def _unrepaired(run: Run, label: str) -> bool:
    """Tell whether a fault that reaches the month (any for "") was never seen repaired."""
    return any(
        window.probed is None and (not label or window.radius.months is None or label in map(str, window.radius.months))
        for window in run.windows
    )
