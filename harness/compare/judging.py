"""Judging a comparison: verdicts and findings of each pair, what keeps figures from being compared, and the gate.

Verdicts and findings always count.  Figures count where both runs measured the same on the same: the scenario's load
and faults, PostgreSQL, the machine.  Over two suites each clock and quantile is a pair a fault and scenario, and the
sign test says what no single pair can.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ..gate import Exit
from ..gating.findings import general
from ..noise import LEAST_EFFECT, SIGNIFICANCE, Change, more_often, mostly_up
from ..report import summary as text
from ..report.judged import Judged
from ..report.summary import version_text
from ..results import NOT_BEGUN
from ..suite import MEASURED_AGAIN
from .profile import SHARES, Profile, profile_of
from .rows import (
    ANSWERS_SIGNIFICANCE,
    Group,
    Row,
    answer_rows,
    clock_grain_seconds,
    clock_rows,
    isolation_rows,
    latency_rows,
    metric_rows,
    shared_name,
    yardstick_of,
)
from .sides import Pairing

MIN_PAIRS = 7
"""With fewer pairs the sign test cannot be significant, whatever they say."""
MANY_MORE = 2
"""The same finding for so many times as many events is doubtful."""
_BARRING = ("postgresql", "platform", "cpus")
"""Versions and facts of the machine that latencies and clocks depend on."""
_TOLD = ("harness", "python")
"""Versions that are said where they differ, and bar nothing: they may be what is compared."""
_DECIDED = ("PASS", "FAIL")
_GONE = "not begun"
_NO_CHECKERS = (MEASURED_AGAIN, NOT_BEGUN)
"""Checks that are words about the run itself, which only some runs need."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One scenario on both sides.

    ``differences`` is what the runs do not have in common, ``barred`` what of it keeps figures from being judged.
    """

    scenario: str
    rows: tuple[Row, ...]
    first: Profile | None = None
    second: Profile | None = None
    differences: tuple[str, ...] = ()
    barred: str = ""

    @property
    def unread(self) -> bool:
        """Tell whether a run that has a verdict cannot be looked into: then its words alone were compared."""
        if self.first is None or self.second is None:
            return self.rows[0].change is Change.SAME
        return bool(self.first.problem or self.second.problem)

    @property
    def still_broken(self) -> bool:
        """Tell whether a promise is broken on both sides, which is nothing worse and yet nothing to be content with."""
        return self.rows[0].change is Change.SAME and self.rows[0].second == "FAIL"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Everything that was compared.  ``together`` are rows of two suites as wholes."""

    pairing: Pairing
    pairs: tuple[Pair, ...]
    together: tuple[Row, ...] = ()

    @property
    def rows(self) -> tuple[Row, ...]:
        """Every row."""
        return (*self.together, *(row for pair in self.pairs for row in pair.rows))

    def named(self, *changes: Change) -> list[tuple[str, Row]]:
        """The rows that changed so, each with its scenario, "" for all of them together."""
        found = [("", row) for row in self.together if row.change in changes]
        return found + [(pair.scenario, row) for pair in self.pairs for row in pair.rows if row.change in changes]

    @property
    def unsettled(self) -> tuple[str, ...]:
        """Why "nothing got worse" cannot be said although nothing did, as sentences."""
        reasons = []
        if doubtful := self.named(Change.DOUBTFUL):
            reasons.append(
                f"{len(doubtful)} doubtful: worse perhaps by chance or by the machine, or not judged any more"
            )
        if unknown := [name for name, row in self.named(Change.UNJUDGED) if row.group is Group.VERDICT]:
            reasons.append(f"no verdict on either side: {listed(unknown)}")
        if self.pairing.only_first:
            reasons.append(f"not run on the second side: {listed(self.pairing.only_first)}")
        if unread := [pair.scenario for pair in self.pairs if pair.unread]:
            reasons.append(f"a run of it cannot be read any more: {listed(unread)}")
        if not any(row.group is Group.LATENCY and row.change in (Change.SAME, Change.BETTER) for row in self.rows):
            reasons.append("no latency could be compared")
        return tuple(reasons)

    @property
    def exit(self) -> Exit:
        """What a gate makes of it: worse outranks too little to say."""
        if self.named(Change.WORSE):
            return Exit.FAILED
        return Exit.INCONCLUSIVE if self.unsettled else Exit.PASSED


def listed(names: Sequence[str], limit: int = 5) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def compare(pairing: Pairing, progress: Callable[[str], None]) -> Comparison:
    """Compare two sides; ``progress`` hears of each scenario whose histories are read."""
    pairs = []
    for number, name in enumerate(pairing.common, 1):
        if len(pairing.common) > 1:
            progress(f"[{number}/{len(pairing.common)}] {name}")
        pairs.append(_pair(pairing, name, progress))
    whole = pairing.first.is_suite and pairing.second.is_suite
    return Comparison(pairing=pairing, pairs=tuple(pairs), together=tuple(_together(pairs)) if whole else ())


def _pair(pairing: Pairing, name: str, progress: Callable[[str], None]) -> Pair:
    one, other = pairing.first.runs.get(name), pairing.second.runs.get(name)
    if one is None or other is None:
        verdicts = [
            run.verdict if run is not None else side.verdicts.get(name, _GONE)
            for run, side in ((one, pairing.first), (other, pairing.second))
        ]
        return Pair(scenario=name, rows=(_verdict_row(*verdicts),))
    first, second = profile_of(one, progress), profile_of(other, progress)
    differences, barred = contexts(one, other)
    problem = first.problem or second.problem
    rows = [_verdict_row(one.verdict, other.verdict), *finding_rows(one, other)]
    if problem:
        barred = problem
    else:
        for make in (clock_rows, latency_rows, isolation_rows, answer_rows):
            rows += make(first, second, barred)
        rows += metric_rows(first, second)
    return Pair(
        scenario=name, rows=tuple(rows), first=first, second=second, differences=tuple(differences), barred=barred
    )


def contexts(one: Judged, other: Judged) -> tuple[list[str], str]:
    """Say what differs between two runs beside what they measured, and what of it keeps figures from being judged."""
    bars = []
    if one.shape != other.shape:
        bars.append("the scenario's load or faults are not the same")
    for name in _BARRING:
        before, after = one.versions.get(name, ""), other.versions.get(name, "")
        if before != after and (before and after):
            bars.append(f"{name} {version_text((name, before))[1]} against {version_text((name, after))[1]}")
    told = [
        f"{name} {one.versions[name]} against {other.versions[name]}"
        for name in _TOLD
        if one.versions.get(name) and other.versions.get(name) and one.versions[name] != other.versions[name]
    ]
    told += [
        f"limits.{name} {one.limits[name]:g} against {other.limits[name]:g}"
        for name in one.limits
        if name in other.limits and one.limits[name] != other.limits[name]
    ]
    return [*bars, *told], f"not judged: {'; '.join(bars)}" if bars else ""


def _verdict_row(before: str, after: str) -> Row:
    change, why = _verdict_change(before, after)
    return Row(group=Group.VERDICT, name="verdict", first=before, second=after, change=change, why=why)


def _verdict_change(before: str, after: str) -> tuple[Change, str]:
    if after == "FAIL":
        return (Change.SAME, "") if before == "FAIL" else (Change.WORSE, "a promise is broken")
    if after == "PASS":
        return (Change.SAME, "") if before == "PASS" else (Change.BETTER, "")
    if before in _DECIDED:
        return Change.DOUBTFUL, "what was decided before could not be decided again"
    return Change.UNJUDGED, "undecided on both sides"


@dataclass(frozen=True)
class _Said:
    """What one side says of one kind of broken promise: its first sentence, and how many events it names in all."""

    name: str
    events: int

    @property
    def text(self) -> str:
        return f"{self.events} events" if self.events else "found"


def _kinds(run: Judged) -> dict[tuple[str, int, str], _Said]:
    """Broken promises by checker, promise and sentence, of which figures do not count; months and statuses do."""
    found: dict[tuple[str, int, str], _Said] = {}
    for broken in run.broken:
        kind = (broken.checker, broken.promise, general(broken.summary))
        known = found.get(kind, _Said(f"{broken.checker}: {broken.summary}", 0))
        found[kind] = _Said(known.name, known.events + broken.events)
    return found


def finding_rows(one: Judged, other: Judged) -> Iterator[Row]:
    """Findings that only one side has, or that name many more events; and what is no longer looked at."""
    before, after = _kinds(one), _kinds(other)
    for kind, said in after.items():
        known = before.get(kind)
        change, why = (Change.WORSE, "new") if known is None else _grown(known.events, one, said.events, other)
        shown = text.NONE if known is None else known.text
        yield Row(group=Group.VERDICT, name=said.name, first=shown, second=said.text, change=change, why=why)
    for kind, said in before.items():
        if kind not in after:
            gone = Change.BETTER if other.verdict in _DECIDED else None
            yield Row(group=Group.VERDICT, name=said.name, first=said.text, second=text.NONE, change=gone, why="gone")
    for checker, now, why in _unlooked(one, other):
        yield Row(group=Group.VERDICT, name=checker, first="checked", second=now, change=Change.DOUBTFUL, why=why)


def _grown(before: int, one: Judged, after: int, other: Judged) -> tuple[Change, str]:
    """Say what became of a finding that both sides have; how many events it names is partly chance."""
    surely = more_often(before, one.operations, after, other.operations) < ANSWERS_SIGNIFICANCE
    if after >= MANY_MORE * before and surely:
        return Change.DOUBTFUL, "the same is broken for many more events"
    return Change.SAME, ""


def _unlooked(one: Judged, other: Judged) -> Iterator[tuple[str, str, str]]:
    """Checkers of the first side that said nothing on the second: name, what they are now, and why."""
    lacking, asked = dict(other.not_checked), {said.checker for said in other.checks}
    for said in one.checks:
        if said.verdict == "NOT CHECKED" or said.checker in _NO_CHECKERS:
            continue
        if said.checker in lacking:
            yield said.checker, "not checked", lacking[said.checker]
        elif asked and said.checker not in asked and said.verdict in _DECIDED:
            yield said.checker, "not asked", "the second run was judged without it"


def _together(pairs: Sequence[Pair]) -> Iterator[Row]:
    """What all pairs that measured the same say about each clock and quantile."""
    known = [
        (pair.first, pair.second)
        for pair in pairs
        if pair.first is not None and pair.second is not None and not pair.barred
    ]
    for share in SHARES:
        ratios = [ratio for one, other in known if (ratio := _beside_the_machine(one, other, share)) is not None]
        yield _signed(Group.LATENCY, f"{shared_name(share)} of all scenarios", ratios)
    for index, clock in enumerate(text.CLOCK_NAMES):
        ratios = []
        for one, other in known:
            for before, after in zip(one.judged.clocks, other.judged.clocks, strict=False):
                left, right = text.clock_values(before)[index], text.clock_values(after)[index]
                if left is not None and right is not None and abs(right - left) > clock_grain_seconds(clock, one):
                    ratios.append(right / left if left > 0 else 2 * LEAST_EFFECT)
        yield _signed(Group.CLOCKS, f"{clock} of all faults", ratios)


def _beside_the_machine(one: Profile, other: Profile, share: float) -> float | None:
    """How many times as long writes took, beside how many times as long the harness's own inserts did, if known."""
    before, after = one.outside.get(share), other.outside.get(share)
    if before is None or after is None or before.value <= 0:
        return None
    machine = yardstick_of(one, other, share)
    ratio = after.value / before.value
    return ratio / machine.value if machine is not None and 0 < machine.value < float("inf") else ratio


def _signed(group: Group, name: str, ratios: Sequence[float]) -> Row:
    ups, downs = sum(ratio > 1 for ratio in ratios), sum(ratio < 1 for ratio in ratios)
    if len(ratios) < MIN_PAIRS:
        why = f"{len(ratios)} pairs differ by more than their grain; {MIN_PAIRS} are needed"
        return Row(group=group, name=name, first=text.NONE, second=text.NONE, change=Change.UNJUDGED, why=why)
    median = statistics.median(ratios)
    change = Change.SAME
    if median >= LEAST_EFFECT and mostly_up(ups, downs) < SIGNIFICANCE:
        change = Change.WORSE
    elif median <= 1 / LEAST_EFFECT and mostly_up(downs, ups) < SIGNIFICANCE:
        change = Change.BETTER
    return Row(
        group=group,
        name=name,
        first="1",
        second=f"{median:.2f}",
        change=change,
        why=f"longer in {ups}, shorter in {downs}; the median ratio",
        values=(1.0, median),
    )
