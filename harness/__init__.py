"""Resilience test harness for services that write audit events into monthly PostgreSQL partitions.

Knows no particular service and no particular scenario: a service is described by a ``target.toml``, a
scenario by a :class:`harness.scenario.Scenario`.  ARCHITECTURE.md tells a run in prose.
"""

__version__ = "0.1.0"
