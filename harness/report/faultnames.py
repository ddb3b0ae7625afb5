"""Names of faults in reports: of several in one run each has its number, in every format alike."""

from __future__ import annotations

from collections.abc import Sequence

from ..results import Clocks
from ..rundata import FaultWindow, Run


def fault_name(name: str, number: int, of: int) -> str:
    """``detach-partition``, and ``detach-partition [2]`` where the run has several (``of``): names may repeat."""
    return name if of == 1 else numbered(name, number)


def numbered(name: str, number: int) -> str:
    """``detach-partition [2]``, as a line says that is read without the run around it."""
    return f"{name} [{number}]"


def window_name(window: FaultWindow, run: Run) -> str:
    """The name of one fault of a run."""
    return fault_name(window.name, window.fault, len(run.windows))


def clock_names(clocks: Sequence[Clocks]) -> list[str]:
    """The faults whose clocks these are, all those of one run, in their order."""
    return [fault_name(one.fault, one.number, len(clocks)) for one in clocks]
