"""Matrix: what each defect's runs came to, and the score over all of them.  Pure: records in, judgement out.

A defect is *caught* when a run FAILs with a finding of a checker meant for it, about the promise it breaks, that names
event ids or at least a number.  FAIL for any other reason is *caught by another* finding: seen, but perhaps by luck.
UNKNOWN is no detection, and no proof of blindness either.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..gate import Exit
from ..values import Verdict
from .catalogue import Defect
from .records import Caught, Record, Task


class Sight(enum.StrEnum):
    """What a defect's runs came to, the best first."""

    CAUGHT = "caught"
    OTHER = "caught by another"
    UNSEEN = "unseen"
    UNJUDGED = "not judged"
    PENDING = "not played"
    SKIPPED = "skipped"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One defect: what came of it, the run that tells (none before any), and the finding in it that counts."""

    defect: Defect
    sight: Sight
    record: Record | None = None
    caught: Caught | None = None
    reasons: tuple[str, ...] = ()
    """Why it was skipped or could not be judged."""
    seen_in: tuple[str, ...] = ()
    """Every scenario whose run failed."""


@dataclass(frozen=True, kw_only=True)
class Control:
    """The runs without a defect.  ``planned``: how many of the present plan; ``left``: those not played yet."""

    runs: int = 0
    alarms: tuple[Record, ...] = ()
    unknowns: tuple[Record, ...] = ()
    planned: int = 0
    left: int = 0

    @property
    def inconclusive(self) -> bool:
        """Tell whether control runs were wanted and are missing, or none of them could be judged."""
        return self.left > 0 or (self.planned > 0 and len(self.unknowns) >= self.runs)


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """All rows, and the control."""

    rows: tuple[Row, ...]
    control: Control

    def count(self, *sights: Sight) -> int:
        """Count the defects of these sights."""
        return sum(row.sight in sights for row in self.rows)

    @property
    def score(self) -> str:
        """The one line that a selftest ends with."""
        control = self.control
        judged = len(self.rows) - self.count(Sight.SKIPPED)
        apart = [
            f"{count} {words}"
            for sight, words in (
                (Sight.OTHER, "not as meant"),
                (Sight.UNSEEN, "unseen"),
                (Sight.UNJUDGED, "not judged"),
                (Sight.PENDING, "not played"),
                (Sight.SKIPPED, "skipped"),
            )
            if (count := self.count(sight))
        ]
        aside = f" ({', '.join(apart)})" if apart else ""
        return (
            f"detected {self.count(Sight.CAUGHT, Sight.OTHER)} of {judged} defects{aside}, "
            f"{control.runs} control runs: {len(control.alarms)} false alarms, {len(control.unknowns)} unknown"
        )

    @property
    def exit(self) -> Exit:
        """1 for a defect unseen or a false alarm, which are proved; 3 for what could not be judged; else 0."""
        if self.count(Sight.UNSEEN) or self.control.alarms:
            return Exit.FAILED
        nothing = not self.control.runs and self.count(Sight.SKIPPED) == len(self.rows)
        if nothing or self.count(Sight.UNJUDGED, Sight.PENDING) or self.control.inconclusive:
            return Exit.INCONCLUSIVE
        return Exit.PASSED


def build_matrix(
    defects: Sequence[Defect],
    control: Defect,
    planned: Iterable[Task],
    records: Iterable[Record],
    skipped: Mapping[str, str],
) -> Matrix:
    """Judge all records; ``skipped`` are scenarios that this machine cannot play, with what it lacks.

    The rows are ``defects`` in their order, whether or not anything of them is planned or recorded.
    """
    planned = tuple(planned)
    last = {record.task: record for record in records}
    rows = tuple(_row(one, [task for task in planned if task.defect == one.name], last, skipped) for one in defects)
    mine = [record for task, record in last.items() if task.defect == control.name]
    due = [task for task in planned if task.defect == control.name and task.scenario not in skipped]
    return Matrix(
        rows=rows,
        control=Control(
            runs=len(mine),
            alarms=tuple(record for record in mine if record.verdict is Verdict.FAIL),
            unknowns=tuple(record for record in mine if record.verdict is Verdict.UNKNOWN),
            planned=len(due),
            left=sum(task not in last for task in due),
        ),
    )


def meant(defect: Defect, caught: Caught) -> bool:
    """Tell whether a finding is the one that must be made about this defect."""
    if caught.checker not in defect.checkers or caught.promise != defect.promise:
        return False
    return caught.event_count > 0 or (not defect.names_events and any(letter.isdigit() for letter in caught.summary))


def best_caught(defect: Defect, record: Record) -> tuple[Sight, Caught] | None:
    """Return the finding of a run that counts most for a defect; None for a run without any."""
    for caught in record.caught:
        if meant(defect, caught):
            return Sight.CAUGHT, caught
    return (Sight.OTHER, record.caught[0]) if record.caught else None


def is_to_keep(defect: Defect, record: Record) -> bool:
    """Tell whether a run's folder is needed to see what went wrong: an alarm, a doubt, a defect not seen as meant."""
    if defect.is_control:
        return record.verdict is not Verdict.PASS
    found = best_caught(defect, record)
    if found is None:
        return record.verdict is Verdict.UNKNOWN or record.task.scenario in defect.scenarios
    return found[0] is not Sight.CAUGHT


def _row(defect: Defect, planned: Sequence[Task], last: Mapping[Task, Record], skipped: Mapping[str, str]) -> Row:
    records = [record for task, record in last.items() if task.defect == defect.name]
    found = [(record, *best) for record in records if (best := best_caught(defect, record))]
    if found:
        record, sight, caught = min(found, key=lambda one: one[1] is not Sight.CAUGHT)
        seen_in = tuple(dict.fromkeys(one.task.scenario for one, _, _ in found))
        return Row(defect=defect, sight=sight, record=record, caught=caught, seen_in=seen_in)
    # Of a run in a scenario that need not reveal it nothing is expected, unless there is no other.
    decisive = [one for one in records if one.task.scenario in defect.scenarios] or records
    unknown = [one for one in decisive if one.verdict is Verdict.UNKNOWN]
    if unknown:
        reasons = tuple(dict.fromkeys(reason for one in unknown for reason in one.unknowns))
        return Row(defect=defect, sight=Sight.UNJUDGED, record=unknown[-1], reasons=reasons)
    open_tasks = [task for task in planned if task not in last and task.scenario not in skipped]
    if open_tasks:
        return Row(defect=defect, sight=Sight.PENDING)
    if decisive:
        return Row(defect=defect, sight=Sight.UNSEEN, record=decisive[-1])
    reasons = tuple(dict.fromkeys(f"{t.scenario} {skipped[t.scenario]}" for t in planned if t.scenario in skipped))
    return Row(defect=defect, sight=Sight.SKIPPED if reasons else Sight.PENDING, reasons=reasons)
