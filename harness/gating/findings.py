"""Broken promises of runs: which are new, which are known, and which known ones are not known any more.

Two findings are the same when scenario, checker, promise and sentence are, where figures and ids of events do not count
(months, statuses and names do), so that a defect stays the same from run to run.  A lost event is another event each
time, and so always new: no baseline excuses it, only a known defect that somebody has listed with its last day.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from ..values import Promise
from .config import KnownDefect
from .places import StoredVerdict
from .rows import Decision

_ID = re.compile(r"\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b", re.IGNORECASE)
_NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?:e[+-]?\d+)?(?=(?:ms|s|x)?\b)", re.IGNORECASE)
_STATUSES = frozenset({"200", "201", "202", "207", "400", "401", "409", "413", "429", "500", "502", "503", "504"})
_BEFORE_STATUS = re.compile(r"(?:\b(?:answered|or|and|where|got|x|with|a|median|healthy|status)\s+|/)\Z")
"""What a sentence has before a status; elsewhere the same number is a figure."""


@dataclass(frozen=True, order=True)
class Kind:
    """What makes two findings the same."""

    scenario: str
    checker: str
    promise: int
    said: str


@dataclass(frozen=True, kw_only=True)
class JudgedFinding:
    """One kind of finding in all runs, with what it means for the gate, and why."""

    kind: Kind
    summaries: tuple[str, ...]
    """Its sentence as each of the runs has it, with the figures of that."""
    runs: tuple[str, ...]
    event_ids: tuple[str, ...]
    decision: Decision
    reason: str = ""
    folder: Path = Path()
    """That of the first of the runs."""

    @property
    def summary(self) -> str:
        """The first of the sentences."""
        return self.summaries[0]

    @property
    def is_loss(self) -> bool:
        """Tell whether events are not, once and unchanged, where they have to be."""
        return self.kind.promise == Promise.CONSERVATION


def kind_of(scenario: str, checker: str, promise: int, summary: str) -> Kind:
    """The identity of a finding."""
    return Kind(scenario, checker, promise, general(summary))


def general(summary: str) -> str:
    """A sentence without the figures and ids of one run."""
    return _NUMBER.sub(_figure, _ID.sub("ID", summary))


def _figure(match: re.Match[str]) -> str:
    is_status = match[0] in _STATUSES and _BEFORE_STATUS.search(match.string[: match.start()])
    return match[0] if is_status else "#"


def gathered(verdicts: Iterable[StoredVerdict]) -> list[JudgedFinding]:
    """Every kind of finding once, each a failure."""
    found: dict[Kind, JudgedFinding] = {}
    for verdict in verdicts:
        for named in verdict.findings:
            finding = named.finding
            kind = kind_of(verdict.scenario, named.checker, int(finding.promise), finding.summary)
            before = found.get(kind)
            found[kind] = JudgedFinding(
                kind=kind,
                summaries=(finding.summary,) if before is None else (*before.summaries, finding.summary),
                runs=(verdict.run,) if before is None else tuple(dict.fromkeys((*before.runs, verdict.run))),
                event_ids=finding.event_ids if before is None else (*before.event_ids, *finding.event_ids),
                decision=Decision.FAIL,
                folder=verdict.folder if before is None else before.folder,
            )
    return list(found.values())


def judged(
    findings: Iterable[JudgedFinding], known: Sequence[KnownDefect], baseline: Collection[Kind], today: date, named: str
) -> list[JudgedFinding]:
    """Excuse what is listed and has not expired, and what ``baseline`` (called ``named``) has too.

    A listed defect that has expired fails even if the baseline has it: its date was a promise.  So does a lost event.
    """
    return [_judged(finding, known, baseline, today, named) for finding in findings]


def _judged(
    finding: JudgedFinding, known: Sequence[KnownDefect], baseline: Collection[Kind], today: date, named: str
) -> JudgedFinding:
    listed = [one for one in known if any(_matches(one, finding))]
    # One that is listed with its figures takes none along that has others.
    current = next((one for one in listed if not one.expired(today) and all(_matches(one, finding))), None)
    if current is not None:
        said = f"known until {current.expires}: {current.reason}"
        return replace(finding, decision=Decision.KNOWN, reason=said)
    last = max((one for one in listed if one.expired(today)), key=lambda one: one.expires, default=None)
    if last is not None:
        return replace(finding, reason=f"was known until {last.expires}, which has passed: {last.reason}")
    if finding.kind not in baseline:
        return finding
    if finding.is_loss:
        said = "a lost event is another one each time; only a [[known_defect]] of gate.toml lets it through"
        return replace(finding, reason=f"{named} has it too, but {said}")
    return replace(finding, decision=Decision.KNOWN, reason=f"not new: {named} has it too")


def _matches(defect: KnownDefect, finding: JudgedFinding) -> Iterator[bool]:
    return (defect.is_about(finding.kind.scenario, finding.kind.checker, said) for said in finding.summaries)


def events_in(findings: Collection[JudgedFinding]) -> int:
    """How many events findings are about; one that names none counts as one."""
    named = {event_id for one in findings for event_id in one.event_ids}
    return len(named) + sum(not one.event_ids for one in findings)


def stale(
    known: Sequence[KnownDefect], findings: Collection[JudgedFinding], scenarios: Collection[str], today: date
) -> list[str]:
    """What is to be said of listed defects that no finding is."""
    said = []
    for defect in known:
        if any(any(_matches(defect, finding)) for finding in findings):
            continue
        expired = f" (and expired on {defect.expires})" if defect.expired(today) else ""
        if defect.scenario in scenarios:
            said.append(f"known defect {defect.text}{expired} matched nothing: is it mended? Then take it out")
        else:
            said.append(f"known defect {defect.text}{expired} matched nothing, since no run of its scenario was judged")
    return said
