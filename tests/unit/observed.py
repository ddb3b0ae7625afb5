"""A page of metrics as the reference service exports it, and the rules and the dashboard that come with it."""

from __future__ import annotations

from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from harness.lint.exported import Exported
from harness.lint.files import Dashboard, RulesFile, read_dashboard, read_rules
from harness.lint.lint import lint
from harness.lint.problems import Problem

OPS = Path(__file__).parents[2] / "service" / "ops"
RECORDING, ALERTS, DASHBOARD = OPS / "recording.rules.yml", OPS / "alerts.rules.yml", OPS / "dashboard.json"
MONTHS = ("2025_11", "2025_12", "2026_01")
BUCKETS = ("0.001", "0.1", "1.0", "+Inf")


def page() -> str:
    """The text of ``/metrics`` after some events."""
    lines = ["# HELP datastorage_db_connections_open In use and idle", "# TYPE datastorage_db_connections_open gauge"]
    values = {"connections_open": 7, "connections_in_use": 2, "connections_idle": 5, "max_open_connections": 25}
    lines += [f"datastorage_db_{name} {value}" for name, value in values.items()]
    lines += ["datastorage_db_connection_errors_total 0.0", *histogram("db_connection_wait_duration_seconds")]
    lines += histogram("request_duration_seconds", 'route="/api/v1/audit/events",status="201"')
    lines += ["datastorage_dlq_oldest_age_seconds 0.0", "datastorage_dlq_capacity 1000000"]
    outcomes = {"created": 9, "queued": 0, "duplicate": 0, "rejected": 0, "unavailable": 0}
    lines += [f'datastorage_events_total{{outcome="{name}"}} {count}' for name, count in outcomes.items()]
    lines += [f'datastorage_dlq_dead_letters{{reason="{reason}"}} 0' for reason in ("poison", "conflict")]
    for month in MONTHS:
        lines += [f'datastorage_{name}{{partition="{month}"}} 0.0' for name in BY_MONTH]
        for status in ("healthy", "degraded", "unavailable"):
            is_it = int(status == "healthy")
            lines.append(f'datastorage_partition_status{{partition="{month}",status="{status}"}} {is_it}')
    return "\n".join([*lines, ""])


BY_MONTH = (
    "partition_write_failures_total",
    "partition_last_write_timestamp",
    "dlq_depth",
    "dlq_drained_total",
    "dlq_drain_failures_total",
)


def histogram(name: str, labels: str = "") -> list[str]:
    full = f"datastorage_{name}"
    comma, braces = (f"{labels}," if labels else ""), (f"{{{labels}}}" if labels else "")
    buckets = [f'{full}_bucket{{{comma}le="{bucket}"}} {0 if bucket == "0.001" else 9}' for bucket in BUCKETS]
    return [*buckets, f"{full}_count{braces} 9", f"{full}_sum{braces} 0.3"]


def exported(text: str = "", *, labels: tuple[str, ...] = (), foreign: tuple[str, ...] = ()) -> Exported:
    samples = [
        (sample.name, tuple(sorted(sample.labels.items())), sample.value)
        for family in text_string_to_metric_families(text or page())
        for sample in family.samples
    ]
    return Exported(samples, scrape_labels=labels, foreign=foreign)


def own_rules() -> list[RulesFile]:
    return [read_rules(path.name, path.read_text(encoding="utf-8")) for path in (RECORDING, ALERTS)]


def own_dashboard() -> Dashboard:
    return read_dashboard(DASHBOARD.name, DASHBOARD.read_text(encoding="utf-8"))


def problems(*rules: RulesFile, board: Dashboard | None = None, known: Exported | None = None) -> tuple[Problem, ...]:
    return lint(known or exported(), rules, [board] if board is not None else [])
