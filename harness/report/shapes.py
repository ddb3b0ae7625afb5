"""The shapes of what programs read: ``result.json``, ``suite.json`` and the lines of the event stream.

The writers return these types, so mypy keeps them to it, and ``harness.report.schema`` makes the published JSON Schema
of them, so neither can drift from the other.  A text in ``Annotated`` becomes the description of a field.

Anything may be added at any time; ``SCHEMA_VERSION`` grows when a field goes or changes its meaning.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypedDict

SCHEMA_VERSION = 1
"""Version of all three; it grows when a field changes its meaning or goes."""

Verdict = Literal["PASS", "FAIL", "UNKNOWN", "SETUP"]
"""SETUP: the run never got to be judged, since something could not be set up."""
CheckVerdict = Literal["PASS", "FAIL", "UNKNOWN", "NOT CHECKED"]
ExitCode = Literal[0, 1, 2, 3]
FaultStep = Literal["injecting", "injected", "confirmed", "not-confirmed", "healing", "healed", "probed", "heal-failed"]

_Version = Annotated[int, "grows when a field changes its meaning or goes; new fields may come at any time"]
_Seconds = Annotated[float, "seconds"]
_OnTheClock = Annotated[float | None, "seconds on the run's clock; null: it never came"]
_Run = Annotated[str, "the run's name, and that of its folder below the reports"]
_Ids = Annotated[list[str], "event ids concerned, all of them"]
_Promise = Annotated[int, "number of the promise, 1 to 9 (docs/reference/contract.md)"]
_Repeat = Annotated[str, "the shell command that repeats the run"]
_Requirements = Annotated[list[str], "ids of docs/reference/requirements.md that a PASS proves"]
_Error = Annotated[str, "why it could not be set up; empty if it could"]
_Unknowns = Annotated[list[str], "why it cannot be judged, each beginning with the checker that says so"]


class NotChecked(TypedDict):
    """A checker that could not judge, since the target file declares absent what it needs."""

    checker: str
    needs: str


class Finding(TypedDict):
    """One broken promise."""

    promise: _Promise
    promise_name: str
    summary: str
    event_ids: _Ids
    t: Annotated[float | None, "seconds on the run's clock, where it has a moment"]
    timeless: Annotated[bool, "true: no delay brings it about, so that a second measurement never excuses it"]


class ToldFinding(Finding):
    """One broken promise, with what became of the content of its events."""

    changes: Annotated[dict[str, list[str]], "by event id, `key: sent → stored` for each key that differs"]


class Check(TypedDict):
    """What one checker said."""

    checker: str
    verdict: CheckVerdict
    not_checked: Annotated[str, "what the target lacks; empty if it was checked"]
    findings: list[ToldFinding]
    unknowns: list[str]
    facts: Annotated[dict[str, float | None], "measured figures, units in their names; null: not a finite number"]


class Clocks(TypedDict):
    """The four clocks of one fault, in seconds; null where the event never came (docs/reference/checkers.md)."""

    fault: str
    number: Annotated[int, "its number in the schedule: several may have one name"]
    detect_seconds: float | None
    fallback_seconds: float | None
    recover_seconds: float | None
    drain_seconds: float | None


class Waits(TypedDict):
    """Time that no faster machine would shorten."""

    edge_seconds: _Seconds
    timeout_seconds: _Seconds
    sampling_seconds: _Seconds
    total_seconds: _Seconds


class Fault(TypedDict):
    """One fault of the run on its clock."""

    fault: Annotated[int, "its number in the schedule"]
    name: str
    months: Annotated[list[str] | None, "months that it covers, as 2025_12; null for all"]
    write: Annotated[str, "what becomes of writes: yes, no, partial, delayed"]
    injecting: _Seconds
    injected: _OnTheClock
    confirmed: _OnTheClock
    healing: _OnTheClock
    healed: _OnTheClock
    probed: Annotated[float | None, "when a probe of the harness saw health again; recovery is timed from there"]
    problem: Annotated[str, "why it was not confirmed or not healed; empty for neither"]
    failed_heals: list[str]
    evidence: Annotated[str, "how it was seen from outside that the fault bit"]


class _Scenario(TypedDict):
    """What every stored scenario has."""

    name: str
    claim: str
    requirements: _Requirements
    load: dict[str, Any]
    schedule: Annotated[list[dict[str, Any]], "each step: `fault` is its name, the rest are its fields"]
    service_environment: Annotated[dict[str, str], "what the scenario adds to the service's environment, redacted"]


class Scenario(_Scenario, total=False):
    """The scenario as it was played; enough for a replay (docs/how-to/scenario.md)."""

    extra_checkers: list[str]
    exclusive: bool
    judge_latency: bool
    min_strict_events: int
    strict_phases: Annotated[list[str] | None, "phases that owe strictly judged events; null for all"]
    min_latency_samples: int
    recovery_deadline_seconds: _Seconds
    fault_seconds: _Seconds


class Brief(TypedDict):
    """What a result and a suite's entry have in common."""

    run: _Run
    verdict: Verdict
    seed: int
    seconds: _Seconds
    setup_error: _Error
    repeat_command: _Repeat
    unknowns: _Unknowns
    not_checked: list[NotChecked]


class _Result(Brief):
    """What every result has."""

    schema_version: _Version
    scenario: Scenario
    checks: list[Check]
    clocks: list[Clocks]
    waits: Waits
    timings: Annotated[dict[str, float], "how long parts of the run took, in seconds"]


class OfHistory(TypedDict, total=False):
    """What only a run's history tells of it."""

    started_at: Annotated[str, "wall-clock time of the run's 0, RFC 3339"]
    target: str
    versions: dict[str, str]
    limits: Annotated[dict[str, float], "the numbers by which the target wants to be judged"]
    faults: list[Fault]
    operations: Annotated[int, "events sent"]


class Result(_Result, OfHistory):
    """result.json: one run, judged. What only its history tells is missing when set-up failed before there was one."""


class SuiteRun(Brief):
    """One run of a suite, in short; its folder has the rest."""

    scenario: str
    claim: str
    requirements: _Requirements
    folder: Annotated[str, "its folder, beside the suite's"]
    findings: list[Finding]


class Skipped(TypedDict):
    """A scenario that this machine cannot play."""

    scenario: str
    reason: Annotated[str, "what is lacking, and how to get it"]


class Reached(TypedDict):
    """A state that matters, and how many runs reached it (docs/reference/checkers.md)."""

    name: str
    sentence: str
    runs: int
    of: Annotated[int, "runs that could have seen it"]
    owed: Annotated[bool, "true: the whole suite was played and none reached it, so it proves nothing about it"]


class Suite(TypedDict):
    """suite.json: all runs of one command, and its decision."""

    schema_version: _Version
    suite: Annotated[str, "its name, and that of its folder below the reports"]
    verdict: Annotated[Verdict, "the worst of its runs; a set-up that failed makes it UNKNOWN"]
    exit_code: Annotated[ExitCode, "0 passed, 1 a promise is broken, 2 could not be set up, 3 inconclusive"]
    seconds: _Seconds
    jobs: Annotated[int, "environments at once"]
    skipped: list[Skipped]
    full: Annotated[bool, "it was every scenario of the default suite"]
    reached: list[Reached]
    irreducible_seconds: Annotated[float, "waits of the suite that no faster machine would shorten"]
    runs: list[SuiteRun]


class Head(TypedDict):
    """What every line has."""

    schema_version: _Version
    seq: Annotated[int, "number of the line, from 1"]
    at: Annotated[str, "wall-clock time of the line, RFC 3339 in UTC"]


class SuiteStarted(Head):
    """First line: what is about to be played."""

    event: Literal["suite-started"]
    suite: str
    target: str
    seed: int
    jobs: int
    scenarios: list[str]
    skipped: list[Skipped]


class RunStarted(Head):
    """A run begins."""

    event: Literal["run-started"]
    run: _Run
    scenario: str
    claim: str
    requirements: _Requirements
    again: Annotated[bool, "true: it is played again, since the first time was in doubt"]


class Step(Head):
    """A run enters a step of its lifecycle."""

    event: Literal["step"]
    run: _Run
    number: Annotated[int, "1 to 13; one may come several times (ARCHITECTURE.md)"]
    text: str


class Progress(Head):
    """So many events have been answered; at most once a second and run."""

    event: Literal["progress"]
    run: _Run
    events: int


class PhaseEntered(Head):
    """The workload of a run enters a phase."""

    event: Literal["phase"]
    run: _Run
    t: Annotated[float, "seconds on the run's clock"]
    phase: Annotated[str, "before, during or after the faults"]


class FaultStepped(Head):
    """A fault comes to a step."""

    event: Literal["fault"]
    run: _Run
    t: Annotated[float, "seconds on the run's clock"]
    fault: Annotated[int, "its number in the schedule"]
    name: str
    step: FaultStep
    detail: Annotated[str, "the evidence of confirmed, the reason of not-confirmed and heal-failed"]


class FindingMade(Head):
    """A judged run broke a promise; before its run-finished."""

    event: Literal["finding"]
    run: _Run
    checker: str
    promise: _Promise
    promise_name: str
    summary: str
    events: Annotated[int, "how many events are concerned"]
    event_ids: Annotated[list[str], "the first of them; result.json has all"]


class RunFinished(Head):
    """A run has been judged, and its reports are written."""

    event: Literal["run-finished"]
    run: _Run
    scenario: str
    verdict: Verdict
    seconds: _Seconds
    findings: int
    unknowns: _Unknowns
    setup_error: _Error
    clocks: list[Clocks]
    folder: Annotated[str, "path of its folder, as seen from where the command was started"]
    repeat_command: _Repeat


class SuiteFinished(Head):
    """Last line of a suite that came to its end."""

    event: Literal["suite-finished"]
    suite: str
    verdict: Verdict
    exit_code: ExitCode
    seconds: _Seconds
    counts: Annotated[dict[str, int], "runs by verdict"]
    folder: Annotated[str, "path of its folder, as seen from where the command was started"]


class BrokenOff(Head):
    """Last line of a command that was ended, or could not go on: nothing was decided."""

    event: Literal["broken-off"]
    reason: str
    exit_code: Annotated[int, "of the command: 2, 3 (also of a defect of the harness), or 128 and a signal's number"]


Event = (
    SuiteStarted
    | RunStarted
    | Step
    | Progress
    | PhaseEntered
    | FaultStepped
    | FindingMade
    | RunFinished
    | SuiteFinished
    | BrokenOff
)
"""One line of the stream of ``harness run --events``."""
