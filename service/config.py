"""Configuration: the environment read once, checked once, frozen."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import TypeVar

MONTH_PATTERN = re.compile(r"([0-9]{4})-(0[1-9]|1[0-2])")
Number = TypeVar("Number", int, float)
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


class ConfigError(ValueError):
    """A value of the environment is wrong; the text names the variable and what it should be."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything the service takes from its environment; units are in the names."""

    database_url: str
    dlq_path: str
    host: str
    port: int
    port_file: str | None
    metrics_host: str
    metrics_port: int | None
    metrics_token: str | None
    admin_token: str | None
    db_pool_max: int
    db_acquire_timeout_seconds: float
    db_statement_timeout_seconds: float
    db_lock_timeout_seconds: float
    request_deadline_seconds: float
    dlq_max_events: int
    dlq_max_attempts: int
    dlq_retry_min_seconds: float
    dlq_retry_max_seconds: float
    partition_check_seconds: float
    partitions_from: date | None
    partitions_ahead_months: int
    event_max_age_days: int
    event_max_ahead_days: int
    log_level: str


class _Reader:
    """Reads typed values out of the environment; every refusal names its variable."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def text(self, name: str, default: str | None) -> str | None:
        value = self._environ.get(name, "")
        return value if value != "" else default

    def required(self, name: str, example: str) -> str:
        value = self.text(name, None)
        if value is None:
            raise ConfigError(f"{name} is not set; set it, for example to {example}.")
        return value

    def _number(
        self, name: str, kind: Callable[[str], Number], default: Number, low: float, high: float, noun: str
    ) -> Number:
        value = self.text(name, None)
        if value is None:
            return default
        try:
            number = kind(value)
            if low <= number <= high:
                return number
        except ValueError:
            pass  # Said below, in the same words as a number out of range.
        raise ConfigError(f"{name} is {value!r}; it must be {noun} between {low:g} and {high:g}.")

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        return self._number(name, int, default, low, high, "a whole number")

    def seconds(self, name: str, default: float, low: float = 0.01, high: float = 86400) -> float:
        return self._number(name, float, default, low, high, "a number of seconds")

    def month(self, name: str) -> date | None:
        value = self.text(name, None)
        if value is None:
            return None
        match = MONTH_PATTERN.fullmatch(value)
        if match is None or match[1] == "0000":
            raise ConfigError(f"{name} is {value!r}; it must be a month such as 2025-11.")
        return date(int(match[1]), int(match[2]), 1)


def _dlq_path(url: str) -> str:
    prefix = "sqlite:///"
    if not url.startswith(prefix) or len(url) == len(prefix):
        raise ConfigError(
            f"DLQ_URL is {url!r}; it must be sqlite:///relative/path or sqlite:////absolute/path."
        )
    return url[len(prefix) :]


def _check_database_url(url: str) -> str:
    from psycopg import ProgrammingError
    from psycopg.conninfo import conninfo_to_dict

    try:
        conninfo_to_dict(url)
    except ProgrammingError:
        # The parser's own message may quote the password, so it is not repeated.
        raise ConfigError(
            "DATABASE_URL is no PostgreSQL connection URL; write postgresql://user:password@host:port/db."
        ) from None
    return url


def load(environ: Mapping[str, str]) -> Config:
    """The configuration of this process.

    Raises ConfigError, with a sentence for the operator, at the first wrong value.
    """
    read = _Reader(environ)
    level = (read.text("LOG_LEVEL", "INFO") or "INFO").upper()
    if level not in LOG_LEVELS:
        raise ConfigError(f"LOG_LEVEL is {level!r}; it must be one of {', '.join(LOG_LEVELS)}.")
    host = read.text("HOST", "127.0.0.1") or "127.0.0.1"
    config = Config(
        database_url=_check_database_url(
            read.required("DATABASE_URL", "postgresql://user:password@127.0.0.1:5432/audit")
        ),
        dlq_path=_dlq_path(read.required("DLQ_URL", "sqlite:///dlq.sqlite3")),
        host=host,
        port=read.integer("PORT", 8080, 0, 65535),
        port_file=read.text("PORT_FILE", None),
        metrics_host=read.text("METRICS_HOST", host) or host,
        metrics_port=None if not read.text("METRICS_PORT", None) else read.integer("METRICS_PORT", 0, 0, 65535),
        metrics_token=read.text("METRICS_TOKEN", None),
        admin_token=read.text("ADMIN_TOKEN", None),
        db_pool_max=read.integer("DB_POOL_MAX", 25, 1, 1000),
        db_acquire_timeout_seconds=read.seconds("DB_ACQUIRE_TIMEOUT_SECONDS", 2),
        db_statement_timeout_seconds=read.seconds("DB_STATEMENT_TIMEOUT_SECONDS", 2),
        db_lock_timeout_seconds=read.seconds("DB_LOCK_TIMEOUT_SECONDS", 1),
        request_deadline_seconds=read.seconds("REQUEST_DEADLINE_SECONDS", 5, low=1),
        dlq_max_events=read.integer("DLQ_MAX_EVENTS", 1_000_000, 0, 1_000_000_000),
        dlq_max_attempts=read.integer("DLQ_MAX_ATTEMPTS", 5, 1, 1_000_000),
        dlq_retry_min_seconds=read.seconds("DLQ_RETRY_MIN_SECONDS", 0.2),
        dlq_retry_max_seconds=read.seconds("DLQ_RETRY_MAX_SECONDS", 2),
        partition_check_seconds=read.seconds("PARTITION_CHECK_SECONDS", 2),
        partitions_from=read.month("PARTITIONS_FROM"),
        partitions_ahead_months=read.integer("PARTITIONS_AHEAD_MONTHS", 3, 0, 120),
        event_max_age_days=read.integer("EVENT_MAX_AGE_DAYS", 400, 0, 100_000),
        event_max_ahead_days=read.integer("EVENT_MAX_AHEAD_DAYS", 62, 0, 100_000),
        log_level=level,
    )
    if config.dlq_retry_min_seconds > config.dlq_retry_max_seconds:
        raise ConfigError("DLQ_RETRY_MIN_SECONDS is above DLQ_RETRY_MAX_SECONDS; lower the first.")
    return config
