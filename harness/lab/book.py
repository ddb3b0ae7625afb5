"""Book: what a lab knows of its own history without reading it again, and the history that keeps it."""

from __future__ import annotations

import json
from collections import Counter, defaultdict, deque
from pathlib import Path

from ..events import Complete, DlqRow, FaultMark, FaultStep, Invoke, MetricsSample, PhaseMark, Record, TableRow
from ..history import Clock, History
from ..redaction import Secrets

_SCRAPES = 8


class Book:
    """Counts and last words of a history, and rows that nobody of the run ``run`` sent."""

    def __init__(self, run: str) -> None:
        """Begin empty."""
        self.answers: Counter[str] = Counter()
        """Answers to events of the load by status, "0" for none."""
        self.scrapes: deque[MetricsSample] = deque(maxlen=_SCRAPES)
        """The last successful scrapes, the newest last."""
        self.last_op = 0
        self.phases: set[str] = set()
        """Phases that were entered."""
        self.strangers: list[str] = []
        """Ids of rows that were read and that no operation of the run sent."""
        self._marks: dict[int, list[FaultMark]] = defaultdict(list)
        self._own = f"{run}/"

    def take(self, record: Record) -> None:
        """Take note of a record."""
        match record:
            case Invoke():
                self.last_op = max(self.last_op, record.op)
            case Complete() if record.op > 0:
                self.answers[str(record.status)] += 1
            case PhaseMark():
                self.phases.add(record.phase)
            case FaultMark():
                self._marks[record.fault].append(record)
            case MetricsSample() if not record.error:
                self.scrapes.append(record)
            case TableRow() if not record.correlation_id.startswith(self._own):
                self.strangers.append(record.event_id)
            case DlqRow() if not _correlation(record.content).startswith(self._own):
                self.strangers.append(record.event_id)

    def last(self, fault: int, step: FaultStep) -> FaultMark | None:
        """Return the last mark of a fault that says ``step``, None for none."""
        return next((mark for mark in reversed(self._marks[fault]) if mark.step is step), None)

    def last_step(self, fault: int) -> FaultStep | None:
        """Return how far a fault got."""
        marks = self._marks[fault]
        return marks[-1].step if marks else None

    def healing_began(self) -> float:
        """Return when the heal began that succeeded last; 0 for none."""
        begun = [self.healed_at(fault) for fault in self._marks]
        return max((time for time in begun if time is not None), default=0.0)

    def healed_at(self, fault: int) -> float | None:
        """Return when the heal of a fault began that was seen to succeed; None while it was not."""
        if self.last(fault, FaultStep.PROBED) is None:
            return None
        mark = self.last(fault, FaultStep.HEALING)
        return None if mark is None else mark.t


def _correlation(content: str) -> str:
    try:
        return str(json.loads(content)["correlation_id"])
    except (ValueError, KeyError, TypeError):
        return ""


class LabHistory(History):
    """A history whose book is kept as it is written."""

    def __init__(self, folder: Path, clock: Clock, run: str) -> None:
        """Create the file; raises FileExistsError rather than mixing two runs."""
        self.book = Book(run)
        self.secrets = Secrets()
        super().__init__(folder, clock)

    def hide_all(self, secrets: Secrets) -> None:
        """Redact these from every later line, and know them for the logs beside it."""
        self.secrets = secrets
        self.hide(secrets.known, secrets.guessed)

    def add(self, record: Record) -> None:
        """Append one record, and take note of it."""
        super().add(record)
        self.book.take(record)
