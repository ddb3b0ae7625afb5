"""The faults, one family a file; importing this package fills :data:`harness.fault.FAULTS`.

To add one: a frozen keyword-only dataclass registered by its name, in the module of its family.  The contract tests
and docs/reference/faults.md then ask for it by themselves.
"""

from . import (
    _plans,
    bounds,
    clock,
    commit,
    creation,
    database,
    default,
    dlq,
    files,
    flapping,
    fullness,
    limits,
    network,
    noop,
    obstacles,
    partition,
    process,
    replaced,
    server,
    sessions,
    storage,
    timeouts,
    toxics,
    triggers,
)

__all__ = [
    "_plans",
    "bounds",
    "clock",
    "commit",
    "creation",
    "database",
    "default",
    "dlq",
    "files",
    "flapping",
    "fullness",
    "limits",
    "network",
    "noop",
    "obstacles",
    "partition",
    "process",
    "replaced",
    "server",
    "sessions",
    "storage",
    "timeouts",
    "toxics",
    "triggers",
]
