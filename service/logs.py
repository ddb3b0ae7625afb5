"""Logs: one JSON object a line, repeated lines limited to one a second without losing their count."""

import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TextIO

Field = str | int | float | bool | None
REPEAT_SECONDS = 1.0
_LEVELS = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40}


@dataclass
class _Storm:
    """A message that repeats: when it was last written and what was held back since."""

    written_at: float
    level: str
    held_back: int = 0
    fields: dict[str, Field] = field(default_factory=dict)


class Log:
    """Writes lines; lines plus the sum of their `suppressed` is the number of occurrences."""

    def __init__(self, stream: TextIO, level: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._threshold = _LEVELS[level]
        self._clock = clock
        self._storms: dict[str, _Storm] = {}

    def info(self, message: str, **fields: Field) -> None:
        """A normal event worth a line."""
        self._add("INFO", message, fields)

    def warning(self, message: str, **fields: Field) -> None:
        """Something unexpected that the service dealt with."""
        self._add("WARNING", message, fields)

    def error(self, message: str, **fields: Field) -> None:
        """Something failed."""
        self._add("ERROR", message, fields)

    def _add(self, level: str, message: str, fields: dict[str, Field]) -> None:
        if _LEVELS[level] < self._threshold:
            return
        now = self._clock()
        storm = self._storms.get(message)
        if storm is None:
            self._storms[message] = _Storm(now, level)
            self._write(level, message, fields, 0)
        elif now - storm.written_at < REPEAT_SECONDS:
            storm.held_back += 1
            storm.fields = fields
        else:
            self._write(level, message, fields, storm.held_back)
            storm.written_at, storm.held_back = now, 0

    def flush(self, everything: bool = False) -> None:
        """Write the closing line of each storm that ended; `everything` when the process ends."""
        now = self._clock()
        for message, storm in list(self._storms.items()):
            if not everything and now - storm.written_at < REPEAT_SECONDS:
                continue
            if storm.held_back:
                # The closing line is itself the last of the occurrences held back.
                self._write(storm.level, message, storm.fields, storm.held_back - 1)
                storm.written_at, storm.held_back = now, 0
            else:
                del self._storms[message]

    def _write(self, level: str, message: str, fields: dict[str, Field], suppressed: int) -> None:
        stamp = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line: dict[str, Field] = {"timestamp": stamp, "level": level, "message": message, **fields}
        if suppressed:
            line["suppressed"] = suppressed
        # A reader of the log that went away must not stop the service.
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(json.dumps(line, ensure_ascii=False) + "\n")
            self._stream.flush()
