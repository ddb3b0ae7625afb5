"""Profile: what one stored run measured, small enough to hold those of two suites."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ..checkers._common import forget
from ..errors import HarnessError
from ..judging import is_large, load_run, open_run
from ..noise import Quantile, quantile
from ..report.figures import Answers, answers, canary_times, key_metrics, latencies
from ..report.judged import Judged

SHARES = (0.5, 0.95, 0.99)
"""The quantiles of latency that are compared."""


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The figures of one run beside its verdict; ``problem`` says why there are none.

    Quantiles are by share.  ``outside``, ``control`` and ``under`` are those of
    :class:`harness.report.figures.Latencies`, ``canary`` those of the harness's own inserts.
    """

    judged: Judged
    outside: Mapping[float, Quantile | None] = field(default_factory=dict)
    control: Mapping[float, Quantile | None] = field(default_factory=dict)
    under: Mapping[float, Quantile | None] = field(default_factory=dict)
    canary: Mapping[float, Quantile | None] = field(default_factory=dict)
    writes: int = 0
    answers: Answers | None = None
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    problem: str = ""


def profile_of(judged: Judged, progress: Callable[[str], None]) -> Profile:
    """Read a run's history; one that cannot be read leaves its verdict alone, and the reason."""
    try:
        run = open_run(judged.folder, progress).run if is_large(judged.folder) else load_run(judged.folder)
    except HarnessError as error:
        return Profile(judged=judged, problem=str(error))
    times = latencies(run)
    canary = canary_times(run)
    found = Profile(
        judged=judged,
        outside={share: quantile(times.outside, share) for share in SHARES},
        control={share: quantile(times.control, share) for share in SHARES},
        under={share: quantile(times.under, share) for share in SHARES},
        canary={share: quantile(canary, share) for share in SHARES},
        writes=len(times.outside),
        answers=answers(run),
        metrics=key_metrics(run),
    )
    forget()
    return found
