"""Run checkers over one run, so that a crash of one is UNKNOWN and never hides in silence."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..checking import CHECKERS, CONDENSABLE, CheckResult
from ..rundata import Run
from ._common import forget


def judge(run: Run, names: Iterable[str], whole: Callable[[], Run] | None = None) -> tuple[CheckResult, ...]:
    """Return one result a name, in order; raises :class:`harness.errors.UsageError` for an unknown name.

    Checkers that cannot judge a condensed run get what ``whole`` returns.
    """
    checkers = [(name, CHECKERS.get(name)) for name in names]
    results: list[CheckResult] = []
    for name, checker in checkers:
        try:
            fits = run.condensed is None or name in CONDENSABLE
            results.append(checker(run if fits or whole is None else whole()))
        except Exception as error:  # noqa: BLE001  A checker that fails has judged nothing, whatever it failed of.
            said = f"The checker {name} crashed, so its promise was not judged: {type(error).__name__}: {error}"
            results.append(CheckResult(name, unknowns=(said,)))
    forget()
    return tuple(results)
