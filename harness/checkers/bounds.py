"""Promise 9, connections: never more of the service's role than its pool may hold, in two samples running."""

from __future__ import annotations

from .. import events as ev
from ..checking import CHECKERS, CONDENSABLE, CheckResult, Finding, nothing_more
from ..rundata import Run
from ..values import Promise
from ._common import in_flight, recovery_edge, unseen

NAME = "bounds"
SHORTEST_SECONDS = 0.2
"""An excess seen for less may be a backend that PostgreSQL has not yet reaped."""
LONGEST_GAP_SECONDS = 2.0
"""Two samples further apart do not show that the excess lasted."""


@CHECKERS.register(NAME)
def bounds(run: Run) -> CheckResult:
    """Judge the connection samples; where backends outlive their clients the process's own sockets count."""
    if not run.reads.sql:
        return CheckResult(NAME, not_checked="sql")
    samples = run.of_kind(ev.ConnectionSample)
    blind = unseen(run, "connection samples", [(sample.t, sample.backends >= 0) for sample in samples])
    counted = [(sample.t, count) for sample in samples if (count := _count(run, sample)) >= 0]
    if not counted:
        said = blind or "No connection sample could be read, so the pool's bound was not judged."
        return CheckResult(NAME, unknowns=(said,))
    facts = {
        "connections_most": float(max(count for _, count in counted)),
        "connection_samples": float(len(counted)),
        "connection_samples_not_usable": float(len(samples) - len(counted)),
    }
    findings = tuple(
        Finding(
            Promise.BOUNDS,
            f"{most} connections, more than the pool's maximum of {run.limits.db_pool_max}, "
            f"from {start:.2f} s to {end:.2f} s.",
            in_flight(run, start, end),
            start,
        )
        for start, end, most in _excesses(counted, run.limits.db_pool_max)
    )
    return CheckResult(NAME, findings, (blind,) if blind else (), facts=facts)


CONDENSABLE.register(NAME)(nothing_more)


def _count(run: Run, sample: ev.ConnectionSample) -> int:
    """The number to judge, -1 when this sample says nothing."""
    outliving = any(
        window.radius.outlives_clients and window.injecting <= sample.t <= recovery_edge(window, run)
        for window in run.windows
    )
    return sample.sockets if outliving else sample.backends


def _excesses(counted: list[tuple[float, int]], limit: int) -> list[tuple[float, float, int]]:
    """Unbroken rows of samples over the limit that last long enough: (start, end, most)."""
    found: list[tuple[float, float, int]] = []
    row: list[tuple[float, int]] = []
    for t, count in [*counted, (float("inf"), 0)]:
        if count > limit and (not row or t - row[-1][0] <= LONGEST_GAP_SECONDS):
            row.append((t, count))
            continue
        if row and row[-1][0] - row[0][0] >= SHORTEST_SECONDS:
            found.append((row[0][0], row[-1][0], max(each for _, each in row)))
        row = [(t, count)] if count > limit else []
    return found
