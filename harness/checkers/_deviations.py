"""Operations that answered otherwise than the oracle allows, sorted by the promise that they break.

One operation is judged by one checker only: by ``isolation`` when no radius covers it while a fault is on or at
its edge, by ``recovery`` when its month was covered and it is queued after the recovery edge, by
``honest-status`` in every other case.
"""

from __future__ import annotations

import enum
import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from .. import events as ev
from ..checking import Finding
from ..oracle import CONFLICT, CREATED, NO_ANSWER, QUEUED, REJECTED, UNAVAILABLE, Expectation
from ..rundata import Operation, Run
from ..values import Phase, Promise
from ._common import Calm, Canary, event_ids, expectations, reaches, recovery_edge, shared
from ._stored import Stored

BROKEN_OFF = ("load", "abort", "harness")
"""Topics of the notes that say that the harness itself, or its load, did not play the run to its end."""


class Owner(enum.Enum):
    """The checker that judges a deviation."""

    STATUS = "honest-status"
    ISOLATION = "isolation"
    RECOVERY = "recovery"


@dataclass(frozen=True)
class Deviation:
    """One answer outside what is allowed.  ``excuse`` says why it proves nothing; empty when it does."""

    operation: Operation
    owner: Owner
    promise: Promise
    said: str
    excuse: str = ""


def deviations(run: Run, owner: Owner) -> list[Deviation]:
    """All deviations that one checker has to judge."""
    judge = _Judge(run)
    found = (judge.deviation(operation, expected) for operation, expected in expectations(run))
    return [deviation for deviation in found if deviation is not None and deviation.owner is owner]


def grouped(found: Iterable[Deviation]) -> tuple[tuple[Finding, ...], tuple[str, ...]]:
    """One finding, or one reason to be unsure, for all deviations that read the same."""
    findings: dict[tuple[Promise, str], list[Operation]] = defaultdict(list)
    unknowns: dict[str, list[Operation]] = defaultdict(list)
    for deviation in found:
        if deviation.excuse:
            unknowns[f"{deviation.said}: {deviation.excuse}"].append(deviation.operation)
        else:
            findings[deviation.promise, deviation.said].append(deviation.operation)
    return (
        tuple(
            Finding(promise, f"{len(operations)} x {said}.", event_ids(operations), operations[0].invoked)
            for (promise, said), operations in findings.items()
        ),
        tuple(
            f"{len(operations)} x {reason} (first event {event_ids(operations)[0]})."
            for reason, operations in unknowns.items()
        ),
    )


class _Judge:
    """Knows the run's canary and its final reads, which decide between a finding and an excuse."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._canary = shared(run, Canary)
        self._stored = shared(run, Stored)

    def deviation(self, operation: Operation, expected: Expectation) -> Deviation | None:
        """Return None for an allowed answer, and for one that the end of the run cut off."""
        if operation.status in expected.allowed or self._cut_off(operation):
            return None
        owner = self._owner(operation, expected)
        promise = {
            Owner.ISOLATION: Promise.ISOLATION,
            Owner.RECOVERY: Promise.RECOVERY,
            Owner.STATUS: Promise.FALLBACK if operation.status == NO_ANSWER else Promise.HONEST_STATUS,
        }[owner]
        said = _said(operation, expected, owner)
        return Deviation(operation, owner, promise, said, self._excuse(operation, expected))

    def _cut_off(self, operation: Operation) -> bool:
        """Nobody waited for an answer that was due after the end of the run, or of the load that asked for it."""
        if not math.isinf(operation.completed):
            return False
        waited = self._run.end - operation.invoked
        broken_off = self._run.final is None or any(note.topic in BROKEN_OFF for note in self._run.of_kind(ev.Note))
        return broken_off or waited <= self._run.limits.request_deadline_seconds

    def _owner(self, operation: Operation, expected: Expectation) -> Owner:
        if expected.covered:
            return Owner.STATUS
        active = any(
            window.injecting <= operation.completed and operation.invoked <= recovery_edge(window, self._run)
            for window in self._run.windows
        )
        if active:
            return Owner.ISOLATION
        once_covered = any(reaches(window, operation.month) for window in self._run.windows)
        if expected.phase is Phase.AFTER and once_covered and operation.status == QUEUED:
            return Owner.RECOVERY
        return Owner.STATUS

    def _excuse(self, operation: Operation, expected: Expectation) -> str:
        if operation.status == CREATED and operation.kind in (ev.OpKind.WRITE, ev.OpKind.RESEND):
            return self._stored.radius_was_wrong(operation)
        if operation.status == NO_ANSWER and self._canary.stalled_unexplained(operation):
            return "the canary's own inserts stalled or failed as well, though no fault was the reason"
        honest_answers = (CREATED, QUEUED, REJECTED, CONFLICT, UNAVAILABLE)
        if expected.allowed == {NO_ANSWER} and operation.status in honest_answers:
            return "the service answered while the fault should have silenced it, so the fault did not bite"
        queued_in_health = operation.status == QUEUED and expected.allowed <= {CREATED, CONFLICT, REJECTED}
        if not queued_in_health or operation.kind is ev.OpKind.INVALID:
            return ""
        calm = self._canary.around(operation.month, operation.invoked, operation.completed)
        if calm is Calm.STALLED:
            return "the canary's own inserts stalled or failed as well, so queueing was honest"
        if calm is Calm.UNSEEN:
            return "no canary insert ran beside it, so a stalled disk cannot be told from a defect"
        return ""


def _said(operation: Operation, expected: Expectation, owner: Owner) -> str:
    allowed = " or ".join("no answer" if status == NO_ANSWER else str(status) for status in sorted(expected.allowed))
    got = f"answered {operation.status}"
    if operation.status == NO_ANSWER:
        got = f"got no answer{f' ({operation.error})' if operation.error else ''}"
    where = {
        Owner.ISOLATION: "outside every fault's radius while one was active",
        Owner.RECOVERY: "after the recovery edge",
        Owner.STATUS: f"{expected.phase} the fault" if expected.strict else "at a fault's edge",
    }[owner]
    return f"{operation.kind} into {operation.month} {got} where {allowed} is due, {where}"
