"""Shown: an assessment as lines, as Markdown and as JSON."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..faults.byhand import ATTACH, CREATE, DRAIN, LOAD, SELECT
from ..repairs import RepairStep
from ..report.console import Line
from ..report.markdown import escaped, table
from ..report.summary import NONE, moment_text, seconds_text, version_text
from .drill import Drill
from .evidence import FeatureReport, Gathered, Ruling, ScenarioEvidence, Standing, exit_of
from .inputs import Inputs

FORMAT = 1
"""Version of the JSON; it grows when a field changes its meaning or goes."""
REVENUE = (
    "The assessment's own formula multiplies by revenue, which it sets to 0: every score is 0 whatever the evidence, "
    "so it can neither rank a feature nor hold one. It is not used here."
)
FORMULA = "score = frequency_per_year × impact ÷ cost: how often in a year what shipping costs comes back"
_HEADS = {
    Ruling.SHIP: ("✓ SHIP", "pass"),
    Ruling.BROKEN: ("✗ HOLD", "fail"),
    Ruling.LACKING: ("? HOLD", "unknown"),
}
_STEPS = {
    SELECT: "find out: SELECT of the month fails",
    CREATE: "make a copy: CREATE TABLE … (LIKE …)",
    LOAD: "fill it from the backup: COPY",
    DRAIN: "drain the queue into it",
    ATTACH: "ATTACH PARTITION",
}
_SHOWN = 10


@dataclass(frozen=True, kw_only=True)
class Assessment:
    """Everything that is shown."""

    gathered: Gathered
    features: tuple[FeatureReport, ...]
    drill: Drill
    inputs: Inputs


def lines(found: Assessment) -> Iterable[Line]:
    """Yield the assessment for a terminal: what it rests on, each feature, the recovery, the scores, the last word."""
    yield from (Line("", said) for said in _basis(found))
    for report in found.features:
        head, style = _HEADS[report.ruling]
        yield Line("")
        ids = ", ".join(report.feature.requirements)
        yield Line(head, f"  {report.feature.title} ({ids}): {_counts(report)}", style)
        for reason in report.reasons:
            yield Line("  because: ", reason, style)
        for said in report.not_checked[:_SHOWN]:
            yield Line("  not checked: ", said, "dim")
        if len(report.not_checked) > _SHOWN:
            yield Line("  not checked: ", f"{len(report.not_checked) - _SHOWN} more, all in --json", "dim")
    yield Line("")
    yield from (Line("", said) for said in drill_lines(found))
    yield Line("")
    yield from (Line("", said) for said in score_lines(found))
    yield Line("")
    yield Line(*_last(found))


def _last(found: Assessment) -> tuple[str, str, str]:
    held = [one for one in found.features if one.ruling is not Ruling.SHIP]
    if not held:
        return "✓ SHIP", f"  all {len(found.features)} features, by {len(found.gathered.runs)} runs", "pass"
    head, style = _HEADS[Ruling.BROKEN if any(one.ruling is Ruling.BROKEN for one in held) else Ruling.LACKING]
    names = ", ".join(one.feature.name for one in held)
    return head, f"  {len(held)} of {len(found.features)} features: {names}", style


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _basis(found: Assessment) -> list[str]:
    """What the evidence is of: runs, targets, versions, times; and what was left out."""
    runs = found.gathered.runs
    if not runs:
        said = ["No judged run counts as evidence."]
    else:
        versions = sorted({version_text(("postgresql", run.versions.get("postgresql", "")))[1] for run in runs} - {""})
        target = ", ".join(found.gathered.targets) or "unknown"
        scenarios = len({run.scenario for run in runs})
        of = f"{_counted(len(runs), 'run')} of {_counted(scenarios, 'scenario')} on target {target}"
        times = f"oldest {moment_text(runs[0].started_at)}, newest {moment_text(runs[-1].started_at)}"
        said = [f"evidence: {of}, PostgreSQL {', '.join(versions) or 'unknown'}; {times}"]
    left = found.gathered.left_out
    if left:
        shown = "; ".join(f"{name}: {why}" for name, why in left[:3])
        said.append(f"left out: {_counted(len(left), 'run')} ({shown}{'; …' if len(left) > 3 else ''})")
    return said


def _counts(report: FeatureReport) -> str:
    counts = [(standing, report.count(standing)) for standing in Standing]
    told = ", ".join(f"{count} {standing.value}" for standing, count in counts if count)
    return f"{len(report.scenarios)} scenarios claim it: {told}" if report.scenarios else "no scenario claims it"


def drill_lines(found: Assessment) -> list[str]:
    """Tell the recovery by hand beside the service's own, and what people's part is."""
    drill = found.drill
    if drill.problem or drill.run is None:
        return [f"recovery by hand: not timed: {drill.problem}", *_minutes(found)]
    run = drill.run
    version = version_text(("postgresql", run.versions.get("postgresql", "?")))[1]
    rows = [("step", "by hand", "by itself"), *_drill_rows(drill)]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    said = [f"recovery, timed in {run.run} (target {run.target}, PostgreSQL {version}); the machine's part alone:"]
    said += [f"  {step:<{widths[0]}}  {hand:>{widths[1]}}  {itself}" for step, hand, itself in rows]
    return [*said, *_minutes(found)]


def _drill_rows(drill: Drill) -> list[tuple[str, str, str]]:
    rows = []
    for step in drill.steps:
        # The service takes these steps by itself as well: it notices, and it drains.
        own = {SELECT: drill.detect_seconds, DRAIN: drill.drain_seconds}
        itself = seconds_text(own[step.name]) if step.name in own else "an operator's, too"
        rows.append((f"{_STEPS.get(step.name, step.name)}{_note(step)}", _took(step), itself))
    rows.append(("first direct write after the repair", NONE, seconds_text(drill.recover_seconds)))
    total = drill.machine_seconds
    rows.append(("all steps", NONE if total is None else seconds_text(total), NONE))
    return rows


def _note(step: RepairStep) -> str:
    return f" ({step.said})" if step.said and step.name in (SELECT, LOAD, DRAIN) else ""


def _took(step: RepairStep) -> str:
    return "not timed" if step.seconds is None else f"{step.seconds:.3f} s"


def _minutes(found: Assessment) -> list[str]:
    """What people's part is said to be: an input, never a measurement."""
    minutes = found.inputs.manual_minutes
    if minutes is None:
        return ["operator minutes saved: not said, since no assess.toml gives recovery.manual_minutes"]
    low, high = minutes
    source = f", by {found.inputs.source}" if found.inputs.source else ""
    machine = found.drill.machine_seconds
    part = f"; the machine's part of that was {seconds_text(machine)} here" if machine is not None else ""
    proved = any(one.feature.name == "recovery" and one.ruling is Ruling.SHIP for one in found.features)
    said = [f"by hand a recovery takes people {low:g} to {high:g} minutes{source} (an input, not measured){part}"]
    if not proved:
        return [*said, "operator minutes saved: not said, since the runs do not prove that it recovers by itself"]
    frequency = found.inputs.of("recovery").frequency_per_year
    yearly = f", {low * frequency:g} to {high * frequency:g} a year" if frequency is not None else ""
    return [
        *said,
        f"operator minutes saved: {low:g} to {high:g} a recovery{yearly}: after the repair no run needed an operator",
    ]


def score_lines(found: Assessment) -> list[str]:
    """Tell the scores that can be made, what is missing for the others, and what the assessment's formula is worth."""
    where = str(found.inputs.path) if found.inputs.path else "no assess.toml was given"
    unit = f", impact and cost in {found.inputs.unit}" if found.inputs.unit else ""
    said = []
    for report in found.features:
        inputs = found.inputs.of(report.feature.name)
        if inputs.score is None:
            said.append(f"  {report.feature.name}: no score, {', '.join(inputs.missing)} not given")
        else:
            said.append(f"  {report.feature.name}: {inputs.score:.2f}")
    return [f"{FORMULA} ({where}{unit})", *said, REVENUE]


def to_markdown(found: Assessment) -> str:
    """Return the assessment as a document."""
    head, told, _ = _last(found)
    parts = ["# Readiness", "", f"**{head}** {escaped(told.strip())}", "", *map(escaped, _basis(found)), ""]
    rows = [
        (one.feature.title, ", ".join(one.feature.requirements), one.ruling.value, _counts(one))
        for one in found.features
    ]
    parts += [table(("feature", "requirements", "ruling", "evidence"), rows)]
    for report in found.features:
        parts += ["", f"## {report.feature.title}", ""]
        parts += [f"- because: {escaped(reason)}" for reason in report.reasons]
        parts += [f"- not checked: {escaped(said)}" for said in report.not_checked]
        titles = ("scenario", "proves", "runs", "verdict", "newest run")
        parts += ["", table(titles, map(_evidence_cells, report.scenarios))]
    parts += ["", "## Recovery by hand and by itself", "", *_drill_markdown(found)]
    parts += ["", "## Scores", "", *(f"- {escaped(said.strip())}" for said in score_lines(found))]
    return "\n".join(parts) + "\n"


def _evidence_cells(one: ScenarioEvidence) -> tuple[str, ...]:
    why = f" ({one.why})" if one.why else ""
    run = one.newest.run if one.newest is not None else NONE
    return one.scenario, ", ".join(one.requirements), str(one.runs), f"{one.standing.value}{why}", run


def _drill_markdown(found: Assessment) -> list[str]:
    drill = found.drill
    if drill.problem or drill.run is None:
        return [f"- {escaped(said)}" for said in drill_lines(found)]
    steps = table(("step", "by hand", "by itself"), _drill_rows(drill))
    timed = f"Timed in `{drill.run.run}`; the machine's part alone."
    return [timed, "", steps, "", *(f"- {escaped(said)}" for said in _minutes(found))]


def to_json(found: Assessment) -> dict[str, Any]:
    """Return everything; what is not known is null."""
    drill = found.drill
    return {
        "format": FORMAT,
        "exit_code": int(exit_of(found.features)),
        "targets": list(found.gathered.targets),
        "runs": len(found.gathered.runs),
        "left_out": [{"run": name, "why": why} for name, why in found.gathered.left_out],
        "features": [_feature(report, found.inputs) for report in found.features],
        "recovery": {
            "run": drill.run.run if drill.run is not None else None,
            "problem": drill.problem,
            "steps": [step.__dict__ for step in drill.steps],
            "by_hand_machine_seconds": drill.machine_seconds,
            "recover_seconds": drill.recover_seconds,
            "drain_seconds": drill.drain_seconds,
            "detect_seconds": drill.detect_seconds,
            "manual_minutes": None if found.inputs.manual_minutes is None else list(found.inputs.manual_minutes),
            "manual_minutes_source": found.inputs.source,
        },
        "formula": FORMULA,
        "unit": found.inputs.unit,
        "revenue": REVENUE,
    }


def _feature(report: FeatureReport, inputs: Inputs) -> dict[str, Any]:
    given = inputs.of(report.feature.name)
    return {
        "feature": report.feature.name,
        "title": report.feature.title,
        "requirements": list(report.feature.requirements),
        "ship": report.ruling is Ruling.SHIP,
        "ruling": report.ruling.value,
        "reasons": list(report.reasons),
        "not_checked": list(report.not_checked),
        "scenarios": [_scenario(one) for one in report.scenarios],
        "inputs": dict(given.__dict__),
        "score": given.score,
    }


def _scenario(one: ScenarioEvidence) -> dict[str, Any]:
    return {
        "scenario": one.scenario,
        "requirements": list(one.requirements),
        "standing": one.standing.value,
        "runs": one.runs,
        "run": one.newest.run if one.newest is not None else None,
        "started_at": one.newest.started_at if one.newest is not None else None,
        "failed": [run.run for run in one.failed],
        "why": one.why,
    }
