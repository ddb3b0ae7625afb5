"""Logs: one JSON object a line, repeated lines limited to one a second without losing their count."""

import contextlib
import json
import math
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
    """A message that may repeat: its last occurrence, how many wait for a line, and when it last had one."""

    line: dict[str, Field]
    waiting: int = 0
    written_at: float = -math.inf


class Log:
    """Writes lines; lines plus the sum of their `suppressed` is the number of occurrences."""

    def __init__(self, stream: TextIO, level: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._clock = stream, clock
        self._levels = LEVELS[LEVELS.index(level) :]
        self._storms: dict[str, _Storm] = {}

    def info(self, message: str, **fields: Field) -> None:
        """A normal event worth a line."""
        self._add("INFO", message, fields)

    def error(self, message: str, **fields: Field) -> None:
        """Something failed."""
        self._add("ERROR", message, fields)

    def _add(self, level: str, message: str, fields: dict[str, Field]) -> None:
        if level in self._levels:
            line = {"level": level, "message": message, **fields}
            storm = self._storms.setdefault(message, _Storm(line))
            storm.line, storm.waiting = line, storm.waiting + 1
            self._write_if_due(storm)

    def flush(self, everything: bool = False) -> None:
        """Write the closing line of each storm that ended; `everything` when the process ends."""
        for storm in list(self._storms.values()):
            self._write_if_due(storm, everything)

    def _write_if_due(self, storm: _Storm, due: bool = False) -> None:
        """Write one line for all that wait; it is itself one of them."""
        if storm.waiting and (due or self._clock() - storm.written_at >= REPEAT_SECONDS):
            suppressed, storm.waiting, storm.written_at = storm.waiting - 1, 0, self._clock()
            stamp = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            line = {"timestamp": stamp, **storm.line} | ({"suppressed": suppressed} if suppressed else {})
            # A reader of the log that went away must not stop the service.
            with contextlib.suppress(OSError, ValueError):
                self._stream.write(json.dumps(line, ensure_ascii=False) + "\n")
                self._stream.flush()
