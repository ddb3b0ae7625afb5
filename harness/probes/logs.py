"""The service's structured log, one JSON object a line, read after the run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..events import LogLine
from ..history import Clock

_DAY_SECONDS = 86400.0
FIELDS_MAX_CHARACTERS = 1000
"""What is kept of a line's other fields: enough to see whether an event or a credential is among them."""
NO_SQLSTATE = "-"
"""What is recorded as the SQLSTATE of a line without that field."""
_RECORDED = {"timestamp", "level", "message", "suppressed", "sqlstate"}


def read_log(path: Path, clock: Clock) -> Iterator[LogLine]:
    """Yield the structured lines; lines that are no JSON object with a message (a traceback) are level RAW."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    last = 0.0
    for line in text.splitlines():
        record = _parse(line)
        if record is None:
            if line.strip():
                yield LogLine(last, "RAW", line)
            continue
        moment, data = record
        last = _set_right(clock.at_wall(moment))
        yield _structured(last, data)


def _set_right(t: float) -> float:
    """Take whole days off: a run is far shorter, so they are those of a fault that shifts the service's clock."""
    return t - _DAY_SECONDS * round(t / _DAY_SECONDS)


def _parse(line: str) -> tuple[datetime, dict[str, Any]] | None:
    try:
        data = json.loads(line)
        moment = datetime.fromisoformat(str(data["timestamp"]).replace("Z", "+00:00"))
        _structured(0.0, data)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC), data
    except (ValueError, KeyError, TypeError):
        return None


def _structured(t: float, data: dict[str, Any]) -> LogLine:
    suppressed = int(data.get("suppressed", 0) or 0)
    sqlstate = data.get("sqlstate", NO_SQLSTATE)
    others = {key: value for key, value in data.items() if key not in _RECORDED}
    fields = json.dumps(others, ensure_ascii=False)[:FIELDS_MAX_CHARACTERS] if others else ""
    said = sqlstate if isinstance(sqlstate, str) else json.dumps(sqlstate)
    return LogLine(t, str(data["level"]), str(data["message"]), suppressed, said, fields)
