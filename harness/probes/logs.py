"""The service's structured log, one JSON object a line, read after the run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from ..events import LogLine
from ..history import Clock

_DAY_SECONDS = 86400.0


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
        moment, level, message, suppressed = record
        last = _set_right(clock.at_wall(moment))
        yield LogLine(last, level, message, suppressed)


def _set_right(t: float) -> float:
    """Take whole days off: a run is far shorter, so they are those of a fault that shifts the service's clock."""
    return t - _DAY_SECONDS * round(t / _DAY_SECONDS)


def _parse(line: str) -> tuple[datetime, str, str, int] | None:
    try:
        data = json.loads(line)
        moment = datetime.fromisoformat(str(data["timestamp"]).replace("Z", "+00:00"))
        return moment, str(data["level"]), str(data["message"]), int(data.get("suppressed", 0) or 0)
    except (ValueError, KeyError, TypeError):
        return None
