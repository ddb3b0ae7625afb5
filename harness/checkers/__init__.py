"""Checkers: one invariant each, pure functions over a run (docs/reference/checkers.md).

Importing this package registers them all.
"""

from __future__ import annotations

from . import (
    answers,
    bounds,
    capacity,
    confirmed,
    conservation,
    duplicates,
    evidence,
    exhaustion,
    fallback,
    honest_status,
    interrupted,
    isolation,
    leaks,
    logs,
    metrics,
    observability,
    partition_hygiene,
    poison,
    reached,
    readiness,
    reads,
    reads_back,
    recovery,
    strictness,
)

DEFAULT_CHECKERS: tuple[str, ...] = (
    confirmed.NAME,
    evidence.NAME,
    reads.NAME,
    strictness.NAME,
    conservation.NAME,
    duplicates.NAME,
    honest_status.NAME,
    answers.NAME,
    reads_back.NAME,
    isolation.NAME,
    fallback.NAME,
    recovery.NAME,
    poison.NAME,
    metrics.NAME,
    logs.NAME,
    observability.NAME,
    readiness.NAME,
    bounds.NAME,
    capacity.NAME,
    leaks.NAME,
    partition_hygiene.NAME,
    reached.NAME,
)
"""What a scenario is judged by unless it says otherwise: all but ``exhaustion`` and ``interrupted``, which
need an exhausted pool and a drain that a fault met."""

__all__ = ["DEFAULT_CHECKERS", "exhaustion", "interrupted"]
