"""The faults, one family a file; importing this package fills :data:`harness.fault.FAULTS`.

To add one: a frozen keyword-only dataclass registered by its name, in the module of its family.  The contract tests
and docs/reference/faults.md then ask for it by themselves.
"""

from . import _plans, creation, database, network, noop, partition, process, storage

__all__ = ["_plans", "creation", "database", "network", "noop", "partition", "process", "storage"]
