"""The environment: defaults, and a sentence for every wrong value."""

from datetime import date

import pytest

from service.config import ConfigError, load

NEEDED = {"DATABASE_URL": "postgresql://u:secret@127.0.0.1:5432/audit", "DLQ_URL": "sqlite:////var/lib/dlq.sqlite3"}


def test_defaults_are_those_of_the_contract() -> None:
    config = load(NEEDED)
    assert (config.host, config.port, config.metrics_port) == ("127.0.0.1", 8080, None)
    assert (config.db_pool_max, config.db_acquire_timeout_seconds, config.db_lock_timeout_seconds) == (25, 2, 1)
    assert (config.dlq_max_events, config.dlq_max_attempts, config.request_deadline_seconds) == (1_000_000, 5, 5)
    assert (config.event_max_age_days, config.event_max_ahead_days, config.partitions_ahead_months) == (400, 62, 3)
    assert config.partitions_from is None
    assert config.dlq_path == "/var/lib/dlq.sqlite3"


def test_values_are_read_and_an_empty_one_counts_as_unset() -> None:
    config = load({**NEEDED, "PARTITIONS_FROM": "2025-11", "METRICS_PORT": "0", "PORT": "", "LOG_LEVEL": "debug"})
    assert config.partitions_from == date(2025, 11, 1)
    assert config.metrics_port == 0
    assert config.port == 8080
    assert config.log_level == "DEBUG"


def test_a_relative_queue_path_stays_relative() -> None:
    assert load({**NEEDED, "DLQ_URL": "sqlite:///dlq.sqlite3"}).dlq_path == "dlq.sqlite3"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", ""),
        ("DATABASE_URL", "mysql://x"),
        ("DLQ_URL", ""),
        ("DLQ_URL", "redis://x"),
        ("DLQ_URL", "sqlite:///"),
        ("PORT", "65536"),
        ("PORT", "x"),
        ("DB_POOL_MAX", "0"),
        ("DB_POOL_MAX", "2.5"),
        ("DB_LOCK_TIMEOUT_SECONDS", "nan"),
        ("DB_STATEMENT_TIMEOUT_SECONDS", "-1"),
        ("PARTITIONS_FROM", "2025-13"),
        ("PARTITIONS_FROM", "2025_11"),
        ("LOG_LEVEL", "LOUD"),
        ("DLQ_RETRY_MIN_SECONDS", "3"),
    ],
)
def test_a_wrong_value_is_refused_by_name_without_repeating_a_password(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=name) as refusal:
        load({**NEEDED, name: value})
    assert "secret" not in str(refusal.value)
