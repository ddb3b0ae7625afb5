"""The shape of what ``harness gate --json`` writes, which is also what ``--baseline`` reads.

As with :mod:`.shapes` the writer returns these types, and the published JSON Schema is made of them.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypedDict

GATE_FORMAT = 1
"""Version of the file; it grows when a field changes its meaning or goes."""

Decision = Literal["PASS", "KNOWN", "INSUFFICIENT", "FAIL"]
"""KNOWN: a failure that is not new, or is listed; it lets a release through."""
Source = Literal["runs", "prometheus"]
FeatureName = Literal["pool metrics", "partition isolation", "partition metrics", "recovery"]

_Worse = Annotated[float | None, "how bad it may truly be, more is worse; null: not known"]
_Features = Annotated[list[FeatureName], "what to prioritise"]
_Runs = Annotated[list[str], "names of runs"]


class GateExposure(TypedDict):
    """What a value stands for; 0 for what does not apply."""

    operations: float
    seconds: float
    runs: int
    text: str


class GateRow(TypedDict):
    """One metric by one source."""

    metric: str
    source: Source
    value: str
    bound: str
    exposure: GateExposure
    decision: Decision
    needed: Annotated[bool, "false: the gate passes though it is INSUFFICIENT"]
    reasons: list[str]
    features: Annotated[list[FeatureName], "what to prioritise if it fails"]
    worse_least: _Worse
    worse_most: _Worse


class GateFinding(TypedDict):
    """One kind of broken promise in all runs that were judged."""

    scenario: str
    checker: str
    promise: Annotated[int, "number of the promise, 1 to 9 (docs/reference/contract.md)"]
    kind: Annotated[str, "the sentence without its figures and ids, by which two findings are the same"]
    summary: str
    runs: _Runs
    event_ids: Annotated[list[str], "event ids concerned, all of them"]
    decision: Decision
    reason: Annotated[str, "why it is let through, or is not; empty for a new one"]


class Gate(TypedDict):
    """The outcome of `harness gate`."""

    gate_format: Annotated[int, "grows when a field goes or changes its meaning; new fields may come at any time"]
    decision: Literal["PASS", "INSUFFICIENT", "FAIL"]
    exit_code: Literal[0, 1, 3]
    now: Annotated[str, "as of when it was judged, RFC 3339"]
    judged: Annotated[str, "what was judged, and by which bounds"]
    runs: _Runs
    features: _Features
    rows: list[GateRow]
    findings: list[GateFinding]
    notes: list[str]
