"""Checker: one invariant each, pure and synchronous: ``check(run) -> CheckResult``.

Checkers import no I/O (a test enforces it), so a stored run can be judged again and a hand-made history can
prove that a checker is able to fail.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from .registry import Registry
from .rundata import Run
from .values import Promise, Verdict


@dataclass(frozen=True)
class Finding:
    """One broken promise: a sentence, and the events concerned (all of them; reports shorten)."""

    promise: Promise
    summary: str
    event_ids: tuple[str, ...] = ()
    t: float | None = None
    comparative: bool = False
    """True for a latency compared with the control phase: such a finding counts only when it is seen twice."""
    timeless: bool = False
    """True for what no delay brings about, such as a loss: it counts though the whole machine stood still meanwhile."""


@dataclass(frozen=True)
class CheckResult:
    """What one checker says.

    ``findings`` make it FAIL, ``unknowns`` (reasons why nothing can be said) make it UNKNOWN.  ``not_checked``
    names the capability that the target lacks; such a result has no verdict.  ``facts`` are measured figures for
    the report, with units in their names.
    """

    checker: str
    findings: tuple[Finding, ...] = ()
    unknowns: tuple[str, ...] = ()
    not_checked: str = ""
    facts: dict[str, float] = field(default_factory=dict)

    @property
    def verdict(self) -> Verdict:
        """FAIL outranks UNKNOWN outranks PASS."""
        if self.findings:
            return Verdict.FAIL
        return Verdict.UNKNOWN if self.unknowns else Verdict.PASS


@dataclass(frozen=True)
class Clocks:
    """The four clocks of one fault, in seconds; None where the event never came.

    Detect: bite to the first sign that the service noticed.  Fallback: bite to the first 202.  Recover: first
    successful probe after heal to the first direct 201 of the slowest month.  Drain: the same probe to an empty
    DLQ.  ``number`` is that of the fault in its run, which tells several of one name apart.
    """

    fault: str
    detect_seconds: float | None = None
    fallback_seconds: float | None = None
    recover_seconds: float | None = None
    drain_seconds: float | None = None
    number: int = 0


COMPARED_WITH, BOUND = "compared_with_seconds", "bound_seconds"
"""The facts of a comparison of latencies: what was usual in the same run, and what was allowed because of it."""

STOOD_STILL = "stood_still_seconds"
"""The fact that the whole machine stood still while the run went on, and for how long (checker ``evidence``)."""


class Checker(Protocol):
    """One invariant.  Implementations are registered functions."""

    def __call__(self, run: Run) -> CheckResult:
        """Judge a run; must not raise for a short or strange history, but say UNKNOWN."""


CHECKERS: Registry[Checker] = Registry("checker")


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a checker needs of a condensed run, so that it says of it what it says of the whole one.

    ``cuts``: times (seconds) with which its rules compare an operation's invocation or completion; all operations of
    a folded group lie on the same side of each.  ``moments``: times before which it asks for a month's last direct
    write.  ``asked``: times of which it asks for the last 201 among what had been sent by then.  ``stalls``: spans in
    which it asks for writes of ``stall_seconds`` and more.
    """

    cuts: tuple[float, ...] = ()
    moments: tuple[float, ...] = ()
    asked: tuple[float, ...] = ()
    stalls: tuple[tuple[float, float], ...] = ()
    stall_seconds: float = math.inf


CONDENSABLE: Registry[Callable[[Run], Needs]] = Registry("condensable checker")
"""Checkers that may be given a condensed run, by what they need of it: functions of the run without its operations.

A checker that is not in it is given the whole run, whatever that costs.
"""


def nothing_more(_: Run) -> Needs:
    """What a checker needs that compares operations with no times but those of the oracle."""
    return Needs()


SOMETIMES: Registry[str] = Registry("state")
"""States that a whole suite must have reached somewhere, each with a sentence; the checker ``reached`` tells them."""

REACHED_PREFIX = "reached_"
"""Begins the name of the fact that tells whether a run reached a state."""
