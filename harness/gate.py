"""Gate: the pure rule from results to an exit code.

0 everything passed · 1 a promise is broken · 2 nothing could be run (usage, set-up) · 3 inconclusive.  A FAIL
outranks everything, since it was proved; a set-up that failed outranks UNKNOWN, since its remedy comes first.

A command that comes to no result ends with 2 or 3 by an error, or by a signal's own code (``harness.ending``).
"""

from __future__ import annotations

import enum
from collections.abc import Sequence

from .results import RunResult, SuiteResult
from .values import Verdict


class Exit(enum.IntEnum):
    """Exit codes of every command."""

    PASSED = 0
    FAILED = 1
    USAGE = 2
    INCONCLUSIVE = 3


def decide(runs: Sequence[RunResult]) -> Exit:
    """Decide over a suite; no runs at all is inconclusive, never a pass."""
    verdict = Verdict.worst(run.verdict for run in runs)
    if verdict is Verdict.FAIL:
        return Exit.FAILED
    if any(run.setup_error for run in runs):
        return Exit.USAGE
    return Exit.PASSED if verdict is Verdict.PASS else Exit.INCONCLUSIVE


def decide_suite(suite: SuiteResult) -> Exit:
    """Decide as :func:`decide`; a state that a full suite owes and never reached makes a pass inconclusive."""
    exit_code = decide(suite.runs)
    return Exit.INCONCLUSIVE if exit_code is Exit.PASSED and suite.owed else exit_code
