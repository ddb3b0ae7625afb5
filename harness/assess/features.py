"""Features: the four of the readiness assessment, the requirements that each has to prove, and who must have looked."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Feature:
    """One feature.  ``requirements`` are ids of docs/reference/requirements.md.

    Each of ``checkers`` must have passed in some run: a requirement that nobody could look at is not proved by the
    others.
    """

    name: str
    title: str
    requirements: tuple[str, ...]
    checkers: tuple[str, ...]


FEATURES = (
    Feature(
        name="pool-metrics",
        title="Connection pool metrics",
        requirements=("S1", "S2"),
        checkers=("metrics", "exhaustion"),
    ),
    Feature(
        name="isolation",
        title="Partition failure isolation",
        requirements=("S3",),
        checkers=("isolation", "conservation"),
    ),
    Feature(
        name="partition-metrics",
        title="Partition health metrics",
        requirements=("S4",),
        checkers=("metrics", "logs"),
    ),
    Feature(
        name="recovery",
        title="Partition recovery",
        requirements=("S5",),
        checkers=("recovery", "conservation"),
    ),
)
"""In the order of the assessment."""
