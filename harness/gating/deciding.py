"""Deciding: from what a user asks for to the outcome of a gate."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from ..errors import UsageError
from ..redaction import masked
from ..report.gateshapes import GATE_FORMAT
from ..report.judged import RESULT_FILE
from ..report.stored import SUITE_FILE
from .config import DEFAULT_FILE, GateConfig, load_config
from .findings import JudgedFinding, gathered, judged, stale
from .outcome import Baseline, Outcome, baseline_from_json, baseline_of, excused, rows_about_runs
from .places import Chosen, choose, verdicts_of
from .prometheus import Measurer
from .rows import Row, counted_text, span_text
from .runs import measure, rows_of
from .server import Period, Server

NO_RUNS = "no run was judged, and no counter of a service tells that an acknowledged event is gone; name runs as well"
"""What a gate says that saw a Prometheus only."""


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What a user asks of a gate."""

    names: tuple[str, ...]
    reports: Path
    config: Path | None
    prometheus: str | None
    prometheus_token: str = field(default="", repr=False)
    period_seconds: float
    baseline: str | None
    now: datetime


@dataclass(frozen=True, kw_only=True)
class _AboutRuns:
    """What runs come to: rows that no rate decides, the rates, and the findings."""

    rows: tuple[Row, ...] = ()
    rates: tuple[Row, ...] = ()
    findings: tuple[JudgedFinding, ...] = ()
    notes: tuple[str, ...] = ()


def decide(wish: Wish) -> Outcome:
    """Judge; raises :class:`UsageError` for anything that cannot be found or read."""
    path = wish.config or (DEFAULT_FILE if DEFAULT_FILE.is_file() else None)
    config = load_config(path)
    chosen = choose(wish.reports, wish.names)
    baseline, notes = _baseline(wish, config, chosen.folders)
    production = _about_production(wish, config) if wish.prometheus is not None else []
    about = _about_runs(wish, config, chosen, baseline) if wish.names else _AboutRuns(notes=(NO_RUNS,))
    return Outcome(
        now=wish.now,
        rows=(*about.rows, *excused([*about.rates, *production], baseline)),
        findings=about.findings,
        notes=(*about.notes, *notes),
        runs=tuple(folder.name for folder in chosen.folders),
        judged=_judged_text(wish, path, len(chosen.folders), baseline),
    )


def _judged_text(wish: Wish, path: Path | None, runs: int, baseline: Baseline) -> str:
    what = [counted_text(runs, "run")] if wish.names else []
    if wish.prometheus is not None:
        until = f"{wish.now:%Y-%m-%d %H:%M:%S} UTC"
        what.append(f"{span_text(wish.period_seconds)} of {masked(wish.prometheus)} up to {until}")
    by = f"bounds of {path}" if path is not None else "bounds of the assessment"
    against = [f"only what is new against {baseline.name} fails"] if baseline.name else []
    return "; ".join([f"judged: {' and '.join(what)}", by, *against])


def _about_production(wish: Wish, config: GateConfig) -> list[Row]:
    with Server(wish.prometheus or "", wish.prometheus_token) as server:
        measurer = Measurer(server, Period.of(wish.now.timestamp(), wish.period_seconds), config)
        rows = [measurer.row(slo) for slo in config.slos]
    return [replace(row, needed=row.metric not in config.optional) for row in rows]


def _about_runs(wish: Wish, config: GateConfig, chosen: Chosen, baseline: Baseline) -> _AboutRuns:
    verdicts, unread = verdicts_of(chosen.folders)
    today = wish.now.date()
    findings = judged(gathered(verdicts), config.known_defects, baseline.kinds, today, baseline.name)
    measures = [measure(one.folder, one.run, config) for one in verdicts]
    # A run that did not start has no history, and says so already.
    said = {one.run for one in verdicts if one.unknowns}
    unmeasured = [f"{one.run}: {one.problem}" for one in measures if one.problem and one.run not in said]
    problems = [*chosen.problems, *unread, *unmeasured]
    unfinished = sum(one.unfinished for one in measures)
    left_out = f"outside the faults {counted_text(unfinished, 'operation')} had no end when the run ended: not counted"
    scenarios = {one.scenario for one in verdicts}
    return _AboutRuns(
        rows=tuple(rows_about_runs(verdicts, findings, problems, asked=len(chosen.folders) + len(chosen.problems))),
        rates=tuple(rows_of(config, measures, deciding=wish.prometheus is None)),
        findings=tuple(findings),
        notes=(
            *chosen.notes,
            *([left_out] if unfinished else []),
            *stale(config.known_defects, findings, scenarios, today),
        ),
    )


def _baseline(wish: Wish, config: GateConfig, folders: Collection[Path]) -> tuple[Baseline, Sequence[str]]:
    """Read what the gate is held against, and what is to be said of it."""
    name = wish.baseline
    if name is None:
        return Baseline(), ()
    path = Path(name)
    if path.is_file() and path.name not in (RESULT_FILE, SUITE_FILE) and path.suffix == ".json":
        earlier = _earlier_gate(path)
        _refuse_itself(name, [folder.name for folder in folders if folder.name in earlier.runs])
        return earlier, ()
    chosen = choose(wish.reports, [name])
    _refuse_itself(name, [folder.name for folder in chosen.folders if folder in folders])
    verdicts, unread = verdicts_of(chosen.folders)
    if not verdicts:
        raise UsageError(f"The baseline {name!r} has no run that can be read: {'; '.join((*chosen.problems, *unread))}")
    measures = [measure(one.folder, one.run, config) for one in verdicts]
    baseline = baseline_of(name, rows_of(config, measures, deciding=True), gathered(verdicts))
    return baseline, [f"baseline: {problem}" for problem in (*chosen.problems, *unread)]


def _refuse_itself(name: str, both: Sequence[str]) -> None:
    if both:
        raise UsageError(
            f"The baseline {name!r} has the run {both[0]} in it, which is to be judged: against itself nothing is new. "
            "Name an earlier one."
        )


def _earlier_gate(path: Path) -> Baseline:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["gate_format"] != GATE_FORMAT:
            raise UsageError(
                f"{path} is of format {data['gate_format']}, this version reads {GATE_FORMAT}; make it anew."
            )
        return baseline_from_json(data, str(path))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{path} cannot be read as the result of an earlier gate ({error!r}); make one with harness gate --json."
        ) from error
