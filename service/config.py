"""Configuration: the environment read once, checked once, frozen."""

import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from datetime import date
from functools import partial
from typing import Any

from psycopg import ProgrammingError
from psycopg.conninfo import make_conninfo

from .logs import LEVELS


class ConfigError(ValueError):
    """A value of the environment is wrong; the text names the variable and what it should be."""


def _setting(parse: Callable[[str], object], expected: str, default: object = None) -> Any:
    """A field with the reader of its text, which raises ValueError, and what to tell who wrote it wrongly."""
    return field(default=default, metadata={"parse": parse, "expected": expected})


def _number(read: Callable[[str], float], kind: str, default: float | None, low: float, high: float) -> Any:
    def parse(text: str) -> float:
        if not low <= read(text) <= high:
            raise ValueError(text)
        return read(text)

    return _setting(parse, f"{kind} from {low} to {high}", default)


_whole = partial(_number, int, "a whole number")
_seconds = partial(_number, float, "a number of seconds", low=0.01, high=86400)


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything the service takes from its environment, each field from the variable of its name in capitals."""

    database_url: str = _setting(make_conninfo, "a URL such as postgresql://user:password@127.0.0.1/audit", MISSING)
    dlq_path: str = _setting(
        lambda url: re.split("^sqlite:///(?=.)", url)[1], "sqlite:///path or sqlite:////absolute/path", MISSING
    )
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
    partitions_from: date | None = _setting(lambda text: date.fromisoformat(f"{text}-01"), "a month such as 2025-11")  # noqa: RUF009
    partitions_ahead_months: int = _whole(3, 0, 120)
    event_max_age_days: int = _whole(400, 0, 10**5)
    event_max_ahead_days: int = _whole(62, 0, 10**5)
    log_level: str = _setting(lambda text: LEVELS[LEVELS.index(text.upper())], f"one of {', '.join(LEVELS)}", "INFO")


def load(environ: Mapping[str, str]) -> Config:
    """The configuration; an empty variable counts as unset. Raises ConfigError at the first wrong value."""
    values: dict[str, Any] = {}
    for one in fields(Config):
        name = "DLQ_URL" if one.name == "dlq_path" else one.name.upper()
        text = environ.get(name, "")
        try:
            if text:
                values[one.name] = one.metadata["parse"](text)
            elif one.default is MISSING:
                raise ValueError(text)
        except (ValueError, LookupError, ProgrammingError):
            # A URL may carry a password, so its text is not repeated.
            found = "" if name.endswith("_URL") else f" It is {text!r}."
            raise ConfigError(f"{name} must be {one.metadata['expected']}.{found}") from None
    config = Config(**values)
    if config.dlq_retry_min_seconds > config.dlq_retry_max_seconds:
        raise ConfigError("DLQ_RETRY_MIN_SECONDS is above DLQ_RETRY_MAX_SECONDS; lower the first.")
    return config
