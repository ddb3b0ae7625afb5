"""What the target does not let the harness look into, so that nobody takes the rest for the whole."""

from __future__ import annotations

from ..checking import CHECKERS, CONDENSABLE, CheckResult, nothing_more
from ..rundata import Run

NAME = "reads"
_WITHOUT = {
    "sql": "rows, duplicates, partitions, connections, whether the database itself stalled",
    "dlq": "events still queued or dead, whether an event answered 202 is kept",
    "metrics": "every series, the failed writes counted",
    "logs": "every line",
    "query": "whether stored events can be read back through the service",
}


@CHECKERS.register(NAME)
def reads(run: Run) -> CheckResult:
    """List the capabilities that the target file declares absent, with what is not checked for want of them."""
    lacking = [f"{name} ({what})" for name, what in _WITHOUT.items() if not getattr(run.reads, name)]
    return CheckResult(NAME, not_checked="; ".join(lacking))


CONDENSABLE.register(NAME)(nothing_more)
