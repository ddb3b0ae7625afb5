"""Repairs: what a heal that goes step by step tells of itself, as one line of the history and back.

A fault saves the line in its ledger under :data:`HEALED_BY`; the nemesis puts it into the mark of the heal.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

HEALED_BY = "healed-by"
"""The ledger's key of what a heal has to tell."""

_STEP = re.compile(r"(?P<name>[\w-]+) (?:(?P<seconds>\d+\.\d+) s|not timed) \((?P<said>[^()]*)\)")


@dataclass(frozen=True)
class RepairStep:
    """One step: its name, how long the machine took, None where it could not be timed, and what came of it."""

    name: str
    seconds: float | None
    said: str = ""

    def __str__(self) -> str:
        """Return it as the line has it."""
        took = "not timed" if self.seconds is None else f"{self.seconds:.4f} s"
        said = re.sub(r"[();\s]+", " ", self.said).strip()
        return f"{self.name} {took} ({said})"


def to_text(steps: Iterable[RepairStep]) -> str:
    """Return the steps as one line."""
    return "; ".join(str(step) for step in steps)


def from_text(text: str) -> tuple[RepairStep, ...]:
    """Read the steps of a line; none for any other text."""
    return tuple(
        RepairStep(match["name"], None if match["seconds"] is None else float(match["seconds"]), match["said"])
        for match in _STEP.finditer(text)
    )
