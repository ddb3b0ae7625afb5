"""Lint of alert rules, recording rules and dashboards against the series that a service exports.

Pure: texts and series come in, problems go out; ``harness lint-observability`` and the checker ``observability`` read
them from files and from a run's history.
"""
