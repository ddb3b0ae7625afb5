"""Evidence: which stored runs say what about each feature, and the ruling that follows.

Of each scenario the newest judged run counts, and every run that FAILED: a loss that shows in one run of five is no
less a loss.  Ship means that every requirement is proved by a PASS, that every scenario which claims it was played and
passed, and that those who had to look could.  Anything else is a hold, and says whether a promise is broken or evidence
is lacking.
"""

from __future__ import annotations

import enum
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from ..discovery import Scenarios
from ..errors import HistoryError, UsageError
from ..gate import Exit
from ..report.judged import Judged, find_stored, read_judged, read_suite
from ..report.stored import SUITE_FILE, stored_runs, stored_suites
from ..report.summary import ids_text
from ..values import Promise
from .features import FEATURES, Feature

_SHOWN = 5
_AGAIN = "-again"
"""Ends the name of a run that a suite played a second time, since the first was in doubt."""


class Standing(enum.StrEnum):
    """What the stored runs say of one scenario."""

    PASSED = "PASS"
    FAILED = "FAIL"
    UNKNOWN = "UNKNOWN"
    MISSING = "no run"
    SKIPPED = "skipped"


class Ruling(enum.StrEnum):
    """What becomes of a feature."""

    SHIP = "ship"
    BROKEN = "hold: a promise is broken"
    LACKING = "hold: evidence is lacking"


@dataclass(frozen=True, kw_only=True)
class Gathered:
    """The runs that count as evidence, oldest first; those left out, with why; what machines could not play.

    Of ``unread`` runs there is a verdict, and nobody knows which.
    """

    runs: tuple[Judged, ...]
    left_out: tuple[tuple[str, str], ...] = ()
    unread: tuple[str, ...] = ()
    skipped: Mapping[str, str]

    @property
    def targets(self) -> tuple[str, ...]:
        """Whose runs they are."""
        return tuple(sorted({run.target for run in self.runs if run.target}))


@dataclass(frozen=True, kw_only=True)
class ScenarioEvidence:
    """One scenario that claims a requirement of a feature.

    ``newest`` is the run that counts, ``failed`` are all that failed, ``why`` is what the standing rests on.
    """

    scenario: str
    requirements: tuple[str, ...]
    standing: Standing
    newest: Judged | None = None
    failed: tuple[Judged, ...] = ()
    runs: int = 0
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class FeatureReport:
    """One feature with its evidence and the ruling.

    ``reasons`` for a hold are sentences; ``not_checked`` is what nobody looked at, held or not.
    """

    feature: Feature
    scenarios: tuple[ScenarioEvidence, ...]
    ruling: Ruling
    reasons: tuple[str, ...] = ()
    not_checked: tuple[str, ...] = ()

    def count(self, standing: Standing) -> int:
        """Count the scenarios of that standing."""
        return sum(one.standing is standing for one in self.scenarios)


def gather(reports: Path, names: Sequence[str], *, since: datetime | None, target: str) -> Gathered:
    """Collect the runs named (runs or suites), or all below ``reports``.

    Raises :class:`UsageError` where they are of several targets and none was chosen.
    """
    if not reports.is_dir() and not names:
        raise UsageError(f"There is no folder {reports}, so there is no evidence; `harness run` makes it.")
    stored = [find_stored(reports, name) for name in names]
    suites = [one for one in stored if (one / SUITE_FILE).is_file()] if names else stored_suites(reports)
    folders = [one for one in stored if one not in suites] if names else [run.folder for run in stored_runs(reports)]
    skipped: dict[str, str] = {}
    lost: list[tuple[str, str]] = []
    for folder in suites:
        try:
            suite = read_suite(folder)
        except HistoryError as error:
            if names:
                raise
            lost.append((folder.name, str(error)))
            continue
        skipped |= {name: reason for name, reason in suite.skipped if name not in skipped}
        if names:
            folders += [entry.folder for entry in suite.entries]
    runs, left_out, unread = _read(dict.fromkeys(folders), since)
    left_out += lost
    found = Gathered(runs=tuple(runs), left_out=tuple(left_out), unread=tuple(unread), skipped=skipped)
    if target:
        others = {run.run: f"of the target {run.target}" for run in runs if run.target != target}
        kept = tuple(run for run in runs if run.run not in others)
        return replace(found, runs=kept, left_out=(*left_out, *others.items()))
    if len(found.targets) > 1:
        raise UsageError(
            f"The runs are of several targets: {', '.join(found.targets)}. What one service proves says nothing about "
            "another; choose one with --target-name, or name runs or suites."
        )
    return found


def _read(folders: Iterable[Path], since: datetime | None) -> tuple[list[Judged], list[tuple[str, str]], list[str]]:
    runs: list[Judged] = []
    left_out: list[tuple[str, str]] = []
    unread: list[str] = []
    for folder in folders:
        try:
            judged = read_judged(folder)
        except HistoryError as error:
            left_out.append((folder.name, str(error)))
            unread.append(folder.name)
            continue
        if judged is None:
            left_out.append((folder.name, "never judged"))
        elif judged.setup_error or judged.verdict == "SETUP":
            left_out.append((folder.name, "could not be set up"))
        elif since is not None and not _at_least(judged.started_at, since):
            left_out.append((folder.name, f"older than {since.isoformat()}"))
        else:
            runs.append(judged)
    again = {run.run for run in runs if run.run.endswith(_AGAIN)}
    # What a suite measured a second time at once counts by the second time; what no second time mends counts as well.
    twice = [run.run for run in runs if f"{run.run}{_AGAIN}" in again and _excusable(run)]
    left_out += [(name, "measured again") for name in twice]
    runs = [run for run in runs if run.run not in twice]
    return sorted(runs, key=lambda run: (run.started_at, run.run)), left_out, unread


def _excusable(run: Judged) -> bool:
    """Tell whether a busy machine may have caused all that is wrong with a run: no event lost, nothing timeless."""
    return not any(broken.timeless or broken.promise == Promise.CONSERVATION for broken in run.broken)


def _at_least(started_at: str, since: datetime) -> bool:
    """Tell whether a run began then or later; one whose time nobody can read did not."""
    try:
        return datetime.fromisoformat(started_at) >= since
    except (ValueError, TypeError):
        return False


def assess(gathered: Gathered, scenarios: Scenarios) -> tuple[FeatureReport, ...]:
    """Rule on every feature."""
    return tuple(_feature(feature, gathered, scenarios) for feature in FEATURES)


def exit_of(reports: Sequence[FeatureReport]) -> Exit:
    """0 only when every feature ships; a broken promise outranks a lack of evidence."""
    if any(one.ruling is Ruling.BROKEN for one in reports):
        return Exit.FAILED
    return Exit.PASSED if reports and all(one.ruling is Ruling.SHIP for one in reports) else Exit.INCONCLUSIVE


def _feature(feature: Feature, gathered: Gathered, scenarios: Scenarios) -> FeatureReport:
    wanted = set(feature.requirements)
    claims = {one.name: one.requirements for one in scenarios.values() if wanted & set(one.requirements)}
    claims |= {run.scenario: run.requirements for run in gathered.runs if wanted & set(run.requirements)}
    found = tuple(
        _scenario(name, tuple(one for one in claims[name] if one in wanted), gathered) for name in sorted(claims)
    )
    passed = [one.newest for one in found if one.standing is Standing.PASSED and one.newest is not None]
    unlooked = dict.fromkeys(
        f"{checker}: {needs}" for one in found if one.newest is not None for checker, needs in one.newest.not_checked
    )
    broken = [_broken(one) for one in found if one.standing is Standing.FAILED]
    reasons = broken or [*_lacking(feature, found, passed), *_unread(gathered)]
    ruling = Ruling.BROKEN if broken else Ruling.LACKING if reasons else Ruling.SHIP
    skips = (f"{one.scenario}: {one.why}" for one in found if one.standing is Standing.SKIPPED)
    return FeatureReport(
        feature=feature, scenarios=found, ruling=ruling, reasons=tuple(reasons), not_checked=(*unlooked, *skips)
    )


def _scenario(name: str, requirements: tuple[str, ...], gathered: Gathered) -> ScenarioEvidence:
    runs = [run for run in gathered.runs if run.scenario == name]
    failed = tuple(run for run in runs if run.verdict == "FAIL")
    if not runs:
        reason = gathered.skipped.get(name, "")
        standing = Standing.SKIPPED if reason else Standing.MISSING
        return ScenarioEvidence(scenario=name, requirements=requirements, standing=standing, why=reason)
    newest = runs[-1]
    if failed:
        standing, why = Standing.FAILED, _promises(failed)
    elif newest.verdict == "PASS":
        standing, why = Standing.PASSED, ""
    else:
        standing, why = Standing.UNKNOWN, next(iter(newest.unknowns), "no reason was stored")
    return ScenarioEvidence(
        scenario=name,
        requirements=requirements,
        standing=standing,
        newest=newest,
        failed=failed,
        runs=len(runs),
        why=why,
    )


def _promises(failed: Sequence[Judged]) -> str:
    numbers = sorted({broken.promise for run in failed for broken in run.broken})
    return ", ".join(f"promise {number} ({_promise_word(number)})" for number in numbers) or "no finding was stored"


def _promise_word(number: int) -> str:
    try:
        return Promise(number).name.lower().replace("_", " ")
    except ValueError:
        return "unknown"


def _broken(one: ScenarioEvidence) -> str:
    last = one.failed[-1]
    often = f"{len(one.failed)} of {one.runs} runs" if one.runs > 1 else "its run"
    said = f"{one.scenario} failed in {often}, breaking {one.why}: {last.run}"
    if one.newest is None or one.newest.verdict == "FAIL":
        return said
    return f"{said} (a newer run did not fail; if the service was mended in between, --since leaves the older out)"


def _unread(gathered: Gathered) -> list[str]:
    """What a run says that nobody can read may be about any feature."""
    if not gathered.unread:
        return []
    shown = ids_text(gathered.unread, _SHOWN, "--json")
    return [f"the verdict of {shown} cannot be read: `harness check` it, name what counts, or remove it"]


def _lacking(feature: Feature, found: Sequence[ScenarioEvidence], passed: Sequence[Judged]) -> list[str]:
    proved = {requirement for run in passed for requirement in run.requirements}
    reasons = [f"no run proves {one}" for one in feature.requirements if one not in proved]
    unsure = [one for one in found if one.standing is Standing.UNKNOWN]
    reasons += [f"{one.scenario} could not be decided: {one.why}" for one in unsure[:_SHOWN]]
    if len(unsure) > _SHOWN:
        reasons.append(f"{len(unsure) - _SHOWN} more scenarios could not be decided")
    missing = [one.scenario for one in found if one.standing is Standing.MISSING]
    if missing:
        shown = ids_text(missing, _SHOWN, "--json")
        command = f"harness run {' '.join(shlex.quote(name) for name in missing)}"
        told = f" ({command})" if len(missing) <= _SHOWN else ""
        reasons.append(f"{len(missing)} of {len(found)} scenarios that claim it have no run: {shown}{told}")
    looked = {said.checker for run in passed for said in run.checks if said.verdict == "PASS"}
    if passed:
        blind = [checker for checker in feature.checkers if checker not in looked]
        reasons += [f"the checker {checker} passed in no run: nobody could look" for checker in blind]
    return reasons
