"""Logs: one JSON object a line, repeated lines limited to one a second without losing their count."""

import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TextIO

Field = str | int | float | bool | None
REPEAT_SECONDS = 1.0
LEVELS = ["DEBUG", "INFO", "WARNING", "ERROR"]


@dataclass
class _Storm:
    """A message that may repeat: when it was last written, and what was held back since."""

    written_at: float
    level: str
    fields: dict[str, Field]
    held_back: int = 0


class Log:
    """Writes lines; lines plus the sum of their `suppressed` is the number of occurrences."""

    def __init__(self, stream: TextIO, level: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._levels = LEVELS[LEVELS.index(level) :]
        self._clock = clock
        self._storms: dict[str, _Storm] = {}

    def info(self, message: str, **fields: Field) -> None:
        """A normal event worth a line."""
        self._add("INFO", message, fields)

    def error(self, message: str, **fields: Field) -> None:
        """Something failed."""
        self._add("ERROR", message, fields)

    def _add(self, level: str, message: str, fields: dict[str, Field]) -> None:
        storm = self._storms.get(message)
        if storm is not None and self._clock() - storm.written_at < REPEAT_SECONDS:
            storm.held_back += 1
            storm.fields = fields
        elif level in self._levels:
            self._write(level, message, fields, storm.held_back if storm else 0)

    def flush(self, everything: bool = False) -> None:
        """Write the closing line of each storm that ended; `everything` when the process ends."""
        for message, storm in list(self._storms.items()):
            if everything or self._clock() - storm.written_at >= REPEAT_SECONDS:
                del self._storms[message]
                if storm.held_back:
                    # The closing line is itself the last of the occurrences held back.
                    self._write(storm.level, message, storm.fields, storm.held_back - 1)

    def _write(self, level: str, message: str, fields: dict[str, Field], suppressed: int) -> None:
        self._storms[message] = _Storm(self._clock(), level, fields)
        stamp = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        more = {"suppressed": suppressed} if suppressed else {}
        line = {"timestamp": stamp, "level": level, "message": message, **fields, **more}
        # A reader of the log that went away must not stop the service.
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(json.dumps(line, ensure_ascii=False) + "\n")
            self._stream.flush()
