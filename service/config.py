"""Configuration: the environment read once, checked once, frozen."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import date
from typing import Any

_VARIABLES = {"dlq_path": "DLQ_URL"}
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


class ConfigError(ValueError):
    """A value of the environment is wrong; the text names the variable and what it should be."""


def _setting(parse: Callable[[str], object], expected: str, default: object = None) -> Any:
    """A field with the reader of its text, which raises ValueError, and what to tell who wrote it wrongly."""
    return field(default=default, metadata={"parse": parse, "expected": expected})


def _whole(default: int | None, low: int, high: int) -> Any:
    def parse(text: str) -> int:
        if not low <= int(text) <= high:
            raise ValueError(text)
        return int(text)

    return _setting(parse, f"a whole number from {low} to {high}", default)


def _seconds(default: float, low: float = 0.01) -> Any:
    def parse(text: str) -> float:
        if not low <= float(text) <= 86400:
            raise ValueError(text)
        return float(text)

    return _setting(parse, f"a number of seconds from {low:g} to 86400", default)


def _month(text: str) -> date:
    if re.fullmatch("[0-9]{4}-[0-9]{2}", text) is None:
        raise ValueError(text)
    return date(int(text[:4]), int(text[5:]), 1)


def _level(text: str) -> str:
    return LOG_LEVELS[LOG_LEVELS.index(text.upper())]


def _sqlite_path(url: str) -> str:
    prefix = "sqlite:///"
    if not url.startswith(prefix) or url == prefix:
        raise ValueError(url)
    return url.removeprefix(prefix)


def _database_url(url: str) -> str:
    from psycopg import ProgrammingError
    from psycopg.conninfo import conninfo_to_dict

    try:
        conninfo_to_dict(url)
    except ProgrammingError:
        raise ValueError(url) from None
    return url


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything the service takes from its environment, each field from the variable of its name in capitals."""

    database_url: str = _setting(_database_url, "a PostgreSQL URL such as postgresql://user:password@127.0.0.1/audit")
    dlq_path: str = _setting(_sqlite_path, "sqlite:///relative/path or sqlite:////absolute/path")
    host: str = _setting(str, "an address", "127.0.0.1")
    port: int = _whole(8080, 0, 65535)
    port_file: str | None = _setting(str, "a path")
    metrics_host: str | None = _setting(str, "an address")
    metrics_port: int | None = _whole(None, 0, 65535)
    metrics_token: str | None = _setting(str, "a text")
    admin_token: str | None = _setting(str, "a text")
    db_pool_max: int = _whole(25, 1, 1000)
    db_acquire_timeout_seconds: float = _seconds(2)
    db_statement_timeout_seconds: float = _seconds(2)
    db_lock_timeout_seconds: float = _seconds(1)
    request_deadline_seconds: float = _seconds(5, low=1)
    dlq_max_events: int = _whole(1_000_000, 0, 10**9)
    dlq_max_attempts: int = _whole(5, 1, 10**6)
    dlq_retry_min_seconds: float = _seconds(0.2)
    dlq_retry_max_seconds: float = _seconds(2)
    partition_check_seconds: float = _seconds(2)
    partitions_from: date | None = _setting(_month, "a month such as 2025-11")  # noqa: RUF009 - it is a field
    partitions_ahead_months: int = _whole(3, 0, 120)
    event_max_age_days: int = _whole(400, 0, 10**5)
    event_max_ahead_days: int = _whole(62, 0, 10**5)
    log_level: str = _setting(_level, "DEBUG, INFO, WARNING or ERROR", "INFO")


def load(environ: Mapping[str, str]) -> Config:
    """The configuration of this process; an empty variable counts as unset.

    Raises ConfigError, with a sentence for the operator, at the first wrong value.
    """
    values: dict[str, Any] = {}
    for one in fields(Config):
        name = _VARIABLES.get(one.name, one.name.upper())
        text = environ.get(name, "")
        try:
            if text:
                values[one.name] = one.metadata["parse"](text)
        except ValueError:
            # A URL may carry a password, so its text is not repeated.
            shown = "not valid" if name.endswith("_URL") else repr(text)
            raise ConfigError(f"{name} is {shown}; set it to {one.metadata['expected']}.") from None
        if not text and one.name in ("database_url", "dlq_path"):
            raise ConfigError(f"{name} is not set; set it to {one.metadata['expected']}.")
    config = Config(**values)
    if config.dlq_retry_min_seconds > config.dlq_retry_max_seconds:
        raise ConfigError("DLQ_RETRY_MIN_SECONDS is above DLQ_RETRY_MAX_SECONDS; lower the first.")
    return config
