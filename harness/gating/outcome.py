"""The outcome of a gate: all rows and findings, what a baseline excuses, and the decision.

FAIL outranks INSUFFICIENT, since it was proved; and where nothing passed at all, nothing was shown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal, cast

from ..gate import Exit
from ..report import gateshapes as shapes
from ..values import Promise
from .findings import JudgedFinding, Kind, events_in
from .places import StoredVerdict
from .rows import Decision, Exposure, Row, Source, counted_text
from .slo import BROKEN, JUDGED, LOST, Feature, features_of


@dataclass(frozen=True)
class Before:
    """What an earlier gate said of one metric from one source; the last two as in :class:`Row`."""

    decision: Decision
    value: str
    worse_least: float | None
    worse_most: float | None


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """An earlier run, suite or gate, called ``name``, against which only what is new fails."""

    name: str = ""
    kinds: frozenset[Kind] = frozenset()
    runs: frozenset[str] = frozenset()
    """Names of the runs that an earlier gate judged."""
    rows: Mapping[tuple[str, Source], Before] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Everything that a gate says."""

    now: datetime
    rows: tuple[Row, ...]
    findings: tuple[JudgedFinding, ...] = ()
    notes: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    """Names of the runs that were judged."""
    judged: str = ""
    """What was judged, in words: the runs, the Prometheus with its period, the file of bounds, the baseline."""

    @property
    def decision(self) -> Decision:
        """PASS, FAIL or INSUFFICIENT."""
        decisions = [row.decision for row in self.rows]
        if Decision.FAIL in decisions or any(one.decision is Decision.FAIL for one in self.findings):
            return Decision.FAIL
        if any(row.needed and row.decision is Decision.INSUFFICIENT for row in self.rows):
            return Decision.INSUFFICIENT
        return Decision.PASS if any(decision.good for decision in decisions) else Decision.INSUFFICIENT

    @property
    def exit_code(self) -> Exit:
        """What the command ends with."""
        codes = {Decision.PASS: Exit.PASSED, Decision.FAIL: Exit.FAILED}
        return codes.get(self.decision, Exit.INCONCLUSIVE)

    def rows_that(self, decision: Decision) -> tuple[Row, ...]:
        """The rows of one decision; of INSUFFICIENT ones those that are needed."""
        return tuple(one for one in self.rows if one.decision is decision and (decision is Decision.FAIL or one.needed))

    @property
    def lost_and_known(self) -> tuple[JudgedFinding, ...]:
        """Lost events that are let through, since somebody has listed them."""
        return tuple(one for one in self.findings if one.is_loss and one.decision is Decision.KNOWN)

    @property
    def features(self) -> tuple[Feature, ...]:
        """The features to prioritise: those of every failed row."""
        failed = {feature for row in self.rows_that(Decision.FAIL) for feature in row.features}
        return tuple(feature for feature in Feature if feature in failed)


def rows_about_runs(
    verdicts: Sequence[StoredVerdict], findings: Sequence[JudgedFinding], problems: Sequence[str], *, asked: int
) -> list[Row]:
    """What no rate can outweigh: events lost, other promises broken, and runs that could not be judged.

    ``asked``: how many runs were to be judged; ``problems``: why some of them were not.
    """
    requirements = {verdict.scenario: verdict.requirements for verdict in verdicts}
    losses = [one for one in findings if one.is_loss]
    others = [one for one in findings if not one.is_loss]
    acknowledged = sum(verdict.acknowledged for verdict in verdicts)
    unjudged = [verdict.run for verdict in verdicts if not verdict.conservation_judged]
    nobody = [] if verdicts else ["no run was judged"]
    blind = f"conservation was not judged in {counted_text(len(unjudged), 'run')}"
    doubts = [f"{blind}, such as {unjudged[0]}"] if unjudged else [*nobody]
    doubts += [] if acknowledged or nobody else ["no event was acknowledged, and no traffic proves nothing"]
    unlooked = sum(verdict.unlooked for verdict in verdicts)
    if unlooked:
        gone = f"{counted_text(unlooked, 'event')} answered 202 {'is' if unlooked == 1 else 'are'} not in the table"
        doubts.append(f"{gone}, and the target has no queue to be read")
    exposure = Exposure(operations=acknowledged, runs=len(verdicts), noun="acknowledged event")
    return [
        _finding_row(LOST, f"{events_in(losses):,}", losses, doubts, exposure, requirements),
        _finding_row(BROKEN, f"{len(others):,}", others, nobody, exposure, requirements),
        _judged_row(verdicts, findings, problems, exposure, asked),
    ]


def _finding_row(
    metric: str,
    value: str,
    findings: Sequence[JudgedFinding],
    doubts: Sequence[str],
    exposure: Exposure,
    requirements: Mapping[str, frozenset[str]],
) -> Row:
    failed = [one for one in findings if one.decision is Decision.FAIL]
    concerned = {
        feature
        for one in failed
        for feature in features_of(requirements.get(one.kind.scenario, frozenset()), Promise(one.kind.promise))
    }
    good = Decision.KNOWN if findings else Decision.PASS
    let_through = dict.fromkeys(one.reason for one in findings if one.decision is Decision.KNOWN)
    return Row(
        metric=metric,
        source=Source.RUNS,
        value=value,
        bound="0",
        exposure=exposure,
        decision=Decision.FAIL if failed else Decision.INSUFFICIENT if doubts else good,
        reasons=(*doubts, *(f"let through, {reason}" for reason in let_through)),
        features=tuple(feature for feature in Feature if feature in concerned),
    )


def _judged_row(
    verdicts: Sequence[StoredVerdict],
    findings: Sequence[JudgedFinding],
    problems: Sequence[str],
    exposure: Exposure,
    asked: int,
) -> Row:
    failed = {run for one in findings if one.decision is Decision.FAIL for run in one.runs}
    # What a run that fails anyway could not judge changes nothing; where its findings are known it does.
    doubts = [
        f"{one.run}: {one.unknowns[0]}{_more(one.unknowns)}"
        for one in verdicts
        if one.unknowns and one.run not in failed
    ]
    reasons = (*problems, *doubts)
    judged = sum(not one.unknowns or one.run in failed for one in verdicts)
    return Row(
        metric=JUDGED,
        source=Source.RUNS,
        value=f"{judged} of {asked}",
        bound="all",
        exposure=exposure,
        decision=Decision.INSUFFICIENT if reasons or not verdicts else Decision.PASS,
        reasons=reasons,
    )


def _more(reasons: Sequence[str]) -> str:
    return f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""


def excused(rows: Sequence[Row], baseline: Baseline) -> list[Row]:
    """Failed metrics that are not new become KNOWN: the baseline failed them as well, and was not better.

    Better is what lies beyond both 95 % bounds: the least that it may be now is more than the most it may have been.
    """
    return [_excused(row, baseline) for row in rows]


def _excused(row: Row, baseline: Baseline) -> Row:
    before = baseline.rows.get((row.metric, row.source))
    if row.decision is not Decision.FAIL or before is None or before.decision not in (Decision.FAIL, Decision.KNOWN):
        return row
    if row.worse_least is None or before.worse_most is None:
        return row
    if row.worse_least > before.worse_most:
        said = f"{baseline.name} failed it too, with {before.value}, but it is worse now"
        return replace(row, reasons=(*row.reasons, said))
    said = f"not new: {baseline.name} failed it too, with {before.value}"
    return replace(row, decision=Decision.KNOWN, reasons=(*row.reasons, said))


def outcome_to_json(outcome: Outcome) -> shapes.Gate:
    """Return it as JSON: for programs, and to be the baseline of another gate."""
    return {
        "gate_format": shapes.GATE_FORMAT,
        "decision": cast("Literal['PASS', 'INSUFFICIENT', 'FAIL']", outcome.decision.value),
        "exit_code": cast("Literal[0, 1, 3]", int(outcome.exit_code)),
        "now": outcome.now.isoformat(),
        "judged": outcome.judged,
        "runs": list(outcome.runs),
        "features": _features_to_json(outcome.features),
        "rows": [_row_to_json(row) for row in outcome.rows],
        "findings": [_finding_to_json(finding) for finding in outcome.findings],
        "notes": list(outcome.notes),
    }


def _finding_to_json(finding: JudgedFinding) -> shapes.GateFinding:
    return {
        "scenario": finding.kind.scenario,
        "checker": finding.kind.checker,
        "promise": finding.kind.promise,
        "kind": finding.kind.said,
        "summary": finding.summary,
        "runs": list(finding.runs),
        "event_ids": list(finding.event_ids),
        "decision": finding.decision.value,
        "reason": finding.reason,
    }


def _row_to_json(row: Row) -> shapes.GateRow:
    exposure = row.exposure
    return {
        "metric": row.metric,
        "source": row.source.value,
        "value": row.value,
        "bound": row.bound,
        "exposure": {
            "operations": exposure.operations,
            "seconds": exposure.seconds,
            "runs": exposure.runs,
            "text": exposure.text,
        },
        "decision": row.decision.value,
        "needed": row.needed,
        "reasons": list(row.reasons),
        "features": _features_to_json(row.features),
        "worse_least": _finite(row.worse_least),
        "worse_most": _finite(row.worse_most),
    }


def _features_to_json(features: Sequence[Feature]) -> list[shapes.FeatureName]:
    return [feature.value for feature in features]


def baseline_from_json(data: Mapping[str, Any], name: str) -> Baseline:
    """Read back what :func:`outcome_to_json` gave; raises ValueError, KeyError or TypeError for anything else."""
    return Baseline(
        name=name,
        kinds=frozenset(
            Kind(str(one["scenario"]), str(one["checker"]), int(one["promise"]), str(one["kind"]))
            for one in data["findings"]
        ),
        runs=frozenset(str(one) for one in data["runs"]),
        rows={
            (str(row["metric"]), Source(row["source"])): Before(
                Decision(row["decision"]), str(row["value"]), _number(row["worse_least"]), _number(row["worse_most"])
            )
            for row in data["rows"]
        },
    )


def baseline_of(name: str, rows: Sequence[Row], findings: Sequence[JudgedFinding]) -> Baseline:
    """Take rows and findings of earlier runs as a baseline."""
    return Baseline(
        name=name,
        kinds=frozenset(one.kind for one in findings),
        rows={
            (row.metric, row.source): Before(row.decision, row.value, row.worse_least, row.worse_most) for row in rows
        },
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
